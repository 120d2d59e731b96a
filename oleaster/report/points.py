"""Sections of explorations: points with their Pareto front, to be hovered over and selected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from oleaster.report.blocks import Block, Fold, Points, Section, Table, Text, Tiles, digits
from oleaster.report.inputs import Exploration, Point

__all__ = ["MOST_VALUES", "exploration_section"]

MOST_VALUES = 400_000
"""Parameters and metrics, points times columns, of all explorations of a page: some 2.5 MB."""

_MOST_LEVELS = 64  # a column of so many different values is kept as their numbers in a list
_MOST_REASONS = 8

_UNITS = {
    "_pct": "%",
    "_us": "µs",
    "_ms": "ms",
    "_pj": "pJ",
    "_uj": "µJ",
    "_mj": "mJ",
    "_w": "W",
    "_db": "dB",
    "_mhz": "MHz",
    "_kb": "kB",
    "_mb": "MB",
    "_gb_s": "GB/s",
    "_bytes": "bytes",
    "_bits": "bits",
    "_um2": "µm²",
    "_ns": "ns",
}

_ACRONYMS = {"dram", "sram", "edp", "fps", "psnr"}


def exploration_section(run: Exploration, most_values: int) -> Section:
    """One study; points beyond `most_values` are left out, never Pareto-optimal ones, and said."""
    title = run.title or run.study
    section = Section(title, "exploration", _lead(run))
    done = [point for point in run.points if point.state == "complete"]
    failed = [point for point in run.points if point.state == "failed"]
    infeasible = sum(not point.feasible for point in done)
    section.blocks.append(
        Tiles(
            [
                (f"{len(run.points):,}", "points"),
                (f"{len(run.pareto):,}", "Pareto-optimal" if len(run.objectives) > 1 else "best"),
                (f"{infeasible:,}", "infeasible: break a constraint"),
                (f"{len(failed):,}", "failed"),
            ]
        )
    )
    if done:
        section.blocks.append(_plot(run, done, most_values))
    if failed:
        section.blocks.append(_failures(failed))
    return section


def columns_of(points: Sequence[Point]) -> tuple[list[str], list[str]]:
    """Names of parameters and of metrics, in the order in which they first come."""
    parameters = dict.fromkeys(name for point in points for name in point.parameters)
    metrics = dict.fromkeys(name for point in points for name in point.values)
    return list(parameters), list(metrics)


def _lead(run: Exploration) -> str:
    goals = {"min": "least", "max": "most"}
    wanted = ", ".join(f"{goals[goal]} {_name(name)}" for name, goal in run.objectives.items())
    seed = run.data.get("seed")
    return f"Study {run.study}: {wanted}. Sampler {run.sampler}" + (
        "." if seed is None else f", seed {seed}."
    )


def _plot(run: Exploration, done: list[Point], most_values: int) -> Block:
    parameters, metrics = columns_of(done)
    best = set(run.pareto)
    kept = _thinned(done, best, max(1, most_values // (len(parameters) + len(metrics) + 1)))
    columns = [
        *(_column(x, [one.parameters.get(x) for one in kept], exact=True) for x in parameters),
        *(_column(x, [one.values.get(x) for one in kept], exact=False) for x in metrics),
    ]
    places = {name: len(parameters) + i for i, name in enumerate(metrics)}
    wanted = [places[name] for name in run.objectives if name in places]
    x, y, color = _axes(wanted, len(parameters), len(columns))
    note = "Box and lasso select points; a click or a tap adds one. Metrics have five digits. "
    if len(kept) < len(done):
        note += (
            f"{len(kept):,} of {len(done):,} points are shown, to keep the page small: all "
            f"{len(best):,} Pareto-optimal ones, and others evenly by number. "
        )
    return Points(
        "Points of the design space",
        note,
        {
            "numbers": [point.number for point in kept],
            "columns": columns,
            "best": [i for i, point in enumerate(kept) if point.number in best],
            "broken": [i for i, point in enumerate(kept) if not point.feasible],
            "goals": {
                str(places[name]): goal for name, goal in run.objectives.items() if name in places
            },
            "x": x,
            "y": y,
            "color": color,
        },
    )


def _axes(wanted: list[int], parameters: int, columns: int) -> tuple[int, int, int]:
    """The first two objectives; one of them over the first parameter. Colours: what is next."""
    if len(wanted) > 1:
        rest = wanted[2] if len(wanted) > 2 else 0 if parameters else -1
        return wanted[0], wanted[1], rest
    y = wanted[0] if wanted else columns - 1
    return (0, y, 1 if parameters > 1 else -1) if parameters else (y, y, -1)


def _thinned(done: list[Point], best: set[int], most: int) -> list[Point]:
    """At most `most` points, but all of the best: others at even distances."""
    if len(done) <= most:
        return done
    others = [point for point in done if point.number not in best]
    room = max(0, most - (len(done) - len(others)))
    kept = {others[i * len(others) // room].number for i in range(room)} | best
    return [point for point in done if point.number in kept]


def _column(name: str, values: list[Any], *, exact: bool) -> dict[str, Any]:
    numeric = all(type(value) in (int, float) for value in values if value is not None)
    column: dict[str, Any] = {"name": _name(name), "numeric": numeric}
    cells = values if numeric else [_text(value) for value in values]
    levels = list(dict.fromkeys(cells))
    if len(levels) > _MOST_LEVELS and numeric:
        return {
            **column,
            "values": values if exact else [_short(value) for value in values],
        }
    if numeric:
        levels.sort(key=lambda value: (value is None, value))
    places = {level: i for i, level in enumerate(levels)}
    return {**column, "levels": levels, "codes": [places[cell] for cell in cells]}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _short(value: float | None) -> float | None:
    """Five digits, which keep a page of 10,000 points small."""
    if value is None:
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _name(name: str) -> str:
    """A metric's name with its unit apart: "time, µs"."""
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return f"{_words(name.removesuffix(suffix))}, {unit}"
    return _words(name)


def _words(name: str) -> str:
    return " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))


def _failures(failed: list[Point]) -> Block:
    reasons = Counter(point.reason or "no reason told" for point in failed).most_common()
    rows = [(f"{count:,}", reason) for reason, count in reasons[:_MOST_REASONS]]
    blocks: list[Block] = [Table((">points", "reason"), rows)]
    rest = len(reasons) - len(rows)
    if rest:
        others = sum(count for _, count in reasons[_MOST_REASONS:])
        blocks.append(Text(f"And {rest:,} other reasons, of {digits(others)} points."))
    return Fold(f"Why {len(failed):,} points failed", blocks)
