"""Figures of horizontal bars, stacked or side by side, with SI prefixes in their axes' titles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from oleaster.drawing import PALETTE, WORDS, prefix_of
from oleaster.report.blocks import Figure, label

__all__ = ["grouped", "largest", "stacked"]

_FAR = 100  # times the least value, from which bars cannot be compared by length
_LONGEST = 36  # characters of a name beside a bar

Bars = Mapping[str, Mapping[str, float | None]]


def stacked(
    title: str,
    bars: Bars,
    colors: Mapping[str, str],
    *,
    quantity: str,
    unit: str,
    note: str = "",
    most: float | None = None,
) -> Figure:
    """bars[name][part] = value in `unit`, stacked in the order of `colors`, which name the parts.

    unit: one that takes SI prefixes, as "J", or "cycles", which are counted in words.
    most: end of the axis, for figures that are compared; by default their largest sum.
    """
    end = largest(bars) if most is None else most
    factor, prefix = prefix_of(end)
    counted = unit == "cycles"
    shown = f"{WORDS.get(prefix, '')}cycles" if counted else f"{quantity}, {prefix}{unit}"
    data = [
        _trace(bars, part, color, factor, "" if counted else f" {prefix}{unit}")
        for part, color in colors.items()
        if any(values.get(part) for values in bars.values())
    ]
    layout = _layout(bars, shown, "stack", 1.04 * end / factor or 1)
    return Figure(title, note, data, layout, len(bars))


def grouped(
    title: str, bars: Bars, *, axis: str, unit: str = "", note: str = "", logarithmic: bool = False
) -> Figure:
    """bars[name][series] = value, side by side; a value that is None, or missing, leaves a gap.

    Every series gets its colour by its place. unit: written behind values, not scaled.
    logarithmic: the axis, if values are positive and too far apart to be compared by length.
    """
    series = list(dict.fromkeys(name for values in bars.values() for name in values))
    data = [_trace(bars, name, PALETTE[i % len(PALETTE)], 1, unit) for i, name in enumerate(series)]
    layout = _layout(bars, axis, "group", None)
    values = [value for each in bars.values() for value in each.values() if value is not None]
    if logarithmic and values and min(values) > 0 and max(values) > _FAR * min(values):
        ends = [round(math.log10(min(values)) - 0.5, 2), round(math.log10(max(values)) + 0.1, 2)]
        title_text = {"text": f"{axis} (logarithmic)"}
        layout["xaxis"] = {"title": title_text, "type": "log", "range": ends, "dtick": 1}
    return Figure(title, note, data, layout, len(bars) * max(1, (len(series) + 1) // 2))


def largest(bars: Bars) -> float:
    """The longest bar: the sum of its parts."""
    return max((sum(x or 0 for x in values.values()) for values in bars.values()), default=0)


def _trace(bars: Bars, part: str, color: str, factor: float, unit: str) -> dict[str, Any]:
    values = [values.get(part) for values in bars.values()]
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(part),
        "y": list(map(label, bars)),
        "x": [None if x is None else float(f"{x / factor:.5g}") for x in values],
        "marker": {"color": color},
        "hovertemplate": f"%{{x:,.4~r}}{unit}",
    }


def _layout(bars: Bars, axis: str, mode: str, end: float | None) -> dict[str, Any]:
    return {
        "barmode": mode,
        "hovermode": "y unified",
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"}
        | ({} if end is None else {"range": [0, float(f"{end:.5g}")]}),
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "tickvals": list(range(len(bars))),
            "ticktext": [label(_short(name)) for name in bars],
        },
        "legend": {"traceorder": "normal"},
    }


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 :]}"
