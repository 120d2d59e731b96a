"""GEMMs between matrices in the accelerator's memory, and their execution in numpy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.accelerator.descriptor import row_bytes
from oleaster.models.accelerator.gemm_list import Gemm, Matrix, ModelExecutor, as_sums, words_for
from oleaster.models.accelerator.requantize import ChannelWords, requantize
from oleaster.models.formats import get_format
from oleaster.models.quantize import quantize

CODES = ("int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8")


def random_codes(rng, fmt, rows, columns):
    """Packed rows of legal codes, and their values (rows, columns)."""
    limit = 3 * get_format(fmt).max_normal
    values = rng.integers(-limit, limit + 1, (rows, columns + columns % 2))
    values[:, columns:] = 0
    codes = get_format(fmt).encode(values)
    return get_format(fmt).pack(codes), get_format(fmt).decode(codes)[:, :columns]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_product_of_parts_into_a_part(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    side = st.integers(1, 5)
    m, n, k = data.draw(side), data.draw(side), data.draw(side)
    fmt_a, fmt_b = data.draw(st.sampled_from(CODES)), data.draw(st.sampled_from(CODES))
    even = k + k % 2

    def surrounded(fmt, rows):
        """A part of rows x k, with more around it, and the values in it."""
        above, left, right = data.draw(st.integers(0, 2)), 2 * data.draw(st.integers(0, 2)), 0
        if k == even:
            right = data.draw(st.integers(0, 3))
        packed, values = random_codes(rng, fmt, above + rows + 1, left + k + right)
        matrix = Matrix(fmt, *values.shape)
        window = slice(above, above + rows), slice(left, left + k)
        return matrix.part(*window), packed, values[window].astype(np.int64)

    a, packed_a, values_a = surrounded(fmt_a, m)
    b, packed_b, values_b = surrounded(fmt_b, n)
    sums = Matrix("int32", m + 2, n + 3)
    executor = ModelExecutor()
    before = rng.integers(0, 256, (sums.rows, sums.row_bytes), dtype=np.uint8)
    gemm = Gemm("product", a, b, sums.part(slice(1, 1 + m), slice(2, 2 + n)))
    inputs = {a.matrix: packed_a, b.matrix: packed_b, sums: before}
    (after,) = executor.run("list", [gemm], inputs, [sums])
    expected = as_sums(before).copy()
    expected[1 : 1 + m, 2 : 2 + n] = values_a @ values_b.T
    np.testing.assert_array_equal(as_sums(after), expected)
    assert not executor.overflows
    assert gemm.shape == (m, k, n)
    assert gemm.macs == m * k * n
    assert gemm.lane_macs == m * k * n * (1 + ("8" in fmt_a)) * (1 + ("8" in fmt_b))


def test_a_list_reads_what_it_has_written():
    rng = np.random.default_rng(3)
    weight = Matrix.constant(quantize(rng.standard_normal((4, 6)), "int8"))
    x, middle, result = Matrix("int8", 3, 6), Matrix("int8", 3, 4), Matrix("int32", 3, 3)
    packed, values = random_codes(rng, "int8", 3, 6)
    words = ChannelWords(np.array([5, 0, -9, 1]), np.full(4, 3), np.full(4, 9))
    executor = ModelExecutor()
    codes, sums = executor.run(
        "list",
        [
            Gemm("first", x.part(), weight.part(), middle.part(), words),
            Gemm("second", middle.part(), middle.part(), result.part()),
        ],
        {x: packed},
        [middle, result],
    )
    weights = get_format("int8").decode(weight.packed)
    expected = np.clip(requantize(values.astype(int) @ weights.astype(int).T, *words), -127, 127)
    assert len(set(expected.flat)) > 6
    np.testing.assert_array_equal(codes.view(np.int8), expected)
    np.testing.assert_array_equal(as_sums(sums), expected @ expected.T)

    (again,) = executor.run("later", [], {}, [middle])
    np.testing.assert_array_equal(again, codes)
    executor.start()
    with pytest.raises(ValueError, match="reads int8 that nothing has written"):
        executor.run("list", [Gemm("g", middle.part(), middle.part(), result.part())], {}, [])
    executor.run(
        "list",
        [Gemm("g", weight.part(), weight.part(columns=slice(0, 6)), Matrix("int32", 4, 4).part())],
        {},
        [],
    )


def test_overflow_is_told_by_name():
    packed = get_format("ovp8").pack(get_format("ovp8").encode([[1 << 15, 0] * 2]))
    a, sums = Matrix("ovp8", 1, 4, packed), Matrix("int32", 1, 1)
    executor = ModelExecutor()
    (out,) = executor.run("list", [Gemm("large", a.part(), a.part(), sums.part())], {}, [sums])
    assert executor.overflows == ["large"]
    assert as_sums(out)[0, 0] == -(1 << 31)


@settings(max_examples=200, deadline=None)
@given(
    unit=st.floats(1e-6, 1e3),
    bias=st.floats(-1e3, 1e3),
    ratio=st.floats(1e-9, 1e3),
    total=st.integers(-(1 << 20), 1 << 20),
)
def test_words_say_what_scales_say(unit, bias, ratio, total):
    if abs(bias / unit) > 1 << 30:
        return
    scale = unit / ratio
    words = words_for([unit], bias, scale)
    exact = (Fraction(total) * Fraction(unit) + Fraction(bias)) / Fraction(scale)
    # Half a unit of rounding, the multiplier's 2^-16, and half a unit of the sum for the bias.
    slack = Fraction(1, 2) + (abs(exact) + Fraction(ratio)) / (1 << 16) + Fraction(ratio) / 2
    found = int(requantize([[total]], *words)[0, 0])
    if abs(exact) < 30000:
        assert abs(found - exact) <= slack * Fraction(1001, 1000)


def test_words_that_cannot_be():
    with pytest.raises(ValueError, match="the bias of column 1 is 1e\\+13 units"):
        words_for([1.0, 1e-12], 10.0, 1.0)
    with pytest.raises(ValueError, match="a scale is"):
        words_for([1e-20], 0.0, 1.0)


def test_matrices_and_parts_that_cannot_be():
    with pytest.raises(ValueError, match="format is 'int5'"):
        Matrix("int5", 1, 1)
    with pytest.raises(ValueError, match="no elements"):
        Matrix("int8", 0, 1)
    with pytest.raises(ValueError, match=r"must be uint8 \(2, 4\)"):
        Matrix("int8", 2, 3, np.zeros((2, 3), np.uint8))
    matrix = Matrix("ovp4-int", 3, 7)
    with pytest.raises(ValueError, match="columns 1 to 6 of ovp4-int cut a pair"):
        matrix.part(columns=slice(1, None))
    with pytest.raises(ValueError, match="columns 0 to 4"):
        matrix.part(columns=slice(0, 5))
    with pytest.raises(ValueError, match="a part of 3 x 0"):
        matrix.part(columns=slice(8, None))
    last = matrix.part(rows=slice(1, 3), columns=slice(4, None))
    assert (last.offset, last.row_bytes) == (row_bytes("ovp4-int", 7) + 2, 2)
    sums = Matrix("int32", 3, 7).part(columns=slice(1, 4))
    assert (sums.offset, sums.row_bytes) == (4, 12)


def test_gemms_that_cannot_be():
    a, b = Matrix("int8", 2, 4).part(), Matrix("int8", 3, 4).part()
    codes, sums = Matrix("int8", 2, 3).part(), Matrix("int32", 2, 3).part()
    words = words_for(np.ones(3), 0.0, 1.0)
    Gemm("fits", a, b, codes, words)
    with pytest.raises(ValueError, match="oops: a, b and c are 2 x 4, 3 x 4, 3 x 4"):
        Gemm("oops", a, b, b)
    with pytest.raises(ValueError, match="oops: a, b and c are 2 x 4, 2 x 3, 2 x 3"):
        Gemm("oops", a, codes, sums)
    with pytest.raises(ValueError, match="int32 has no channel words"):
        Gemm("oops", a, b, sums, words)
    with pytest.raises(ValueError, match="int32 has no channel words"):
        Gemm("oops", a, b, codes)
    with pytest.raises(ValueError, match="2 channel words for 3 columns"):
        Gemm("oops", a, b, codes, words_for(np.ones(2), 0.0, 1.0))
    executor = ModelExecutor()
    with pytest.raises(ValueError, match="packed rows are"):
        executor.run("list", [], {a.matrix: np.zeros((2, 5), np.uint8)}, [])
