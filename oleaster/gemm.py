"""One GEMM on any unit and any engine: numpy model, cycle model, RTL in Verilator."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from oleaster.designs import PAGE, design_files, open_device
from oleaster.models import tensor_core as tensor_core_model
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import MAX_SIZE
from oleaster.models.gemm import MAX_ACC_BITS, GemmSums, gemm_on_lanes, gemm_weight_stationary
from oleaster.models.lane import FORMAT_SETS, Lane, required_acc_bits
from oleaster.models.microscaling import E8M0_BIAS, windows
from oleaster.models.mmaovp import Opcode
from oleaster.models.quantize import QuantizedTensor
from oleaster.sim import systolic, tensor_core, weight_stationary
from oleaster.sim.driver import Driver
from oleaster.sim.operand import Operand, array_operand
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_tiling import WeightTiling, pads_with_zeros

__all__ = ["ENGINES", "MAX_DIMENSION", "UNITS", "GemmError", "GemmRun", "run_gemm"]

ENGINES = ("model", "cycle", "rtl")
UNITS = ("os", "ws", "tensorcore", "accelerator")
# 128 x 128 is twice OliVe's array in each direction; beyond, a Verilator build takes many minutes.
MAX_DIMENSION = 128

_LARGEST_SIDE = 1 << 16  # of an array that is only modelled
_MULTIPLIERS = 256  # of a tensor core
Progress = Callable[[int, int], None] | None


class GemmError(ValueError):
    """The GEMM cannot be run as asked; one sentence says why."""


@dataclass(frozen=True)
class GemmRun:
    """The result of one GEMM.

    accumulators: (M, N) int64, wrapped where `overflow` says so. scale_a, scale_b: float64 (M,) and
    (N,), the value of 1 in each row of A and of B. cycles: from the first word or instruction taken
    to the last result, inclusive; None for the numpy model. macs: M * K * N. utilization: share
    of the multipliers' cycles in which they work for the GEMM. flushed_blocks: MX blocks of A and B
    that lay below the accumulators' window and counted as zero. wall_s: time of the engine, without
    a Verilator build.
    """

    accumulators: np.ndarray
    scale_a: np.ndarray
    scale_b: np.ndarray
    cycles: int | None
    macs: int
    utilization: float | None
    overflow: bool
    flushed_blocks: tuple[int, int]
    unit: str
    engine: str
    wall_s: float

    def values(self) -> np.ndarray:
        """(M, N) float64, the product in the units of the operands."""
        return self.accumulators * self.scale_a[:, None] * self.scale_b


@dataclass(frozen=True)
class _Job:
    """What every unit is asked for."""

    a: QuantizedTensor
    b: QuantizedTensor
    engine: str
    rows: int
    cols: int
    acc_bits: int
    progress: Progress


@dataclass(frozen=True)
class _Outcome:
    """What a unit gives: scales by row; `busy`, the multiplications that the GEMM asks for."""

    sums: GemmSums
    cycles: int
    busy: int
    multipliers: int
    scales: tuple[np.ndarray, np.ndarray]
    flushed: tuple[int, int]
    wall_s: float


def run_gemm(
    a: QuantizedTensor,
    b: QuantizedTensor,
    *,
    unit: str = "os",
    engine: str = "model",
    rows: int = 16,
    cols: int = 16,
    acc_bits: int = 32,
    progress: Progress = None,
) -> GemmRun:
    """C = A B^T on an array of `rows x cols` PEs or on a tensor core.

    Parameters
    ----------
    a, b: QuantizedTensor
        Shapes (M, K) and (N, K), any formats whose products the accumulators hold. MX block
        exponents count relative to the largest of the tile (`rows` or `cols` rows; for A of unit
        "ws" every row), within the bits that K exact products leave free.
    unit: str
        "os" or "ws", the output- or weight-stationary array; "tensorcore", which takes OliVe's six
        formats; "accelerator", the output-stationary array with all around it, from memory to
        memory, its other parameters and the memory's latency as by default.
    engine: str
        "model" (numpy), "cycle" (cycle model) or "rtl" (generated Verilog in Verilator).
    rows, cols: int
        Of an array. At least 1, even for formats of two lanes, at most 128 for engine "rtl"; rows
        of "ws" a multiple of 2, or 4 with two lanes; of "accelerator" as `AcceleratorConfig`.
    acc_bits: int
        Width of the accumulators, 2 .. 62; 32 in a tensor core and an accelerator. Outlier-victim
        pairs, unless MX blocks meet them, may wrap them, which is told; other formats are refused
        if K of their largest products do not fit.
    progress: callable
        Called with (finished tiles, passes or instructions; all of them) by engine "rtl".

    Raises
    ------
    GemmError
        For shapes, unit, engine, size, formats or width that cannot be.
    """
    for name, value, known in (("unit", unit, UNITS), ("engine", engine, ENGINES)):
        if value not in known:
            raise GemmError(f"unknown {name} {value!r}; it must be one of {', '.join(known)}")
    for name, tensor in (("A", a), ("B", b)):
        if len(tensor.shape) != 2:
            raise GemmError(f"{name} has shape {tensor.shape}; a GEMM takes matrices")
    if a.shape[1] != b.shape[1]:
        raise GemmError(f"K differs: A is (M, K) = {a.shape}, B is (N, K) = {b.shape}")
    job = _Job(a, b, engine, rows, cols, acc_bits, progress)
    if unit == "tensorcore":
        outcome = _tensor_core(job)
    elif unit == "accelerator":
        outcome = _accelerator(job)
    else:
        _check_array(job, rows_in_groups=unit == "ws")
        outcome = _output_stationary(job) if unit == "os" else _weight_stationary(job)
    cycles = None if engine == "model" else outcome.cycles
    return GemmRun(
        accumulators=outcome.sums.sums,
        scale_a=outcome.scales[0],
        scale_b=outcome.scales[1],
        cycles=cycles,
        macs=a.shape[0] * a.shape[1] * b.shape[0],
        utilization=None if cycles is None else outcome.busy / (outcome.multipliers * cycles),
        overflow=bool(outcome.sums.overflow.any()),
        flushed_blocks=outcome.flushed,
        unit=unit,
        engine=engine,
        wall_s=outcome.wall_s,
    )


def _output_stationary(job: _Job) -> _Outcome:
    lane_a, lane_b = _lanes(job, job.rows, job.cols)
    tiling = Tiling(
        *_sizes(job),
        is_fusing=max(lane_a.group, lane_b.group) == 2,
    )
    operands = _Operands(job, tiling.tile_rows, tiling.tile_cols)
    cycles = systolic.gemm_cycles(tiling)
    if job.engine == "rtl":
        # Imported here so that the other engines start faster.
        from oleaster.sim.rtl.engine import build_array, run_array

        array = build_array(*_array_files("systolic", lane_a, lane_b, job))
        started = time.perf_counter()
        run = run_array(
            array, operands.a, operands.b, expected_cycles=cycles, progress=job.progress
        )
        sums, cycles = GemmSums(run.sums, run.overflow), run.cycles
    else:
        started = time.perf_counter()
        sums = gemm_on_lanes(operands.values_a, operands.values_b, job.acc_bits)
    return operands.outcome(sums, cycles, tiling.macs, started)


def _weight_stationary(job: _Job) -> _Outcome:
    # Lanes along K come in pairs of elements.
    lane_a, lane_b = _lanes(job, job.rows // 2, job.cols)
    tiling = WeightTiling(*_sizes(job))
    operands = _Operands(job, 1, tiling.tile_cols)
    if tiling.k % tiling.tile_k and not (
        pads_with_zeros(operands.a.format) or pads_with_zeros(operands.b.format)
    ):
        raise GemmError(
            f"K = {tiling.k} is no multiple of {tiling.tile_k} and must be filled up with zeros, "
            "but the codebooks of A and B have none: entry 0 of one must be (0, 0)"
        )
    cycles = weight_stationary.gemm_cycles(tiling)
    if job.engine == "rtl":
        from oleaster.sim.rtl.ws_engine import build_weight_array, run_weight_array

        array = build_weight_array(*_array_files("weight-stationary", lane_a, lane_b, job))
        started = time.perf_counter()
        run = run_weight_array(
            array, operands.a, operands.b, expected_cycles=cycles, progress=job.progress
        )
        sums, cycles = GemmSums(run.sums, run.overflow), run.cycles
    else:
        started = time.perf_counter()
        sums = gemm_weight_stationary(operands.values_a, operands.values_b, job.acc_bits)
    return operands.outcome(sums, cycles, tiling.macs, started)


def _tensor_core(job: _Job) -> _Outcome:
    if job.acc_bits != 32:
        raise GemmError(f"the accumulators of a tensor core have 32 bits, not {job.acc_bits}")
    try:
        opcode = Opcode(job.a.format, job.b.format)
    except ValueError as error:
        raise GemmError(f"unit tensorcore: {error}") from None
    a, b = job.a, job.b
    (m, k), n = a.shape, len(b.packed)
    for tensor in (a, b):
        tensor.number_format.decode(tensor.codes)  # raises on what the circuit would only flag
    cycles = tensor_core.gemm_cycles(m, k, n, opcode.width)
    if job.engine == "rtl":
        from oleaster.sim.rtl import mma_engine

        core = mma_engine.build_tensor_core(*design_files("tensor-core"))
        started = time.perf_counter()
        run = mma_engine.run_gemm(core, a.packed, b.packed, k, opcode, progress=job.progress)
        sums, cycles = GemmSums(run.sums, np.array(run.overflow)), run.cycles
    else:
        started = time.perf_counter()
        sums = tensor_core_model.gemm(a.codes, b.codes, opcode)
    return _Outcome(
        sums=sums,
        cycles=cycles,
        busy=m * k * n * opcode.width // 4,
        multipliers=_MULTIPLIERS,
        scales=(_row_scales(a), _row_scales(b)),
        flushed=(0, 0),
        wall_s=time.perf_counter() - started,
    )


def _accelerator(job: _Job) -> _Outcome:
    a, b = job.a, job.b
    if job.acc_bits != 32:
        raise GemmError(f"the accumulators of an accelerator have 32 bits, not {job.acc_bits}")
    if job.engine == "rtl" and max(job.rows, job.cols) > MAX_DIMENSION:
        raise GemmError(f"engine rtl takes up to {MAX_DIMENSION} rows and columns")
    olive = FORMAT_SETS["olive"]
    formats_a, formats_b = (olive if t.format in olive else (t.format,) for t in (a, b))
    if max(*a.shape, len(b.packed)) > MAX_SIZE:
        raise GemmError(f"unit accelerator takes M, K and N up to {MAX_SIZE:,}")
    try:
        config = AcceleratorConfig(job.rows, job.cols, formats_a=formats_a, formats_b=formats_b)
    except ValueError as error:
        raise GemmError(f"unit accelerator: {error}") from None
    (m, k), n = a.shape, len(b.packed)
    values_a, values_b = (t.number_format.lane_values(t.codes) for t in (a, b))
    for tensor in (a, b):
        tensor.number_format.decode(tensor.codes)  # raises on what the circuit would only flag
    sums = gemm_on_lanes(values_a, values_b)
    cycles = 0
    started = time.perf_counter()
    if job.engine != "model":
        # Rows are padded to whole beats; C is 4 bytes an element.
        needed = (m + n) * (k + config.beat_bytes) + m * (4 * n + config.beat_bytes)
        size = -(-(needed + PAGE) // PAGE) * PAGE
        with open_device(job.engine, config, memory_bytes=size) as device:
            driver = Driver(device)
            descriptor = driver.gemm(a, b)
            started = time.perf_counter()
            report = driver.run([descriptor])
            found = driver.download_c(descriptor).astype(np.int64)
        sums, cycles = GemmSums(found, np.array(report.overflow)), report.cycles
    lanes = a.number_format.lanes * b.number_format.lanes
    return _Outcome(
        sums=sums,
        cycles=cycles,
        busy=m * k * n * lanes,
        multipliers=job.rows * job.cols,
        scales=(_row_scales(a), _row_scales(b)),
        flushed=(0, 0),
        wall_s=time.perf_counter() - started,
    )


class _Operands:
    """Both operands as an array reads them in tiles of so many rows."""

    def __init__(self, job: _Job, tile_rows: int, tile_cols: int) -> None:
        formats = job.a.number_format, job.b.number_format
        spare = job.acc_bits - required_acc_bits(*formats, job.a.shape[1])
        window_a, window_b = windows(*formats, spare)
        self.a, self.values_a, flushed_a = array_operand(job.a, tile_rows, window_a)
        self.b, self.values_b, flushed_b = array_operand(job.b, tile_cols, window_b)
        self._flushed = flushed_a, flushed_b
        self._scales = (
            _row_scales(job.a, self.a, tile_rows),
            _row_scales(job.b, self.b, tile_cols),
        )
        self._multipliers = job.rows * job.cols

    def outcome(self, sums: GemmSums, cycles: int, busy: int, started: float) -> _Outcome:
        wall_s = time.perf_counter() - started
        return _Outcome(sums, cycles, busy, self._multipliers, self._scales, self._flushed, wall_s)


def _sizes(job: _Job) -> tuple[int, int, int, int, int, int, int]:
    """M, K, N, rows, cols, lanes of A, lanes of B."""
    lanes = job.a.number_format.lanes, job.b.number_format.lanes
    return (*job.a.shape, job.b.shape[0], job.rows, job.cols, *lanes)  # type: ignore[return-value]


def _lanes(job: _Job, count_a: int, count_b: int) -> tuple[Lane, Lane]:
    """What the array reads: OliVe's formats share one, if its size and accumulators allow it."""
    candidates = [
        [
            *(Lane(f) for f in FORMAT_SETS.values() if fmt.name in f and not count % Lane(f).group),
            Lane((fmt.name,)),
        ]
        for fmt, count in ((job.a.number_format, count_a), (job.b.number_format, count_b))
    ]
    for a, b in product(*candidates):
        if (a.max_magnitude * b.max_magnitude).bit_length() < job.acc_bits:
            return a, b
    raise AssertionError("_check_array lets no such width pass")


def _array_files(unit: str, a: Lane, b: Lane, job: _Job) -> tuple[Path, Path]:
    return design_files(
        unit,
        rows=job.rows,
        cols=job.cols,
        formats_a=",".join(a.formats),
        formats_b=",".join(b.formats),
        acc_bits=job.acc_bits,
    )


def _row_scales(
    tensor: QuantizedTensor, operand: Operand | None = None, tile_rows: int = 1
) -> np.ndarray:
    """(L,) float64, the value of 1 in every row."""
    scales = np.broadcast_to(tensor.scale.astype(np.float64), tensor.shape[:1]).copy()
    if operand is not None and operand.base is not None:
        exponents = operand.base.astype(np.int64) - E8M0_BIAS
        scales *= np.ldexp(1.0, np.repeat(exponents, tile_rows)[: len(scales)])
    return scales


def _check_array(job: _Job, *, rows_in_groups: bool) -> None:
    """GemmError unless an array of that size and width can take the formats."""
    format_a, format_b = job.a.number_format, job.b.number_format
    step = 2 if rows_in_groups else 1  # elements along K lie in pairs of lanes
    for name, value, fmt, pairs in (
        ("rows", job.rows, format_a, step),
        ("cols", job.cols, format_b, 1),
    ):
        if not 1 <= value <= _LARGEST_SIDE:
            raise GemmError(f"{name} is {value}; it must be 1 to {_LARGEST_SIDE}")
        if job.engine == "rtl" and value > MAX_DIMENSION:
            raise GemmError(f"{name} is {value}; engine rtl takes 1 to {MAX_DIMENSION}")
        if value % (fmt.lanes * pairs):
            takes = "two lanes" if fmt.lanes == 2 else "one lane"
            raise GemmError(
                f"{name} is {value}; it must be a multiple of {fmt.lanes * pairs}, for an element "
                f"of {fmt.name} takes {takes}" + (" and a word holds pairs" if pairs == 2 else "")
            )
    if not 2 <= job.acc_bits <= MAX_ACC_BITS:
        raise GemmError(
            f"the accumulators' width is {job.acc_bits}; it must be 2 to {MAX_ACC_BITS}"
        )
    # Outliers are rare: a sum of nothing else is no measure. Their sums wrap, and it is told. The
    # window of MX blocks, however, is what exact sums leave free.
    formats = format_a, format_b
    may_wrap = any(f.has_outliers for f in formats) and not any(f.block_size for f in formats)
    depth = 1 if may_wrap else job.a.shape[1]
    needed = required_acc_bits(format_a, format_b, depth)
    if needed > job.acc_bits:
        what = "one product" if may_wrap else f"the exact sum over K = {depth}"
        most = f", and {MAX_ACC_BITS} is the most there is"
        advice = f"; --acc-width {needed} holds it" if needed <= MAX_ACC_BITS else most
        raise GemmError(
            f"{job.a.format} times {job.b.format}: {what} can need {needed} bits, the accumulators "
            f"have {job.acc_bits}{advice}"
        )
