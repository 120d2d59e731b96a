"""The verb waves: list the signals of a waveform, or draw a few cycles of it."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from oleaster import io
from oleaster.cli.output import CommandError, Json, print_facts, print_json, print_table
from oleaster.waves.drawing import draw, signals_of_ports, svg
from oleaster.waves.file import WaveFile

_CYCLES = 16


def waves(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.fst|FILE.vcd", help="As `oleaster cosim` writes it.")
    ],
    signals: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB[,GLOB]",
            help="Names, as a_valid,sums_*,x[3],x[7:0]; by default all, or the ports in a picture.",
        ),
    ] = None,
    first: Annotated[
        int | None, typer.Option("--from", metavar="CYCLE", min=0, help="First cycle; 0.")
    ] = None,
    cycles: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"How many to draw; {_CYCLES}.")
    ] = None,
    wavedrom: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Draw cycles: .svg, or .json for WaveDrom.")
    ] = None,
    json: Json = False,
) -> None:
    """List the signals of a waveform, or draw a few of its cycles as a timing diagram.

    A cycle ends with a rising edge of clk, and has the values that this edge samples. In the
    picture a word is blue in the cycle in which it is taken and orange while it waits.

    \b
    oleaster cosim systolic --rows 4 --cols 4 --waves array.vcd
    oleaster waves array.vcd --signals "a_*,sums_*"
    oleaster waves array.vcd --wavedrom array.svg --from 8 --cycles 24
    oleaster waves array.vcd --wavedrom row.svg --signals "a_*,row0_a*,sums_payload.sums[0]"
    """
    if wavedrom is None and (first is not None or cycles is not None):
        raise CommandError("--from and --cycles say what --wavedrom draws; give that too")
    if wavedrom is not None:
        if wavedrom.suffix not in (".svg", ".json"):
            raise CommandError(f"{wavedrom}: the name after --wavedrom ends in .svg or .json")
        io.check_output_file(wavedrom, file)
    read = WaveFile(file)
    if signals is not None:
        chosen = read.select(name.strip() for name in signals.split(","))
    else:
        chosen = list(read.signals) if wavedrom is None else signals_of_ports(read)
    shown: dict[str, Any] = {
        "file": str(file),
        "clock": read.clock.name if read.clock else None,
        "cycles": read.cycles,
    }
    if wavedrom is None:
        listed = [(each, read.changes(each)) for each in chosen]
        if json:
            rows = [{"name": e.name, "width": e.width, "changes": n} for e, n in listed]
            print_json({**shown, "signals": rows})
            return
        print_table(
            ("signal", ">bits", ">changes"),
            [(each.name, each.width, f"{changes:,}") for each, changes in listed],
        )
        print_facts({"clock": shown["clock"] or "none", "cycles": f"{read.cycles:,}"})
        return
    first = first or 0
    picture = draw(read, chosen, first, cycles or min(_CYCLES, max(1, read.cycles - first)))
    text = svg(picture) if wavedrom.suffix == ".svg" else json_format.dumps(picture, indent=2)
    io.write_bytes(wavedrom, f"{text}\n".encode())
    shown |= {"output": str(wavedrom)}
    if json:
        print_json({**shown, "picture": picture})
    else:
        print_facts({**shown, "clock": shown["clock"] or "none", "cycles": f"{read.cycles:,}"})
