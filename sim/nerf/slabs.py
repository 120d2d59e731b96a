"""When windows enter the slab unit, and when the ranges of their pixels leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import parts_cycles

__all__ = ["slab_cycles"]


def slab_cycles(
    pixels: Sequence[int],
    kept: NDArray[np.bool_],
    offered: Sequence[int],
    ready: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each window is accepted, and in which each range that is kept is taken.

    pixels: of each window, 1 for a word with `end`, which is kept. kept: of all pixels, those that
    are not dark and have a range. offered, ready: as in `pipe_cycles`.
    """
    return parts_cycles(pixels, kept, offered, ready, LATENCY["slab-unit"])
