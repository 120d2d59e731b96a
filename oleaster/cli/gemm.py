"""The verb gemm: two float matrices through an array, as model, cycle model or RTL."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from oleaster import io
from oleaster.cli.output import CommandError, Json, print_facts, print_json, progress_bar, warn
from oleaster.gemm import MAX_DIMENSION, run_gemm
from oleaster.models.quantize import QuantizedTensor, QuantizeError, quantize

Engine = Literal["model", "cycle", "rtl"]
Unit = Literal["os", "ws", "tensorcore", "accelerator"]
Side = Annotated[
    int | None, typer.Option(help=f"Of an array; 16, and up to {MAX_DIMENSION} in rtl.")
]


def gemm(
    a: Annotated[Path, typer.Argument(metavar="A.npy", help="Real matrix (M, K).")],
    b: Annotated[Path, typer.Argument(metavar="B.npy", help="Real matrix (K, N).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="C.npy")],
    format_a: Annotated[str, typer.Option(help="Format's name, or auto.")] = "ovp4-int",
    format_b: Annotated[str, typer.Option(help="Format's name, or auto.")] = "ovp4-int",
    scale_a: Annotated[float | None, typer.Option(help="Scale of A, with --scale-b.")] = None,
    scale_b: Annotated[float | None, typer.Option(help="Scale of B, with --scale-a.")] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Search both scales (the default without scales).")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="Values; cycles too; or Verilog.")] = "cycle",
    unit: Annotated[
        Unit,
        typer.Option(
            help="Output- or weight-stationary array, tensor core (int, flint, ovp), or a whole "
            "accelerator from memory to memory (those and fp4-e2m1)."
        ),
    ] = "os",
    rows: Side = None,
    cols: Side = None,
    acc_width: Annotated[
        int, typer.Option(help="Bits of an accumulator; more than 32 are written as int64.")
    ] = 32,
    dequantize: Annotated[
        bool, typer.Option("--dequantize", help="Write float32 values, not the sums.")
    ] = False,
    json: Json = False,
) -> None:
    """Multiply A by B on a rows x cols array or a tensor core: quantised along K, sums out.

    The three engines give identical sums; cycle and rtl give identical cycles. The formats of A and
    B may be any two whose exact sums fit the accumulators. An element of int8 or ovp8 takes two of
    an array's 4-bit lanes, so rows, or cols, must then be even (rows of ws a multiple of 4).
    """
    if (scale_a is None) != (scale_b is None):
        raise CommandError("--scale-a and --scale-b go together; give both, or neither to search")
    if unit == "tensorcore" and (rows is not None or cols is not None):
        raise CommandError("a tensor core has no --rows and --cols; leave them out")
    for name, side in (("--rows", rows), ("--cols", cols)):
        if side is not None and side < 1:
            raise CommandError(f"{name} is {side}; expected at least 1")
        if side is not None and engine == "rtl" and side > MAX_DIMENSION:
            raise CommandError(f"{name} is {side}; --engine rtl takes 1 to {MAX_DIMENSION}")
    if calibrate and scale_a is not None:
        raise CommandError("--calibrate searches the scales; leave out --scale-a and --scale-b")
    io.check_output_file(output, a, b)
    x, y = io.read_matrix(a, "(M, K)"), io.read_matrix(b, "(K, N)")
    if x.shape[1] != y.shape[0]:
        raise CommandError(
            f"{a} is {_by(x.shape)} and {b} is {_by(y.shape)}: K differs, {x.shape[1]} and "
            f"{y.shape[0]}; expected (M, K) and (K, N)"
        )
    left = _quantized("A", x, format_a, scale_a)
    right = _quantized("B", np.ascontiguousarray(y.T), format_b, scale_b)
    has_blocks = left.block_exponents is not None or right.block_exponents is not None
    if has_blocks and not dequantize:
        raise CommandError(
            f"{left.format} times {right.format}: sums of MX blocks have a scale for each tile; "
            "give --dequantize to have them as float32 values"
        )
    with progress_bar("tiles") as report:
        run = run_gemm(
            left,
            right,
            unit=unit,
            engine=engine,
            rows=16 if rows is None else rows,
            cols=16 if cols is None else cols,
            acc_bits=acc_width,
            progress=report,
        )
    result: NDArray[Any]
    result = run.accumulators.astype(np.int32 if acc_width <= 32 else np.int64)
    if dequantize:
        with np.errstate(over="ignore"):
            result = run.values().astype(np.float32)
        if not np.isfinite(result).all():
            warn("some products are beyond float32 and were written as infinities")
    io.write_array(output, result)
    if run.overflow:
        warn(f"an accumulator left the range of {acc_width} bits and wrapped; sums are not exact")
    if any(run.flushed_blocks):
        flushed = "{:,} of A and {:,} of B".format(*run.flushed_blocks)
        warn(f"MX blocks below the accumulators' window counted as zero: {flushed}")
    shape = [*x.shape, y.shape[1]]
    sides = [None, None] if unit == "tensorcore" else [rows or 16, cols or 16]
    name = unit if unit == "accelerator" else f"{unit} array"
    place = "tensor core" if unit == "tensorcore" else f"{name}, {sides[0]} x {sides[1]}"
    if json:
        print_json(
            {
                "engine": run.engine,
                "unit": run.unit,
                "shape": shape,
                "rows": sides[0],
                "cols": sides[1],
                "format_a": left.format,
                "format_b": right.format,
                "scale_a": float(left.scale),
                "scale_b": float(right.scale),
                "macs": run.macs,
                "cycles": run.cycles,
                "utilization": run.utilization,
                "acc_bits": acc_width,
                "overflow": run.overflow,
                "flushed_blocks_a": run.flushed_blocks[0],
                "flushed_blocks_b": run.flushed_blocks[1],
                "dequantized": dequantize,
                "wall_s": run.wall_s,
                "output": str(output),
            }
        )
        return
    share = "" if run.utilization is None else f"{100 * run.utilization:.2f} %"
    print_facts(
        {
            "M x K x N": _by(shape),
            "unit": f"{place}, {acc_width}-bit accumulators, engine {run.engine}",
            "formats": f"{left.format}, {right.format}",
            "scales": f"{float(left.scale):.6g}, {float(right.scale):.6g}",
            "cycles": "not counted by this engine" if run.cycles is None else f"{run.cycles:,}",
            "utilisation": share,
            "overflow": "yes" if run.overflow else "no",
            "time": f"{run.wall_s:.2f} s",
            "written to": f"{output} ({result.dtype})",
        }
    )


def _quantized(
    name: str, x: NDArray[np.generic], format: str, scale: float | None
) -> QuantizedTensor:
    try:
        return quantize(x, format, scale=scale)
    except QuantizeError as error:
        raise CommandError(f"operand {name}: {error}") from error


def _by(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, shape))
