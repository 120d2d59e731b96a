# amaranth: UnusedElaboratable=no
"""The systolic array against numpy, with its stream rules and cycle counts, in Amaranth's
simulator."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oleaster.hw.array import SystolicArray
from oleaster.models.formats import get_format
from oleaster.models.lane import Lane

OLIVE, OLIVE4 = Lane.named("olive"), Lane.named("olive4")


def operand_words(codes, lane, name):
    """Payloads of one tile in that format; codes: (elements, K), K even."""
    fmt = get_format(name)
    packed = codes[:, 0::2].astype(int) | codes[:, 1::2].astype(int) << fmt.code_bits
    words = []
    for step, column in enumerate(packed.T):
        lanes = [int(word) >> 8 * i & 255 for word in column for i in range(fmt.lanes)]
        word = {"codes": lanes, "last": step == packed.shape[1] - 1, "format": lane.select[name]}
        words.append(word)
    return words


def sums_of(a, b, acc_bits):
    """Wrapped sums (rows, cols) and whether any step wrapped; a: (rows, K), b: (K, cols)."""
    half = 1 << (acc_bits - 1)
    total = np.zeros((a.shape[0], b.shape[1]), dtype=np.int64)
    wrapped = np.zeros(total.shape, dtype=bool)
    for k in range(a.shape[1]):
        exact = total + a[:, k, None].astype(np.int64) * b[k]
        total = (exact + half) % (2 * half) - half
        wrapped |= total != exact
    return total, wrapped


@dataclass
class Run:
    """What came out of the array, and when."""

    sums: list = field(default_factory=list)
    overflow: list = field(default_factory=list)
    last: list = field(default_factory=list)
    flags: dict = field(default_factory=dict)
    cleared: dict = field(default_factory=dict)
    cycles: int = 0


FLAGS = ("overflow", "illegal", "misaligned")


def simulate(array, words_a, words_b, words_out, *, stall=(0.0, 0.0, 0.0), reset_at=0, seed=0):
    """Push the words through `array`; `stall` are the odds of a pause on a, b and sums.

    With `reset_at` the array first runs on random words for so many cycles and is then reset.
    """
    m = Module()
    m.domains.sync = domain = ClockDomain()
    m.submodules.array = array
    run = Run()
    start = reset_at + 1 if reset_at else 0
    taken = {}

    async def reset(ctx):
        if reset_at:
            await ctx.tick().repeat(reset_at)
            ctx.set(domain.rst, 1)
            await ctx.tick()
            ctx.set(domain.rst, 0)

    def flags(ctx):
        return {name: ctx.get(getattr(array, name)) for name in FLAGS}

    def source(port, words, odds, rng):
        async def testbench(ctx):
            for _ in range(start):
                ctx.set(port.payload.as_value(), rng.getrandbits(port.payload.shape().size))
                ctx.set(port.valid, rng.getrandbits(1))
                await ctx.tick()
            for word in words:
                ctx.set(port.valid, 0)
                while rng.random() < odds:
                    await ctx.tick()
                ctx.set(port.payload, word)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

        return testbench

    def sink(port, odds, rng):
        async def testbench(ctx):
            for _ in range(start):
                ctx.set(port.ready, rng.getrandbits(1))
                await ctx.tick()
            waiting = None  # a word that was offered and not taken must stay
            while len(run.sums) < words_out:
                ready = rng.random() >= odds
                ctx.set(port.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
                assert waiting is None or (valid and payload == waiting)
                waiting = payload if valid and not ready else None
                if valid and ready:
                    run.sums.append(list(payload.sums))
                    run.overflow.append(payload.overflow)
                    run.last.append(payload.last)
            taken["end"] = taken["cycle"]
            run.flags.update(flags(ctx))
            ctx.set(port.ready, 0)
            ctx.set(array.clear, 1)
            await ctx.tick()
            run.cleared.update(flags(ctx))

        return testbench

    async def clock(ctx):
        taken["cycle"] = 0
        for _ in range(start):
            await ctx.tick()
        async for _, _, valid, ready in ctx.tick().sample(array.a.valid, array.a.ready):
            taken["cycle"] += 1
            assert taken["cycle"] < limit, "the array got stuck"
            if valid and ready:
                taken.setdefault("first", taken["cycle"])

    limit = 1000 + 40 * (len(words_a) + words_out)
    rng = [random.Random(3 * seed + i) for i in range(3)]
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(clock, background=True)
    simulator.add_testbench(reset)
    simulator.add_testbench(source(array.a, words_a, stall[0], rng[0]))
    simulator.add_testbench(source(array.b, words_b, stall[1], rng[1]))
    simulator.add_testbench(sink(array.sums, stall[2], rng[2]))
    simulator.run()
    run.cycles = taken["end"] - taken["first"] + 1
    return run


def random_tile(rng, fmt_a, fmt_b, rows, cols, depth):
    """Codes (elements, K2) of A and B, outliers among them; K2 is K made even."""
    tiles = []
    for fmt, lanes in ((fmt_a, rows), (fmt_b, cols)):
        shape = (lanes // fmt.lanes, depth)
        values = rng.integers(-fmt.max_normal, fmt.max_normal, shape, endpoint=True)
        outliers = rng.integers(-fmt.max_magnitude, fmt.max_magnitude, values.shape, endpoint=True)
        values = np.where(rng.random(values.shape) < 0.2, outliers, values)
        tiles.append(fmt.encode(np.pad(values, ((0, 0), (0, depth % 2)))))
    return tiles


def large_tile(rng, fmt_a, fmt_b, rows, cols, depth):
    """As `random_tile`, but every second value is the largest there is, mostly positive."""
    tiles = []
    for fmt, lanes in ((fmt_a, rows), (fmt_b, cols)):
        values = fmt.max_magnitude * rng.choice([-1, 1, 1, 1], (lanes // fmt.lanes, depth))
        values[:, 1::2] = rng.integers(-1, 1, values[:, 1::2].shape, endpoint=True)
        tiles.append(fmt.encode(np.pad(values, ((0, 0), (0, depth % 2)))))
    return tiles


def expected_cycles(depth, tiles, array):
    """First word taken to last word of sums taken, inclusive, when nothing stalls."""
    padded = depth + depth % 2
    drain = array.rows + array.cols + 2 + array.is_fusing
    return padded + (tiles - 1) * max(padded, array.rows) + drain


def fused(parts, wrapped, fmt_a, fmt_b, acc_bits):
    """What leaves a tile whose PEs hold `parts`: (words, cols) sums and overflow, 0 in between."""
    half = 1 << (acc_bits - 1)
    rows, cols = parts.shape
    shape = (rows // fmt_a.lanes, fmt_a.lanes, cols // fmt_b.lanes, fmt_b.lanes)
    total = parts.reshape(shape).sum(axis=(1, 3))
    overflow = wrapped.reshape(shape).any(axis=(1, 3)) | (total >= half) | (total < -half)
    sums, flags = (np.zeros((shape[0], cols), int) for _ in range(2))
    sums[:, :: fmt_b.lanes] = (total + half) % (2 * half) - half
    flags[:, :: fmt_b.lanes] = overflow
    return sums, flags


def check(array, formats, depth, *, seed, draw_tile=random_tile, **how):
    """Run tiles, one for each (A, B) pair of format names, and compare with numpy."""
    rng = np.random.default_rng(seed)
    words_a, words_b, sums, wrapped, last = [], [], [], [], []
    for name_a, name_b in formats:
        fmt_a, fmt_b = get_format(name_a), get_format(name_b)
        codes_a, codes_b = draw_tile(rng, fmt_a, fmt_b, array.rows, array.cols, depth)
        words_a += operand_words(codes_a, array.lane_a, name_a)
        words_b += operand_words(codes_b, array.lane_b, name_b)
        a, b = (
            fmt.lane_values(codes).reshape(-1, codes.shape[1])
            for fmt, codes in ((fmt_a, codes_a), (fmt_b, codes_b))
        )
        tile = fused(*sums_of(a, b.T, array.acc_bits), fmt_a, fmt_b, array.acc_bits)
        sums.append(tile[0])
        wrapped.append(tile[1])
        last += [False] * (len(tile[0]) - 1) + [True]
    expected, wraps = np.concatenate(sums), np.concatenate(wrapped)
    run = simulate(array, words_a, words_b, len(expected), seed=seed, **how)
    assert np.array_equal(np.array(run.sums), expected)
    overflow = [[word >> j & 1 for j in range(array.cols)] for word in run.overflow]
    assert np.array_equal(np.array(overflow), wraps)
    assert np.array_equal(np.array(run.last, dtype=bool), last)
    assert run.flags == {"overflow": wraps.any(), "illegal": 0, "misaligned": 0}
    assert not any(run.cleared.values())
    return run


@st.composite
def jobs(draw):
    lanes = [draw(st.sampled_from([OLIVE, OLIVE4])) for _ in "ab"]
    tile = st.tuples(*(st.sampled_from(lane.formats) for lane in lanes))
    return {
        "lanes": lanes,
        "shape": [draw(st.integers(1, 5 // lane.group)) * lane.group for lane in lanes],
        "depth": draw(st.integers(1, 8)),
        "formats": draw(st.lists(tile, min_size=1, max_size=4)),
        "stall": draw(st.tuples(*[st.sampled_from([0.0, 0.3, 0.7])] * 3)),
        "reset_at": draw(st.sampled_from([0, 0, 3, 17])),
        "seed": draw(st.integers(0, 1000)),
    }


SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "derandomize": True}


@settings(max_examples=30, **SLOW)
@given(jobs())
def test_array_matches_numpy_whatever_stalls(job):
    array = SystolicArray(*job["lanes"], *job["shape"])
    how = {"stall": job["stall"], "reset_at": job["reset_at"], "seed": job["seed"]}
    run = check(array, job["formats"], job["depth"], **how)
    if not any(job["stall"]):
        assert run.cycles == expected_cycles(job["depth"], len(job["formats"]), array)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 7), (3, 5), (4, 4), (7, 2)])
@pytest.mark.parametrize("depth", [1, 2, 7, 10])
def test_cycle_count_is_the_closed_form(rows, cols, depth):
    array = SystolicArray(OLIVE4, OLIVE4, rows, cols)
    run = check(array, [("ovp4-int", "ovp4-flint")] * 3, depth, seed=depth)
    assert run.cycles == expected_cycles(depth, 3, array)


@pytest.mark.parametrize("stall", [(0, 0, 0), (0.3, 0.3, 0.5)])
def test_overflow_is_seen_where_it_happens(stall):
    # 17 bits hold one largest product and not two.
    array = SystolicArray(OLIVE4, OLIVE4, 3, 4, acc_bits=17)
    names = ("ovp4-flint", "ovp4-flint")
    run = check(array, [names] * 3, 6, seed=2, stall=stall, draw_tile=large_tile)
    assert run.flags["overflow"]


def ones(lanes, depth):
    return np.ones((lanes, depth), np.uint8)


def test_illegal_pair_counts_as_zero_and_is_flagged():
    array = SystolicArray(OLIVE4, OLIVE, 2, 4)
    codes_a, codes_b = ones(2, 6), ones(2, 6)
    codes_a[1, 2:4] = 0x8
    codes_b[0, 4:6] = 0x80
    words_a = operand_words(codes_a, array.lane_a, "ovp4-int")
    words_b = operand_words(codes_b, array.lane_b, "ovp8")
    run = simulate(array, words_a, words_b, 2)
    assert run.sums == [[4, 0, 6, 0], [2, 0, 4, 0]]
    assert run.flags == {"overflow": 0, "illegal": 1, "misaligned": 0}
    assert not any(run.cleared.values())


def test_codes_beside_no_taken_word_raise_no_flag():
    # A's illegal word is offered long before B's; only when both are there is it taken.
    array = SystolicArray(OLIVE4, OLIVE4, 1, 1)
    words = operand_words(np.full((1, 2), 0x8, np.uint8), array.lane_a, "int4")
    seen = []

    async def testbench(ctx):
        ctx.set(array.a.payload, words[0])
        ctx.set(array.a.valid, 1)
        for valid in (0, 0, 0, 1):
            ctx.set(array.b.valid, valid)
            await ctx.tick()
            seen.append(ctx.get(array.illegal))

    simulator = Simulator(array)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == [0, 0, 0, 1]


def test_misaligned_last_is_flagged_and_that_of_a_counts():
    array = SystolicArray(OLIVE4, OLIVE4, 2, 2)
    words_a = operand_words(ones(2, 4), array.lane_a, "int4") * 2
    words_b = operand_words(ones(2, 8), array.lane_b, "int4")
    run = simulate(array, words_a, words_b, 4)
    assert run.sums == [[4, 4]] * 4
    assert run.last == [0, 1, 0, 1]
    assert run.flags == {"overflow": 0, "illegal": 0, "misaligned": 1}
    assert not any(run.cleared.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows is 0; it must be at least 1"),
        ({"cols": -1}, "cols is -1; it must be at least 1"),
        ({"acc_bits": 16}, "acc_bits is 16; .* at least 17"),
    ],
)
def test_impossible_arrays_are_refused(wrong, message):
    parameters = {"rows": 2, "cols": 2, "acc_bits": 32, **wrong}
    with pytest.raises(ValueError, match=message):
        SystolicArray(OLIVE4, OLIVE4, **parameters)
