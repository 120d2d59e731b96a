"""From non-zero cubes to samples, in integers (our reading of RT-NeRF's walk; see `cubes.py`).

A cube is projected to a window of pixels; each of the window's rays is cut with the cube by slabs,
which gives a range of k, a little too wide for the errors of reciprocals; a sample of that range
counts if the whole part of its lattice coordinate is this cube. So no sample is found twice, and
none is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.field import FieldError, Mask
from oleaster.models.nerf.fixed.rays import SLACK, FixedRays, Frame
from oleaster.models.nerf.fixed.tables import Longs, reciprocal, rounded, to_fixed
from oleaster.models.nerf.order import outward_ranks
from oleaster.models.nerf.renderer.config import BLOCK
from oleaster.models.nerf.samples import Ints, Samples, merge_samples
from oleaster.models.nerf.windows import Windows

__all__ = [
    "DEPTH_BITS",
    "LARGEST_CORNER",
    "NEAREST_DEPTH",
    "PROJECTION_BITS",
    "RANGE_BITS",
    "RANGE_MARGIN",
    "WINDOW_BITS",
    "WINDOW_MARGIN",
    "FixedWalk",
    "Projection",
    "plan_fixed",
    "project",
    "project_blocks",
    "project_windows",
]

RANGE_BITS = 8
"""Fraction of k, where a ray enters and leaves a cube."""

RANGE_MARGIN = 1 << (RANGE_BITS - 3)
"""An eighth of a step: 2^12 samples, 2^-17 off, are 2^-5."""

PROJECTION_BITS = 28
"""Fraction of a corner before its division; depths are in cells."""

LARGEST_CORNER = 1 << 56
"""Above all of a corner's coordinates, its fraction included."""

NEAREST_DEPTH = 1 << (PROJECTION_BITS - 2)
"""A cube with a nearer corner may be everywhere."""

DEPTH_BITS = 23
"""Of a depth behind its leading one, in the division."""

WINDOW_BITS = 6
"""Fraction of a pixel coordinate."""

WINDOW_MARGIN = 1 << (WINDOW_BITS - 4)
"""1/16 pixel: 2^13 pixels, 2^-17 off; SLACK is for the rest."""

_EVERY = 1 << 62  # beyond any k
_TESTS_AT_ONCE = 1 << 12, 1 << 19  # at least, at most
_FRONTS = 64


@dataclass(frozen=True, eq=False)
class FixedWalk:
    """Non-zero cubes in the order in which a camera meets them. cells: (n, 3). windows: of each."""

    frame: Frame
    cells: Longs
    windows: Windows

    def __len__(self) -> int:
        return len(self.cells)

    def batches(
        self, rays: FixedRays, top: int, bottom: int, counts: CubeCounts
    ) -> Iterator[Samples]:
        """Samples on the rays of the image's rows top .. bottom - 1, front to back.

        Of two samples of one ray, the nearer is in an earlier batch or in the same one.
        """
        w = self.windows
        rows = np.clip(w.bottom, top, bottom) - np.clip(w.top, top, bottom)
        pixels = rows.astype(np.int64) * (w.right - w.left)
        seen = np.flatnonzero(pixels)
        ends = np.cumsum(pixels[seen])
        most = int(np.clip(pixels.sum() // _FRONTS, *_TESTS_AT_ONCE))
        first = 0
        while first < len(seen):
            done = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + most, side="right")))
            found = self._find(seen[first:last], rays, top, bottom, counts)
            yield merge_samples([found], self.frame.count)
            first = last

    def _find(
        self, cubes: Longs, rays: FixedRays, top: int, bottom: int, counts: CubeCounts
    ) -> Samples:
        cube, ray = self.pairs(cubes, top, bottom)
        counts.pixel_tests += len(ray)
        start, end = self.ranges(cube, ray, rays)
        lengths = np.maximum(end - start + 1, 0)
        counts.points += int(lengths.sum())
        cube, ray = np.repeat(cube, lengths), np.repeat(ray, lengths)
        k = (np.repeat(start, lengths) + _steps(lengths)).astype(np.int32)
        kept = self.inside(cube, ray, k, rays)
        counts.outside += len(k) - len(kept)
        return Samples(ray[kept], k[kept])

    def pairs(self, cubes: Longs, top: int, bottom: int) -> tuple[Longs, Ints]:
        """Every cube with every ray of its window, row by row."""
        w = self.windows
        left, width = w.left[cubes], w.right[cubes] - w.left[cubes]
        first = np.maximum(w.top[cubes], top)
        lines = np.minimum(w.bottom[cubes], bottom) - first
        row = np.repeat(first - top, lines) + _steps(lines)
        start = row * self.frame.camera.width + np.repeat(left, lines)
        widths = np.repeat(width, lines)
        ray = np.repeat(start, widths) + _steps(widths)
        return np.repeat(np.repeat(cubes, lines), widths), ray.astype(np.int32)

    def ranges(self, cube: Longs, ray: Ints, rays: FixedRays) -> tuple[Longs, Longs]:
        """(n,) first and last k that may lie in the cube; first > last if none."""
        near, far = self._slabs(cube, ray, rays)
        start = np.maximum((near - RANGE_MARGIN + (1 << RANGE_BITS) - 1) >> RANGE_BITS, 0)
        return start, np.minimum((far + RANGE_MARGIN) >> RANGE_BITS, self.frame.count - 1)

    def _slabs(self, cube: Longs, ray: Ints, rays: FixedRays) -> tuple[Longs, Longs]:
        """(n,) first and last k in the cube, RANGE_BITS of fraction; first > last if none."""
        bits = self.frame.config.position_bits
        near, far = np.full(len(ray), -_EVERY), np.full(len(ray), _EVERY)
        for axis in range(3):
            low = (self.cells[cube, axis] << bits) - rays.mask_base[axis][ray]
            inverse = rays.inverse[axis][ray]
            delta = rays.mask_delta[axis][ray]
            inverse = np.where(delta < 0, -inverse, inverse)
            shift = rays.exponent[axis][ray] - RANGE_BITS
            a = rounded(low * inverse, shift)
            b = rounded((low + (1 << bits)) * inverse, shift)
            # Across an axis, also along a face, only the samples' own test can tell.
            a[delta == 0], b[delta == 0] = -_EVERY, _EVERY
            np.maximum(near, np.minimum(a, b), out=near)
            np.minimum(far, np.maximum(a, b), out=far)
        return near, far

    def inside(self, cube: Longs, ray: Ints, k: Ints, rays: FixedRays) -> Longs:
        """Indices of samples in the box whose cell is this cube."""
        frame, bits = self.frame, self.frame.config.position_bits
        kept = np.ones(len(k), bool)
        for axis in range(3):
            at = rays.field_at(axis, ray, k)
            kept &= (at >= 0) & (at <= frame.field_last[axis] << bits)
            at = rays.mask_at(axis, ray, k)
            last = frame.mask_last[axis]
            kept &= (at >= 0) & (at <= last << bits)
            kept &= np.minimum(at >> bits, last - 1) == self.cells[cube, axis]
        return np.flatnonzero(kept)


def plan_fixed(frame: Frame, mask: Mask) -> FixedWalk:
    """Find, order and project a mask's non-zero cubes."""
    z, y, x = np.nonzero(mask.cubes)
    cells = np.stack([x, y, z], axis=1)
    # The middle of the cell that the camera's coordinates fall into: floats cannot miss it.
    cell = (frame.mask_origin >> frame.config.position_bits) + 0.5
    edges = (mask.box[1] - mask.box[0]) / (np.array(mask.size) - 1)
    home = (mask.box[0] + cell * edges).astype(np.float32)
    ranks = outward_ranks(cells.astype(np.int32), mask, home, frame.camera.pose[:, 2])
    cells = cells[np.argsort(ranks, kind="stable")]
    return FixedWalk(frame, cells, project_windows(frame, project(frame, mask), cells))


@dataclass(frozen=True, eq=False)
class Projection:
    """From the cell of a cube, or of a block, to its corners in the camera's coordinates.

    Constants of a frame. steps: (3, 3), from cell to cell along each axis (columns); corners:
    (8, 3), those of cell 0, widened by SLACK cubes. The three coordinates (rows of steps): to the
    right and downwards, both times the focal length, and depth; in cubes, PROJECTION_BITS of
    fraction.
    """

    steps: Longs
    corners: Longs

    def __call__(self, cells: Longs) -> Longs:
        """(n, 3) cells -> (8, n, 3)."""
        return cells @ self.steps.T + self.corners[:, None]


def project_windows(frame: Frame, projection: Projection, cells: Longs) -> Windows:
    """Pixels that may see each cube, or block."""
    camera, corners = frame.camera, projection(cells)
    depth = corners[:, :, 2]
    straddles = (depth < NEAREST_DEPTH).any(axis=0)
    hidden = (depth <= 0).all(axis=0)
    safe = np.maximum(depth, NEAREST_DEPTH)
    top = np.frexp(safe.astype(np.float64))[1].astype(np.int64) - 1
    shift = top - DEPTH_BITS
    inverse, exponent = reciprocal(safe >> shift, frame.config)
    ends: list[Longs] = []
    for axis, size in ((0, camera.width), (1, camera.height)):
        at = corners[:, :, axis]
        reach = (size // 2 + 2) * depth
        hidden |= (at > reach).all(axis=0) | (at < -reach).all(axis=0)
        reach = np.maximum(reach, 0)
        at = np.clip(at, -reach, reach) >> shift
        pixel = rounded(at * inverse, exponent - WINDOW_BITS)
        pixel += (size - 1) << (WINDOW_BITS - 1)
        first = (pixel.min(axis=0) - WINDOW_MARGIN + (1 << WINDOW_BITS) - 1) >> WINDOW_BITS
        last = (pixel.max(axis=0) + WINDOW_MARGIN) >> WINDOW_BITS
        first = np.clip(np.where(straddles, 0, first), 0, size)
        last = np.clip(np.where(straddles, size - 1, last), -1, size - 1) + 1
        ends += [first, np.maximum(last, first)]
    left, right, upper, lower = (each.astype(np.int32) for each in ends)
    return Windows(left, upper, np.where(hidden, left, right), lower)


def project(frame: Frame, mask: Mask) -> Projection:
    """Of cubes. FieldError if the mask's corners may lie beyond LARGEST_CORNER."""
    return _project(frame, mask, 1)


def project_blocks(frame: Frame, mask: Mask) -> Projection:
    """Of blocks of BLOCK cubes on a side; FieldError as in `project`.

    Blocks may reach BLOCK - 1 cubes beyond the lattice along each axis. That is less than 3 BLOCK
    of depth, for which `corner_fields` has room, and less than the bound here counts on.
    """
    return _project(frame, mask, BLOCK)


def _project(frame: Frame, mask: Mask, side: int) -> Projection:
    """side: cubes along each side of what is projected."""
    camera = frame.camera
    turn = np.linalg.inv(camera.pose[:, :3].astype(np.float64))
    turn *= np.array([[camera.focal], [-camera.focal], [-1.0]])
    low, high = mask.box.astype(np.float64)
    edges = (high - low) / (np.array(mask.size) - 1)
    turn /= edges.mean()
    along = turn * edges  # a step of one cell along each axis
    origin = turn @ (low - camera.origin)
    reach = 2 * np.maximum(mask.size, side)
    most = np.abs(origin).max() + (np.abs(along) * reach).sum(axis=1).max()
    if most >= LARGEST_CORNER / 2**PROJECTION_BITS:
        raise FieldError(
            f"a focal length of {camera.focal} pixels is too long for a camera so far away:"
            f" a corner's distance times it is {most:.0f} cells"
        )
    corners = [
        origin + along @ np.where(corner, side + SLACK, -SLACK)
        for corner in product((0, 1), repeat=3)
    ]
    return Projection(to_fixed(along * side, PROJECTION_BITS), to_fixed(corners, PROJECTION_BITS))


def _steps(lengths: NDArray[np.integer]) -> Longs:
    """0 .. length - 1 for each length, one after the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - lengths, lengths)
