# amaranth: UnusedElaboratable=no
"""OVP decoder and encoder circuits against `models/formats`, in Amaranth's simulator."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from oleaster.hw.decoder import CodebookDecoder, FloatDecoder, OVPDecoder
from oleaster.hw.encoder import OVPEncoder
from oleaster.models.formats import FORMATS, get_format

OVP = {(4, 0): "ovp4-int", (4, 1): "ovp4-flint", (8, 0): "ovp8"}
FLOATS = [name for name in FORMATS if name.startswith("fp")]
PLAIN = {(4, 0): "int4", (4, 1): "flint4", (8, 0): "int8"}


def all_pairs(bits):
    """(2**(2 * bits), 2) codes, in the order of the packed pair."""
    packed = np.arange(1 << 2 * bits)
    return np.stack([packed & ((1 << bits) - 1), packed >> bits], axis=-1)


def responses(unit, flint, inputs, outputs):
    """Outputs of a combinational unit, an integer each, for every row of input values."""
    rows = []

    async def testbench(ctx):
        if getattr(unit, "has_flint", False):
            ctx.set(unit.flint, flint)
        for values in inputs:
            for signal, value in values:
                ctx.set(signal, value)
            await ctx.delay(1e-9)
            rows.append([ctx.get(signal) for signal in outputs])

    simulator = Simulator(unit)
    simulator.add_testbench(testbench)
    simulator.run()
    return np.array(rows)


@pytest.mark.parametrize(("bits", "flint"), OVP)
def test_decoder_gives_the_models_pairs_for_every_code(bits, flint):
    unit = OVPDecoder(bits)
    # Whole pairs, taken apart here: reading fields in the simulator takes several times longer.
    outputs = [unit.even.as_value(), unit.odd.as_value(), unit.illegal]
    pairs = [[(unit.pair, packed)] for packed in range(1 << 2 * bits)]
    found = responses(unit, flint, pairs, outputs)
    illegal, split = found[:, 2], len(unit.even.integer)
    exponents, low = found[:, :2] >> split, found[:, :2] & ((1 << split) - 1)
    integers = low - (low >> (split - 1) << split)

    codes = all_pairs(bits)
    identifier = 1 << (bits - 1)
    is_illegal = (codes == identifier).all(axis=-1)
    assert np.array_equal(illegal, is_illegal)
    assert is_illegal.sum() == 1
    assert not found[is_illegal, :2].any()

    ovp = get_format(OVP[bits, flint])
    expected = ovp.to_pairs(codes[~is_illegal])
    assert np.array_equal(exponents[~is_illegal], expected[0])
    assert np.array_equal(integers[~is_illegal], expected[1])
    assert np.array_equal(integers << exponents, ovp.decode_pairs_lenient(codes))

    plain = get_format(PLAIN[bits, flint])
    usable = (codes != identifier).all(axis=-1)
    assert np.array_equal((integers << exponents)[usable], plain.decode(codes[usable]))


def border_values(fmt):
    """Every magnitude at which the encoder changes its mind, with its neighbours."""
    grid = fmt.magnitudes
    middles = (grid[1:] + grid[:-1]) // 2
    powers = 1 << np.arange(16)
    near = np.concatenate([grid, middles, powers, [2 * fmt.max_magnitude]])
    near = np.unique((near[:, None] + [-1, 0, 1]).ravel())
    return np.unique(np.concatenate([near, -near]))


def encoder_stimulus(fmt, value_bits):
    """(N, 2) integers that fit `value_bits`.

    Borders of both operands crossed (8 bits: a random share), every value up to +-260, random.
    """
    rng = np.random.default_rng(4)
    low, high = -(1 << (value_bits - 1)), (1 << (value_bits - 1)) - 1
    borders = np.append(border_values(fmt), [low, low + 1, high])
    borders = borders[(borders >= low) & (borders <= high)]
    grid = np.stack(np.meshgrid(borders, borders), axis=-1).reshape(-1, 2)
    if len(grid) > 6000:
        grid = rng.permutation(grid)[:6000]
    alone = np.stack([borders, np.zeros_like(borders)], axis=-1)
    dense = np.arange(max(low, -260), min(high, 260) + 1)
    return np.concatenate(
        [
            grid,
            alone,
            alone[:, ::-1],
            np.stack([dense, rng.permutation(dense)], axis=-1),
            np.stack([dense, dense], axis=-1),
            np.stack([dense, -dense.clip(-high, high)], axis=-1),
            rng.integers(low, high, (500, 2), endpoint=True),
            rng.integers(max(low, -40), min(high, 40), (500, 2), endpoint=True),
        ]
    )


@pytest.mark.parametrize(
    ("bits", "flint", "value_bits"),
    [(4, 0, 16), (4, 1, 16), (8, 0, 32), (4, 0, 4), (4, 1, 6), (8, 0, 12)],
)
def test_encoder_writes_the_models_codes(bits, flint, value_bits):
    fmt = get_format(OVP[bits, flint])
    unit = OVPEncoder(bits, value_bits)
    values = encoder_stimulus(fmt, value_bits)
    inputs = [[(unit.even, int(even)), (unit.odd, int(odd))] for even, odd in values]
    packed = responses(unit, flint, inputs, [unit.pair])[:, 0]
    codes = np.stack([packed & ((1 << bits) - 1), packed >> bits], axis=-1)
    expected = fmt.encode(values)
    wrong = (codes != expected).any(axis=-1)
    assert not wrong.any(), (values[wrong][:3], codes[wrong][:3], expected[wrong][:3])


def test_encoder_refuses_inputs_narrower_than_a_code():
    with pytest.raises(ValueError, match="value_bits is 7; it must be at least 8"):
        OVPEncoder(8, 7)


@pytest.mark.parametrize("name", FLOATS)
def test_float_decoder_gives_the_models_pair_for_every_code(name):
    fmt, unit = get_format(name), FloatDecoder(name)
    codes = np.arange(1 << fmt.code_bits)
    inputs = [[(unit.code, int(code))] for code in codes]
    found = responses(unit, 0, inputs, [unit.pair.exponent, unit.pair.integer, unit.illegal])
    assert np.array_equal(found[:, 2].astype(bool), ~fmt.normal.usable)
    beside_zero = np.stack([codes, np.zeros_like(codes)], axis=-1)
    exponents, integers = fmt.to_pairs(np.where(found[:, 2:] == 1, 0, beside_zero))
    assert np.array_equal(found[:, 0], exponents[:, 0])
    assert np.array_equal(found[:, 1], integers[:, 0])


def test_codebook_decoder_reads_what_was_written():
    table = np.random.default_rng(0).integers(0, 256, (256, 2)).astype(np.uint8)
    fmt = get_format("codebook").with_table(table)
    unit = CodebookDecoder()
    ports = [unit.even.exponent, unit.even.integer, unit.odd.exponent, unit.odd.integer]
    found = []

    async def testbench(ctx):
        ctx.set(unit.table_write, 1)
        for index, entry in enumerate(table.tolist()):
            ctx.set(unit.table_index, index)
            ctx.set(unit.table_entry, entry[0] | entry[1] << 8)
            await ctx.tick()
        ctx.set(unit.table_write, 0)
        ctx.set(unit.table_entry, 0)
        for index in range(256):
            ctx.set(unit.index, index)
            await ctx.tick()
            found.append([ctx.get(port) for port in ports])

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    values = np.array(found)
    index = np.arange(256)
    codes = np.stack([index & 15, index >> 4], axis=-1)
    assert np.array_equal(values[:, 1::2] << values[:, 0::2], fmt.decode(codes))
