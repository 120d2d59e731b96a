"""The outlier type: abfloat, a biased float that is a plain shifted integer."""

import numpy as np

from oleaster.models.formats.codec import Codec

_CLIP_EXPONENT = 15  # the paper clips outliers to 2**15, so that a product fits 32 bits


def abfloat(exponent_bits: int, mantissa_bits: int, bias: int) -> Codec:
    """Adaptive biased float: (-1)**s * (2**mantissa_bits + m) << (e + bias) (OliVe, section 3).

    Fields s | e | m from the top bit; no subnormals. Magnitude code 0 is disabled with either
    sign: with the minus sign it would be the identifier. Larger magnitudes than 2**15 read as
    2**15.
    """
    hidden = 1 << mantissa_bits
    magnitude = np.arange(1 << (exponent_bits + mantissa_bits))
    exponent = (magnitude >> mantissa_bits) + bias
    integer = hidden + (magnitude & (hidden - 1))
    clipped = integer << exponent > 1 << _CLIP_EXPONENT
    exponent[clipped] = _CLIP_EXPONENT - mantissa_bits
    integer[clipped] = hidden
    exponent[0] = integer[0] = 0
    return Codec(
        f"abfloat-e{exponent_bits}m{mantissa_bits}",
        1 + exponent_bits + mantissa_bits,
        np.tile(exponent, 2).astype(np.uint8),
        np.concatenate([integer, -integer]).astype(np.int8),
        np.tile(magnitude != 0, 2),
    )
