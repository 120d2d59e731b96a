"""Rounding as the fixed-point models do it: to the nearest, halves up."""

from __future__ import annotations

from typing import Any

__all__ = ["rounded"]


def rounded(value: Any, shift: int) -> Any:
    """value / 2^shift, as wide as it needs; to the left if shift is negative."""
    if shift <= 0:
        return value.shift_left(-shift)
    return (value + (1 << (shift - 1))).shift_right(shift)
