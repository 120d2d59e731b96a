"""Identical layers as one line, so that a network of hundreds stays readable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oleaster.sim.performance.simulate import LayerResult

__all__ = ["MOST_BARS", "LayerGroup", "group_bars", "group_layers"]

MOST_BARS = 30
"""That a figure shows of one network."""


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


def group_bars(rows: Sequence[LayerResult]) -> dict[str, list[LayerGroup]]:
    """Bars of a figure by name: identical layers; blocks of layers, or the largest, if many."""
    groups = group_layers(rows)
    blocks: dict[str, list[LayerGroup]] = {}
    if len(groups) <= MOST_BARS:
        for group in groups:  # names in a user's file may repeat
            blocks.setdefault(_label(group.name, group.layers), []).append(group)
        return blocks
    for group in groups:
        first, *rest = group.name.split(".")
        block = f"{first}.{rest[0]}" if rest and rest[0].isdecimal() else first
        blocks.setdefault(block, []).append(group)
    largest = sorted(blocks, key=lambda name: -sum(g.total("cycles") for g in blocks[name]))
    kept = set(largest if len(blocks) <= MOST_BARS else largest[: MOST_BARS - 1])
    bars = {_block_label(name, blocks[name]): blocks[name] for name in blocks if name in kept}
    others = [group for name in blocks if name not in kept for group in blocks[name]]
    if others:
        bars[f"{sum(group.layers for group in others)} other layers"] = others
    return bars


def _block_label(block: str, groups: list[LayerGroup]) -> str:
    layers = sum(group.layers for group in groups)
    return f"{block} ({layers} layers)" if len(groups) > 1 else _label(groups[0].name, layers)


def _label(name: str, layers: int) -> str:
    return f"{name} x{layers}" if layers > 1 else name


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
