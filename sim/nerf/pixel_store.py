"""Cycles of a `PixelStore`'s sweep, which `Shader` and `Compositor` have at a tile's end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["next_ready", "sweep_cycles"]


def next_ready(ready: NDArray[np.bool_], cycle: int) -> int:
    """The first cycle, from `cycle` on, in which a receiver takes a word; it does after `ready`."""
    while cycle < len(ready) and not ready[cycle]:
        cycle += 1
    return cycle


def sweep_cycles(asked: int, pixels: int, ready: NDArray[np.bool_]) -> list[int]:
    """Cycles in which the words are taken, for a sweep asked for in cycle `asked`.

    The store is idle in the cycle after the last. The sweep that follows a reset takes `pixels`
    cycles, from the first without reset.
    """
    taken: list[int] = []
    cycle = asked + 1
    for _ in range(pixels):
        cycle = next_ready(ready, cycle + 1)
        taken.append(cycle)
    return taken
