"""Frames, pixels and rays as the words that the ray generator takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.rays import FixedRays, Frame
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.widths import PIXEL_BITS, FixedConfig
from oleaster.models.nerf.fixed.words import Number, frame_fields, ray_fields
from oleaster.sim.nerf.words import packed

__all__ = ["RAY_INTERVAL", "frame_word", "pixel_word", "ray_word", "read_ray"]

RAY_INTERVAL = 3
"""Cycles from a pixel that the ray generator takes to the next one, at least: an axis each."""


def frame_word(frame: Frame) -> int:
    """Of `hw/nerf/layouts.py`'s FrameLayout. ValueError if a constant does not fit its width."""
    fields = frame_fields(frame.config)
    return packed(_numbers({name: getattr(frame, name) for name in fields}, fields))


def pixel_word(row: int, column: int) -> int:
    """Of PixelLayout; both below 2^PIXEL_BITS."""
    return packed([(row, PIXEL_BITS), (column, PIXEL_BITS)])


def ray_word(rays: FixedRays, ray: int) -> int:
    """Of RayLayout: one of the rays. ValueError if a number does not fit its width."""
    fields = ray_fields(rays.frame.config)
    return packed(_numbers({name: getattr(rays, name)[:, ray] for name in fields}, fields))


def read_ray(word: int, config: FixedConfig) -> dict[str, Longs]:
    """The arrays of a ray's word by their names in `FixedRays`, (3,) each."""
    found = {}
    for name, number in ray_fields(config).items():
        values = []
        for _ in range(3):
            value = word & ((1 << number.bits) - 1)
            word >>= number.bits
            values.append(value - (value >> (number.bits - 1) << number.bits) * number.signed)
        found[name] = np.array(values, np.int64)
    return found


def _numbers(values: Mapping[str, Any], fields: Mapping[str, Number]) -> Iterator[tuple[int, int]]:
    """Each number and its bits, in the order of a word."""
    for name, number in fields.items():
        array: NDArray[np.int64] = np.asarray(values[name], np.int64)
        if array.shape != number.shape:
            raise ValueError(f"{name} is {array.shape}; it must be {number.shape}")
        low = -(1 << (number.bits - 1)) if number.signed else 0
        if array.min() < low or array.max() >= low + (1 << number.bits):
            raise ValueError(f"{name} is {array.tolist()}; it has {number.bits} bits")
        for value in map(int, array.ravel()):
            yield value, number.bits
