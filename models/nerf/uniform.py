"""TensoRF's sampler: every lattice point of every ray, those in the box tested against the mask."""

from __future__ import annotations

import numpy as np

from oleaster.models.nerf.field import Field
from oleaster.models.nerf.samples import Rays, Samples

__all__ = ["uniform_samples"]

_POINTS_AT_ONCE = 1 << 20


def uniform_samples(field: Field, rays: Rays) -> tuple[Samples, int]:
    """The samples inside the box that pass the mask, and how many were in the box.

    The second is the number of times that the mask is read.
    """
    k = np.arange(rays.count, dtype=np.int32)
    at_once = max(1, _POINTS_AT_ONCE // rays.count)
    candidates = 0
    found: list[Samples] = []
    for first in range(0, len(rays), at_once):
        part = rays.part(first, first + at_once)
        distances = part.entry[:, None] + k.astype(np.float32) * part.step
        inside = np.ones(distances.shape, bool)
        for axis in range(3):
            at = part.origin[axis] + part.directions[axis][:, None] * distances
            inside &= (at >= field.box[0, axis]) & (at <= field.box[1, axis])
        ray, index = (each.astype(np.int32) for each in np.nonzero(inside))
        candidates += len(ray)
        kept = field.occupied(part.points(Samples(ray, index)))
        found.append(Samples(ray[kept] + np.int32(first), index[kept]))
    if not found:
        return Samples(np.empty(0, np.int32), np.empty(0, np.int32)), 0
    return Samples(*(np.concatenate(each) for each in zip(*found, strict=True))), candidates
