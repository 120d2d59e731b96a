"""TensoRF's sampler: every lattice point of every ray, those in the box tested against the mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oleaster.models.nerf.field import Field
from oleaster.models.nerf.samples import Rays, Samples

__all__ = ["count_candidates", "uniform_samples"]

_POINTS_AT_ONCE = 1 << 20


def uniform_samples(field: Field, rays: Rays) -> tuple[Samples, int]:
    """The samples inside the box that pass the mask, and how many were in the box.

    The second is the number of times that the mask is read.
    """
    candidates = 0
    found: list[Samples] = []
    for first, part, inside in _in_box(field, rays):
        candidates += len(inside.ray)
        kept = field.occupied(part.points(inside))
        found.append(Samples(inside.ray[kept] + np.int32(first), inside.k[kept]))
    if not found:
        return Samples(np.empty(0, np.int32), np.empty(0, np.int32)), 0
    return Samples(*(np.concatenate(each) for each in zip(*found, strict=True))), candidates


def count_candidates(field: Field, rays: Rays) -> int:
    """How often `uniform_samples` reads the mask, without reading it."""
    return sum(len(inside.ray) for _, _, inside in _in_box(field, rays))


def _in_box(field: Field, rays: Rays) -> Iterator[tuple[int, Rays, Samples]]:
    """Some rays at a time: number of the first, these rays, and all their samples in the box."""
    k = np.arange(rays.count, dtype=np.int32)
    at_once = max(1, _POINTS_AT_ONCE // rays.count)
    for first in range(0, len(rays), at_once):
        part = rays.part(first, first + at_once)
        distances = part.entry[:, None] + k.astype(np.float32) * part.step
        inside = np.ones(distances.shape, bool)
        for axis in range(3):
            at = part.origin[axis] + part.directions[axis][:, None] * distances
            inside &= (at >= field.box[0, axis]) & (at <= field.box[1, axis])
        ray, index = (each.astype(np.int32) for each in np.nonzero(inside))
        yield first, part, Samples(ray, index)
