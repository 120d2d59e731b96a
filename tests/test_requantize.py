# amaranth: UnusedElaboratable=no
"""Requantisation against Python's fractions, C's bytes against the formats, and the circuit of
both against these, in Amaranth's simulator."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import example, given
from hypothesis import strategies as st

from oleaster.hw.accelerator.requantizer import Requantizer
from oleaster.models.accelerator.descriptor import (
    CHANNEL_FIELDS,
    FORMAT_CODES,
    pack_fields,
    row_bytes,
)
from oleaster.models.accelerator.requantize import (
    OUTPUT_FORMATS,
    SATURATION,
    channel_table,
    encode_output,
    multiplier_of,
    read_channel_table,
    requantize,
)
from oleaster.models.formats import get_format

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
WORD = st.tuples(INT32, st.integers(0, 65535), st.integers(0, 63))


def exact(total, bias, multiplier, shift, relu):
    # Python's round of a Fraction goes half to even.
    q = round(Fraction((total + bias) * multiplier, 1 << shift))
    return max(0 if relu else -SATURATION, min(q, SATURATION))


@given(total=INT32, word=WORD, relu=st.booleans())
@example(total=-(1 << 31), word=(-(1 << 31), 65535, 0), relu=False)
@example(total=(1 << 31) - 1, word=((1 << 31) - 1, 65535, 63), relu=False)
@example(total=-(1 << 31), word=(-(1 << 31), 1 << 15, 48), relu=False)  # -0.5
@example(total=-(1 << 31), word=(-(1 << 31), 1 << 15, 63), relu=False)
def test_requantize_is_the_rounded_fraction(total, word, relu):
    columns = [[value] for value in word]
    assert requantize([[total]], *columns, relu)[0, 0] == exact(total, *word, relu)


def test_ties_go_to_even_on_both_sides_of_zero():
    sums = np.arange(-64, 65)[:, None]
    for shift in range(1, 8):
        got = requantize(sums, [0], [1], [shift])[:, 0]
        want = [round(Fraction(int(total), 1 << shift)) for total in sums[:, 0]]
        assert got.tolist() == want
    assert requantize([[-5, -3, -1, 1, 3, 5]], [0] * 6, [1] * 6, [1] * 6).tolist() == [
        [-2, -2, 0, 0, 2, 2]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1 << 31]], [0], [1], [0]), "a sum is 2147483648"),
        (([[0]], [-(1 << 31) - 1], [1], [0]), "a bias is -2147483649"),
        (([[0]], [0], [65536], [0]), "a multiplier is 65536; it must be 0 to 65535"),
        (([[0]], [0], [1], [64]), "a shift is 64; it must be 0 to 63"),
        (([[0.5]], [0], [1], [0]), "a sum is an integer, not float64"),
        (([[0, 0]], [0], [1], [0]), r"sums \(1, 2\) do not have 1 columns"),
        (([[0]], [0], [1, 2], [0]), r"are \(N,\) each"),
    ],
)
def test_bad_words_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        requantize(*arguments)


@given(st.lists(WORD, min_size=1, max_size=9))
def test_channel_table_has_the_documented_layout_and_comes_back(words):
    columns = [np.array(column) for column in zip(*words, strict=True)]
    table = channel_table(*columns)
    names = [field.name for field in CHANNEL_FIELDS]
    for word, row in zip(words, table, strict=True):
        values = dict(zip(names, (word[0] % (1 << 32), *word[1:], 0), strict=True))
        assert row.tobytes() == pack_fields(CHANNEL_FIELDS, values)
    for got, want in zip(read_channel_table(table), columns, strict=True):
        assert (got == want).all()


def test_reserved_bits_of_a_channel_word_are_ignored():
    raw = np.full((1, 8), 255, np.uint8)
    assert [int(column[0]) for column in read_channel_table(raw)] == [-1, 65535, 63]
    with pytest.raises(ValueError, match="8 uint8 each"):
        read_channel_table(raw[:, :7])


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_rows_hold_the_nearest_values(name, n):
    rng = np.random.default_rng(n)
    spread = rng.choice([3, 20, 200, SATURATION], (50, n))
    values = rng.integers(-spread, spread + 1)
    rows = encode_output(values, name)
    assert rows.shape == (50, row_bytes(name, n))
    assert rows.dtype == np.uint8
    if name == "int32":
        assert (rows.view("<i4") == values).all()
        return
    fmt = get_format(name)
    padded = np.pad(values, ((0, 0), (0, n % 2)))
    assert (rows == fmt.pack(fmt.encode(padded))).all()
    if not fmt.has_outliers:
        grid = fmt.magnitudes
        decoded = fmt.decode(fmt.unpack(rows)).astype(int)
        nearest = np.abs(np.abs(padded)[..., None] - grid).min(-1)
        assert (np.abs(np.abs(padded) - np.abs(decoded)) == nearest).all()
        assert (decoded * padded >= 0).all()
        assert (decoded[:, n:] == 0).all()


def test_formats_that_c_cannot_have():
    for name in ("fp4-e2m1", "mxfp4-e2m1", "int16"):
        with pytest.raises(ValueError, match="must be one of int32, int4"):
            encode_output([[0]], name)
    with pytest.raises(ValueError, match="a value is 2147483648"):
        encode_output([[1 << 31]], "int32")


@given(st.floats(2.0**-48, 65535.0))
@example(2.0**-48)
@example(65535.0)
@example(1.0)
@example(65535.6 / 2**16)
def test_multiplier_is_the_best_of_all(scale):
    multiplier, shift = (int(value) for value in multiplier_of(scale))
    assert 1 << 15 <= multiplier < 1 << 16
    assert 0 <= shift <= 63
    error = abs(Fraction(multiplier, 1 << shift) - Fraction(scale))
    for other in range(max(0, shift - 1), min(63, shift + 1) + 1):
        ideal = Fraction(scale) * (1 << other)
        for rival in {int(ideal), int(ideal) + 1}:
            if rival < 1 << 16:
                assert error <= abs(Fraction(rival, 1 << other) - Fraction(scale))


def test_multipliers_of_an_array_keep_its_shape():
    scales = np.array([[0.5, 1.0], [3.0, 1e-9]])
    multiplier, shift = multiplier_of(scales)
    assert multiplier.shape == shift.shape == (2, 2)
    assert np.allclose(multiplier / 2.0**shift, scales, rtol=2.0**-16)


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0**-49, 65535.5, float("nan"), float("inf")])
def test_scales_beyond_16_bits_are_named(scale):
    with pytest.raises(ValueError, match="say 2\\^-48 to 65535"):
        multiplier_of([1.0, scale])


def through_circuit(lanes, steps, name, relu):
    """Bytes for each step of (sums, bias, multiplier, shift, count), one step a cycle."""
    unit = Requantizer(lanes)
    columns = range(lanes)
    got = []

    async def feed(ctx):
        ctx.set(unit.c_format, FORMAT_CODES[name])
        ctx.set(unit.relu, relu)
        for sums, *words, count in steps:
            fields = [[int(column[i]) for column in words] for i in columns]
            words = [
                {"bias": bias % (1 << 32), "multiplier": multiplier, "shift": shift}
                for bias, multiplier, shift in fields
            ]
            ctx.set(unit.sums, [int(value) for value in sums])
            ctx.set(unit.channels, words)
            ctx.set(unit.count, count)
            await ctx.tick()

    async def read(ctx):
        await ctx.tick().repeat(unit.LATENCY)
        for _ in steps:
            got.append(ctx.get(unit.data).to_bytes(4 * lanes, "little"))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(read)
    simulator.run()
    return got


def random_steps(rng, lanes, steps):
    """Products of every size, so that every shift and both borders of rounding come up."""
    for _ in range(steps):
        sums = rng.integers(-(1 << 31), 1 << 31, lanes) >> rng.integers(0, 32, lanes)
        bias = rng.integers(-(1 << 31), 1 << 31, lanes) >> rng.integers(0, 32, lanes)
        multiplier = rng.integers(0, 1 << 16, lanes) >> rng.integers(0, 16, lanes)
        size = np.abs((sums + bias) * multiplier).astype(float)
        wanted = np.log2(size + 1) - rng.uniform(-1, 10, lanes)
        shift = np.clip(wanted, 0, 63).astype(int)
        anywhere = rng.random(lanes) < 0.1
        shift[anywhere] = rng.integers(0, 64, anywhere.sum())
        # Half of what is left is cut to few bits, which makes exact halves.
        ties = (rng.random(lanes) < 0.5) & (shift > 0) & (shift < 28)
        sums[ties] = (rng.integers(-9, 10, lanes) << np.maximum(shift - 1, 0))[ties]
        bias[ties], multiplier[ties] = 0, 1
        yield sums, bias, multiplier, shift, int(rng.integers(1, lanes + 1))


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
@pytest.mark.parametrize(("lanes", "relu"), [(2, False), (4, False), (4, True)])
def test_circuit_gives_the_bytes_of_the_model(name, lanes, relu):
    rng = np.random.default_rng(lanes)
    relu = relu and name != "int32"
    extremes = [
        ([total] * lanes, [bias] * lanes, [multiplier] * lanes, [shift] * lanes, lanes)
        for total in (-(1 << 31), (1 << 31) - 1)
        for bias in (-(1 << 31), (1 << 31) - 1)
        for multiplier in (0, 1, 1 << 15, 65535)
        for shift in (0, 1, 16, 31, 47, 48, 49, 50, 62, 63)
    ]
    steps = [*extremes, *random_steps(rng, lanes, 600)]
    want = []
    for sums, *words, count in steps:
        values = np.array([sums])
        if name != "int32":
            values = requantize(values, *words, relu)
        values[:, count:] = 0
        want.append(encode_output(values, name).tobytes())
    got = through_circuit(lanes, steps, name, relu)
    assert [row[: len(want[0])] for row in got] == want
