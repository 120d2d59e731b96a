"""What the two search units answer: is element i of a chunk stored, is its neighbour, and where.

Reference of `hw/nerf/bitmap_search.py` and `hw/nerf/search_tree.py`; ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Found", "search_bitmap", "search_coordinates"]


class Found(NamedTuple):
    """hit, next_hit: elements i and i + 1 are stored. rank: stored elements below i.

    Element i is the value number `rank` of its chunk, and i + 1 number `rank + hit`.
    """

    hit: bool
    next_hit: bool
    rank: int


def search_bitmap(bitmap: int, index: int) -> Found:
    """In a bitmap chunk: bit i of `bitmap` is set if element i is stored."""
    return Found(
        bool(bitmap >> index & 1),
        bool(bitmap >> index & 2),
        (bitmap & ((1 << index) - 1)).bit_count(),
    )


def search_coordinates(coordinates: Sequence[int], index: int) -> Found:
    """In a coordinate chunk: `coordinates` are the indices of stored elements, rising."""
    rank = sum(each < index for each in coordinates)
    return Found(index in coordinates, index + 1 in coordinates, rank)
