"""Every format a second time, written by hand: what tests hold code, quantiser and circuits to."""

from typing import NamedTuple

# Design section 2 (normal types), OliVe's table of E2M1 (biases 2 and 3).
INT4 = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}
INT4 |= {9: -7, 10: -6, 11: -5, 12: -4, 13: -3, 14: -2, 15: -1}
FLINT4 = {0: 0, 1: 1, 2: 2, 3: 3, 4: 16, 5: 8, 6: 4, 7: 6}
FLINT4 |= {9: -1, 10: -2, 11: -3, 12: -16, 13: -8, 14: -4, 15: -6}
INT8 = {code: code for code in range(128)} | {code: code - 256 for code in range(129, 256)}
E2M1_BIAS2 = {1: 12, 2: 16, 3: 24, 4: 32, 5: 48, 6: 64, 7: 96}
E2M1_BIAS2 |= {9: -12, 10: -16, 11: -24, 12: -32, 13: -48, 14: -64, 15: -96}
E2M1_BIAS3 = {1: 24, 2: 32, 3: 48, 4: 64, 5: 96, 6: 128, 7: 192}
E2M1_BIAS3 |= {9: -24, 10: -32, 11: -48, 12: -64, 13: -96, 14: -128, 15: -192}
# fmt: off
E4M3_BIAS4 = dict(enumerate([
    144, 160, 176, 192, 208, 224, 240,
    256, 288, 320, 352, 384, 416, 448, 480,
    512, 576, 640, 704, 768, 832, 896, 960,
    1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920,
    2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840,
    4096, 4608, 5120, 5632, 6144, 6656, 7168, 7680,
    8192, 9216, 10240, 11264, 12288, 13312, 14336, 15360,
    16384, 18432, 20480, 22528, 24576, 26624, 28672, 30720,
] + [32768] * 64, start=1))
E4M3_BIAS4 |= {code + 128: -value for code, value in E4M3_BIAS4.items()}

# The OCP's floats by magnitude code, as the reals that OFP8 1.0 and MX 1.0 give. What is missing
# at the end is NaN or infinity.
OCP_E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
OCP_E3M2 = [
    0, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625, 0.75, 0.875,
    1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28,
]
OCP_E2M3 = [
    0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875,
    1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875,
    2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75,
    4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5,
]
# fmt: on
EIGHTHS = (1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875)
OCP_E4M3 = [m * 2**-9 for m in range(8)]
OCP_E4M3 += [m * 2.0**e for e in range(-6, 9) for m in EIGHTHS][:-1]
OCP_E5M2 = [m * 2**-16 for m in range(4)]
OCP_E5M2 += [m * 2.0**e for e in range(-14, 16) for m in (1, 1.25, 1.5, 1.75)]


def ocp(magnitudes, bits):
    """Values in units of the least magnitude; the codes from half on are negative."""
    values = [int(magnitude / magnitudes[1]) for magnitude in magnitudes]
    return dict(enumerate(values)) | {
        code + (1 << (bits - 1)): -value for code, value in enumerate(values)
    }


class Expected(NamedTuple):
    """bits: of a code; normal, outlier: code to value, illegal codes left out.

    outlier is None for a format without outlier-victim sibling; exponent, integer: bits; tie: to
    the "larger" magnitude or the "even" code; unit: what the real 1 is in the OCP's floats.
    """

    bits: int
    normal: dict[int, int]
    outlier: dict[int, int] | None
    has_outliers: bool
    exponent: int
    integer: int
    tie: str = "larger"
    unit: float = 1.0

    @property
    def mark(self):
        """The outlier identifier, None if the decoder knows none."""
        return None if self.outlier is None else 1 << (self.bits - 1)


EXPECTED = {
    "int4": Expected(4, INT4, E2M1_BIAS2, False, 1, 4),
    "int8": Expected(8, INT8, E4M3_BIAS4, False, 1, 8),
    "flint4": Expected(4, FLINT4, E2M1_BIAS3, False, 3, 3),
    "ovp4-int": Expected(4, INT4, E2M1_BIAS2, True, 3, 4),
    "ovp4-flint": Expected(4, FLINT4, E2M1_BIAS3, True, 3, 3),
    "ovp8": Expected(8, INT8, E4M3_BIAS4, True, 4, 8),
    "fp4-e2m1": Expected(4, ocp(OCP_E2M1, 4), None, False, 2, 3, "even", 2**-1),
    "fp6-e3m2": Expected(6, ocp(OCP_E3M2, 6), None, False, 3, 4, "even", 2**-4),
    "fp6-e2m3": Expected(6, ocp(OCP_E2M3, 6), None, False, 2, 5, "even", 2**-3),
    "fp8-e4m3": Expected(8, ocp(OCP_E4M3, 8), None, False, 4, 5, "even", 2**-9),
    "fp8-e5m2": Expected(8, ocp(OCP_E5M2, 8), None, False, 5, 4, "even", 2**-16),
}
"""Formats whose codes stand for values by themselves; an MX format reads as its float."""

MX = {f"mx{name}": name for name in EXPECTED if name.startswith("fp")}
