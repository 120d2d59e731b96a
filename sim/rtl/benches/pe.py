"""PE bench: random operands, swaps, stalls and resets against a step of plain Python."""

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from oleaster.models.formats import get_format
from oleaster.models.lane import Lane
from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()
ACC_BITS = CONFIG["acc_bits"]
LANES = [Lane(tuple(CONFIG[f"formats_{side}"])) for side in "ab"]


@dataclass
class State:
    acc: int = 0
    overflow: bool = False
    drain: int | None = None
    drain_overflow: bool | None = None


def _pairs(lane: Lane) -> list[tuple[int, int]]:
    """Every exponent-integer pair that the lane can hold, block exponents left out."""
    pairs = set()
    for fmt in map(get_format, lane.formats):
        for row in fmt.table():
            if fmt.lanes == 2 and row.role == "normal":
                pairs |= {(4, row.integer >> 4), (0, row.integer & 15)}
            else:
                pairs.add((row.exponent, row.integer))
    return sorted(pairs)


def _word(pair: tuple[int, int], bits: int) -> int:
    return pair[0] << bits | pair[1] & ((1 << bits) - 1)


@cocotb.test
@cocotb.parametrize(extremes=[False, True])
async def random_steps(dut: Any, extremes: bool) -> None:
    """`extremes` keeps to the largest products, so that the accumulator wraps."""
    rng = random.Random(7)
    bits_a, bits_b = (lane.integer_bits for lane in LANES)
    choices = [_pairs(lane) for lane in LANES]
    if extremes:
        choices = [[max(c, key=lambda p: p[1] << p[0])] for c in choices]
    limit = 1 << (ACC_BITS - 1)
    Clock(dut.clk, 2, unit="ns").start()
    state = State()
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    wrapped = False
    for step in range(4000):
        reset = not extremes and rng.random() < 0.002
        en = rng.random() < 0.8
        swap = rng.random() < (0.0001 if extremes else 0.1)
        a, b = (rng.choice(c) for c in choices)
        select = rng.random() < 0.5 and state.drain is not None
        sum_in = rng.getrandbits(ACC_BITS)
        for port, value in (
            (dut.rst, reset),
            (dut.en, en),
            (dut.swap, swap),
            (dut.a, _word(a, bits_a)),
            (dut.b, _word(b, bits_b)),
            (dut.select, select),
            (dut.sum_in, sum_in),
            (dut.overflow_in, 1),
        ):
            port.value = int(value)
        await FallingEdge(dut.clk)
        if en and swap:  # the drain register has no reset: nothing selects it before it is loaded
            state.drain, state.drain_overflow = state.acc, state.overflow
        if reset:
            state.acc, state.overflow = 0, False
        elif en:
            total = (0 if swap else state.acc) + ((a[1] * b[1]) << (a[0] + b[0]))
            wraps = not -limit <= total < limit
            state.overflow = wraps or (state.overflow and not swap)
            state.acc = (total + limit) % (2 * limit) - limit
            wrapped |= wraps
            assert dut.a_out.value.to_unsigned() == _word(a, bits_a), step
            assert dut.b_out.value.to_unsigned() == _word(b, bits_b), step
            assert bool(dut.swap_out.value) == swap, step
        if select and state.drain is not None:
            assert dut.sum_out.value.to_signed() == state.drain, step
            assert bool(dut.overflow_out.value) == state.drain_overflow, step
        elif not select:
            assert dut.sum_out.value.to_unsigned() == sum_in, step
    largest = max(i << e for e, i in choices[0]) * max(i << e for e, i in choices[1])
    if extremes and 2000 * largest > limit:
        assert wrapped, "the largest products did not wrap the accumulator"
