"""Rays of a camera, and the lattice of samples on each (as TensoRF: Chen et al., ECCV 2022).

A sample is a pair (ray, k): the point at distance entry + k * step along the ray. Everything here
is float32, computed the same way wherever it is asked, so two samplers agree to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array, Field

__all__ = ["Ints", "Rays", "Samples", "cast_rays", "merge_samples"]

Ints = NDArray[np.int32]


class Samples(NamedTuple):
    """ray, k: (n,) int32, sorted by ray, then by k; no pair twice."""

    ray: Ints
    k: Ints


@dataclass(frozen=True, eq=False)
class Rays:
    """origin: (3,). directions: (3, n), as the camera gives them. entry: (n,) distance of sample 0.

    step: distance between samples. count: samples on every ray, those outside the box included.
    """

    origin: Array
    directions: Array
    entry: Array
    step: np.float32
    count: int

    def __len__(self) -> int:
        return len(self.entry)

    def part(self, first: int, last: int) -> Rays:
        """Rays first .. last - 1, numbered from 0."""
        directions = np.ascontiguousarray(self.directions[:, first:last])
        return Rays(self.origin, directions, self.entry[first:last], self.step, self.count)

    def distances(self, ray: Ints, k: Ints) -> Array:
        """(n,) distance of each sample from the camera."""
        return self.entry[ray] + k.astype(np.float32) * self.step

    def along(self, axis: int, ray: Ints, distances: Array) -> Array:
        """(n,) coordinate along one axis."""
        return self.origin[axis] + self.directions[axis][ray] * distances

    def points(self, samples: Samples) -> Array:
        """(n, 3) positions."""
        distances = self.distances(*samples)
        points = np.empty((len(distances), 3), np.float32)
        for axis in range(3):
            points[:, axis] = self.along(axis, samples.ray, distances)
        return points

    def lengths(self, samples: Samples) -> Array:
        """(n,) distance to the next sample of the ray's lattice; 0 for its last one."""
        ray, k = samples
        lengths = self.distances(ray, k + 1) - self.distances(ray, k)
        lengths[k == self.count - 1] = 0
        return lengths


def cast_rays(field: Field, camera: Camera) -> Rays:
    """One ray through each pixel's centre, row by row; entry into the box within near .. far."""
    directions = np.ascontiguousarray(camera.directions().T)
    origin = camera.origin.astype(np.float32)
    entry = np.full(directions.shape[1], -np.inf, np.float32)
    for axis in range(3):
        along = np.where(directions[axis] == 0, np.float32(1e-6), directions[axis])
        with np.errstate(over="ignore"):  # a ray across the axis never meets its faces
            low = (field.box[0, axis] - origin[axis]) / along
            high = (field.box[1, axis] - origin[axis]) / along
        np.maximum(entry, np.minimum(low, high), out=entry)
    entry = np.clip(entry, np.float32(field.near), np.float32(field.far))
    return Rays(origin, directions, entry, field.step, field.samples)


def merge_samples(parts: list[Samples], count: int) -> Samples:
    """Sets of samples without common members, in any order, as one; count: samples on a ray."""
    keys = [ray.astype(np.int64) * count + k for ray, k in parts]
    merged = np.sort(np.concatenate([np.empty(0, np.int64), *keys]))
    ray = merged // count
    return Samples(ray.astype(np.int32), (merged - ray * count).astype(np.int32))
