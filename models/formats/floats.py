"""Small floats of the Open Compute Project, as exponent-integer pairs.

OCP 8-bit Floating Point Specification (OFP8) 1.0 for E4M3 and E5M2; OCP Microscaling Formats (MX)
1.0 for E2M1, E3M2 and E2M3.
"""

from typing import Literal

import numpy as np

from oleaster.models.formats.codec import Codec

Specials = Literal["none", "nan", "ieee"]


def ocp_float(exponent_bits: int, mantissa_bits: int, specials: Specials = "none") -> Codec:
    """Fields s | e | m from the top bit, bias 2**(exponent_bits - 1) - 1, with subnormals.

    In units of the least subnormal, 2**(1 - bias - mantissa_bits), a value is m for e = 0 and
    (2**mantissa_bits + m) << (e - 1) above. Minus zero reads as 0 and is not written.
    specials: codes that are no numbers: "none"; "nan", the two of all ones (E4M3); "ieee", NaN
    and infinities, wherever e is all ones (E5M2).
    """
    bias = (1 << (exponent_bits - 1)) - 1
    magnitude = np.arange(1 << (exponent_bits + mantissa_bits))
    field, fraction = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    usable = np.ones(len(magnitude), bool)
    if specials == "nan":
        usable[-1] = False
    elif specials == "ieee":
        usable[field == (1 << exponent_bits) - 1] = False
    exponent = np.where(usable, np.maximum(field - 1, 0), 0)
    integer = np.where(usable, np.where(field > 0, fraction + (1 << mantissa_bits), fraction), 0)
    return Codec(
        f"fp{1 + exponent_bits + mantissa_bits}-e{exponent_bits}m{mantissa_bits}",
        1 + exponent_bits + mantissa_bits,
        np.tile(exponent, 2).astype(np.uint8),
        np.concatenate([integer, -integer]).astype(np.int8),
        np.tile(usable, 2),
        unit_exponent=1 - bias - mantissa_bits,
        even_ties=True,
    )
