"""The normal types: int4, int8 and flint4, each with one code free for the identifier."""

import numpy as np

from oleaster.models.formats.codec import Codec


def identifier(bits: int) -> int:
    """The outlier identifier, `1000` or `1000_0000` (OliVe, section 3): no normal type uses it."""
    return 1 << (bits - 1)


def two_complement(name: str, bits: int) -> Codec:
    """Two's complement without its most negative code: 0, +-1 .. +-(2**(bits-1) - 1)."""
    codes = np.arange(1 << bits)
    usable = codes != identifier(bits)
    signed = np.where(codes < identifier(bits), codes, codes - (1 << bits))
    integers = np.where(usable, signed, 0).astype(np.int8)
    return Codec(name, bits, np.zeros(1 << bits, np.uint8), integers, usable)


# By 3-bit magnitude code 000 .. 111; values from ANT (MICRO 2022), the split into pairs is ours:
# the integer stays within +-3, so a 3-bit signed multiplier input is enough.
_FLINT_EXPONENT = (0, 0, 0, 0, 4, 3, 2, 1)
_FLINT_INTEGER = (0, 1, 2, 3, 1, 1, 1, 3)


def flint4() -> Codec:
    """Sign and 3-bit flint: 0, +-1, 2, 3, 4, 6, 8, 16; minus zero is left to the identifier."""
    magnitude = np.array(_FLINT_INTEGER, np.int8)
    return Codec(
        "flint4",
        4,
        np.array(_FLINT_EXPONENT * 2, np.uint8),
        np.concatenate([magnitude, -magnitude]),
        np.arange(16) != identifier(4),
    )
