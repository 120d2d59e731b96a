"""When cubes enter the projector, and when their windows leave; its frame's constants as words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.rays import Frame
from oleaster.models.nerf.fixed.walk import Projection
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.fixed.words import corner_fields
from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import PipeClock, Receiver, receiver
from oleaster.sim.nerf.words import packed

__all__ = ["CORNERS", "TO_FIRST_CORNER", "ProjectorClock", "projector_cycles", "view_word"]

CORNERS = 8
TO_FIRST_CORNER = 5  # cycles from a cube's handshake to the sum that its corners begin with


def view_word(
    frame: Frame, projection: Projection, left: int, top: int, right: int, bottom: int
) -> int:
    """Of `hw/nerf/projector.py`'s ViewWord. right, bottom: one past the tile's last pixel."""
    widths = [number.bits for number in corner_fields().values()]
    rows = [*projection.steps.T, *projection.corners]
    corners = [each for row in rows for each in zip(row.tolist(), widths, strict=True)]
    ends = [(at, PIXEL_BITS + 1) for at in (right, bottom)]
    size = [(at, PIXEL_BITS + 1) for at in (frame.camera.width, frame.camera.height)]
    return packed([*corners, *size, (left, PIXEL_BITS), (top, PIXEL_BITS), *ends])


class ProjectorClock:
    """An idle projector, cube by cube."""

    def __init__(self) -> None:
        self._corners = PipeClock(LATENCY["projector"])
        self._handed_over = -1

    def offer(self, cycle: int, end: bool, take: Receiver | None) -> int:
        """When the next cube is accepted, which its sender has from that cycle on.

        end: a word with `end`, which goes through as one corner. take: the window's receiver, or
        None if there is no window.
        """
        accepted = max(cycle, self._handed_over + 1)
        self._handed_over = max(accepted + TO_FIRST_CORNER, self._corners.accepted)
        corners = 1 if end else CORNERS
        for i in range(corners):
            self._corners.accept(self._handed_over + 1)
            self._corners.answer(take if i == corners - 1 else None)
        return accepted


def projector_cycles(
    ends: Sequence[bool],
    kept: Sequence[bool],
    offered: Sequence[int],
    ready: NDArray[np.bool_],
) -> tuple[list[int], list[int]]:
    """Cycles in which each cube is accepted, and in which each window that is kept is taken.

    ends: words with `end`, which are kept. kept: of each word. offered: cycle from which the sender
    has the word, if the words before are accepted. ready: as in `receiver`.
    """
    clock, take = ProjectorClock(), receiver(ready)
    taken: list[int] = []

    def record(cycle: int) -> int:
        taken.append(take(cycle))
        return taken[-1]

    words = zip(offered, ends, kept, strict=True)
    accepted = [clock.offer(cycle, end, record if keeps else None) for cycle, end, keeps in words]
    return accepted, taken
