"""When samples, light and pixels pass the compositor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import PipeClock, receiver

__all__ = ["CompositorCycles", "compositor_cycles"]


class CompositorCycles(NamedTuple):
    """Cycles of the handshakes of streams i, light and o."""

    accepted: list[int]
    light: list[int]
    taken: list[int]


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
    accepted: list[int] = []
    lights = iter(light_offered)
    light: list[int] = []
    taken: list[int] = []
    finisher, take = PipeClock(LATENCY["pixel-finisher"]), receiver(ready)
    idle = pixels
    for cycle, end in zip(offered, ends, strict=True):
        accepted.append(max(cycle, idle))
        idle = accepted[-1] + 1
        if end:
            idle += 1  # in which the first pixel's sums are read
            for _ in range(pixels):
                light.append(finisher.accept(max(idle, next(lights))))
                finisher.answer(take)
                taken.append(finisher.taken)
            idle = finisher.accepted + 1
    return CompositorCycles(accepted, light, taken)
