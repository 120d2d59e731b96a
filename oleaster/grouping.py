"""Identical layers as one line, so that a network of hundreds stays readable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oleaster.sim.performance.simulate import LayerResult

__all__ = ["LayerGroup", "group_layers"]


@dataclass(frozen=True)
class LayerGroup:
    """Layers that differ in their names' numbers only.

    name: "layer.*.attention.query" if the network has no other layer of that pattern, else with
    the numbers meant, as "layer.[0-3,7].attention.query"; the plain name of a single layer.
    layers: how many. row: one of them.
    """

    name: str
    layers: int
    row: LayerResult

    def total(self, column: str) -> float:
        """The sum of a column, in its unit, over the group's layers."""
        value: float = getattr(self.row, column)
        return value * self.layers


def group_layers(rows: Sequence[LayerResult]) -> list[LayerGroup]:
    """Groups in the order in which their first layers run."""
    members: dict[LayerResult, list[str]] = {}
    with_pattern: dict[str, int] = {}
    for row in rows:
        pattern = ".".join("*" if part.isdecimal() else part for part in row.layer.split("."))
        with_pattern[pattern] = with_pattern.get(pattern, 0) + 1
        members.setdefault(row._replace(layer=pattern), []).append(row.layer)
    return [
        LayerGroup(_name(key.layer, names, with_pattern[key.layer]), len(names), key)
        for key, names in members.items()
    ]


def _name(pattern: str, names: list[str], with_pattern: int) -> str:
    if len(names) == 1:
        return names[0]
    places = [i for i, part in enumerate(pattern.split(".")) if part == "*"]
    if len(names) == with_pattern or len(places) != 1:
        return pattern
    numbers = sorted(int(name.split(".")[places[0]]) for name in names)
    return pattern.replace("*", f"[{_ranges(numbers)}]")


def _ranges(numbers: list[int]) -> str:
    """Rising numbers as people write them: 0-3,7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
