"""The OCP's floats against ml_dtypes, an implementation of others.

Reals are float32: ml_dtypes rounds a float64 to that first, and so some of them twice.
"""

import ml_dtypes
import numpy as np
import pytest
from format_tables import EXPECTED
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.formats import FORMATS

THEIRS = {
    "fp4-e2m1": ml_dtypes.float4_e2m1fn,
    "fp6-e3m2": ml_dtypes.float6_e3m2fn,
    "fp6-e2m3": ml_dtypes.float6_e2m3fn,
    "fp8-e4m3": ml_dtypes.float8_e4m3fn,
    "fp8-e5m2": ml_dtypes.float8_e5m2,
}


def encoded(name, reals):
    """Our codes of real values, in pairs with zeros."""
    reals = np.asarray(reals, np.float64)
    pairs = np.stack([reals / EXPECTED[name].unit, np.zeros_like(reals)], axis=-1)
    return FORMATS[name].encode(pairs)[..., 0]


def their_codes(name, reals):
    """Their codes, with +0 for -0, which we do not write."""
    codes = np.asarray(reals, np.float32).astype(THEIRS[name]).view(np.uint8)
    return np.where(codes == 1 << (EXPECTED[name].bits - 1), 0, codes)


def test_every_float_is_compared():
    assert set(THEIRS) == {name for name, row in EXPECTED.items() if row.tie == "even"}


@pytest.mark.parametrize("name", THEIRS)
def test_every_code_has_their_value(name):
    codes = np.arange(1 << EXPECTED[name].bits, dtype=np.uint8)
    theirs = codes.view(THEIRS[name]).astype(np.float64)
    known = np.isfinite(theirs)
    assert set(codes[known].tolist()) == set(EXPECTED[name].normal)
    pairs = np.stack([codes, np.zeros_like(codes)], axis=-1)
    ours = FORMATS[name].decode(pairs[known])[:, 0] * EXPECTED[name].unit
    np.testing.assert_array_equal(ours, theirs[known])
    assert not FORMATS[name].decode_pairs_lenient(pairs[~known]).any()


@pytest.mark.parametrize("name", THEIRS)
def test_every_midpoint_and_its_neighbours_have_their_code(name):
    values = np.unique(list(EXPECTED[name].normal.values())) * EXPECTED[name].unit
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf)]
    line = np.concatenate([values.astype(np.float32), middles, *beside])
    np.testing.assert_array_equal(encoded(name, line), their_codes(name, line))


@pytest.mark.parametrize("name", THEIRS)
def test_random_reals_have_their_code(name):
    top = max(EXPECTED[name].normal.values()) * EXPECTED[name].unit
    rng = np.random.default_rng(1)
    reals = rng.uniform(-1, 1, 20000).astype(np.float32) * top * 2.0 ** rng.integers(-32, 1, 20000)
    np.testing.assert_array_equal(encoded(name, reals), their_codes(name, reals))


@pytest.mark.parametrize("name", THEIRS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_real_within_range_has_their_code(name, data):
    top = max(EXPECTED[name].normal.values()) * EXPECTED[name].unit
    reals = data.draw(st.lists(st.floats(-top, top, width=32), min_size=1, max_size=8))
    np.testing.assert_array_equal(encoded(name, reals), their_codes(name, reals))


@pytest.mark.parametrize("name", THEIRS)
def test_beyond_the_largest_value_saturates(name):
    """The OCP's saturating mode, which ml_dtypes does not have."""
    largest = max(EXPECTED[name].normal, key=EXPECTED[name].normal.get)
    top = EXPECTED[name].normal[largest] * EXPECTED[name].unit
    minus = largest + (1 << (EXPECTED[name].bits - 1))
    for beyond in (1.0001, 1.0624, 1.5, 1e6, 1e290):
        assert encoded(name, [top * beyond, -top * beyond]).tolist() == [largest, minus]


@pytest.mark.parametrize("name", THEIRS)
def test_minus_zero_reads_as_zero_and_is_not_written(name):
    minus_zero = 1 << (EXPECTED[name].bits - 1)
    least = 1.0 * EXPECTED[name].unit
    assert FORMATS[name].decode([minus_zero, minus_zero]).tolist() == [0, 0]
    assert encoded(name, [-0.0, -least / 2, -least / 4]).tolist() == [0, 0, 0]
    assert encoded(name, [-least * 0.51]).tolist() == [minus_zero + 1]
