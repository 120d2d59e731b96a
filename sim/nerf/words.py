"""Numbers to the integer that a packed word is, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsInt

__all__ = ["packed", "unpacked"]


def packed(fields: Iterable[tuple[SupportsInt, int]]) -> int:
    """(value, bits) of each field, the lowest first; negative values in two's complement."""
    word, at = 0, 0
    for value, bits in fields:
        word |= (int(value) & ((1 << bits) - 1)) << at
        at += bits
    return word


def unpacked(word: int, widths: Iterable[int]) -> tuple[int, ...]:
    """Unsigned fields of such widths, the lowest first."""
    fields = []
    for bits in widths:
        fields.append(word & ((1 << bits) - 1))
        word >>= bits
    return tuple(fields)
