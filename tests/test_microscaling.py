"""MX blocks against the OCP's text, element by element, and their way into an accumulator."""

import math
from fractions import Fraction

import numpy as np
import pytest
from format_tables import EXPECTED, MX
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models import scale_search
from oleaster.models.formats import FORMATS, FormatError, get_format
from oleaster.models.microscaling import (
    MAX_WINDOW,
    aligned_values,
    relative_exponents,
    windows,
)
from oleaster.models.quantize import (
    QuantizedTensor,
    QuantizeError,
    quantization_stats,
    quantize,
    search_scale,
)

LARGEST_EXPONENT = {"mxfp4-e2m1": 2, "mxfp6-e3m2": 4, "mxfp6-e2m3": 2}
LARGEST_EXPONENT |= {"mxfp8-e4m3": 8, "mxfp8-e5m2": 15}  # emax of MX 1.0


def reference_block(block, name):
    """E8M0 code and exact values of one block, by the text of MX 1.0, section 6.3."""
    row = EXPECTED[MX[name]]
    known = {Fraction(value) * Fraction(row.unit): code for code, value in row.normal.items()}
    largest = max(abs(Fraction(float(x))) for x in block)
    if largest == 0:
        return 0, [Fraction(0)] * len(block)
    exponent = 0
    while Fraction(2) ** exponent > largest:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= largest:
        exponent += 1
    code = min(max(exponent - LARGEST_EXPONENT[name] + 127, 0), 254)
    scale = Fraction(2) ** (code - 127)
    values = []
    for x in block:
        wanted = Fraction(float(x)) / scale
        values.append(scale * min(known, key=lambda v: (abs(v - wanted), known[v] % 2)))
    return code, values


def check(x, name):
    q = quantize(x, name)
    rows = np.asarray(x, np.float32).reshape(-1, np.shape(x)[-1])
    codes = q.block_exponents.reshape(len(rows), -1)
    values = q.dequantize().reshape(rows.shape)
    assert q.block_exponents.dtype == np.uint8
    assert codes.shape == (len(rows), math.ceil(rows.shape[1] / 32))
    assert (q.scale.dtype, q.scale.shape) == (np.float32, ())
    assert float(q.scale) == EXPECTED[MX[name]].unit
    for row, row_codes, row_values in zip(rows, codes, values, strict=True):
        for block in range(len(row_codes)):
            part = slice(32 * block, 32 * block + 32)
            code, expected = reference_block(row[part], name)
            assert row_codes[block] == code
            assert [Fraction(float(v)) for v in row_values[part]] == expected
    return q


@pytest.mark.parametrize("name", MX)
@pytest.mark.parametrize("shape", [(1,), (31,), (32,), (33,), (2, 3, 70), (3, 64)])
def test_shapes(monkeypatch, name, shape):
    monkeypatch.setattr(scale_search, "_BLOCK", 64)  # several pieces, also within a row
    rng = np.random.default_rng(3)
    check(rng.standard_t(2, shape) * 2.0 ** rng.integers(-9, 9, shape), name)


@pytest.mark.parametrize("name", MX)
def test_ends_of_float32(name):
    """Subnormal, tiny and huge blocks, one of zeros, and a block that holds all sizes at once."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (6, 32)).astype(np.float32)
    x[0] *= np.float32(1e-44)
    x[1] *= np.float32(1e-38)
    x[2] *= np.finfo(np.float32).max
    x[2, 0] = np.finfo(np.float32).max
    x[3] = 0
    x[4] *= 2.0 ** rng.integers(-140, 120, 32)
    x[5] = 2.0 ** np.arange(-16, 16)
    q = check(x, name)
    assert (q.block_exponents[0], q.block_exponents[3]) == (0, 0)
    assert not q.codes[3].any()
    assert np.isfinite(q.dequantize()).all()


@pytest.mark.parametrize("name", MX)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_block(name, data):
    number = st.one_of(st.floats(-8, 8, width=32), st.floats(width=32, allow_nan=False))
    block = data.draw(st.lists(number.filter(math.isfinite), min_size=1, max_size=40))
    check([block], name)


def test_worked_block():
    """max 7: exponent 2 - 2 = 0; 7 saturates at 6, 5 ties to 4, 0.25 to 0."""
    q = quantize([7, -5, 0.25, 0.26, 0.75, 2.5, 3.5], "mxfp4-e2m1")
    assert q.block_exponents.tolist() == [127]
    assert q.dequantize().tolist() == [6, -4, 0, 0.5, 1, 2, 4]
    assert quantize([0.0, 2.0**-126], "mxfp4-e2m1").block_exponents.tolist() == [0]


def test_stats_count_what_dequantising_loses(monkeypatch):
    monkeypatch.setattr(scale_search, "_BLOCK", 64)
    x = np.random.default_rng(5).standard_t(3, (5, 150))
    q = quantize(x, "mxfp6-e3m2")
    off = q.dequantize() - x
    stats = quantization_stats(x, q)
    assert stats["mse"] == pytest.approx(np.mean(off**2), rel=1e-5)
    assert stats["outlier_normal"] == stats["outlier_outlier"] == 0


def test_scales_make_no_sense():
    for options in ({"scale": 1.0}, {"granularity": "channel"}):
        with pytest.raises(QuantizeError, match="mxfp8-e4m3 scales each block by itself; leave"):
            quantize(np.ones((2, 4)), "mxfp8-e4m3", **options)
    with pytest.raises(QuantizeError, match="mxfp8-e4m3 has no scale to search"):
        search_scale(np.ones(4), "mxfp8-e4m3")
    with pytest.raises(FormatError, match="unknown rule"):
        quantize(np.ones(4), "mxfp8-e4m3", rule="left")


def tensor(exponents, codes, name="mxfp4-e2m1"):
    codes, exponents = np.asarray(codes, np.uint8), np.asarray(exponents, np.uint8)
    unit = np.array(EXPECTED[MX[name]].unit, np.float32)
    return QuantizedTensor(name, codes.shape, FORMATS[name].pack(codes), unit, exponents)


def test_tensors_must_fit_together():
    good = quantize(np.ones((2, 40)), "mxfp4-e2m1")
    parts = (good.format, good.shape, good.packed)
    for exponents, message in [
        (None, "mxfp4-e2m1 lacks block_exponents"),
        (np.zeros((2, 1), np.uint8), r"are uint8 \(2, 1\), expected uint8 \(2, 2\)"),
        (np.zeros((2, 2), np.int8), r"block exponents are int8"),
        (np.array([[0, 1], [255, 3]], np.uint8), r"at \[1, 0\] is 255, which is NaN"),
    ]:
        with pytest.raises(QuantizeError, match=message):
            QuantizedTensor(*parts, good.scale, exponents)
    for scale in (np.float32(1), np.full(2, 0.5, np.float32)):
        with pytest.raises(QuantizeError, match=r"but mxfp4-e2m1 has the unit 0\.5"):
            QuantizedTensor(*parts, np.array(scale), good.block_exponents)
    with pytest.raises(QuantizeError, match="int4 has no block exponents"):
        QuantizedTensor("int4", *parts[1:], good.scale, good.block_exponents)


def test_values_beyond_float32_are_refused():
    """No float32 tensor gives such exponents, but they are legal."""
    q = tensor([[254]], [[1, 2]])
    assert q.dequantize().tolist() == [[2.0**126, 2.0**127]]
    with pytest.raises(QuantizeError, match="values are beyond float32"):
        tensor([[254]], [[1, 4]]).dequantize()


def test_flushing_by_hand():
    """Two tiles of two lanes, window 3; a block is 32 elements, of which only the first is set."""
    exponents = np.array([[100, 98, 97, 96], [200, 97, 99, 90], [2, 0, 3, 1]], np.uint8)
    codes = np.zeros((3, 128), np.uint8)
    codes[:, ::32] = 2  # <0, 2>
    codes[1, 0] = 0  # nothing is in the block of 200, so it chooses nothing
    codes[2, 64] = 15  # <2, -3>
    values, shifts = aligned_values(tensor(exponents, codes), lanes=2, window=3)
    assert shifts.base.tolist() == [97, 0]
    assert shifts.shift.tolist() == [[3, 1, 0, 0], [0, 0, 2, 0], [2, 0, 3, 1]]
    flushed = [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert shifts.flushed.tolist() == np.array(flushed, bool).tolist()
    expected = [[16, 4, 2, 0], [0, 2, 8, 0], [8, 2, -96, 4]]
    assert values[:, ::32].tolist() == expected
    assert not np.delete(values, range(0, 128, 32), axis=1).any()
    assert (values.dtype, shifts.shift.dtype, shifts.base.dtype) == (np.int64, np.uint8, np.uint8)


@pytest.mark.parametrize("name", MX)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_aligned_values_are_the_values(name, data):
    """Times the tile's unit they equal the tensor, but for the blocks that are flushed."""
    rows, k = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 100))
    lanes, window = data.draw(st.integers(1, 4)), data.draw(st.integers(0, MAX_WINDOW))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    x = rng.standard_normal((rows, k)) * 2.0 ** rng.integers(-12, 12, (rows, k))
    x[:, : data.draw(st.integers(0, k))] *= 0.0
    q = quantize(x, name)
    values, (shift, flushed, base) = aligned_values(q, lanes, window)
    assert values.shape == q.codes.shape
    assert shift.max() <= window
    assert len(base) == math.ceil(rows / lanes)
    exact = q.dequantize().astype(np.float64)
    for row in range(rows):
        tile = q.block_exponents[row // lanes * lanes :][:lanes]
        # No block of zeros was given an exponent, so all may be looked at.
        assert base[row // lanes] == max(0, int(tile.max()) - window)
        assert flushed[row].tolist() == [
            bool(e < base[row // lanes] and x[row, 32 * b : 32 * b + 32].any())
            for b, e in enumerate(q.block_exponents[row])
        ]
        kept = ~np.repeat(flushed[row], 32)[:k]
        unit = float(q.scale) * 2.0 ** (int(base[row // lanes]) - 127)
        np.testing.assert_array_equal(values[row, :k] * unit, exact[row] * kept)


def test_wrong_use():
    exponents, occupied = np.zeros((2, 1), np.uint8), np.ones((2, 1), bool)
    for window in (-1, 16):
        with pytest.raises(ValueError, match=f"window is {window}; expected 0 to 15"):
            relative_exponents(exponents, occupied, 2, window)
    with pytest.raises(ValueError, match="lanes is 0"):
        relative_exponents(exponents, occupied, 0, 3)
    for q in (quantize(np.ones((2, 4)), "int4"), quantize(np.ones(4), "mxfp4-e2m1")):
        with pytest.raises(ValueError, match=r"of shape \(.*\) is no MX matrix"):
            aligned_values(q, 2, 3)


@pytest.mark.parametrize(
    ("a", "b", "spare", "expected"),
    [
        ("mxfp4-e2m1", "mxfp4-e2m1", 10, (5, 5)),
        ("mxfp4-e2m1", "mxfp8-e4m3", 11, (5, 6)),
        ("mxfp4-e2m1", "int4", 11, (11, 0)),
        ("fp8-e5m2", "mxfp6-e3m2", 7, (0, 7)),
        ("int4", "int8", 7, (0, 0)),
        ("mxfp4-e2m1", "int4", 16, (15, 0)),
        ("mxfp4-e2m1", "mxfp4-e2m1", 29, (14, 15)),
        ("mxfp4-e2m1", "mxfp4-e2m1", 99, (15, 15)),
        ("mxfp4-e2m1", "mxfp4-e2m1", -3, (0, 0)),
    ],
)
def test_windows(a, b, spare, expected):
    assert windows(FORMATS[a], FORMATS[b], spare) == expected


def test_minus_zero_is_no_value_to_align_to():
    codes = np.zeros((1, 64), np.uint8)
    codes[:, :32], codes[:, 32:] = 8, 2  # minus zeros, ones
    packed = get_format("mxfp4-e2m1").pack(codes)
    exponents = np.array([[200, 127]], np.uint8)
    q = QuantizedTensor("mxfp4-e2m1", (1, 64), packed, np.float32(0.5), exponents)
    values, shifts = aligned_values(q, 1, 4)
    assert shifts.base.tolist() == [123]
    assert not shifts.flushed.any()
    assert values[0, 32:].tolist() == [2 << 4] * 32
