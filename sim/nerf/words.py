"""Numbers to the integer that a packed word is."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["packed"]


def packed(fields: Iterable[tuple[int, int]]) -> int:
    """(value, bits) of each field, the lowest first; negative values in two's complement."""
    word, at = 0, 0
    for value, bits in fields:
        word |= (int(value) & ((1 << bits) - 1)) << at
        at += bits
    return word
