"""Codebooks: entries, look-up, nearest pair, and the fit of a table to a tensor."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models import codebook, scale_search
from oleaster.models.formats import FormatError, get_format
from oleaster.models.quantize import (
    QuantizedTensor,
    QuantizeError,
    quantization_stats,
    quantize,
    search_scale,
)

INTEGERS = [*range(16), *range(-16, 0)]
ENTRY = {32 * e + i: INTEGERS[i] * 2**e for e in range(8) for i in range(32)}


@pytest.fixture(autouse=True)
def _small_fits(monkeypatch):
    monkeypatch.setattr(codebook, "_SAMPLE", 1 << 13)
    monkeypatch.setattr(codebook, "_FIRST", 1 << 10)
    monkeypatch.setattr(codebook, "_ITERATIONS", 5)


def random_table(seed):
    return np.random.default_rng(seed).integers(0, 256, (256, 2)).astype(np.uint8)


def values_of(table):
    return np.vectorize(ENTRY.get)(table)


def sqnr(x, format="codebook", **options):
    return quantization_stats(x, quantize(x, format, **options))["sqnr_db"]


def test_entries():
    fmt = get_format("codebook")
    assert {row.code: row.integer << row.exponent for row in fmt.table()} == ENTRY
    assert {row.role for row in fmt.table()} == {"normal"}
    assert (fmt.code_bits, fmt.bits_per_value, fmt.lanes) == (4, 4, 1)
    assert (fmt.exponent_bits, fmt.integer_bits) == (3, 5)
    assert (fmt.max_normal, fmt.max_magnitude) == (15 << 7, 16 << 7)


def test_an_index_is_the_byte_of_its_pair():
    table = random_table(0)
    fmt = get_format("codebook").with_table(table)
    index = np.arange(256, dtype=np.uint8)
    codes = fmt.unpack(index)
    assert codes[2 * 0xA7 : 2 * 0xA7 + 2].tolist() == [7, 0xA]
    np.testing.assert_array_equal(fmt.pack(codes), index)
    expected = values_of(table)
    np.testing.assert_array_equal(fmt.decode(codes).reshape(256, 2), expected)
    np.testing.assert_array_equal(fmt.decode_pairs_lenient(codes).reshape(256, 2), expected)
    np.testing.assert_array_equal(fmt.lane_values(codes)[0].reshape(256, 2), expected)
    exponents, integers = fmt.to_pairs(codes.reshape(8, 64))
    assert exponents.shape == (8, 64)
    np.testing.assert_array_equal(exponents.reshape(256, 2), table >> 5)
    assert set(integers.ravel().tolist()) == set(INTEGERS)


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_nearest_pair(data):
    table = random_table(data.draw(st.integers(0, 10**6)))
    fmt = get_format("codebook").with_table(table)
    number = st.one_of(st.integers(-40, 40), st.floats(-3000, 3000))
    x = np.array(data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=5)), float)
    index = fmt.pack(fmt.encode(x))[:, 0]
    for pair, found in zip(x, index, strict=True):
        distances = ((values_of(table) - pair) ** 2).sum(axis=1)
        assert found == np.argmin(distances)


def test_far_values_saturate():
    table = np.zeros((256, 2), np.uint8)
    table[3] = 0xEF, 0xF0  # 15 << 7, -16 << 7
    table[4] = 0xEF, 0xEF
    fmt = get_format("codebook").with_table(table)
    pairs = [[1e300, -1e300], [1e30, 1e30], [3000, -3000], [1, 2]]
    assert fmt.pack(fmt.encode(pairs))[:, 0].tolist() == [3, 4, 3, 0]


def test_without_a_table_or_with_a_wrong_one():
    fmt = get_format("codebook")
    for call in (fmt.decode, fmt.encode, fmt.to_pairs, fmt.decode_pairs_lenient, fmt.lane_values):
        with pytest.raises(FormatError, match="codebook has no values of its own, its table comes"):
            call([1, 2])
    assert fmt.unpack(fmt.pack([1, 2])).tolist() == [1, 2]
    for wrong in (np.zeros((256, 2), np.int8), np.zeros((2, 256), np.uint8)):
        with pytest.raises(FormatError, match=r"a codebook is .*, expected uint8 \(256, 2\)"):
            fmt.with_table(wrong)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("shape", [(2,), (5, 64), (2, 3, 130)])
def test_quantized_tensor(monkeypatch, granularity, shape):
    monkeypatch.setattr(scale_search, "_BLOCK", 64)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    q = quantize(x, "codebook", granularity=granularity)
    lead = shape[:-1] if granularity == "channel" else ()
    assert (q.format, q.shape, q.scale.shape) == ("codebook", shape, lead)
    assert q.packed.shape == (*shape[:-1], shape[-1] // 2)
    assert q.codebook[0].tolist() == [0, 0]
    scale = np.asarray(q.scale, np.float64)[..., None] if lead else float(q.scale)
    np.testing.assert_array_equal(q.codes, q.number_format.encode(x / scale))
    expected = values_of(q.codebook)[q.packed].reshape(shape) * scale
    np.testing.assert_array_equal(q.dequantize(), expected.astype(np.float32))
    again = quantize(x, "codebook", granularity=granularity)
    np.testing.assert_array_equal(again.codebook, q.codebook)
    np.testing.assert_array_equal(again.packed, q.packed)


def test_loses_clearly_less_than_int4():
    """With the full fit 2 dB on Gaussian pairs, 8 dB on heavy tails; the bounds leave a margin."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((128, 256)).astype(np.float32)
    assert sqnr(x) > sqnr(x, "int4") + 1.2
    x = rng.standard_t(3, (128, 256)).astype(np.float32)
    assert sqnr(x) > sqnr(x, "int4") + 4


def test_what_scalars_cannot_see():
    """Points on a circle: the table takes the circle, whatever lies inside it costs nothing."""
    angle = np.random.default_rng(3).uniform(0, 2 * np.pi, (64, 64))
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(64, 128)
    assert sqnr(x) > sqnr(x, "int4") + 6


def test_channels_share_a_table_but_not_a_scale():
    x = np.random.default_rng(4).standard_normal((8, 512)) * 10.0 ** np.arange(8)[:, None]
    q = quantize(x, "codebook", granularity="channel")
    assert q.codebook.shape == (256, 2)
    np.testing.assert_allclose(q.scale[1:] / q.scale[:-1], 10, rtol=0.2)
    off = q.dequantize() - x
    by_row = 10 * np.log10((x**2).sum(axis=1) / (off**2).sum(axis=1))
    assert by_row.min() > 17


def test_few_different_pairs_are_kept():
    """Up to 255 are their own centroids, so that only the entries' rounding is lost."""
    x = np.random.default_rng(5).choice([-3.0, -1, 0, 2, 7, 15], (16, 64))
    assert sqnr(x) == np.inf
    sparse = np.zeros((512, 64))
    sparse[::16, ::2] = np.random.default_rng(6).standard_normal((32, 32))
    assert sqnr(sparse) > 15


@pytest.mark.parametrize("size", [1e-45, 1e-39, 1e38, 3.4e38])
def test_ends_of_float32(size):
    x = np.array([1, -1, 0.5, 0.25, 0, 1, 1, -0.5] * 40) * size
    q = quantize(x, "codebook")
    assert np.isfinite(q.dequantize()).all()
    assert q.scale > 0
    if size > 1:
        assert sqnr(x) > 20


def test_zeros():
    q = quantize(np.zeros((2, 6)), "codebook")
    assert q.scale == 1
    assert not q.codes.any()
    x = np.zeros((3, 64))
    x[1] = np.random.default_rng(7).standard_normal(64)
    q = quantize(x, "codebook", granularity="channel")
    assert not q.codes[[0, 2]].any()


def test_what_is_refused():
    with pytest.raises(QuantizeError, match=r"codebook indexes pairs along K, .* even; K is 5"):
        quantize(np.ones((2, 5)), "codebook")
    with pytest.raises(QuantizeError, match="codebook finds its scale with its table"):
        quantize(np.ones(4), "codebook", scale=1)
    with pytest.raises(QuantizeError, match="codebook has no scale to search"):
        search_scale(np.ones(4), "codebook")
    good = quantize(np.ones((2, 4)), "codebook")
    parts = (good.shape, good.packed, good.scale)
    with pytest.raises(QuantizeError, match="codebook lacks its table"):
        QuantizedTensor("codebook", *parts)
    with pytest.raises(QuantizeError, match="int4 has no codebook"):
        QuantizedTensor("int4", *parts, codebook=good.codebook)
    with pytest.raises(FormatError, match=r"uint8 \(2, 2\), expected uint8 \(256, 2\)"):
        QuantizedTensor("codebook", *parts, codebook=good.codebook[:2])
    with pytest.raises(QuantizeError, match="K is 3"):
        QuantizedTensor("codebook", (2, 3), *parts[1:], codebook=good.codebook)


def test_scipy_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.cluster.vq", None)
    with pytest.raises(QuantizeError, match=r"needs scipy; install it with pip install 'oleaster"):
        quantize(np.random.default_rng(8).standard_normal(2000), "codebook")
