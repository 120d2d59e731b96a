"""What one code stands for: a table of exponent-integer pairs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class FormatError(ValueError):
    """Values that a format cannot take, codes that it does not have, or an unknown name."""


@dataclass(frozen=True, eq=False)
class Codec:
    """A type of `bits` bits: code c stands for `integers[c] << exponents[c]`.

    exponents: (2**bits,) uint8; integers: (2**bits,) int8.
    usable: (2**bits,) bool, the codes that the encoder may write; the others carry <0, 0>.
    Where several usable codes have one value, the encoder writes the lowest of them.
    """

    name: str
    bits: int
    exponents: NDArray[np.uint8]
    integers: NDArray[np.int8]
    usable: NDArray[np.bool_]

    @cached_property
    def values(self) -> NDArray[np.int32]:
        """(2**bits,) the value of every code."""
        return np.left_shift(self.integers.astype(np.int32), self.exponents.astype(np.int32))

    @cached_property
    def grid(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """The representable values in rising order, and the code that the encoder writes."""
        codes = np.flatnonzero(self.usable).astype(np.uint8)
        values, first = np.unique(self.values[codes], return_index=True)
        return values, codes[first]
