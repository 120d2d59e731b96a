"""Packed words of the renderer; their widths are in `models/nerf/fixed/words.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth import signed, unsigned
from amaranth.lib import data

from oleaster.models.nerf.fixed.widths import PIXEL_BITS, FixedConfig
from oleaster.models.nerf.fixed.words import Number, frame_fields, ray_fields

__all__ = ["FrameLayout", "PixelLayout", "RayLayout"]


def _layout(fields: Mapping[str, Number]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, number in fields.items():
        shape: Any = signed(number.bits) if number.signed else unsigned(number.bits)
        for size in reversed(number.shape):
            shape = data.ArrayLayout(shape, size)
        found[name] = shape
    return found


class FrameLayout(data.StructLayout):
    """Constants of one image, as `Frame` has them; `face` is [lower, upper][axis]."""

    def __init__(self, config: FixedConfig) -> None:
        super().__init__(_layout(frame_fields(config)))


class PixelLayout(data.StructLayout):
    """A pixel of the image."""

    def __init__(self) -> None:
        super().__init__({"row": PIXEL_BITS, "column": PIXEL_BITS})


class RayLayout(data.StructLayout):
    """A ray, as `FixedRays` has it; arrays are along x, y, z."""

    def __init__(self, config: FixedConfig) -> None:
        super().__init__(_layout(ray_fields(config)))
