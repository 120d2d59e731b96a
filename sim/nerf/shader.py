"""When samples, weights and light pass the shader, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.pixel_store import next_ready, sweep_cycles

__all__ = ["SHADER_DEPTH", "SHADER_LATENCY", "ShaderCycles", "shader_cycles"]

SHADER_LATENCY = 4
"""Cycles from a sample's handshake until it is known whether a weight leaves."""

SHADER_DEPTH = 8
"""Samples on their way and weights that wait, at most."""


@dataclass
class ShaderCycles:
    """Cycles of the handshakes of streams i, o and light."""

    accepted: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    light: list[int] = field(default_factory=list)


def shader_cycles(
    offered: Sequence[int],
    kept: Sequence[bool],
    ends: Sequence[bool],
    pixels: int,
    ready: NDArray[np.bool_],
    light_ready: NDArray[np.bool_],
) -> ShaderCycles:
    """From the first cycle after a reset, which clears all pixels.

    offered: cycle from which the sender has each word, if the words before are accepted; rising.
    kept: whether a word leaves, too, as weights above the threshold and ends of tiles do. ends:
    whether it is one. ready, light_ready: whether the receivers take a word, cycle by cycle;
    always, beyond their end.

    A sample can be accepted if fewer than `SHADER_DEPTH` are held: a weight from its sample's
    handshake to its own, a sample without one for `SHADER_LATENCY` cycles.
    """
    found = ShaderCycles()
    held: list[int] = []  # first cycles in which the room of each can be used again
    idle = pixels
    for cycle, stays, end in zip(offered, kept, ends, strict=True):
        at = max(cycle, idle)
        while held and held[0] <= at:
            heappop(held)
        while len(held) >= SHADER_DEPTH:
            at = heappop(held)
        found.accepted.append(at)
        idle = at + 1
        leaves = at + SHADER_LATENCY
        if stays:
            first = found.taken[-1] + 1 if found.taken else 0
            leaves = next_ready(ready, max(leaves + 1, first))
            found.taken.append(leaves)
        heappush(held, leaves + 1)
        if end:
            found.light += sweep_cycles(at, pixels, light_ready)
            idle = found.light[-1] + 1
    return found
