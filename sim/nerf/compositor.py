"""When samples, light and pixels pass the compositor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import pipe_depth
from oleaster.sim.nerf.pixel_store import next_ready

__all__ = ["CompositorCycles", "compositor_cycles"]


@dataclass
class CompositorCycles:
    """Cycles of the handshakes of streams i, light and o."""

    accepted: list[int] = field(default_factory=list)
    light: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


def compositor_cycles(
    offered: Sequence[int],
    ends: Sequence[bool],
    light_offered: Sequence[int],
    pixels: int,
    ready: NDArray[np.bool_],
) -> CompositorCycles:
    """From the first cycle after a reset, which clears all pixels.

    offered, light_offered: cycle from which the sender has each word, if the words before are
    accepted; rising. ends: whether a word is the end of a tile; each is followed by a light for
    every pixel. ready: whether the receiver takes a pixel, cycle by cycle; always, beyond its end.
    """
    found = CompositorCycles()
    lights: Iterator[int] = iter(light_offered)
    latency = LATENCY["pixel-finisher"]
    depth = pipe_depth(latency)
    idle = pixels
    for cycle, end in zip(offered, ends, strict=True):
        at = max(cycle, idle)
        found.accepted.append(at)
        idle = at + 1
        if not end:
            continue
        idle += 1  # in which the first pixel's sums are read
        for _ in range(pixels):
            idle = max(idle, next(lights))
            if len(found.taken) >= depth:
                idle = max(idle, found.taken[-depth] + 1)
            found.light.append(idle)
            first = found.taken[-1] + 1 if found.taken else 0
            found.taken.append(next_ready(ready, max(idle + latency + 1, first)))
            idle += 1
    return found
