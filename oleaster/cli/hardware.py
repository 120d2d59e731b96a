"""Verbs on circuits: units, rtl, cosim."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oleaster import io
from oleaster.cli.output import CommandError, Json, print_facts, print_json, print_table, say
from oleaster.config import load_unit
from oleaster.waves.ports import manifest_of
from oleaster.waves.view import check_wave_files, write_view

if TYPE_CHECKING:
    from oleaster.hw.emit import Unit
    from oleaster.hw.unit_spec import Formats, Parameter

# Amaranth takes longer to import than most verbs take to run, so verbs import it themselves.

Source = Annotated[
    str,
    typer.Argument(
        metavar="UNIT|DESIGN|CONFIG.toml", help="See `oleaster units` and `oleaster designs`."
    ),
]
Rows = Annotated[int | None, typer.Option(help="The same as --set rows=N.")]
Cols = Annotated[int | None, typer.Option(help="The same as --set cols=N.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter.")
]


def units(json: Json = False) -> None:
    """List the units that Verilog can be written for, with their parameters."""
    from oleaster.hw.library import UNITS

    if json:
        listed = [
            {
                "name": name,
                "description": spec.description,
                "parameters": [
                    {"name": key, **asdict(parameter)} for key, parameter in spec.parameters.items()
                ],
            }
            for name, spec in UNITS.items()
        ]
        print_json({"units": listed})
        return
    print_table(
        ("unit", "parameter", ">default", "values", "meaning"),
        [
            row
            for name, spec in UNITS.items()
            for row in (
                (name, "", "", "", spec.description),
                *(
                    ("", key, parameter.default, _values(parameter), parameter.description)
                    for key, parameter in spec.parameters.items()
                ),
            )
        ],
    )


def rtl(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    rows: Rows = None,
    cols: Cols = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Write a unit's Verilog and its manifest into a folder."""
    io.check_output_folder(output)
    name, unit = load_unit(source, parameter_overrides(rows, cols, settings))
    files = _emit(unit, output)
    if json:
        print_json(
            {
                "unit": name,
                "parameters": unit.parameters,
                "files": [{"path": str(path), "bytes": path.stat().st_size} for path in files],
            }
        )
        return
    for path in files:
        typer.echo(f"{path} ({path.stat().st_size:,} bytes)")


def cosim(
    source: Source,
    rows: Rows = None,
    cols: Cols = None,
    settings: Settings = None,
    waves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write waveforms: .fst (small) or .vcd; beside them a view for GTKWave, .gtkw.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run a unit's cocotb bench on its Verilog in Verilator; exit 1 if a test fails.

    \b
    oleaster cosim pe
    oleaster cosim systolic --rows 4 --cols 4 --waves array.vcd
    gtkwave array.gtkw
    oleaster waves array.vcd --wavedrom array.svg
    """
    from oleaster.sim.rtl.cosim import run_bench

    if waves is not None:
        check_wave_files(waves)
    name, unit = load_unit(source, parameter_overrides(rows, cols, settings))
    with tempfile.TemporaryDirectory(prefix="oleaster-") as folder:
        verilog, manifest = _emit(unit, Path(folder))
        say("building it in Verilator, unless that was done before, and running its bench")
        if waves is None:
            result, view = run_bench(name, verilog, manifest), None
        else:
            with tempfile.TemporaryDirectory(prefix=".oleaster-", dir=waves.parent) as aside:
                result = run_bench(name, verilog, manifest, waves=Path(aside) / waves.name)
                io.write_bytes(manifest_of(waves), manifest.read_bytes())
                (Path(aside) / waves.name).replace(waves)
            view = write_view(waves)
    shown: dict[str, Any] = {
        "unit": name,
        "parameters": unit.parameters,
        "passed": result.passed,
        "failed": result.failed,
        "wall_s": result.wall_s,
        "waves": str(waves) if waves else None,
        "view": str(view) if view else None,
        "log": str(result.log),
    }
    if json:
        print_json(shown)
    else:
        settings_text = ", ".join(f"{k} {v}" for k, v in unit.parameters.items())
        print_facts({**shown, "parameters": settings_text, "wall_s": f"{result.wall_s:.1f}"})
    if result.failed or not result.passed:
        raise typer.Exit(1)


def _values(parameter: "Parameter | Formats") -> str:
    if isinstance(parameter.default, str):
        return "formats, or olive, olive4"
    if parameter.choices:
        return " or ".join(map(str, parameter.choices))
    return f"{parameter.minimum} to {parameter.maximum}"


def _emit(unit: "Unit", folder: Path) -> list[Path]:
    from oleaster.hw.emit import write_design

    say(f"writing the Verilog of {unit.module_name}")
    with io.writing(folder):
        folder.mkdir(exist_ok=True)
        return write_design(unit, folder)


def parameter_overrides(
    rows: int | None,
    cols: int | None,
    settings: list[str] | None,
    example: str = "rows=8 or formats_a=ovp4-int,int8",
) -> dict[str, int | str]:
    """A unit's parameters from --rows, --cols and --set; CommandError for no NAME=VALUE, with the
    example of one, or a name that is given twice.
    """
    given = {"rows": rows, "cols": cols}
    overrides: dict[str, int | str] = {k: v for k, v in given.items() if v is not None}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals or not value.strip():
            raise CommandError(f"--set {setting}: expected NAME=VALUE, as {example}")
        name = name.strip().replace("-", "_")
        if name in overrides:
            raise CommandError(f"--set {setting}: {name} is given twice")
        number = value.strip().removeprefix("-").isdecimal()
        overrides[name] = int(value) if number else value.strip()
    return overrides
