"""Number formats of other accelerators: measured beside ours, not read by our arrays.

AdaptivFloat (Tambe et al., DAC 2020) and the powers of two of ANT (Guo et al., MICRO 2022). Formats
whose outliers lie in a list of their own are in `oleaster.models.outlier_list`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.formats.codec import Codec
from oleaster.models.formats.format import Format

_LEAST_EXPONENT = -126  # of a float32 without leading zeros


def power_of_two(bits: int) -> Codec:
    """0 and +-2**0, +-2**1 ..: sign, then 0 for zero and 1 + the exponent (order ours).

    bits: 2 .. 4, so that every value fits the integers of the other 4-bit types. Minus zero stands
    for no number.
    """
    code = np.arange(1 << bits)
    sign, magnitude = code >> (bits - 1), code & ((1 << (bits - 1)) - 1)
    exponents = np.maximum(magnitude - 1, 0).astype(np.uint8)
    integers = (np.where(sign, -1, 1) * (magnitude > 0)).astype(np.int8)
    return Codec(f"pot{bits}", bits, exponents, integers, usable=(sign == 0) | (magnitude > 0))


def adaptivfloat(exponent_bits: int, mantissa_bits: int) -> Codec:
    """Fields s | e | m from the top bit, without subnormals; the least magnitude's code is 0.

    In units of 2**(exponent bias - mantissa_bits) a value is (2**mantissa_bits + m) << e, except
    that e = m = 0 is zero (AdaptivFloat, section 3.1). Minus zero reads as 0 and is not written.
    """
    magnitude = np.arange(1 << (exponent_bits + mantissa_bits))
    integers = (1 << mantissa_bits) + (magnitude & ((1 << mantissa_bits) - 1))
    integers[0] = 0
    bits = 1 + exponent_bits + mantissa_bits
    return Codec(
        f"adaptivfloat-e{exponent_bits}m{mantissa_bits}",
        bits,
        np.tile(magnitude >> mantissa_bits, 2).astype(np.uint8),
        np.concatenate([integers, -integers]).astype(np.int8),
        np.ones(1 << bits, bool),
    )


@dataclass(frozen=True, eq=False)
class AdaptivFloat(Format):
    """A format whose scale is a power of two that follows from the largest magnitude alone."""

    def scale_of(self, largest: NDArray[np.float64]) -> NDArray[np.float32]:
        """The unit that puts `largest`, at least 0, under the top exponent; 1 for zero.

        With 2**k <= largest < 2**(k + 1) the largest value is (2 - 2**-mantissa_bits) * 2**k
        (AdaptivFloat, Algorithm 1), so that what lies above that saturates. Units below 2**-126
        are not used.
        """
        _, exponents = np.frexp(largest)
        _, top = np.frexp(float(self.max_normal))
        unit = np.ldexp(1.0, np.maximum(exponents - top, _LEAST_EXPONENT))
        return np.where(largest > 0, unit, 1).astype(np.float32)


RIVAL_FORMATS: dict[str, Format] = {
    "adafloat8": AdaptivFloat("adafloat8", adaptivfloat(3, 4)),
    "pot4": Format("pot4", power_of_two(4)),
}
"""By name, beside `FORMATS`: what our arrays have no decoder for."""
