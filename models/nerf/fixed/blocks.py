"""Blocks of the mask's cubes, and which pixels may see them (ours).

A block is non-zero if one of its 8 x 8 x 8 cubes is. What is not seen is passed over as a whole;
`hw/nerf/finder.py` says why no sample is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Mask
from oleaster.models.nerf.fixed.rays import Frame
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.walk import project_blocks, project_windows
from oleaster.models.nerf.renderer.config import BLOCK
from oleaster.models.nerf.windows import Windows

__all__ = ["BlockWindows", "block_bits", "plan_blocks"]


def block_bits(cubes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(nz, ny, nx) cubes -> (ceil(nz / 8), ceil(ny / 8), ceil(nx / 8)) blocks."""
    padded = np.pad(cubes, [(0, -size % BLOCK) for size in cubes.shape])
    counts = [part for size in padded.shape for part in (size // BLOCK, BLOCK)]
    return np.asarray(padded.reshape(counts).any(axis=(1, 3, 5)))


@dataclass(frozen=True, eq=False)
class BlockWindows:
    """bits: of the blocks. cells: (n, 3) of those that are non-zero. windows: of each of them."""

    bits: NDArray[np.bool_]
    cells: Longs
    windows: Windows

    def seen(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
        """As `bits`: blocks with a window in a tile. right, bottom: one past its last pixel."""
        w = self.windows
        meets = np.maximum(w.left, left) < np.minimum(w.right, right)
        meets &= np.maximum(w.top, top) < np.minimum(w.bottom, bottom)
        found = np.zeros_like(self.bits)
        x, y, z = self.cells[meets].T
        found[z, y, x] = True
        return found


def plan_blocks(frame: Frame, mask: Mask) -> BlockWindows:
    """Find and project a mask's non-zero blocks."""
    bits = block_bits(mask.cubes)
    z, y, x = np.nonzero(bits)
    cells = np.stack([x, y, z], axis=1)
    return BlockWindows(bits, cells, project_windows(frame, project_blocks(frame, mask), cells))
