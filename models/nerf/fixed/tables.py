"""Look-up tables, and what is made of them: reciprocals, inverse roots, curves and waves.

All inputs and outputs are integers; a table's contents are computed once, on the host. Roundings
go to the nearest, halves up: one adder and a shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = [
    "INVERSE_GUARD",
    "TURN",
    "TURN_BITS",
    "Curve",
    "Longs",
    "alpha_curve",
    "inverse_root",
    "inverse_root_table",
    "reciprocal",
    "reciprocal_table",
    "rounded",
    "sigmoid_curve",
    "sines",
    "to_fixed",
    "wave",
]

Longs = NDArray[np.int64]

INVERSE_GUARD = 4
"""Bits of an inverse's table entry beyond its address; more gain nothing."""

_ALPHA_SPANS = 1, 128  # least and greatest width of the alpha table's domain, powers of two
_FURTHEST = float(1 << 20)  # no sum is beyond
TURN_BITS = 20
"""Fraction of `TURN`."""

TURN = round((1 << TURN_BITS) / (2 * math.pi))
"""1 / (2 pi)."""


def rounded(values: Any, shift: Any) -> Any:
    """values / 2^shift to the nearest integer, halves up. shift: 0 or more, or an array of such."""
    return (values + ((np.int64(1) << shift) >> 1)) >> shift


def to_fixed(values: Any, bits: int) -> Longs:
    """Host only: real numbers to the nearest integers with `bits` of fraction."""
    found: Longs = np.rint(np.ldexp(np.asarray(values, np.float64), bits)).astype(np.int64)
    return found


def reciprocal(x: Longs, config: FixedConfig) -> tuple[Longs, Longs]:
    """(y, e) with 1 / x = y / 2^e within 2^-17 of it, for 1 <= x < 2^52.

    A table over the mantissa's first bits, and one step of Newton's method.
    """
    bits, address = config.inverse_bits, config.inverse_address_bits
    top = np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1  # the leading one
    m = _shifted(x, bits - top)
    entry = reciprocal_table(address)[(m >> (bits - address)) - (1 << address)]
    entry_bits = address + INVERSE_GUARD
    error = (np.int64(2) << bits) - rounded(m * entry, entry_bits)
    return rounded(entry * error, entry_bits), top + bits


def inverse_root(x: Longs, fraction: int, config: FixedConfig) -> tuple[Longs, Longs]:
    """(y, e) with 1 / sqrt(x / 2^fraction) = y / 2^e within 2^-17 of it, for 1 <= x < 2^52.

    As `reciprocal`, but over two octaves, so that the exponent halves.
    """
    bits, address = config.inverse_bits, config.inverse_address_bits
    top = np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1
    half = (top - fraction) >> 1
    m = _shifted(x, bits - fraction - 2 * half)
    entry = inverse_root_table(address)[(m >> (bits - address)) - (1 << address)]
    entry_bits = address + INVERSE_GUARD
    error = (np.int64(3) << bits) - rounded(m * (entry * entry), 2 * entry_bits)
    return rounded(entry * error, entry_bits + 1), half + bits


def _shifted(x: Longs, left: Longs) -> Longs:
    """Towards the left; to the right, bits are cut off."""
    return np.where(left >= 0, x << np.maximum(left, 0), x >> np.maximum(-left, 0))


@cache
def reciprocal_table(address: int) -> Longs:
    """Of the middles of 2^address intervals of 1 .. 2."""
    size = 1 << address
    return to_fixed(size / (size + np.arange(size) + 0.5), address + INVERSE_GUARD)


@cache
def inverse_root_table(address: int) -> Longs:
    """Of the middles of 3 * 2^address intervals of 1 .. 4."""
    size = 1 << address
    return to_fixed(np.sqrt(size / (size + np.arange(3 * size) + 0.5)), address + INVERSE_GUARD)


@dataclass(frozen=True, eq=False)
class Curve:
    """A function by a table, linear between its entries.

    lowest: the input of the first entry. shift: an interval is 2^shift inputs. values: (intervals
    + 1,). Inputs beyond the table count as its ends.
    """

    lowest: int
    shift: int
    values: Longs

    def __call__(self, x: Longs) -> Longs:
        """(n,) or any shape."""
        last = (len(self.values) - 1) << self.shift
        at = np.clip(x - self.lowest, 0, last)
        i = np.minimum(at >> self.shift, len(self.values) - 2)
        low = self.values[i]
        rise = self.values[i + 1] - low
        return low + rounded(rise * (at - (i << self.shift)), self.shift)


def _curve(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    lowest: float,
    span: int,
    address: int,
    bits: int,
    out_bits: int,
) -> Curve:
    """function over lowest .. lowest + span, a power of two; inputs with `bits` of fraction."""
    shift = bits + span.bit_length() - 1 - address
    if shift < 0:  # more entries than inputs
        address, shift = address + shift, 0
    size = 1 << address
    at: NDArray[np.float64] = lowest + np.arange(size + 1, dtype=np.float64) * (span / size)
    return Curve(int(to_fixed(lowest, bits)), shift, to_fixed(function(at), out_bits))


def alpha_curve(length: float, softplus: bool, shift: float, config: FixedConfig) -> Curve:
    """From a sample's sum s, density_bits of fraction, to alpha, transmittance_bits of fraction.

    alpha = 1 - exp(-softplus(s + shift) length), or relu(s) in place of softplus; length: a step
    times the distance scale. One table for both functions, since the step is a constant: a product
    and a look-up less than two tables, and no width between them to choose. It begins where alpha
    is 0 and ends where it is 1 to half a unit, at the latest `_ALPHA_SPANS[1]` later.
    """

    def function(s: NDArray[np.float64]) -> NDArray[np.float64]:
        density = np.logaddexp(0, s + shift) if softplus else np.maximum(s, 0)
        return -np.expm1(-density * length)

    bits = config.transmittance_bits
    lowest = 0.0
    if softplus:  # so low, softplus is an exponential
        lowest = float(np.floor(-(bits + 1) * np.log(2) - np.log(length) - shift))
        lowest = min(max(lowest, -_FURTHEST), _FURTHEST)
    span = _ALPHA_SPANS[0]
    while span < _ALPHA_SPANS[1] and 1 - function(np.array([lowest + span])) > 0.5**bits / 2:
        span *= 2
    address = config.alpha_address_bits
    return _curve(function, lowest, span, address, config.density_bits, bits)


def sigmoid_curve(config: FixedConfig) -> Curve:
    """From logit_bits of fraction to color_bits of fraction, 0 .. 1."""
    return _curve(
        lambda x: 1 / (1 + np.exp(-x)),
        -8.0,
        16,
        config.sigmoid_address_bits,
        config.logit_bits,
        config.color_bits,
    )


def wave(x: Longs, fraction: int, octave: int, cosine: bool, config: FixedConfig) -> Longs:
    """Sine or cosine of x 2^octave in radians; x has `fraction` bits, |x| < 2^30.

    The result has wave_bits of fraction. A quarter of the table would do, by symmetry.
    """
    bits = config.wave_address_bits
    turns = x * TURN
    right = fraction + TURN_BITS - bits - octave
    phase = rounded(turns, right) if right >= 0 else turns << -right
    if cosine:
        phase = phase + (1 << bits >> 2)
    return sines(bits, config.wave_bits)[phase & ((1 << bits) - 1)]


@cache
def sines(address: int, bits: int) -> Longs:
    """Of 2^address places around the circle, `bits` of fraction."""
    return to_fixed(np.sin(2 * np.pi * np.arange(1 << address) / (1 << address)), bits)
