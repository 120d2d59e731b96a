"""Orders in which cubes can be walked so that no ray ever goes back (our reading of RT-NeRF).

RT-NeRF's abstract says "coarse-grained view-dependent computing ordering"; octants are our reading
of it. Why no ray goes back: along a ray every coordinate is monotone, in exact arithmetic and in
float32 alike (each rounding is), so its cell only ever moves away from the camera's, axis by axis.
Both orders are linear extensions of that, if the camera's own cell comes from the same arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, Mask
from oleaster.models.nerf.samples import Ints

__all__ = [
    "OCTANT_VISITS",
    "camera_cell",
    "mask_lattice",
    "nested_order",
    "octant_ranks",
    "outward_ranks",
]

OCTANT_VISITS = (0, 1, 2, 4, 3, 5, 6, 7)
"""Octants by which middle planes (bits 0, 1, 2: x, y, z) lie between them and the camera."""


def mask_lattice(mask: Mask, axis: int, positions: Array) -> Array:
    """(n,) coordinates along an axis to lattice coordinates, by the mask test's arithmetic."""
    size = np.float32(mask.size[axis] - 1)
    span = size / (mask.box[1, axis] - mask.box[0, axis])
    lattice: Array = (positions - mask.box[0, axis]) * span
    return lattice


def camera_cell(mask: Mask, origin: Array) -> NDArray[np.int64]:
    """(3,) cell in which the camera is; below 0 or beyond the last one if it is outside."""
    at = [mask_lattice(mask, axis, origin[axis : axis + 1])[0] for axis in range(3)]
    return np.floor(np.clip(at, -(1 << 30), 1 << 30)).astype(np.int64)


def outward_ranks(cells: Ints, mask: Mask, origin: Array, nest: Array) -> NDArray[np.int64]:
    """(n, 3) cells -> (n,) ranks of the exact walk: nested loops, each outwards from the camera.

    nest: (3,) a direction; the axis nearest to it is the outermost loop. Two cells of one rank lie
    on different sides of the camera, so that no ray passes both.
    """
    away = np.abs(cells - camera_cell(mask, origin))
    away -= away.min(axis=0, initial=1 << 31)
    reach = [int(size) for size in away.max(axis=0, initial=0) + 1]
    outer, middle, inner = np.argsort(-np.abs(nest), kind="stable")
    ranks: NDArray[np.int64] = away[:, outer] * reach[middle] + away[:, middle]
    return ranks * reach[inner] + away[:, inner]


def octant_ranks(cells: Ints, mask: Mask, origin: Array) -> NDArray[np.int64]:
    """(n, 3) cells -> (n,) 0 .. 7: octants about the middle planes, the camera's own first."""
    middle = (np.array(mask.size) - 1) // 2
    near = camera_cell(mask, origin) >= middle
    behind = ((cells >= middle) != near) @ np.array([1, 2, 4])
    return np.argsort(OCTANT_VISITS)[behind]


def nested_order(
    cells: Ints, home: NDArray[np.int64], middle: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """(n, 3) cells -> (n,) indices in the order of the circuit, `hw/nerf/cubes.py`.

    Loops over z, y and x, x innermost, each from the camera's cell, home, to the upper end, then
    from its neighbour below to the lower one. A ray stays on one side of home along each axis, so
    it never goes back, as in `outward_ranks`. With middle, the lattice's middle planes: octants
    about them instead, each with its loops ascending.
    """
    away = cells.astype(np.int64) - home
    if middle is None:
        keys = np.where(away >= 0, away, (1 << 31) - away)
        return np.lexsort(keys.T)
    behind = ((cells >= middle) != (home >= middle)) @ np.array([1, 2, 4])
    x, y, z = cells.T
    return np.lexsort((x, y, z, np.argsort(OCTANT_VISITS)[behind]))
