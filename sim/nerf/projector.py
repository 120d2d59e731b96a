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
from oleaster.sim.nerf.pipe import PipeClock
from oleaster.sim.nerf.words import packed

__all__ = ["projector_cycles", "view_word"]

_CORNERS = 8
_TO_FIRST_CORNER = 5  # cycles from a cube's handshake to the sum that its corners begin with


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


def projector_cycles(
    ends: Sequence[bool],
    kept: Sequence[bool],
    offered: Sequence[int],
    ready: NDArray[np.bool_],
) -> tuple[list[int], list[int]]:
    """Cycles in which each cube is accepted, and in which each window that is kept is taken.

    ends: words with `end`, which go through as one corner, and are kept. kept: of each word.
    offered: cycle from which the sender has the word, if the words before are accepted. ready: as
    in `PipeClock`.
    """
    clock = PipeClock(LATENCY["projector"], ready)
    accepted: list[int] = []
    taken: list[int] = []
    handed_over, sent = -1, -1
    for end, keeps, cycle in zip(ends, kept, offered, strict=True):
        accepted.append(max(cycle, handed_over + 1))
        handed_over = max(accepted[-1] + _TO_FIRST_CORNER, sent)
        corners = 1 if end else _CORNERS
        for i in range(corners):
            clock.offer(handed_over + 1, keeps and i == corners - 1)
        sent = clock.accepted[-1]
        if keeps:
            taken.append(clock.taken[-1])
    return accepted, taken
