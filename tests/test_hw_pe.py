# amaranth: UnusedElaboratable=no
"""The PE against a small Python model, cycle by cycle, in Amaranth's simulator."""

import random

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from oleaster.hw.pe import PE
from oleaster.models.lane import Lane

CYCLES = 600


def wrap(value, bits):
    """Two's complement of `bits` bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Model:
    """Registers of one PE; `step` is one rising edge."""

    def __init__(self, acc_bits):
        self.acc_bits = acc_bits
        self.drain = self.drain_overflow = 0
        self.reset()

    def reset(self):
        # The drain register keeps its value: it is only read after a swap.
        self.acc = self.overflow = 0
        self.a = self.b = (0, 0)
        self.swap = 0

    def step(self, en, a, b, swap):
        if not en:
            return
        start = self.acc
        if swap:
            self.drain, self.drain_overflow = self.acc, self.overflow
            start = self.overflow = 0
        total = start + ((a[1] * b[1]) << (a[0] + b[0]))
        self.acc = wrap(total, self.acc_bits)
        self.overflow |= int(total != self.acc)
        self.a, self.b, self.swap = a, b, swap


def largest_pair(lane):
    """<exponent, integer> of the largest magnitude of a lane."""
    integer = lane.max_magnitude >> lane.max_exponent
    return lane.max_exponent, integer


def random_pair(rng, lane):
    """Any legal magnitude: small, or the largest of either sign."""
    if rng.random() < 0.4:
        exponent, integer = largest_pair(lane)
        half = 1 << (lane.integer_bits - 1)
        return exponent, rng.choice([-integer, min(integer, half - 1)])
    exponent = rng.randint(0, lane.max_exponent)
    most = min((1 << (lane.integer_bits - 1)) - 1, lane.max_magnitude >> exponent)
    return exponent, rng.randint(-most, most)


def needed_bits(a, b):
    """Narrowest signed accumulator that holds one product; two or three may wrap it."""
    return (a.max_magnitude * b.max_magnitude).bit_length() + 1


@pytest.mark.parametrize(
    ("formats_a", "formats_b", "acc_bits"),
    [
        ("olive4", "olive4", 32),
        ("olive4", "olive4", 17),
        ("olive4", "olive4", 19),
        ("olive", "olive", 32),
        ("olive", "olive", 33),
        ("olive", "olive4", 24),
        ("fp8-e4m3", "olive", 40),
        ("fp6-e2m3", "codebook", 62),
    ],
)
def test_pe_matches_the_model(formats_a, formats_b, acc_bits):
    a, b = Lane.named(formats_a), Lane.named(formats_b)
    pe = PE(a, b, acc_bits)
    m = Module()
    m.domains.sync = domain = ClockDomain()
    m.submodules.pe = pe
    rng = random.Random(acc_bits)
    seen = {"wrapped": 0, "swaps": 0, "resets": 0}

    async def testbench(ctx):
        model = Model(acc_bits)
        for _ in range(CYCLES):
            en, swap = rng.random() < 0.8, rng.random() < 0.1
            reset = rng.random() < 0.01
            pair_a, pair_b = random_pair(rng, a), random_pair(rng, b)
            select = rng.getrandbits(1)
            sum_in, overflow_in = rng.getrandbits(acc_bits), rng.getrandbits(1)
            for signal, value in (
                (domain.rst, reset),
                (pe.en, en),
                (pe.swap, swap),
                (pe.a.exponent, pair_a[0]),
                (pe.a.integer, pair_a[1]),
                (pe.b.exponent, pair_b[0]),
                (pe.b.integer, pair_b[1]),
                (pe.select, select),
                (pe.sum_in, sum_in),
                (pe.overflow_in, overflow_in),
            ):
                ctx.set(signal, value)
            # The drain bus is combinational: before the edge it shows the state so far.
            drained = (model.drain & ((1 << acc_bits) - 1), model.drain_overflow)
            expected = drained if select else (sum_in, overflow_in)
            assert (ctx.get(pe.sum_out), ctx.get(pe.overflow_out)) == expected
            await ctx.tick()
            model.step(en, pair_a, pair_b, swap)
            if reset:
                model.reset()
            assert (ctx.get(pe.a_out.exponent), ctx.get(pe.a_out.integer)) == model.a
            assert (ctx.get(pe.b_out.exponent), ctx.get(pe.b_out.integer)) == model.b
            assert ctx.get(pe.swap_out) == model.swap
            seen["wrapped"] += model.drain_overflow
            seen["swaps"] += swap and en
            seen["resets"] += reset

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen["swaps"]
    assert seen["resets"]
    if acc_bits == needed_bits(a, b):
        assert seen["wrapped"]


@pytest.mark.parametrize(
    ("formats_a", "formats_b", "needed"),
    [
        ("olive4", "olive4", 17),
        ("olive4", "olive", 24),
        ("olive", "olive4", 24),
        ("olive", "olive", 32),
        ("int8", "int8", 16),
        ("fp8-e4m3", "fp8-e4m3", 37),
    ],
)
def test_accumulator_holds_the_largest_product(formats_a, formats_b, needed):
    a, b = Lane.named(formats_a), Lane.named(formats_b)
    PE(a, b, needed)
    message = f"acc_bits is {needed - 1}; .* needs at least {needed}"
    with pytest.raises(ValueError, match=message):
        PE(a, b, needed - 1)
