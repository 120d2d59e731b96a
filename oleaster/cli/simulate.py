"""The verb simulate: a whole network on one design or several, in cycles, bytes and picojoules."""

from __future__ import annotations

import csv as csv_format
import io as text_io
from pathlib import Path
from typing import Annotated, Any

import typer

from oleaster import io
from oleaster.cli.output import (
    CommandError,
    Json,
    json_text,
    print_facts,
    print_json,
    print_table,
)
from oleaster.config import design_facts, load_design
from oleaster.grouping import group_layers
from oleaster.plots import check_figure_file, plot_simulation, save_figure
from oleaster.sim.networks.csv_file import read_csv
from oleaster.sim.networks.layer import Network
from oleaster.sim.networks.library import load_network
from oleaster.sim.networks.onnx_file import read_onnx
from oleaster.sim.networks.transformer import Phase
from oleaster.sim.performance.design import ArrayDesign, Design
from oleaster.sim.performance.energy import load_energy
from oleaster.sim.performance.simulate import COLUMNS, LayerResult, Memory, Simulation
from oleaster.sim.performance.simulate import simulate as simulate_network

NetworkName = Annotated[
    str, typer.Argument(metavar="NETWORK|FILE.csv|FILE.onnx", help="See `oleaster networks`.")
]
Batch = Annotated[int | None, typer.Option(help="Sequences or images; 1.")]
Sequence = Annotated[
    int | None, typer.Option(help="Tokens of each sequence; by default the network's own.")
]
PhaseOption = Annotated[
    Phase | None,
    typer.Option(
        help="All tokens (the default), or a new one that sees --sequence, itself included."
    ),
]
NoAttention = Annotated[
    bool, typer.Option("--no-attention", help="Leave out the products Q K^T and P V.")
]
Dims = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=SIZE", help="Size of a dynamic dimension of an ONNX file."),
]

_CYCLES = {
    "compute_cycles": "compute",
    "fill_drain_cycles": "fill and drain",
    "stall_first_load_cycles": "stall for first load",
    "stall_load_cycles": "stall for loads",
    "stall_store_cycles": "stall for stores",
    "overhead_cycles": "overhead",
}
_ENERGY = {
    "energy_static_pj": "static",
    "energy_dram_pj": "DRAM",
    "energy_buffer_pj": "buffers",
    "energy_core_pj": "core",
    "energy_decode_pj": "decoders",
}


def simulate(
    network: NetworkName,
    design: Annotated[
        list[str] | None,
        typer.Option(
            metavar="D[,D]",
            help="Designs: names (see `oleaster designs`) or .toml files; olive-64x64.",
        ),
    ] = None,
    memory: Annotated[
        Memory,
        typer.Option(help="As published comparisons count, or with fill, drain and bandwidth."),
    ] = "ideal",
    batch: Batch = None,
    sequence: Sequence = None,
    phase: PhaseOption = None,
    no_attention: NoAttention = False,
    dim: Dims = None,
    energy: Annotated[
        str | None, typer.Option(metavar="TABLE.toml", help="Constants other than the design's.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a figure: .png, .svg or .pdf.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write all columns: .csv or .json."),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    json: Json = False,
) -> None:
    """Cycles, traffic and energy of a whole network on a design, layer by layer.

    The table has a line for identical layers; --csv, --json and -o have every layer and column.
    With several designs, each is compared with the first.

    \b
    oleaster simulate bert-base
    oleaster simulate bert-base --design ant-64x64-os,olive-64x64 --batch 16
    oleaster simulate opt-6.7b --phase decode --sequence 2048 --memory real
    oleaster simulate resnet-50 --design mine.toml --plot resnet.png -o resnet.csv
    oleaster simulate model.onnx --dim batch=1
    """
    names = _names(design or ["olive-64x64"])
    if json and csv:
        raise CommandError("--json and --csv both print; give one of them")
    if output is not None:
        if output.suffix not in (".csv", ".json"):
            raise CommandError(f"{output}: the name after -o ends in .csv or .json")
        io.check_output_file(output, *_inputs(network, names, energy))
    if plot is not None:
        check_figure_file(plot)
        if len(names) > 1:
            raise CommandError(f"--plot draws one design; {len(names)} are given")
    loaded = read_network(network, batch, sequence, phase, not no_attention, dim)
    table = None if energy is None else load_energy(energy)
    simulations = [
        simulate_network(loaded, each, memory=memory, energy=table) for each in _designs(names)
    ]
    if plot is not None:
        save_figure(plot_simulation(simulations[0]), plot)
    if output is not None:
        text = _csv(simulations) if output.suffix == ".csv" else json_text(_result(simulations))
        io.write_bytes(output, text.encode())
    if json:
        print_json(_result(simulations))
    elif csv:
        typer.echo(_csv(simulations), nl=False)
    elif len(simulations) == 1:
        _show(simulations[0])
    else:
        _compare(simulations)


def read_network(
    source: str,
    batch: int | None,
    sequence: int | None,
    phase: Phase | None,
    attention: bool,
    dims: list[str] | None,
) -> Network:
    """A network by name or from a file, with a verb's options; CommandError if they do not fit."""
    given = {"--batch": batch, "--sequence": sequence, "--phase": phase, "--dim": dims}
    is_onnx = source.endswith(".onnx")
    if is_onnx or source.endswith(".csv"):
        allowed = {"--dim"} if is_onnx else set()
        wrong = [name for name, value in given.items() if value is not None]
        wrong = [name for name in wrong if name not in allowed]
        if wrong:
            raise CommandError(
                f"{wrong[0]} is for networks by name; {source} says its sizes itself"
            )
        network = read_onnx(source, _sizes(dims or [])) if is_onnx else read_csv(source)
        if attention:
            return network
        layers = tuple(layer for layer in network.layers if layer.kind != "attention")
        if not layers:
            raise CommandError(f"{source}: has no layers but attention products")
        description = f"{network.description}, without attention products"
        return Network(network.name, description, layers)
    if dims:
        raise CommandError(f"--dim is for ONNX files; {source} has --batch and --sequence")
    return load_network(
        source,
        batch=1 if batch is None else batch,
        sequence=sequence,
        phase=phase or "prefill",
        attention=attention,
    )


def _sizes(dims: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for given in dims:
        name, _, value = given.rpartition("=")
        if not name or not value.strip().isdecimal():
            raise CommandError(f"--dim {given}: expected NAME=SIZE, as batch=1")
        if name in sizes:
            raise CommandError(f"--dim {given}: {name} is given twice")
        sizes[name] = int(value)
    return sizes


def _names(given: list[str]) -> list[str]:
    names = [name.strip() for one in given for name in one.split(",")]
    if not all(names):
        raise CommandError(f"--design {','.join(given)}: expected names with commas between")
    return names


def _designs(names: list[str]) -> list[Design]:
    """Results are told apart by their designs' names alone, so these must differ."""
    loaded: dict[str, tuple[str, Design]] = {}
    for name in names:
        design = load_design(name)
        if design.name in loaded:
            first, _ = loaded[design.name]
            raise CommandError(
                f"--design: {first} and {name} are both named {design.name!r}; give a design "
                "once, or rename a file"
            )
        loaded[design.name] = name, design
    return [design for _, design in loaded.values()]


def _inputs(network: str, designs: list[str], energy: str | None) -> list[Path]:
    """Files that are read, which no output may replace."""
    return [
        Path(name)
        for name in (network, *designs, energy or "")
        if name.endswith((".csv", ".onnx", ".toml"))
    ]


def _result(simulations: list[Simulation]) -> dict[str, Any]:
    first = simulations[0]
    return {
        "network": first.network.name,
        "description": first.network.description,
        "memory": first.memory,
        "results": [
            {
                "design": design_facts(one.design),
                "energy_table": one.energy_table.name,
                "speedup": first.total.time_us / one.total.time_us,
                "energy_saving": _saving(first, one),
                "total": one.total._asdict(),
                "layers": [row._asdict() for row in one.rows],
            }
            for one in simulations
        ],
    }


def _saving(first: Simulation, one: Simulation) -> float | None:
    """How many times less energy than the first; None where a table's constants are all 0."""
    return first.total.energy_pj / one.total.energy_pj if one.total.energy_pj else None


def _csv(simulations: list[Simulation]) -> str:
    text = text_io.StringIO()
    writer = csv_format.writer(text, lineterminator="\n")
    writer.writerow(("network", "design", "memory", *COLUMNS))
    for one in simulations:
        start = one.network.name, one.design.name, one.memory
        writer.writerows((*start, *row) for row in one.rows)
        total = one.total._asdict() | dict.fromkeys("mkn", "")
        writer.writerow((*start, *total.values()))
    return text.getvalue()


_FIGURES = (">Mcycles", ">busy %", ">DRAM MB", ">energy uJ", ">time ms")


def _figures(row: LayerResult, times: int = 1) -> tuple[str, ...]:
    """What `_FIGURES` name, of `times` layers like `row`."""
    moved = (
        row.dram_activation_read_bytes + row.dram_weight_read_bytes + row.dram_output_write_bytes
    )
    return (
        _number(row.cycles * times / 1e6),
        f"{row.utilization_pct:.1f}",
        _number(moved * times / 1e6),
        _number(row.energy_pj * times / 1e6),
        _number(row.time_us * times / 1e3),
    )


def _formats(row: LayerResult) -> str:
    return f"{row.weight_format} x {row.activation_format}"


def _number(value: float) -> str:
    return f"{value:,.3f}" if value < 1e4 else f"{value:,.0f}"


def _show(simulation: Simulation) -> None:
    total, design = simulation.total, simulation.design
    formats = dict.fromkeys(_formats(row) for row in simulation.rows)
    mixed = len(formats) > 1
    lines = [
        (
            *(group.name, group.layers, group.row.count * group.layers),
            *(group.row.m, group.row.k, group.row.n),
            *([_formats(group.row)] if mixed else []),
            f"{100 * group.total('cycles') / total.cycles:.1f}",
            *_figures(group.row, group.layers),
        )
        for group in group_layers(simulation.rows)
    ]
    blank = [""] * (4 if mixed else 3)
    lines.append(("total", len(simulation.rows), total.count, *blank, "100.0", *_figures(total)))
    print_table(
        (
            *("layer", ">layers", ">GEMMs", ">M", ">K", ">N"),
            *(["weights x activations"] if mixed else []),
            *(">cycles %", *_FIGURES),
        ),
        lines,
    )
    typer.echo()
    one_model = "" if isinstance(design, ArrayDesign) else " (this kind has one model for both)"
    rate = 2e-6 * total.macs / total.time_us
    print_facts(
        {
            "network": _described(simulation.network),
            "design": f"{design.name}, {design.title}",
            "operands": f"weights x activations {', '.join(formats)}",
            "memory": f"{simulation.memory}{one_model}",
            "cycles": f"{total.cycles:,}: {_shares(total, _CYCLES, total.cycles)}",
            "energy": f"{_number(total.energy_pj / 1e6)} uJ"
            + (f": {_shares(total, _ENERGY, total.energy_pj)}" if total.energy_pj else ""),
            "constants": f"{simulation.energy_table.name}, {simulation.energy_table.title}",
            "time": f"{_number(total.time_us / 1e3)} ms at {design.clock_mhz:g} MHz, "
            f"{rate:.3g} tera-operations a second",
        }
    )


def _compare(simulations: list[Simulation]) -> None:
    first = simulations[0]
    print_table(
        ("design", *_FIGURES, ">speedup", ">energy saving", "constants"),
        [
            (
                one.design.name,
                *_figures(one.total),
                f"{first.total.time_us / one.total.time_us:.2f}x",
                "" if (saving := _saving(first, one)) is None else f"{saving:.2f}x",
                one.energy_table.name,
            )
            for one in simulations
        ],
    )
    typer.echo()
    print_facts(
        {
            "network": _described(first.network),
            "memory": first.memory,
            "compared": f"with {first.design.name}, in time and in energy; more is better",
        }
    )


def _described(network: Network) -> str:
    return f"{network.name}, {network.description}: {network.macs / 1e6:,.1f} million MACs"


def _shares(total: LayerResult, parts: dict[str, str], whole: float) -> str:
    return ", ".join(
        f"{what} {100 * getattr(total, column) / whole:.1f} %"
        for column, what in parts.items()
        if getattr(total, column)
    )
