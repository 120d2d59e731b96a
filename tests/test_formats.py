"""The formats against a naive reference written from the design's tables by hand."""

import bisect
import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from format_tables import EXPECTED, MX
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.formats import FORMATS, FormatError, IllegalPairError, get_format

NAMES = list(EXPECTED)
OVP = [name for name in NAMES if EXPECTED[name].has_outliers]


def reference_decode(name, left, right):
    """The values of one pair as hardware gives them; None for an illegal pair."""
    row = EXPECTED[name]
    if row.mark is not None:
        if left == right == row.mark:
            return None
        if right == row.mark:
            return row.outlier.get(left, 0), 0
        if left == row.mark:
            return 0, row.outlier.get(right, 0)
    return row.normal.get(left, 0), row.normal.get(right, 0)


@functools.cache
def choices(name, types):
    """Values of a format's normal type, or of both types, in rising order, and a code of each."""
    tables = EXPECTED[name].normal, EXPECTED[name].outlier
    found = {value: code for table in tables[:types] for code, value in table.items()}
    return sorted(found), found


@functools.cache
def nearest(value, name, types):
    """The nearest of the choices, exactly; a tie as the format has it (both zeros are even)."""
    known, codes = choices(name, types)
    place = bisect.bisect(known, value)
    beside = known[max(place - 1, 0) : place + 1]
    even = EXPECTED[name].tie == "even"
    return min(
        beside,
        key=lambda one: (abs(Fraction(value) - one), codes[one] % 2 if even else -abs(one)),
    )


def reference_encode(name, left, right, rule="paper"):
    """The values that one pair of numbers is stored as."""
    outlier = EXPECTED[name].outlier
    if not EXPECTED[name].has_outliers:
        return nearest(left, name, 1), nearest(right, name, 1)
    stored_left, stored_right = nearest(left, name, 2), nearest(right, name, 2)
    left_out, right_out = stored_left in outlier.values(), stored_right in outlier.values()
    if left_out and right_out:
        left_stays = abs(left) > abs(right) or rule == "artifact"
        return (stored_left, 0) if left_stays else (0, stored_right)
    if left_out:
        return stored_left, 0
    if right_out:
        return 0, stored_right
    return stored_left, stored_right


def all_pairs(bits):
    """Every pair of codes, (4**bits, 2) uint8."""
    codes = np.arange(1 << bits, dtype=np.uint8)
    return np.stack(np.meshgrid(codes, codes, indexing="ij"), axis=-1).reshape(-1, 2)


@functools.cache
def legal_pairs(name):
    """Every pair that the strict decoder takes, and its values by the reference."""
    row = EXPECTED[name]
    pairs = all_pairs(row.bits)
    if row.has_outliers:
        pairs = pairs[~(pairs == row.mark).all(axis=1)]
    else:
        pairs = pairs[np.isin(pairs, list(row.normal)).all(axis=1)]
    return pairs, np.array([reference_decode(name, left, right) for left, right in pairs.tolist()])


@pytest.mark.parametrize("name", NAMES)
def test_decoder_of_every_legal_pair(name):
    pairs, expected = legal_pairs(name)
    decoded = FORMATS[name].decode(pairs)
    assert decoded.dtype == (np.int32 if expected.max() < 2**31 else np.int64)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("name", NAMES)
def test_lenient_decoder_of_every_pair(name):
    """Plain formats are read by the OVP decoder of their type; what is no number is 0."""
    pairs = all_pairs(EXPECTED[name].bits)
    expected = [reference_decode(name, left, right) or (0, 0) for left, right in pairs.tolist()]
    np.testing.assert_array_equal(FORMATS[name].decode_pairs_lenient(pairs), expected)


@pytest.mark.parametrize("name", NAMES)
def test_exponent_integer_pairs_give_the_values_in_widths_that_are_tight(name):
    fmt = FORMATS[name]
    exponent_bits, integer_bits = EXPECTED[name].exponent, EXPECTED[name].integer
    assert (fmt.exponent_bits, fmt.integer_bits) == (exponent_bits, integer_bits)
    pairs, expected = legal_pairs(name)
    exponents, integers = fmt.to_pairs(pairs)
    assert (exponents.dtype, integers.dtype) == (np.uint8, np.int8)
    np.testing.assert_array_equal(integers.astype(int) << exponents.astype(int), expected)
    assert exponents.max() < 1 << exponent_bits
    assert exponents.max() >= 1 << (exponent_bits - 1) or exponent_bits == 1
    half = 1 << (integer_bits - 1)
    assert -half <= integers.min()
    assert integers.max() < half
    assert integers.min() < -half // 2 or integers.max() >= half // 2


def test_split_of_flint_and_of_clipped_abfloat():
    flint = get_format("flint4")
    splits = {3: (0, 3), 4: (2, 1), 6: (1, 3), 8: (3, 1), 16: (4, 1), -16: (4, -1)}
    for value, pair in splits.items():
        exponents, integers = flint.to_pairs(flint.encode([value, 0]))
        assert (exponents[0], integers[0]) == pair
    exponents, integers = get_format("ovp8").to_pairs([[127, 128], [128, 255], [65, 128]])
    np.testing.assert_array_equal(exponents, [[12, 0], [0, 12], [12, 0]])
    np.testing.assert_array_equal(integers, [[8, 0], [0, -8], [8, 0]])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", ["paper", "artifact"])
def test_encoder_on_a_grid_of_pairs(name, rule):
    """Values, ties, their neighbours and the saturated ends, each beside each other."""
    fmt = FORMATS[name]
    ties = (fmt.magnitudes[1:] + fmt.magnitudes[:-1]) / 2
    if fmt.code_bits > 4:
        ties = np.concatenate([ties[:3], ties[120:133], ties[-5:]])
    line = np.concatenate([ties - 0.25, ties, ties + 0.25, [0, fmt.max_normal, 40000, 1e10]])
    line = np.unique(np.concatenate([line, -line])).tolist()
    pairs = list(itertools.product(line, line))
    expected = [reference_encode(name, left, right, rule) for left, right in pairs]
    np.testing.assert_array_equal(fmt.decode(fmt.encode(pairs, rule=rule)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_encoder_rounds_every_quarter(name):
    """Beside a zero, up to 1.5 times the largest value or 1200, and every tie beyond."""
    fmt = FORMATS[name]
    ties = (fmt.magnitudes[1:] + fmt.magnitudes[:-1]) / 2
    beside = [np.nextafter(ties, 0), np.nextafter(ties, np.inf)]
    line = np.concatenate([np.arange(0, min(1.5 * fmt.max_magnitude, 1200), 0.25), ties, *beside])
    line = np.concatenate([line, -line])
    zeros = np.zeros_like(line)
    expected = [reference_encode(name, value, 0)[0] for value in line.tolist()]
    for column, pair in enumerate([(line, zeros), (zeros, line)]):
        decoded = fmt.decode(fmt.encode(np.stack(pair, axis=-1)))
        np.testing.assert_array_equal(decoded[:, column], expected)
        assert not decoded[:, 1 - column].any()


@pytest.mark.parametrize("name", NAMES)
def test_every_representable_pair_survives(name):
    fmt = FORMATS[name]
    _, values = legal_pairs(name)
    codes = fmt.encode(values)
    np.testing.assert_array_equal(fmt.decode(codes), values)
    # No disabled code is ever written beside an identifier: it would waste the pair. In a float
    # the same code is minus zero, which is never written either.
    marked = codes == 1 << (fmt.code_bits - 1)
    assert values[marked[:, ::-1]].all()
    assert fmt.has_outliers or not marked.any()


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ((17.6, 0.3), (0b0010, 0b1000)),  # figure 1 of the paper from here ...
        ((30.7, 0.3), (0b0100, 0b1000)),
        ((0.3, -98), (0b1000, 0b1111)),
        ((7.1, -6.8), (0b0111, 0b1001)),  # ... to here
        ((2.6, 4.2), (0b0011, 0b0100)),
        ((9.5, 0), (0b0001, 0b1000)),
        ((9.4999, 1), (0b0111, 0b0001)),
        ((-9.5, 1), (0b1001, 0b1000)),
    ],
)
def test_worked_pairs(values, codes):
    fmt = get_format("ovp4-int")
    assert tuple(fmt.encode(values)) == codes
    assert fmt.pack(fmt.encode(values)).tolist() == [codes[0] | codes[1] << 4]


def test_both_outliers():
    fmt = get_format("ovp4-int")
    pairs = [[30, -40], [40, -30], [16, -16], [15.9, 16.1], [16.1, 15.9]]
    paper = [[0, -48], [48, 0], [0, -16], [0, 16], [16, 0]]
    artifact = [[32, 0], [48, 0], [16, 0], [16, 0], [16, 0]]
    np.testing.assert_array_equal(fmt.decode(fmt.encode(pairs)), paper)
    np.testing.assert_array_equal(fmt.decode(fmt.encode(pairs, rule="artifact")), artifact)


def test_border_of_flint():
    fmt = get_format("ovp4-flint")
    values = [[18, 1], [19.75, 1], [20, 1], [-20, 1]]
    expected = [[16, 1], [16, 1], [24, 0], [-24, 0]]
    np.testing.assert_array_equal(fmt.decode(fmt.encode(values)), expected)


@pytest.mark.parametrize(
    ("name", "border"), [("ovp4-int", 9.5), ("ovp4-flint", 20), ("ovp8", 135.5), ("int4", math.inf)]
)
def test_outlier_border(name, border):
    assert FORMATS[name].outlier_border == border


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8])
def test_encoder_takes_every_real_type(name, dtype):
    """The extremes of integer types too: |-128| does not fit int8."""
    values = np.array([[-7, 3], [1, 5]]).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        values[0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    fmt = FORMATS[name]
    np.testing.assert_array_equal(fmt.encode(values), fmt.encode(values.astype(np.float64)))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_pair_of_floats(name, data):
    number = st.one_of(
        st.floats(-300, 300, width=32), st.floats(allow_nan=False, allow_infinity=False)
    )
    left, right = data.draw(number), data.draw(number)
    rule = data.draw(st.sampled_from(["paper", "artifact"]))
    fmt = FORMATS[name]
    decoded = fmt.decode(fmt.encode([left, right], rule=rule))
    assert tuple(decoded) == reference_encode(name, left, right, rule)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_packing(name, data):
    fmt = FORMATS[name]
    lead = data.draw(st.lists(st.integers(0, 3), max_size=2))
    shape = (*lead, 2 * data.draw(st.integers(0, 5)))
    seed = data.draw(st.integers(0, 1000))
    codes = np.random.default_rng(seed).integers(0, 1 << fmt.code_bits, shape).astype(np.uint8)
    packed = fmt.pack(codes)
    assert packed.dtype == np.uint8
    assert packed.shape == (*lead, math.ceil(shape[-1] * fmt.code_bits / 8))
    assert packed.shape[-1] == fmt.packed_bytes(shape[-1])
    np.testing.assert_array_equal(fmt.unpack(packed), codes)


def test_packing_does_not_alias():
    codes = np.array([1, 2], np.uint8)
    packed = get_format("int8").pack(codes)
    packed[:] = 0
    assert codes.tolist() == [1, 2]


def test_bytes_of_six_bit_codes():
    """Low nibbles of all codes, then their high bits, four codes to a byte."""
    fmt = get_format("fp6-e3m2")
    codes = [0b10_0001, 0b01_0010, 0b11_0011, 0b00_0100, 0b01_1111, 0b10_1110]
    packed = [0x21, 0x43, 0xEF, 0b00_11_01_10, 0b00_00_10_01]
    assert fmt.pack(codes).tolist() == packed
    assert fmt.unpack(np.array(packed, np.uint8)).tolist() == codes
    for size in (1, 4, 7):
        with pytest.raises(FormatError, match=f"{size} bytes are no whole row of 6-bit codes"):
            fmt.unpack(np.zeros(size, np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_lanes(name):
    """One lane is what fits a nibble; two add up, the low one unsigned."""
    fmt = FORMATS[name]
    pairs, values = legal_pairs(name)
    lanes = fmt.lane_values(pairs)
    assert fmt.lanes == (2 if EXPECTED[name].integer > 5 else 1)
    assert lanes.shape == (len(pairs), fmt.lanes, 2)
    np.testing.assert_array_equal(lanes.sum(axis=1), values)
    if fmt.lanes == 2:
        normal = abs(values) <= 127
        assert set(np.unique(lanes[:, 0][normal])) == {16 * high for high in range(-8, 8)}
        assert set(np.unique(lanes[:, 1][normal])) == set(range(16))
        assert not lanes[:, 0][~normal].any()


@pytest.mark.parametrize("name", NAMES)
def test_table(name):
    bits, normal, outlier, has_outliers, *_ = EXPECTED[name]
    size = 1 << bits
    rows = FORMATS[name].table()
    assert [row.code for row in rows] == list(range(size)) * (2 if has_outliers else 1)
    for position, row in enumerate(rows):
        known, role = (normal, "normal") if position < size else (outlier, "outlier")
        if row.code not in known:
            role = "identifier" if position < size and has_outliers else "disabled"
        assert row.role == role
        assert row.value == known.get(row.code, 0) == row.integer << row.exponent
        assert int(row.bits.replace("_", ""), 2) == row.code
        assert len(row.bits.replace("_", "")) == bits
    assert rows[1 << (bits - 1)].bits == {4: "1000", 6: "10_0000", 8: "1000_0000"}[bits]


def test_registry():
    assert set(FORMATS) == {*NAMES, *MX, "codebook"}
    for name, fmt in FORMATS.items():
        assert get_format(name) is fmt
        assert fmt.name == name
    for name in NAMES:
        row, fmt = EXPECTED[name], FORMATS[name]
        top = max((row.outlier if row.has_outliers else row.normal).values())
        assert (fmt.code_bits, fmt.bits_per_value, fmt.block_size) == (row.bits, row.bits, 0)
        assert (fmt.max_normal, fmt.max_magnitude) == (max(row.normal.values()), top)
        assert 2.0**fmt.normal.unit_exponent == row.unit
    for name, element in MX.items():
        fmt = FORMATS[name]
        assert fmt.normal is FORMATS[element].normal
        assert (fmt.block_size, fmt.bits_per_value) == (32, fmt.code_bits + 0.25)
    with pytest.raises(FormatError, match=r"'ovp4int'; did you mean 'ovp4-int'\? \(known: int4, "):
        get_format("ovp4int")
    with pytest.raises(FormatError, match=r"unknown format 'zzz' \(known"):
        get_format("zzz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [math.nan, 0]], r"nan at \[1, 0\]"),
        ([1, -math.inf], r"-inf at \[1\]"),
        ([1, 2, 3], r"even length; shape is \(3,\)"),
        (1.0, r"shape is \(\)"),
        ([1j, 0], "real numbers, not complex128"),
        (["a", "b"], "real numbers"),
        ([True, False], "real numbers, not bool"),
    ],
)
def test_values_that_cannot_be_encoded(name, values, message):
    with pytest.raises(FormatError, match=message):
        FORMATS[name].encode(values)


@pytest.mark.parametrize("name", NAMES)
def test_codes_that_cannot_be_decoded(name):
    fmt = FORMATS[name]
    for method in (fmt.decode, fmt.to_pairs, fmt.decode_pairs_lenient, fmt.pack):
        with pytest.raises(FormatError, match="even length"):
            method([1, 2, 3])
        with pytest.raises(FormatError, match="integers, not float64"):
            method([1.0, 2.0])
        with pytest.raises(FormatError, match=rf"{1 << fmt.code_bits} at \[0, 1\] is not 0\.\."):
            method([[1, 1 << fmt.code_bits]])
        with pytest.raises(FormatError, match=r"-1 at \[0\]"):
            method([-1, 0])
    with pytest.raises(FormatError, match="uint8 array, not int64"):
        fmt.unpack(np.array([1, 2]))
    with pytest.raises(FormatError, match="unknown rule 'left'"):
        fmt.encode([1, 2], rule="left")


@pytest.mark.parametrize("name", OVP)
def test_two_identifiers(name):
    fmt = FORMATS[name]
    mark = 1 << (fmt.code_bits - 1)
    codes = [[1, 2, mark, 1], [1, 2, mark, mark]]
    for method in (fmt.decode, fmt.to_pairs):
        with pytest.raises(IllegalPairError, match=r"pair \[1, 1\] holds two identifiers \(1000"):
            method(codes)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OVP])
def test_codes_that_are_no_numbers(name):
    """int4, int8 and flint4 lack the identifier, e4m3 two NaN, e5m2 six NaN and two infinities."""
    fmt, row = FORMATS[name], EXPECTED[name]
    for code in set(range(1 << row.bits)) - set(row.normal):
        bits = f"{code:0{row.bits}b}"[:4]
        for method in (fmt.decode, fmt.to_pairs):
            with pytest.raises(FormatError, match=rf"{name} has no number {bits}.*at \[3\]"):
                method([1, 2, 3, code])
