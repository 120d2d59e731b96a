"""Sections of whole networks: designs compared, stacks of each layer, roofline."""

from __future__ import annotations

import math
from typing import Any

from oleaster.drawing import (
    BLUE,
    CYCLE_PARTS,
    ENERGY_PARTS,
    GREY,
    KIND_COLORS,
    ORANGE,
    RED,
    SKY,
    WORDS,
    prefix_of,
    si,
)
from oleaster.grouping import LayerGroup, group_bars, group_layers
from oleaster.report.bars import grouped, largest, stacked
from oleaster.report.blocks import Block, Figure, Fold, Section, Table, Tiles, digits, label
from oleaster.report.inputs import NetworkRun
from oleaster.sim.performance.simulate import LayerResult

__all__ = ["network_section"]

_SYMBOLS = {"linear": "circle", "attention": "square", "convolution": "triangle-up"}
_PARTS = {"cycles": CYCLE_PARTS, "energy": ENERGY_PARTS}
_SCALES = {"cycles": 1.0, "energy": 1e-12}
_TRAFFIC = {
    "dram_weight_read_bytes": ("weights read", BLUE),
    "dram_activation_read_bytes": ("activations read", SKY),
    "dram_output_write_bytes": ("outputs written", ORANGE),
}
_UNITS = {"cycles": "cycles", "energy": "J"}
_FIGURES = (">Mcycles", ">busy %", ">DRAM MB", ">energy µJ", ">time ms")


def network_section(run: NetworkRun) -> Section:
    """All designs of one simulation."""
    results = run.results
    designs = {one.design.name: one.total.row() for one in results}
    count = len(designs)
    section = Section(
        f"{run.network} on {results[0].design.name if count == 1 else f'{count} designs'}",
        "network",
        f"{run.description}; {run.memory} memory; {digits(results[0].total.macs / 1e6)} million "
        "multiplications.",
    )
    if count == 1:
        section.blocks.append(_tiles(results[0].total.row(), results[0].design.clock_mhz))
    else:
        section.blocks += _compared(run, designs)
    layers = {one.design.name: [layer.row() for layer in one.layers] for one in results}
    ends = {what: max(largest(_bars(rows, what)) for rows in layers.values()) for what in _PARTS}
    for i, one in enumerate(results):
        rows = layers[one.design.name]
        blocks: list[Block] = [_layer_stack(rows, what, ends[what]) for what in _PARTS]
        roofline = _roofline(rows, one.total.row(), one.design.model_dump())
        if roofline is not None:
            blocks.append(roofline)
        blocks.append(_utilization(rows, one.total.row()))
        blocks.append(Fold("Layers as a table", [_layer_table(rows, one.total.row())]))
        if count == 1:
            section.blocks += blocks
        else:
            title = f"{one.design.name}: layers and roofline"
            section.blocks.append(Fold(title, blocks, opened=i == 0))
    return section


def _tiles(total: LayerResult, clock_mhz: float) -> Tiles:
    return Tiles(
        [
            (si(total.cycles), f"cycles at {clock_mhz:g} MHz"),
            (si(total.time_us * 1e-6, "s"), "time"),
            (si(total.energy_pj * 1e-12, "J"), "energy"),
            (f"{total.utilization_pct:.1f} %", "of the PEs' cycles multiply"),
            (si(_moved(total), "B"), "to and from DRAM"),
            (si(2e6 * total.macs / total.time_us, "op/s"), "achieved"),
        ]
    )


def _compared(run: NetworkRun, designs: dict[str, LayerResult]) -> list[Block]:
    table = Table(
        ("design", ">MHz", *_FIGURES, ">speedup", ">energy saving", "constants"),
        [
            (
                one.design.name,
                digits(one.design.clock_mhz),
                *_figures(one.total.row()),
                f"{one.speedup:.2f}x",
                "" if one.energy_saving is None else f"{one.energy_saving:.2f}x",
                one.energy_table,
            )
            for one in run.results
        ],
        f"Designs compared with the first of them, {run.results[0].design.name}; more is better",
    )
    cycles, energy = (
        stacked(
            title,
            {name: _values(total, what) for name, total in designs.items()},
            _colors(what),
            quantity=what,
            unit=_UNITS[what],
        )
        for title, what in (("Cycles by where they go", "cycles"), ("Energy by part", "energy"))
    )
    time = grouped(
        "Time",
        {name: {"time": total.time_us / 1e3} for name, total in designs.items()},
        axis="time, ms",
        unit=" ms",
    )
    traffic = stacked(
        "DRAM traffic",
        {
            name: {part: getattr(total, column) for column, (part, _) in _TRAFFIC.items()}
            for name, total in designs.items()
        },
        dict(_TRAFFIC.values()),
        quantity="traffic",
        unit="B",
    )
    return [table, cycles, time, energy, traffic]


def _layer_stack(rows: list[LayerResult], what: str, end: float) -> Figure:
    return stacked(
        f"{what.capitalize()} of each layer",
        _bars(rows, what),
        _colors(what),
        quantity=what,
        unit=_UNITS[what],
        note="Identical layers are one bar, their sum.",
        most=end,
    )


def _bars(rows: list[LayerResult], what: str) -> dict[str, dict[str, float | None]]:
    def total(groups: list[LayerGroup], column: str) -> float:
        return sum(group.total(column) for group in groups) * _SCALES[what]

    return {
        name: {part: total(groups, column) for column, (part, _) in _PARTS[what].items()}
        for name, groups in group_bars(rows).items()
    }


def _values(row: LayerResult, what: str) -> dict[str, float | None]:
    return {
        part: getattr(row, column) * _SCALES[what] for column, (part, _) in _PARTS[what].items()
    }


def _colors(what: str) -> dict[str, str]:
    return dict(_PARTS[what].values())


def _layer_table(rows: list[LayerResult], total: LayerResult) -> Table:
    lines = [
        (
            *(group.name, str(group.layers), f"{group.row.count * group.layers:,}"),
            *(f"{size:,}" for size in (group.row.m, group.row.k, group.row.n)),
            f"{group.row.weight_format} x {group.row.activation_format}",
            *_figures(group.row, group.layers),
        )
        for group in group_layers(rows)
    ]
    lines.append(("total", str(len(rows)), f"{total.count:,}", *[""] * 4, *_figures(total)))
    columns = (">layers", ">GEMMs", ">M", ">K", ">N", "weights x activations")
    return Table(("layer", *columns, *_FIGURES), lines)


def _figures(row: LayerResult, times: int = 1) -> tuple[str, ...]:
    """What `_FIGURES` name, of `times` layers like `row`."""
    return (
        digits(row.cycles * times / 1e6),
        f"{row.utilization_pct:.1f}",
        digits(_moved(row) * times / 1e6),
        digits(row.energy_pj * times / 1e6),
        digits(row.time_us * times / 1e3),
    )


def _moved(row: LayerResult) -> float:
    return row.dram_activation_read_bytes + row.dram_weight_read_bytes + row.dram_output_write_bytes


def _roofline(rows: list[LayerResult], total: LayerResult, design: dict[str, Any]) -> Figure | None:
    """As `oleaster.plots.draw_roofline`; None if the file lacks a bandwidth of DRAM.

    A layer's peak follows from the share of the PEs' cycles in which it multiplies.
    """
    hertz = design["clock_mhz"] * 1e6
    per_cycle = _dram_bytes_per_cycle(design)
    groups = [group for group in group_layers(rows) if _moved(group.row) > 0]
    if per_cycle is None or not groups:
        return None
    bandwidth = per_cycle * hertz
    roofs: dict[float, set[str]] = {}
    kinds: dict[str, list[tuple[float, float, float, str]]] = {}
    for group in groups:
        row = group.row
        rate = 2 * hertz * row.macs / row.cycles
        peak = float(f"{100 * rate / row.utilization_pct:.6g}")  # equal, but for rounding
        roofs.setdefault(peak, set()).add(f"{row.weight_format} x {row.activation_format}")
        share = group.total("cycles") / total.cycles
        name = f"{group.name} x{group.layers}" if group.layers > 1 else group.name
        place = 2 * row.macs / _moved(row), rate, share, name
        kinds.setdefault(row.kind, []).append(place)
    ridges = [peak / bandwidth for peak in roofs]
    places = [place[0] for values in kinds.values() for place in values]
    low, high = min(places + ridges) / 2, max(places + ridges) * 4
    data = [_markers(kind, values) for kind, values in kinds.items()]
    top = max(ridges)
    data.append(_line([low, top], [low * bandwidth, top * bandwidth]))
    data += [_line([peak / bandwidth, high], [peak, peak]) for peak in sorted(roofs)]
    names = [
        _name_at(peak, f"{si(peak, 'op/s')}: {label(', '.join(sorted(formats)))}")
        for peak, formats in sorted(roofs.items())
    ]
    slowest = min(place[1] for values in kinds.values() for place in values)
    bottom = min(slowest / 2, max(roofs) / 30)
    return Figure(
        "Roofline",
        f"DRAM {si(bandwidth, 'B/s')}. A marker is a layer, or several alike; its area is their "
        "share of the cycles.",
        data,
        {
            "hovermode": "closest",
            "annotations": names,
            "xaxis": _log_axis("operations for each byte of DRAM traffic", low, high),
            "yaxis": _log_axis("operations a second", bottom, max(roofs) * 3)
            | {"exponentformat": "SI extended"},
        },
    )


def _markers(kind: str, values: list[tuple[float, float, float, str]]) -> dict[str, Any]:
    x, y, shares, _ = zip(*values, strict=True)
    texts = [
        f"{label(name)}<br>{at:.4g} op/B, {si(rate, 'op/s')}<br>{100 * share:.1f} % of the cycles"
        for at, rate, share, name in values
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(kind),
        "x": [float(f"{value:.5g}") for value in x],
        "y": [float(f"{value:.5g}") for value in y],
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "symbol": _SYMBOLS.get(kind, "diamond"),
            "color": KIND_COLORS.get(kind, GREY),
            "opacity": 0.75,
            "size": [round(5 + 24 * math.sqrt(share), 1) for share in shares],
        },
    }


def _name_at(peak: float, text: str) -> dict[str, Any]:
    """Beside the end of a roof, above the markers on it."""
    place = {"x": 1, "xref": "paper", "y": round(math.log10(peak), 4), "yshift": 11}
    return {**place, "xanchor": "right", "yanchor": "bottom", "showarrow": False, "text": text}


def _line(x: list[float], y: list[float]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"color": GREY, "width": 2},
    }


def _utilization(rows: list[LayerResult], total: LayerResult) -> Figure:
    """As `oleaster.plots.draw_utilization`."""
    factor, prefix = prefix_of(total.cycles)
    starts = [0.0]
    for row in rows:
        starts.append(starts[-1] + row.cycles / factor)
    values = [round(row.utilization_pct, 2) for row in rows]
    mean = round(total.utilization_pct, 2)
    steps: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": "each layer",
        "x": [float(f"{start:.6g}") for start in starts],
        "y": [*values, values[-1]],
        "text": [label(row.layer) for row in (*rows, rows[-1])],
        "hovertemplate": "%{text}: %{y:.1f} %<extra></extra>",
        "line": {"color": SKY, "shape": "hv", "width": 1},
        "fill": "tozeroy",
    }
    dashed = {
        "type": "scatter",
        "mode": "lines",
        "name": f"mean {mean:.1f} %",
        "x": [0, steps["x"][-1]],
        "y": [mean, mean],
        "hoverinfo": "skip",
        "line": {"color": RED, "dash": "dash", "width": 2},
    }
    return Figure(
        "Utilisation over time",
        "Share of the PEs' cycles that multiply, layer after layer.",
        [steps, dashed],
        {
            "hovermode": "x",
            "xaxis": {"title": {"text": f"{WORDS.get(prefix, '')}cycles since the start"}},
            "yaxis": {"title": {"text": "utilisation, %"}, "range": [0, 105]},
        },
    )


def _log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    ends = [round(math.log10(low), 4), round(math.log10(high), 4)]
    return {"title": {"text": title}, "type": "log", "range": ends, "dtick": 1}


def _dram_bytes_per_cycle(design: dict[str, Any]) -> float | None:
    if design.get("kind") == "accelerator":  # its bus reads and writes at once
        try:
            return float(2 * design["config"]["data_bits"] / 8 * design["dram_share"])
        except (KeyError, TypeError):
            return None
    rate = design.get("dram_bytes_per_cycle")
    return rate if isinstance(rate, int | float) and rate > 0 else None
