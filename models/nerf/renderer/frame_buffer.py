"""Where the renderer writes a frame (ours)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIXEL_BYTES", "frame_bytes", "image_of", "stride_of"]

PIXEL_BYTES = 4
"""Red, green, blue, and a 0."""


def _padded(size: int, tile_bits: int) -> int:
    return -(-size >> tile_bits) << tile_bits


def stride_of(width: int, tile_bits: int) -> int:
    """Bytes from a row of pixels to the next: rows are padded to whole tiles."""
    return _padded(width, tile_bits) * PIXEL_BYTES


def frame_bytes(width: int, height: int, tile_bits: int) -> int:
    """Of a frame buffer: whole tiles."""
    return stride_of(width, tile_bits) * _padded(height, tile_bits)


def image_of(
    buffer: NDArray[np.uint8], width: int, height: int, tile_bits: int
) -> NDArray[np.uint8]:
    """(height, width, 3) of the (frame_bytes,) of a buffer."""
    rows = buffer.reshape(-1, stride_of(width, tile_bits) // PIXEL_BYTES, PIXEL_BYTES)
    return rows[:height, :width, :3].copy()
