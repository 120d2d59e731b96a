"""Cameras around a scene of about +-1.5, as those of the Synthetic-NeRF scenes (z up)."""

from __future__ import annotations

import math

import numpy as np

from oleaster.models.nerf.camera import Camera, look_at

__all__ = ["ANGLE_OF_VIEW", "HELD_OUT", "held_out_cameras", "training_cameras"]

ANGLE_OF_VIEW = 0.6911112
"""Horizontal, radians: that of the Synthetic-NeRF scenes."""

HELD_OUT = 3
"""Views that training never sees, of a teacher or a mesh."""

_DISTANCE = 4.0
_GOLDEN = math.pi * (3 - math.sqrt(5))


def training_cameras(count: int, size: int) -> list[Camera]:
    """Cameras spread evenly over the upper half sphere, from 3 degrees up to 87."""
    heights = np.sin(np.radians(3)) + (np.arange(count) + 0.5) / count * (
        np.sin(np.radians(87)) - np.sin(np.radians(3))
    )
    return [_camera(i * _GOLDEN, math.asin(h), size) for i, h in enumerate(heights)]


def held_out_cameras(count: int, size: int) -> list[Camera]:
    """Cameras all around, at heights of 15 to 45 degrees in turn, none a training camera."""
    heights = np.radians(15 + 30 * np.arange(count) * 0.618034 % 30)
    return [_camera(0.5 + 2 * math.pi * i / count, h, size) for i, h in enumerate(heights)]


def _camera(around: float, up: float, size: int) -> Camera:
    origin = _DISTANCE * np.array(
        [math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up)]
    )
    focal = 0.5 * size / math.tan(0.5 * ANGLE_OF_VIEW)
    return look_at(origin, np.zeros(3), width=size, height=size, focal=focal)
