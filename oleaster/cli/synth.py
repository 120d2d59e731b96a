"""The verb synth: what units take in gates, in a library's cells, or in an FPGA."""

from __future__ import annotations

import csv as csv_format
import io as text_io
import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oleaster import __version__, io
from oleaster.cli.hardware import Cols, Rows, Settings, parameter_overrides
from oleaster.cli.output import CommandError, Json, finite, print_json, print_table, progress_bar
from oleaster.config import load_unit

if TYPE_CHECKING:
    from oleaster.hw.emit import Unit
    from oleaster.synth.synthesis import Synthesis

_COMMON = ("cells", "flops", "transistors", "gate_equivalents", "memory_bits")
_OWN = {
    "generic": (),
    "liberty": ("area", "nand2_area", "flop_area", "delay_ps"),
    "ecp5": ("lut4", "carry", "dsp", "block_ram", "lut_ram", "mhz"),
}


def synth(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="UNIT|DESIGN|FILE.toml...",
            help="See `oleaster units` and `oleaster designs`.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The reference designs that rtl_out/ holds.")
    ] = False,
    rows: Rows = None,
    cols: Cols = None,
    settings: Settings = None,
    target: Annotated[
        Literal["generic", "ecp5", "liberty"] | None,
        typer.Option(help="Generic gates (the default), a Lattice ECP5-85, or --liberty's cells."),
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option(metavar="FILE.lib", help="A library of cells, in Liberty format.")
    ] = None,
    mhz: Annotated[
        float | None,
        typer.Option(
            help="Clock to aim at: with --liberty, by default as fast as it gets; with ecp5, 150."
        ),
    ] = None,
    flatten: Annotated[
        bool,
        typer.Option(
            "--flatten", help="Open all modules and optimise them as one; slow for large units."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.csv|.json", help="Write all figures there."),
    ] = None,
    json: Json = False,
) -> None:
    """Synthesise units: area in gates or in a library's cells, or cells and clock of an FPGA.

    Each module is synthesised once, however often it is there, so that large arrays take no longer
    than small ones; --flatten gives the longest way through all of a unit. Results are kept: the
    same unit, library and tools again take no time. docs/synthesis.md says what is counted.

    \b
    oleaster synth pe
    oleaster synth systolic --rows 64 --cols 64
    oleaster synth ovp-decoder4 ovp-decoder8 pe --liberty osu018_stdcells.lib -o area.csv
    oleaster synth search-tree --set leaves=64 --target ecp5 --mhz 200
    oleaster synth --all --json
    """
    from oleaster.synth.synthesis import synthesise
    from oleaster.synth.tools import SynthesisError

    if target is None:
        target = "generic" if liberty is None else "liberty"
    _check(target, liberty, mhz, flatten)
    if output is not None:
        if output.suffix not in (".csv", ".json"):
            raise CommandError(f"{output}: the name after -o ends in .csv or .json")
        inputs = [Path(name) for name in sources or () if name.endswith(".toml")]
        io.check_output_file(output, *inputs, *([liberty] if liberty else []))
    units = _units(sources or [], every, parameter_overrides(rows, cols, settings))
    results = []
    with progress_bar("units") as report:
        for done, (name, unit) in enumerate(units):
            report(done, len(units))
            try:
                found = synthesise(
                    unit, liberty=liberty, fpga=target == "ecp5", flatten=flatten, mhz=mhz
                )
            except SynthesisError as error:
                raise CommandError(str(error)) from error
            results.append((name, found))
    if output is not None:
        text = _csv(results, target) if output.suffix == ".csv" else _json(results, target)
        io.write_bytes(output, text.encode())
    if json:
        print_json(_facts(results, target))
    else:
        _show(results, target)


def _check(target: str, liberty: Path | None, mhz: float | None, flatten: bool) -> None:
    if target == "liberty" and liberty is None:
        raise CommandError("--target liberty: name the library with --liberty FILE.lib")
    if target != "liberty" and liberty is not None:
        raise CommandError(f"--liberty is for --target liberty, not {target}")
    if target == "generic" and mhz is not None:
        raise CommandError("--mhz: generic gates have no delays; give --liberty or --target ecp5")
    if mhz is not None and not 1 <= mhz <= 10_000:
        raise CommandError(f"--mhz {mhz:g}: expected 1 to 10000")
    if target == "ecp5" and flatten:
        raise CommandError("--flatten: an ECP5's units are always flat; leave it out")


def _units(
    sources: list[str], every: bool, overrides: dict[str, int | str]
) -> list[tuple[str, Unit]]:
    """Names and circuits, all checked before the first is synthesised."""
    if every == bool(sources):
        raise CommandError("expected names of units or designs, or --all, and not both")
    if not every:
        return [load_unit(source, overrides) for source in sources]
    if overrides:
        raise CommandError("--all takes the reference designs as they are: leave settings out")
    from oleaster.hw.library import REFERENCE_DESIGNS, build_unit

    return [(name, build_unit(name, **parameters)) for name, parameters in REFERENCE_DESIGNS]


def _facts(results: list[tuple[str, Synthesis]], target: str) -> dict[str, Any]:
    return {
        "target": target,
        "results": [
            {
                "unit": name,
                "module": found.module,
                "parameters": found.parameters,
                "target": target,
                "flattened": found.flattened,
                **{key: getattr(found, key) for key in _COMMON},
                "modules": found.modules,
                **found.own,
            }
            for name, found in results
        ],
    }


def _json(results: list[tuple[str, Synthesis]], target: str) -> str:
    facts = finite({"version": __version__, **_facts(results, target)})
    return json_format.dumps(facts, indent=2, allow_nan=False) + "\n"


def _csv(results: list[tuple[str, Synthesis]], target: str) -> str:
    columns = ("unit", "module", "target", "flattened", *_COMMON, *_OWN[target])
    text = text_io.StringIO()
    writer = csv_format.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_facts(results, target)["results"])
    return text.getvalue()


_HEADINGS = {
    "gate_equivalents": "gate equivalents",
    "memory_bits": "memory bits",
    "flops": "flip-flops",
    "nand2_area": "of a NAND",
    "flop_area": "of flip-flops",
    "delay_ps": "delay ps",
    "lut4": "LUT4",
    "carry": "CCU2C",
    "dsp": "DSP",
    "block_ram": "BRAM",
    "lut_ram": "LUT RAM",
    "mhz": "MHz",
}


def _show(results: list[tuple[str, Synthesis]], target: str) -> None:
    keys = [*_COMMON, *_OWN[target]]
    rows = _facts(results, target)["results"]
    keys = [key for key in keys if any(row[key] is not None for row in rows)]
    print_table(
        ("module", *(">" + _HEADINGS.get(key, key) for key in keys)),
        [(row["module"], *(_number(row[key], key) for key in keys)) for row in rows],
    )


def _number(value: float, key: str) -> str:
    return f"{value:,.1f}" if key == "mhz" else f"{value:,.0f}"
