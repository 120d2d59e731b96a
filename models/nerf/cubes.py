"""The cube-driven sampler: from each non-zero cube to the samples in it (our reading of RT-NeRF).

A cube is a cell between points of the mask's lattice, non-zero if one of its corners is set. Each
is projected to a window of pixels; the window's rays are cut with the cube by slabs, which gives a
range of k. The test is a little too wide (floating point), so a sample counts only if its lattice
coordinate, computed as the mask test does, falls into this cell: cells are half-open, and each
sample is found once. The sets of this sampler and of `uniform.py` are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array, Field, Mask
from oleaster.models.nerf.order import mask_lattice, octant_ranks, outward_ranks
from oleaster.models.nerf.samples import Ints, Rays, Samples, merge_samples
from oleaster.models.nerf.windows import Windows, ball_windows, box_windows

__all__ = ["CubeCounts", "Order", "Walk", "plan_walk"]

Order = Literal["exact", "octants"]

_TESTS_AT_ONCE = 1 << 12, 1 << 19  # at least, at most
_FRONTS = 64  # of the exact order: more skip more samples, and cost more calls
_EPSILON = float(np.finfo(np.float32).eps)


@dataclass
class CubeCounts:
    """What a walk did. pixel_tests: cubes and rays cut with each other. points: samples that these
    tests let through; outside: those of them outside the cube, the box or the mask."""

    pixel_tests: int = 0
    points: int = 0
    outside: int = 0


@dataclass(frozen=True, eq=False)
class Walk:
    """Non-zero cubes of a field in the order in which a camera meets them.

    cells: (n, 3) along x, y, z. windows: of the image. ranks: (n,), never falling; a ray meets
    cubes in this order, those of equal rank in any order. ball: test circumscribed balls instead.
    """

    field: Field
    mask: Mask
    width: int
    cells: Ints
    windows: Windows
    ranks: NDArray[np.int64]
    exact: bool
    ball: bool

    def __len__(self) -> int:
        return len(self.cells)

    def batches(
        self, rays: Rays, top: int, bottom: int, counts: CubeCounts, *, whole: bool = False
    ) -> Iterator[Samples]:
        """Samples on the rays of the image's rows top .. bottom - 1, front to back.

        rays: of these rows. Of two samples of one ray, the nearer is in an earlier batch or in the
        same one. whole: everything in one batch.
        """
        w = self.windows
        rows = np.clip(w.bottom, top, bottom) - np.clip(w.top, top, bottom)
        pixels = rows.astype(np.int64) * (w.right - w.left)
        seen = np.flatnonzero(pixels)
        # Exact: any cut is a front. Octants: samples wait until theirs is complete.
        ends = np.flatnonzero(np.diff(self.ranks[seen])) + 1 if not self.exact else np.empty(0, int)
        most = int(np.clip(pixels.sum() // _FRONTS, *_TESTS_AT_ONCE))
        parts: list[Samples] = []
        for octant in np.split(seen, ends):
            for first, last in _cuts(pixels[octant], most):
                parts.append(self._find(octant[first:last], rays, top, bottom, counts))
                if not whole and (self.exact or last == len(octant)):
                    yield merge_samples(parts, rays.count)
                    parts = []
        if parts:
            yield merge_samples(parts, rays.count)

    def _find(
        self, cubes: NDArray[np.int64], rays: Rays, top: int, bottom: int, counts: CubeCounts
    ) -> Samples:
        cube, ray = self._pairs(cubes, top, bottom)
        counts.pixel_tests += len(ray)
        near, far = (self._ball if self.ball else self._slabs)(cube, ray, rays)
        hit = np.flatnonzero(near <= far)
        cube, ray = cube[hit], ray[hit]
        start, end = ((t[hit] - rays.entry[ray]) / rays.step for t in (near, far))
        # 0.01 is far above the rounding of these quotients; the cell's own test decides.
        start = np.ceil(np.clip(start - np.float32(0.01), 0, rays.count))
        end = np.floor(np.minimum(end + np.float32(0.01), rays.count - 1))
        lengths = np.maximum(end - start + 1, 0).astype(np.int64)
        counts.points += int(lengths.sum())
        cube, ray = np.repeat(cube, lengths), np.repeat(ray, lengths)
        k = np.repeat(start.astype(np.int32), lengths) + _steps(lengths)
        kept = self._inside(cube, ray, k, rays)
        counts.outside += len(k) - len(kept)
        return Samples(ray[kept], k[kept])

    def _pairs(self, cubes: NDArray[np.int64], top: int, bottom: int) -> tuple[Ints, Ints]:
        """Every cube with every ray of its window."""
        w = self.windows
        left, width = w.left[cubes], w.right[cubes] - w.left[cubes]
        first = np.maximum(w.top[cubes], top)
        lines = np.minimum(w.bottom[cubes], bottom) - first
        # One entry for each row of a window, then one for each pixel of the row.
        row = np.repeat(first - top, lines) + _steps(lines)
        start = row * np.int32(self.width) + np.repeat(left, lines)
        widths = np.repeat(width, lines)
        ray = np.repeat(start, widths) + _steps(widths)
        return np.repeat(np.repeat(cubes.astype(np.int32), lines), widths), ray

    def _slabs(self, cube: Ints, ray: Ints, rays: Rays) -> tuple[Array, Array]:
        near = np.full(len(ray), -np.inf, np.float32)
        far = np.full(len(ray), np.inf, np.float32)
        slack = _slack(self.field, rays.origin)
        for axis in range(3):
            along = rays.directions[axis]
            # Over the whole reach, a direction of 1e-7 strays by less than the slack.
            steep = np.where(np.abs(along) < 1e-7, np.float32(1e-7), along)
            inverse = (1 / steep)[ray]
            faces = _faces(self.mask, axis) - float(rays.origin[axis])
            cell = self.cells[cube, axis]
            low = (faces - slack).astype(np.float32)[cell] * inverse
            high = (faces + slack).astype(np.float32)[cell + 1] * inverse
            np.maximum(near, np.minimum(low, high), out=near)
            np.minimum(far, np.maximum(low, high), out=far)
        return near, far

    def _ball(self, cube: Ints, ray: Ints, rays: Rays) -> tuple[Array, Array]:
        """In float64: the discriminant is a small difference of large squares."""
        radius = _radius(self.mask) + _slack(self.field, rays.origin)
        middle = np.zeros(len(ray))
        square, apart = np.zeros(len(ray)), np.zeros(len(ray))
        for axis in range(3):
            faces = _faces(self.mask, axis) - float(rays.origin[axis])
            centre = ((faces[1:] + faces[:-1]) / 2)[self.cells[cube, axis]]
            along = rays.directions[axis].astype(np.float64)[ray]
            middle += along * centre
            square += along * along
            apart += centre * centre
        root = middle * middle - square * (apart - radius * radius)
        half = np.sqrt(np.maximum(root, 0))
        near = np.where(root >= 0, (middle - half) / square, np.inf)
        far = np.where(root >= 0, (middle + half) / square, -np.inf)
        return near.astype(np.float32), far.astype(np.float32)

    def _inside(self, cube: Ints, ray: Ints, k: Ints, rays: Rays) -> NDArray[np.int64]:
        """Indices of samples that lie in their cube's half-open cell and pass the mask there."""
        distances = rays.distances(ray, k)
        kept = np.ones(len(k), bool)
        on_face = np.zeros(len(k), bool)
        box = self.field.box
        for axis in range(3):
            at = rays.along(axis, ray, distances)
            kept &= (at >= box[0, axis]) & (at <= box[1, axis])
            at = mask_lattice(self.mask, axis, at)
            cell, last = self.cells[cube, axis].astype(np.float32), self.mask.size[axis] - 1
            beyond = at - cell
            kept &= (beyond >= 0) & ((beyond < 1) | ((at == last) & (cell == last - 1)))
            on_face |= (beyond == 0) | (beyond == 1)
        # Inside a cell all eight corners weigh; on its faces only some, and they may all be 0.
        faces = np.flatnonzero(kept & on_face)
        kept[faces] = self.field.occupied(rays.points(Samples(ray[faces], k[faces])))
        return np.flatnonzero(kept)


def plan_walk(field: Field, camera: Camera, *, order: Order = "exact", ball: bool = False) -> Walk:
    """Find, project and order a field's non-zero cubes. The field must have a mask."""
    mask = field.mask
    assert mask is not None
    z, y, x = np.nonzero(mask.cubes)
    cells = np.stack([x, y, z], axis=1).astype(np.int32)
    ranks = (
        outward_ranks(cells, mask, camera.origin, camera.pose[:, 2])
        if order == "exact"
        else octant_ranks(cells, mask, camera.origin)
    )
    sequence = np.argsort(ranks, kind="stable")
    cells, ranks = cells[sequence], ranks[sequence]
    slack = _slack(field, camera.origin)
    faces = [_faces(mask, axis) for axis in range(3)]
    low = np.stack([faces[axis][cells[:, axis]] for axis in range(3)], axis=1)
    high = np.stack([faces[axis][cells[:, axis] + 1] for axis in range(3)], axis=1)
    if ball:
        radius = _radius(mask) + slack
        windows = ball_windows(camera, (low + high) / 2, radius, field.near)
    else:
        windows = box_windows(camera, low - slack, high + slack, field.near)
    return Walk(field, mask, camera.width, cells, windows, ranks, order == "exact", ball)


def _faces(mask: Mask, axis: int) -> NDArray[np.float64]:
    """(size,) coordinates of the lattice's planes across an axis."""
    low, high = mask.box[:, axis].astype(np.float64)
    return np.linspace(low, high, mask.size[axis])


def _radius(mask: Mask) -> float:
    """Of the ball around a cube, through its corners."""
    edges = (mask.box[1] - mask.box[0]).astype(np.float64) / (np.array(mask.size) - 1)
    return float(np.linalg.norm(edges)) / 2


def _slack(field: Field, origin: Array) -> float:
    """Above the rounding of a sample's position: what a cube is widened by before it is tested."""
    assert field.mask is not None
    reach = field.far + float(np.linalg.norm(field.box[1] - field.box[0]))
    reach += float(np.abs(origin).max() + np.abs(field.mask.box).max())
    return 8 * _EPSILON * reach


def _steps(lengths: NDArray[np.integer]) -> Ints:
    """0 .. length - 1 for each length, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return (np.arange(total) - np.repeat(ends - lengths, lengths)).astype(np.int32)


def _cuts(sizes: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges first, last of things whose sizes add up to about `most`."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(ends):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield first, last
        first = last
