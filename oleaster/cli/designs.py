"""Verbs that list what can be simulated: designs, networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from oleaster.cli.output import CommandError, Json, print_facts, print_json, print_table
from oleaster.cli.simulate import (
    Batch,
    Dims,
    NoAttention,
    PhaseOption,
    Sequence,
    read_network,
)
from oleaster.config import design_facts, design_names, load_design, read_design
from oleaster.models.nerf.renderer.config import SIZES
from oleaster.renderers import is_renderer, load_renderer, renderer_names
from oleaster.sim.networks.layer import Network
from oleaster.sim.networks.library import NETWORKS, load_network
from oleaster.sim.performance.design import Design, GpuDesign


def designs(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|CONFIG.toml]", help="Show all of one.")
    ] = None,
    json: Json = False,
) -> None:
    """List the designs that `simulate`, `nerf simulate` and `rtl` take by name, or show one."""
    if name is not None:
        described = _design(name)
        if json:
            print_json({"design": described})
        else:
            print_facts(_facts(described))
        return
    rows = [_design(each) for each in (*design_names(), *renderer_names())]
    if json:
        print_json({"designs": rows})
        return
    print_table(
        ("design", "simulate", "rtl", ">PEs", ">PE bits", "what it is"),
        [
            (
                row["name"],
                row["simulation"]["kind"] if row["simulation"] else "",
                row["unit"] or "",
                f"{row['pes']:,}" if row["pes"] else "",
                (row["simulation"] or {}).get("pe_bits"),
                row["title"],
            )
            for row in rows
        ],
    )


def networks(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NETWORK|FILE.csv|FILE.onnx]", help="List one's layers."),
    ] = None,
    batch: Batch = None,
    sequence: Sequence = None,
    phase: PhaseOption = None,
    no_attention: NoAttention = False,
    dim: Dims = None,
    json: Json = False,
) -> None:
    """List the networks that `simulate` takes by name, at their default sizes, or one's layers."""
    if name is not None:
        network = read_network(name, batch, sequence, phase, not no_attention, dim)
        if json:
            layers = [asdict(layer) | {"macs": layer.macs} for layer in network.layers]
            print_json({"network": _network(network) | {"layers": layers}})
            return
        print_table(
            ("layer", "kind", ">GEMMs", ">M", ">K", ">N", ">million MACs"),
            [
                (x.name, x.kind, x.count, x.m, x.k, x.n, f"{x.macs / 1e6:,.3f}")
                for x in network.layers
            ],
        )
        typer.echo()
        print_facts(_network_facts(network))
        return
    if no_attention or any(x is not None for x in (batch, sequence, phase, dim)):
        raise CommandError("sizes are those of one network; name it before them")
    listed = [load_network(each) for each in NETWORKS]
    if json:
        print_json({"networks": [_network(network) for network in listed]})
        return
    print_table(
        ("network", "of what", ">layers", ">GEMMs", ">million MACs"),
        [tuple(_network_facts(network).values()) for network in listed],
    )


def _design(name: str) -> dict[str, Any]:
    if is_renderer(name):
        return _renderer(name)
    file = read_design(name)
    design = load_design(name) if file.simulation else None
    return {
        "name": name,
        "title": file.title,
        "source": file.source,
        "unit": file.unit,
        "parameters": file.parameters,
        "pes": _pes(design, file.parameters),
        "simulation": design_facts(design) if design else None,
    }


def _renderer(name: str) -> dict[str, Any]:
    design = load_renderer(name)
    config = design.config
    return {
        "name": name,
        "title": design.title,
        "source": design.source,
        "unit": "nerf-renderer",
        "parameters": {key: getattr(config, key) for key in SIZES},
        "pes": design.renderers * config.networks * config.color_rows * config.color_cols,
        "simulation": {
            "kind": "renderer",
            "name": design.name,
            "title": design.title,
            "energy": design.energy,
            "clock_mhz": design.clock_mhz,
            "renderers": design.renderers,
            "dram_gb_s": design.dram_gb_s,
            "sram_bytes": design.sram_bytes,
            "pe_bits": 4,
        },
    }


def _pes(design: Design | None, parameters: dict[str, Any]) -> int | None:
    if design is not None and not isinstance(design, GpuDesign):
        return design.rows * design.cols
    if "rows" in parameters and "cols" in parameters:
        pes: int = parameters["rows"] * parameters["cols"]
        return pes
    return None


def _facts(described: dict[str, Any]) -> dict[str, object]:
    shown = {key: described[key] for key in ("name", "title", "source")}
    unit = described["unit"]
    settings = ", ".join(f"{key} {value}" for key, value in described["parameters"].items())
    shown["rtl"] = f"unit {unit}: {settings}" if unit else "cannot be built"
    simulation = described["simulation"]
    if not simulation:
        return {**shown, "simulate": "cannot be simulated"}
    shown["simulate"] = simulation["kind"]
    for key, value in simulation.items():
        if key not in ("kind", "name", "title", "precisions"):
            shown[key] = _shown(value)
    for precision in simulation.get("precisions", ()):
        shown[f"layers {precision['layers']}"] = ", ".join(
            f"{name} {side['format']} ({side['compute_bits']} bits in PEs, "
            f"{side['stored_bits']:.4g} in memory)"
            for name in ("weights", "activations")
            for side in (precision[name],)
        )
    return shown


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in value.items())
    if isinstance(value, tuple):
        return (", " if isinstance(value[0], str) else " x ").join(map(_shown, value))
    return f"{value:,}" if type(value) in (int, float) else str(value)


def _network(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "description": network.description,
        "gemms": sum(layer.count for layer in network.layers),
        "macs": network.macs,
    }


def _network_facts(network: Network) -> dict[str, object]:
    return {
        "network": network.name,
        "of what": network.description,
        "layers": len(network.layers),
        "GEMMs": f"{sum(layer.count for layer in network.layers):,}",
        "million MACs": f"{network.macs / 1e6:,.1f}",
    }
