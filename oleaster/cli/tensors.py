"""Verbs on single tensors: quantize, dequantize, formats."""

from pathlib import Path
from typing import Annotated, Any

import typer

from oleaster import io
from oleaster.cli.output import Json, print_facts, print_json, print_table
from oleaster.models import quantize as quantizer
from oleaster.models.formats import FORMATS, CodebookFormat, Format, Rule, get_format
from oleaster.models.scale_search import Granularity


def quantize(
    source: Annotated[Path, typer.Argument(metavar="IN.npy", help="Real tensor (..., K).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.npz")],
    format: Annotated[str, typer.Option("--format", help="Format's name, or auto.")] = "auto",
    granularity: Annotated[Granularity, typer.Option(help="One scale, or one a row.")] = "tensor",
    scale: Annotated[float | None, typer.Option(help="Scale; searched if absent.")] = None,
    rule: Annotated[Rule, typer.Option(help="Which of two outliers in a pair stays.")] = "paper",
    json: Json = False,
) -> None:
    """Quantise a tensor; pairs lie along its last axis."""
    io.check_output_file(output, source)
    x = io.read_tensor(source)
    if scale is not None and granularity == "channel":
        raise typer.BadParameter("one scale goes with --granularity tensor", param_hint="--scale")
    q = quantizer.quantize(x, format, granularity=granularity, scale=scale, rule=rule)
    stats = quantizer.quantization_stats(x, q)
    with io.writing(output):
        quantizer.save_quantized(output, q)
    low, high = float(q.scale.min()), float(q.scale.max())
    result: dict[str, Any] = {
        "format": q.format,
        "shape": list(q.shape),
        "granularity": granularity if q.block_exponents is None else "block",
        "scale": low if q.scale.ndim == 0 else None,
        "scale_min": low,
        "scale_max": high,
        "bytes": q.nbytes,
        **stats,
        "output": str(output),
    }
    if json:
        print_json(result)
        return
    print_facts(
        {
            "format": q.format,
            "shape": " x ".join(map(str, q.shape)),
            "scale": f"{low:.6g}" if low == high else f"{low:.6g} .. {high:.6g}",
            "bytes (codes and scales)": q.nbytes,
            "pairs with one outlier": f"{100 * stats['outlier_normal']:.3f} %",
            "pairs with two outliers": f"{100 * stats['outlier_outlier']:.3f} %",
            "SQNR": f"{stats['sqnr_db']:.2f} dB",
            "mean squared error": f"{stats['mse']:.4g}",
            "largest error": f"{stats['max_abs_error']:.4g}",
            "written to": output,
        }
    )


def dequantize(
    source: Annotated[Path, typer.Argument(metavar="OUT.npz", help="Written by quantize.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BACK.npy")],
    json: Json = False,
) -> None:
    """Write a quantised tensor's values as float32."""
    io.check_output_file(output, source)
    q = quantizer.load_quantized(source)
    io.write_array(output, q.dequantize())
    if json:
        print_json({"format": q.format, "shape": list(q.shape), "output": str(output)})


def formats(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    json: Json = False,
) -> None:
    """List the number formats; with a NAME, every code of that format."""
    if name is None:
        _list_formats(json)
        return
    fmt = get_format(name)
    rows = fmt.table()
    if json:
        print_json({"format": _facts(fmt) | {"codes": [row._asdict() for row in rows]}})
        return
    typer.echo(f"{_heading(fmt)}\n")
    print_table(
        (">code", "bits", "role", ">exponent", ">integer", ">value"),
        [(row.code, row.bits, row.role, row.exponent, row.integer, row.value) for row in rows],
    )


def _heading(fmt: Format) -> str:
    value = "value = integer << exponent, in units of"
    if isinstance(fmt, CodebookFormat):
        return f"{fmt.name}, a byte of a table's entry: {value} the scale"
    if fmt.block_size:
        block = f"each {fmt.block_size} elements share 2^(E8M0 code - 127)"
        return f"{fmt.name}: {value} {_unit(fmt)}; {block}"
    own = f" (the OCP's unit is {_unit(fmt)})" if fmt.normal.unit_exponent else ""
    return f"{fmt.name}: {value} the scale{own}"


def _unit(fmt: Format) -> str:
    return f"2^{fmt.normal.unit_exponent}"


def _list_formats(json: bool) -> None:
    facts = [_facts(fmt) for fmt in FORMATS.values()]
    if json:
        print_json({"formats": facts})
        return
    columns = {
        "name": "name",
        "normal": "normal",
        "outlier": "outlier",
        ">bits a value": "bits_per_value",
        ">block": "block_size",
        ">lanes": "lanes",
        ">largest normal": "max_normal",
        ">outlier from": "outlier_border",
        ">largest": "max_magnitude",
    }
    print_table(
        (*columns, ">unit"),
        [
            (*(_cell(fact[key]) for key in columns.values()), _unit(fmt))
            for fact, fmt in zip(facts, FORMATS.values(), strict=True)
        ],
    )


def _cell(fact: Any) -> Any:
    return None if fact in (0, float("inf")) else fact


def _facts(fmt: Format) -> dict[str, Any]:
    return {
        "name": fmt.name,
        "normal": fmt.normal.name,
        "outlier": fmt.outlier.name if fmt.outlier and fmt.has_outliers else None,
        "code_bits": fmt.code_bits,
        "bits_per_value": fmt.bits_per_value,
        "block_size": fmt.block_size,
        "lanes": fmt.lanes,
        "unit": 2.0**fmt.normal.unit_exponent,
        "exponent_bits": fmt.exponent_bits,
        "integer_bits": fmt.integer_bits,
        "max_normal": fmt.max_normal,
        "outlier_border": fmt.outlier_border,
        "max_magnitude": fmt.max_magnitude,
    }
