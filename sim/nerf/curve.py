"""A curve as the words that are written to the table of its circuit."""

from __future__ import annotations

import numpy as np

from oleaster.models.nerf.fixed.tables import Curve

__all__ = ["curve_words"]


def curve_words(curve: Curve, value_bits: int, address_bits: int) -> list[int]:
    """The 2^address_bits words of `hw/nerf/curve.py`'s table: value and rise of each interval.

    ValueError if the curve has more intervals, or a value is not one of value_bits.
    """
    values = curve.values
    missing = (1 << address_bits) - (len(values) - 1)
    if missing < 0:
        raise ValueError(f"the curve has {len(values) - 1} intervals; {1 << address_bits} fit")
    if values.min() < 0 or values.max() >> value_bits:
        raise ValueError(f"the curve's values must be 0 .. {(1 << value_bits) - 1}")
    rises = np.append(np.diff(values), np.zeros(missing, np.int64))
    starts = np.append(values[:-1], np.repeat(values[-1], missing))
    rises &= (2 << value_bits) - 1
    found: list[int] = (starts | rises << value_bits).tolist()
    return found
