"""When ranges of k enter the sample generator, and when the samples in their cubes leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import parts_cycles

__all__ = ["sample_cycles"]


def sample_cycles(
    lengths: Sequence[int],
    kept: NDArray[np.bool_],
    offered: Sequence[int],
    ready: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each range is accepted, and in which each sample that is kept is taken.

    lengths: samples under test of each range, 1 for a word with `end`, which is kept. kept: of all
    of them. offered, ready: as in `pipe_cycles`.
    """
    return parts_cycles(lengths, kept, offered, ready, LATENCY["sample-generator"])
