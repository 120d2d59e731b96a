"""Pinhole cameras in Blender's convention: x right, y up, looking along -z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, FieldError

__all__ = ["Camera", "look_at"]

_MOST_PIXELS = 1 << 24  # whose rays fit a gigabyte


@dataclass(frozen=True, eq=False)
class Camera:
    """width, height: pixels. focal: in pixels. pose: (3, 4) float32, camera to world, unscaled."""

    width: int
    height: int
    focal: float
    pose: Array

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 1 << 14 and 1 <= self.height <= 1 << 14):
            raise FieldError(
                f"an image of {self.width} x {self.height} pixels; each side must be 1 .. 16384"
            )
        if self.width * self.height > _MOST_PIXELS:
            raise FieldError(
                f"an image of {self.width} x {self.height} pixels; {_MOST_PIXELS:,} at most"
            )
        if self.pose.shape != (3, 4) or not np.isfinite(self.pose).all():
            raise FieldError(f"a pose is (3, 4) finite numbers, not {self.pose.shape}")
        turn = self.pose[:, :3].astype(np.float64)
        if np.abs(turn.T @ turn - np.eye(3)).max() > 1e-3:
            raise FieldError("a pose's first three columns are perpendicular and of length 1")
        if not self.focal > 0 or not np.isfinite(self.focal):
            raise FieldError(f"focal length is {self.focal}; it must be above 0")

    @property
    def origin(self) -> Array:
        """(3,) position."""
        return self.pose[:, 3]

    def directions(self) -> Array:
        """(height * width, 3) unit directions through pixel centres, row by row from the top."""
        x = (
            np.arange(self.width, dtype=np.float32) + np.float32(0.5) - self.width / 2
        ) / self.focal
        y = np.arange(self.height, dtype=np.float32) + np.float32(0.5) - self.height / 2
        y = -y / np.float32(self.focal)
        rays = np.empty((self.height, self.width, 3), np.float32)
        rays[..., 0], rays[..., 1], rays[..., 2] = x, y[:, None], -1
        rays /= np.sqrt(np.square(rays).sum(axis=-1, keepdims=True))
        return (rays.reshape(-1, 3) @ self.pose[:, :3].T).astype(np.float32)

    def scaled(self, width: int, height: int) -> Camera:
        """The same view in another size; the horizontal angle of view stays."""
        return Camera(width, height, self.focal * width / self.width, self.pose)


def look_at(
    origin: NDArray[np.floating],
    target: NDArray[np.floating],
    *,
    width: int,
    height: int,
    focal: float,
) -> Camera:
    """A camera at `origin` that looks at `target` with z up."""
    back = np.asarray(origin, np.float64) - target
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    if np.linalg.norm(right) < 1e-6:  # straight up or down
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    pose = np.stack([right, np.cross(back, right), back, np.asarray(origin, np.float64)], axis=1)
    return Camera(width, height, focal, pose.astype(np.float32))
