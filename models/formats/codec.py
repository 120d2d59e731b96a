"""What one code stands for: a table of exponent-integer pairs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FormatError(ValueError):
    """Values that a format cannot take, codes that it does not have, or an unknown name."""


@dataclass(frozen=True, eq=False)
class Codec:
    """A type of `bits` bits: code c stands for `integers[c] << exponents[c]`.

    exponents: (2**bits,) uint8; integers: (2**bits,) int8.
    usable: (2**bits,) bool, the codes that stand for a number; the others carry <0, 0>.
    Where several usable codes have one value, the encoder writes the lowest of them.
    unit_exponent: the real value of 1 is 2**unit_exponent where the format has a unit of its own.
    even_ties: a value midway between two codes goes to the even code; else to the larger magnitude.
    """

    name: str
    bits: int
    exponents: NDArray[np.uint8]
    integers: NDArray[np.int8]
    usable: NDArray[np.bool_]
    unit_exponent: int = 0
    even_ties: bool = False

    @cached_property
    def values(self) -> NDArray[np.integer[Any]]:
        """(2**bits,) the value of every code, int32 or, if those do not fit, int64."""
        values = np.left_shift(self.integers.astype(np.int64), self.exponents.astype(np.int64))
        narrow = values.astype(np.int32)
        return narrow if (narrow == values).all() else values

    @cached_property
    def grid(self) -> tuple[NDArray[np.integer[Any]], NDArray[np.uint8]]:
        """The representable values in rising order, and the code that the encoder writes."""
        codes = np.flatnonzero(self.usable).astype(np.uint8)
        values, first = np.unique(self.values[codes], return_index=True)
        return values, codes[first]
