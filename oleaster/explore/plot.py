"""The figure of a study: two objectives, their Pareto front, and what was given up for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oleaster.drawing import ORANGE, RED, SKY
from oleaster.explore.results import Exploration, Point
from oleaster.io import printable
from oleaster.plots import PlotError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_exploration"]

_WIDE = 30  # times the least value, from which on an axis is logarithmic


def plot_exploration(found: Exploration) -> Figure:
    """Points by the first two objectives, those of the front joined; PlotError for none.

    Of one objective its values over the points' numbers. More than two objectives have a front
    with points inside this picture. Infeasible points are hollow.
    """
    complete = [point for point in found.points if point.state == "complete"]
    if not complete:
        raise PlotError("no point to draw: all failed")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlotError(f"figures need {error.name}: pip install 'oleaster[plots]'") from error
    goals = list(found.study.objectives)
    names = goals[:2] if len(goals) > 1 else ["number", goals[0]]

    def places(points: list[Point]) -> tuple[list[float], list[float]]:
        x, y = ([point.values.get(name, point.number) for point in points] for name in names)
        return x, y

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    infeasible = [point for point in complete if not point.feasible]
    if infeasible:
        axes.scatter(
            *places(infeasible), 14, facecolors="none", edgecolors=ORANGE, label="infeasible"
        )
    front = sorted(found.pareto, key=lambda point: point.values.get(names[0], point.number))
    kept = {point.number for point in front}
    others = [point for point in complete if point.feasible and point.number not in kept]
    axes.scatter(*places(others), 14, color=SKY, label="feasible")
    joined = "solid" if len(goals) == 2 else "none"
    axes.plot(
        *places(front), linestyle=joined, color=RED, marker="o", markersize=5, label="not beaten"
    )
    for name, set_scale in zip(names, (axes.set_xscale, axes.set_yscale), strict=True):
        values = [point.values.get(name, 0) for point in complete]
        if min(values) > 0 and max(values) > _WIDE * min(values):
            set_scale("log")
    shown = [
        f"{name} ({found.study.objectives[name]})" if name in goals else name for name in names
    ]
    axes.set_xlabel(shown[0])
    axes.set_ylabel(shown[1])
    axes.set_title(printable(found.study.title).replace("$", r"\$"), loc="left")
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(fontsize="small")
    return figure
