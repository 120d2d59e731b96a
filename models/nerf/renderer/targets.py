"""What the renderer's memories are called when they are written (ours)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ITEM_BITS", "PAIRS", "TARGET_BITS", "WRITE_ADDRESS_BITS", "Target", "item_bits"]

PAIRS = 3
WRITE_ADDRESS_BITS = 20
ITEM_BITS = 256, 64
"""Of targets below 16, and of those from 16 on."""


class Target(IntEnum):
    """A memory. Those of a decoder are the first of three, for each pair of plane and line."""

    DENSITY_BLOB = 0
    COLOR_BLOB = 3
    DENSITY_ROW = 6
    COLOR_ROW = 9
    CONSTANTS = 12
    CUBES = 16
    BLOCKS = 17
    ALPHA = 18
    COLOR = 19


TARGET_BITS = 5


def item_bits(target: int) -> int:
    """Bits of memory that an item of a target takes."""
    return ITEM_BITS[target >= Target.CUBES]
