"""Figures of simulations: cycles, energy, roofline, utilisation; and grouped bars.

Needs the extra "plots". Figures are matplotlib's and use no global state, so they work in
notebooks and in threads; `save_figure` writes the same bytes for the same figure every time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oleaster.drawing import (
    CYCLE_PARTS,
    ENERGY_PARTS,
    KIND_COLORS,
    PALETTE,
    RED,
    SKY,
    WORDS,
    prefix_of,
    si,
)
from oleaster.grouping import group_bars
from oleaster.io import check_output_file, printable, write_bytes
from oleaster.sim.performance.design import AcceleratorDesign, Design
from oleaster.sim.performance.simulate import Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PlotError",
    "bar_groups",
    "bar_rows",
    "check_figure_file",
    "draw_cycles",
    "draw_energy",
    "draw_roofline",
    "draw_utilization",
    "plot_simulation",
    "save_figure",
]

SUFFIXES = (".png", ".svg", ".pdf")

_MARKERS = {"linear": "o", "attention": "s", "convolution": "^"}  # by kind of layer
_HATCHES = ("", "//", "..", "xx")


class PlotError(ValueError):
    """A figure that cannot be drawn; the message says what is missing or wrong."""


def check_figure_file(path: Path) -> None:
    """Raise PlotError or FileError unless a figure can be written there: asked before long work."""
    if path.suffix not in SUFFIXES:
        raise PlotError(f"{path}: a figure's name ends in {', '.join(SUFFIXES)}")
    check_output_file(path)
    _matplotlib()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a .png, .svg or .pdf, whole or not at all, without dates: equal figures, equal files.

    Raises PlotError for another suffix, FileError if it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise PlotError(f"{path}: a figure's name ends in {', '.join(SUFFIXES)}")
    matplotlib = _matplotlib()
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[path.suffix]
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "oleaster"}):
        figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=undated)
    write_bytes(path, buffer.getvalue())


def plot_simulation(simulation: Simulation) -> Figure:
    """Four panels: cycles and energy of each layer, roofline, utilisation over time."""
    bars = len(group_bars(simulation.rows))
    height = max(4.0, 0.24 * bars + 1.2)
    figure = _figure(13, height + 4.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(height, 4))
    cycles = figure.add_subplot(grid[0, 0])
    energy = figure.add_subplot(grid[0, 1], sharey=cycles)
    draw_cycles(cycles, simulation)
    draw_energy(energy, simulation)
    energy.tick_params(labelleft=False)
    draw_roofline(figure.add_subplot(grid[1, 0]), simulation)
    draw_utilization(figure.add_subplot(grid[1, 1]), simulation)
    total = simulation.total
    figure.suptitle(
        f"{_plain(simulation.network.name)} ({_plain(simulation.network.description)}) on "
        f"{_plain(simulation.design.name)}, {simulation.memory} memory\n"
        f"{si(total.cycles)} cycles, {si(total.time_us * 1e-6, 's')} at "
        f"{simulation.design.clock_mhz:g} MHz, {si(total.energy_pj * 1e-12, 'J')} "
        f"(constants: {_plain(simulation.energy_table.name)})",
        fontsize="medium",
    )
    return figure


def draw_cycles(axes: Axes, simulation: Simulation) -> None:
    """Cycles of each layer, stacked by where they go; identical layers are one bar, their sum."""
    _stacked(axes, simulation, CYCLE_PARTS, "{}cycles", 1)
    axes.set_title("Cycles", loc="left")


def draw_energy(axes: Axes, simulation: Simulation) -> None:
    """Energy of each layer, stacked by component; identical layers are one bar, their sum."""
    _stacked(axes, simulation, ENERGY_PARTS, "energy in {}J", 1e-12)
    axes.set_title("Energy", loc="left")


def draw_roofline(axes: Axes, simulation: Simulation) -> None:
    """Operations per second over operations per byte of DRAM; a multiplication is two operations.

    Sloped roof: DRAM's bandwidth. Flat roofs: all PEs busy, one for each pair of widths. A marker
    is a layer; its area is its share of the cycles.
    """
    design = simulation.design
    hertz = design.clock_mhz * 1e6
    bandwidth = _dram_bytes_per_cycle(design) * hertz
    roofs: dict[float, set[str]] = {}
    # Equal layers are one marker: by kind, operations a byte and operations a second, the cycles.
    points: dict[str, dict[tuple[float, float], int]] = {}
    for row, busy in zip(simulation.rows, simulation.busy, strict=True):
        peak = 2 * hertz * row.macs / busy
        roofs.setdefault(peak, set()).add(f"{row.weight_format} x {row.activation_format}")
        moved = (
            row.dram_activation_read_bytes
            + row.dram_weight_read_bytes
            + row.dram_output_write_bytes
        )
        here = 2 * row.macs / moved, 2 * row.macs / row.cycles * hertz
        of_kind = points.setdefault(row.kind, {})
        of_kind[here] = of_kind.get(here, 0) + row.cycles
    ridges = [peak / bandwidth for peak in roofs]
    places = [x for values in points.values() for x, _ in values]
    low, high = min(places + ridges) / 2, max(places + ridges) * 4
    for peak, formats in sorted(roofs.items()):
        axes.plot([peak / bandwidth, high], [peak, peak], color="black", linewidth=1)
        axes.annotate(
            f"{si(peak, 'op/s')}: {_plain(', '.join(sorted(formats)))}",
            (high, peak),
            xytext=(-2, 8),
            textcoords="offset points",
            ha="right",
            fontsize="small",
        )
    top = max(ridges)
    axes.plot([low, top], [low * bandwidth, top * bandwidth], color="black", linewidth=1)
    for kind, values in points.items():
        x, y = zip(*values, strict=True)
        areas = [15 + 400 * cycles / simulation.total.cycles for cycles in values.values()]
        style: dict[str, Any] = {
            "marker": _MARKERS[kind],
            "color": KIND_COLORS[kind],
            "alpha": 0.6,
            "edgecolors": "black",
        }
        axes.scatter(x, y, areas, **style)
        axes.scatter([], [], 40, **style, label=kind)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    slowest = min(y for values in points.values() for _, y in values)
    axes.set_ylim(min(slowest / 2, max(roofs) / 30), max(roofs) * 3)
    axes.grid(which="major", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: si(value))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("operations for each byte of DRAM traffic")
    axes.set_ylabel("operations a second")
    axes.set_title(f"Roofline, DRAM {si(bandwidth, 'B/s')}", loc="left")
    axes.legend(loc="lower right", fontsize="small", title="area: share of cycles")


def draw_utilization(axes: Axes, simulation: Simulation) -> None:
    """Share of the PEs' cycles that multiply, layer after layer, over the cycles since the start.

    Dashed: the mean over all cycles.
    """
    edges = [0.0]
    for row in simulation.rows:
        edges.append(edges[-1] + row.cycles)
    values = [row.utilization_pct for row in simulation.rows]
    factor, prefix = prefix_of(edges[-1])
    axes.stairs(values, [edge / factor for edge in edges], fill=True, color=SKY)
    mean = simulation.total.utilization_pct
    axes.axhline(mean, color=RED, linestyle="--", label=f"mean {mean:.1f} %")
    axes.set_xlim(0, edges[-1] / factor)
    axes.set_ylim(0, 105)
    axes.set_xlabel(f"{WORDS.get(prefix, '')}cycles since the start")
    axes.set_ylabel("utilisation in %")
    axes.set_title("Utilisation over time", loc="left")
    axes.legend(loc="lower right", fontsize="small")


def bar_groups(
    groups: Mapping[str, Mapping[str, float | None]],
    *,
    ylabel: str,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Bars side by side: groups[place][series] = height, such as ours beside published figures.

    Every bar carries its value; a series that a place lacks, or None, leaves a gap. `axes`: where
    to draw, by default a new figure. Series from the second on are hatched, to be told apart in
    print. Raises PlotError for no bars.
    """
    series = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    if not series:
        raise PlotError("no bars to draw; expected at least one group with one value")
    if axes is None:
        axes = _figure(max(5.0, 0.5 * len(groups) * len(series) + 2), 3.6).add_subplot()
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        places, heights = [], []
        for at, bars in enumerate(groups.values()):
            height = bars.get(name)
            if height is not None:
                places.append(at + (i - (len(series) - 1) / 2) * width)
                heights.append(height)
        drawn = axes.bar(
            places,
            heights,
            width * 0.92,
            **_series_style(i, name),
        )
        axes.bar_label(drawn, fmt="{:.3g}", fontsize="small", padding=1)
    axes.set_xticks(range(len(groups)), list(map(_plain, groups)))
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.margins(y=0.25)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", ncols=min(4, len(series)), loc="upper left", frameon=False)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _series_style(i: int, name: str) -> dict[str, Any]:
    """Told apart in grey, too."""
    return {
        "label": _plain(name),
        "color": PALETTE[i % len(PALETTE)],
        "hatch": _HATCHES[i % len(_HATCHES)],
        "edgecolor": "white",
        "linewidth": 0,
    }


def bar_rows(rows: Mapping[str, Mapping[str, float]], *, xlabel: str, title: str = "") -> Figure:
    """As `bar_groups`, lying: rows[place][series] = length; for many places, from above down."""
    series = list(dict.fromkeys(name for bars in rows.values() for name in bars))
    if not series:
        raise PlotError("no bars to draw; expected at least one row with one value")
    axes = _figure(6.4, 1.2 + 0.2 * len(rows) * (len(series) + 0.5)).add_subplot()
    height = 0.8 / len(series)
    for i, name in enumerate(series):
        drawn = axes.barh(
            [at + (i - (len(series) - 1) / 2) * height for at in range(len(rows))],
            [bars[name] for bars in rows.values()],
            height * 0.92,
            **_series_style(i, name),
        )
        axes.bar_label(drawn, fmt="{:.3g}", fontsize="small", padding=2)
    axes.set_yticks(range(len(rows)), list(map(_plain, rows)))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(xlabel)
    axes.set_title(_plain(title), loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", loc="best")
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _stacked(
    axes: Axes,
    simulation: Simulation,
    columns: Mapping[str, tuple[str, str]],
    label: str,
    scale: float,
) -> None:
    bars = group_bars(simulation.rows)
    widest = max(
        sum(group.total(c) for group in groups for c in columns) for groups in bars.values()
    )
    factor, prefix = prefix_of(widest * scale)
    left = [0.0] * len(bars)
    for column, (what, color) in columns.items():
        values = [
            sum(group.total(column) for group in groups) * scale / factor
            for groups in bars.values()
        ]
        if not any(values):
            continue
        axes.barh(range(len(bars)), values, left=left, color=color, label=what, height=0.8)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_yticks(range(len(bars)), list(map(_plain, bars)), fontsize="small")
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(label.format(prefix if "J" in label else WORDS.get(prefix, "")))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.containers:  # none if all is zero
        axes.legend(fontsize="small")


def _dram_bytes_per_cycle(design: Design) -> float:
    if isinstance(design, AcceleratorDesign):  # its bus reads and writes at once
        return 2 * design.config.beat_bytes * design.dram_share
    return design.dram_bytes_per_cycle


def _plain(text: str) -> str:
    """A user's name for matplotlib, which would read what is between two dollars as a formula."""
    return printable(text).replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    _matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise PlotError(f"figures need {error.name}: pip install 'oleaster[plots]'") from error
    return matplotlib
