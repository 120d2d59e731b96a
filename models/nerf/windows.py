"""Windows of pixels that can see a cube: a conservative projection, for cameras anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.samples import Ints

__all__ = ["Windows", "ball_windows", "box_windows"]

Doubles = NDArray[np.float64]

_CORNERS = tuple(product((0, 1), repeat=3))
_EDGES = tuple(
    (a, b)
    for a, b in combinations(range(8), 2)
    if sum(x != y for x, y in zip(_CORNERS[a], _CORNERS[b], strict=True)) == 1
)


@dataclass(frozen=True, eq=False)
class Windows:
    """left, top: first pixel. right, bottom: one past the last; equal to the first if empty."""

    left: Ints
    top: Ints
    right: Ints
    bottom: Ints

    @property
    def pixels(self) -> NDArray[np.int64]:
        """(n,) pixels in each window."""
        width, height = self.right - self.left, self.bottom - self.top
        return width.astype(np.int64) * height


def box_windows(camera: Camera, low: Doubles, high: Doubles, nearest: float) -> Windows:
    """Windows of boxes between the corners low and high, (n, 3) each.

    Only the parts that are at least `nearest` along some ray count: what lies before them is cut
    off, so that a box around the camera gets what its far part covers, not the whole image.
    """
    turn, depth_from = _view(camera, nearest)
    shift, edges = (low - camera.origin) @ turn.T, high - low
    corners = []
    for corner in _CORNERS:
        moved = shift + (edges * corner) @ turn.T
        corners.append(moved * (1, 1, -1))  # x right, y up, depth forwards
    bounds = _Bounds(len(low))
    for at in corners:
        bounds.add(at, at[:, 2] >= depth_from)
    depths = np.stack([at[:, 2] for at in corners])
    cut = np.flatnonzero((depths.min(axis=0) < depth_from) & (depths.max(axis=0) > depth_from))
    for a, b in _EDGES if len(cut) else ():
        start, end = corners[a][cut], corners[b][cut]
        crosses = (start[:, 2] < depth_from) != (end[:, 2] < depth_from)
        rise = np.where(crosses, end[:, 2] - start[:, 2], 1.0)
        share = (depth_from - start[:, 2]) / rise
        at = start + share[:, None] * (end - start)
        at[:, 2] = depth_from
        bounds.add(at, crosses, cut)
    return bounds.windows(camera)


def ball_windows(camera: Camera, centres: Doubles, radius: float, nearest: float) -> Windows:
    """Windows of balls: the exact outline's bounds; for those about the camera, of their box."""
    turn, depth_from = _view(camera, nearest)
    at = ((centres - camera.origin) @ turn.T) * (1, 1, -1)
    radius *= 1.002  # a camera's axes are perpendicular within 1e-3 only
    depth = at[:, 2]
    apart = depth > radius + depth_from
    found = box_windows(camera, centres - radius, centres + radius, nearest)
    bounds = _Bounds(len(centres))
    square = np.where(apart, depth * depth - radius * radius, 1.0)
    for axis in (0, 1):
        root = radius * np.sqrt(np.maximum(at[:, axis] ** 2 + square, 0.0))
        for sign in (-1, 1):
            bounds.spread(axis, (at[:, axis] * depth + sign * root) / square, apart)
    exact = bounds.windows(camera)
    return Windows(
        *(
            np.where(apart, getattr(exact, name), getattr(found, name))
            for name in ("left", "top", "right", "bottom")
        )
    )


def _view(camera: Camera, nearest: float) -> tuple[Doubles, float]:
    """World to camera (3, 3), and the least depth of a point `nearest` along a ray."""
    turn = np.linalg.inv(camera.pose[:, :3].astype(np.float64))
    widest = math.hypot(1.0, camera.width / 2 / camera.focal, camera.height / 2 / camera.focal)
    return turn, 0.999 * nearest / widest


class _Bounds:
    """Least and greatest slopes x / depth and y / depth of points that are added."""

    def __init__(self, count: int) -> None:
        self.least = np.full((2, count), np.inf)
        self.most = np.full((2, count), -np.inf)

    def add(
        self, at: Doubles, counts: NDArray[np.bool_], index: NDArray[np.int64] | None = None
    ) -> None:
        depth = np.where(counts, at[:, 2], 1.0)
        for axis in (0, 1):
            self.spread(axis, at[:, axis] / depth, counts, index)

    def spread(
        self,
        axis: int,
        slope: Doubles,
        counts: NDArray[np.bool_],
        index: NDArray[np.int64] | None = None,
    ) -> None:
        where = slice(None) if index is None else index
        low, high = np.where(counts, slope, np.inf), np.where(counts, slope, -np.inf)
        self.least[axis, where] = np.minimum(self.least[axis, where], low)
        self.most[axis, where] = np.maximum(self.most[axis, where], high)

    def windows(self, camera: Camera) -> Windows:
        # Directions are float32: a pixel's centre may be off by some 1e-7 of the focal length.
        margin = 0.01 + 1e-6 * camera.focal
        ends: list[Ints] = []
        for (first, last), size in (
            ((self.least[0], self.most[0]), camera.width),
            ((-self.most[1], -self.least[1]), camera.height),
        ):
            centre = size / 2 - 0.5
            start = np.ceil(np.clip(camera.focal * first + centre - margin, 0, size))
            end = np.floor(np.clip(camera.focal * last + centre + margin, -1, size - 1)) + 1
            ends += [start.astype(np.int32), np.maximum(end, start).astype(np.int32)]
        left, right, top, bottom = ends
        return Windows(left, top, right, bottom)
