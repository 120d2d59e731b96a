"""Tables of the fixed-point renderer, over all of their inputs, or of their mantissas."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.tables import (
    Curve,
    alpha_curve,
    inverse_root,
    reciprocal,
    rounded,
    sigmoid_curve,
    wave,
)
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.sim.nerf.curve import curve_words

# Every octave of small numbers, every mantissa of 21 bits once, and large numbers.
NUMBERS = np.concatenate(
    [
        np.arange(1, 1 << 16),
        np.arange(1 << 20, 1 << 21),
        np.random.default_rng(0).integers(1, 1 << 52, 10_000),
        [(1 << 52) - 1],
    ]
)
MIDDLE = FixedConfig(inverse_bits=20, inverse_address_bits=9)
WIDE = FixedConfig(inverse_bits=22, inverse_address_bits=10)


def test_rounding_is_to_the_nearest_and_halves_go_up():
    for value, shift in itertools.product(range(-70, 71), range(6)):
        exact = Fraction(value, 1 << shift) + Fraction(1, 2)
        expected = exact.numerator // exact.denominator
        assert rounded(np.int64(value), shift) == expected
        assert rounded(np.array([value]), np.array([shift]))[0] == expected


@pytest.mark.parametrize("config", [FixedConfig(), MIDDLE, WIDE])
def test_reciprocals_are_within_2_to_the_minus_17(config):
    y, exponent = reciprocal(NUMBERS, config)
    error = np.ldexp(y.astype(np.float64) * NUMBERS, -exponent) - 1
    assert np.abs(error).max() < 2.0**-17
    assert y.max() <= 1 << config.inverse_bits


@pytest.mark.parametrize("config", [FixedConfig(), MIDDLE, WIDE])
@pytest.mark.parametrize("fraction", [0, 1, 23, 24])
def test_inverse_roots_are_within_2_to_the_minus_17(config, fraction):
    y, exponent = inverse_root(NUMBERS, fraction, config)
    exact = 1 / np.sqrt(np.ldexp(NUMBERS.astype(np.float64), -fraction))
    assert np.abs(np.ldexp(y.astype(np.float64), -exponent) / exact - 1).max() < 2.0**-17


@pytest.mark.parametrize("length", [0.05, 0.3, 4.0])
@pytest.mark.parametrize(("softplus", "shift"), [(True, -10.0), (True, 0.0), (False, -10.0)])
def test_alpha_is_within_2_to_the_minus_12_and_never_falls(length, softplus, shift):
    config = FixedConfig()
    curve = alpha_curve(length, softplus, shift, config)
    last = (len(curve.values) - 1) << curve.shift
    sums = curve.lowest + np.arange(-5000, last + 1)
    s = np.ldexp(sums.astype(np.float64), -config.density_bits)
    density = np.logaddexp(0, s + shift) if softplus else np.maximum(s, 0)
    found = curve(sums)
    share = np.ldexp(found, -config.transmittance_bits)
    assert np.abs(share + np.expm1(-density * length)).max() < 2.0**-12
    assert (np.diff(found) >= 0).all()
    assert found[0] == 0
    ends = curve(np.array([-(1 << 40), 1 << 40]))
    assert ends[0] == 0
    # Beyond 128 nothing more is added, which counts where steps are very short.
    assert ends[1] == found[-1] >= (1 << config.transmittance_bits) * (1 - np.exp(-100 * length))


def test_a_curve_with_more_entries_than_inputs_has_one_for_each():
    config = FixedConfig(density_bits=4, alpha_address_bits=12)
    curve = alpha_curve(0.3, True, -10.0, config)
    assert curve.shift == 0
    sums = curve.lowest + np.arange(len(curve.values))
    assert (curve(sums) == curve.values).all()


def test_sigmoids_are_within_five_quarters_of_a_unit():
    config = FixedConfig()
    logits = np.arange(-(1 << 15), 1 << 15)
    exact = 1 / (1 + np.exp(-np.ldexp(logits, -config.logit_bits)))
    found = sigmoid_curve(config)(logits)
    error = np.abs(found - np.ldexp(exact, config.color_bits))
    assert error.max() < 1.25
    assert found.min() == 0
    assert found.max() == 1 << config.color_bits


def test_a_curve_fills_its_table_with_intervals_that_do_not_rise():
    curve = Curve(0, 3, np.array([5, 9, 2]))
    assert curve_words(curve, 4, 2) == [5 | 4 << 4, 9 | (32 - 7) << 4, 2, 2]
    with pytest.raises(ValueError, match="the curve has 2 intervals; 1 fit"):
        curve_words(curve, 4, 0)
    with pytest.raises(ValueError, match=r"the curve's values must be 0 \.\. 7"):
        curve_words(curve, 3, 2)


@pytest.mark.parametrize("fraction", [10, 20])
@pytest.mark.parametrize("octave", [0, 1, 5])
@pytest.mark.parametrize("cosine", [False, True])
def test_waves_are_within_half_an_interval_of_their_table(fraction, octave, cosine):
    config = FixedConfig()
    x = np.arange(-(1 << 15), 1 << 15) * (1 << (fraction - 10))
    angle = np.ldexp(x.astype(np.float64), octave - fraction)
    exact = np.cos(angle) if cosine else np.sin(angle)
    found = np.ldexp(wave(x, fraction, octave, cosine, config), -config.wave_bits)
    # Half an interval, half a unit, and 1 / (2 pi)'s own rounding, a 2^-21th of a turn per radian.
    allowed = np.pi / (1 << config.wave_address_bits) + 0.5**config.wave_bits / 2
    allowed += 2 * np.pi * np.abs(angle).max() * 2.0**-21
    assert np.abs(found - exact).max() < allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [("position_bits", 23), ("weight_bits", 0), ("ray_bits", 27), ("color_bits", 10.0)],
)
def test_widths_out_of_range_are_refused(name, value):
    with pytest.raises(FieldError, match=f"{name} is {value}; it must be"):
        FixedConfig(**{name: value})
