"""Weight-stationary array bench: random passes and stalls, resets, illegal codes, wrong `last`."""

from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.formats import Format
from oleaster.models.lane import Lane, required_acc_bits
from oleaster.models.microscaling import windows
from oleaster.sim.operand import Operand
from oleaster.sim.rtl.benches.operands import (
    bench_format,
    fill_tables,
    illegal_code,
    random_operand,
    wrapped,
)
from oleaster.sim.rtl.cosim import bench_config
from oleaster.sim.weight_tiling import WeightTiling, activation_words, weight_words

CONFIG = bench_config()
ROWS, COLS, ACC_BITS = CONFIG["rows"], CONFIG["cols"], CONFIG["acc_bits"]
LANES = {side: Lane(tuple(CONFIG[f"formats_{side}"])) for side in "ab"}
LIMIT = 1 << (ACC_BITS - 1)
INPUTS = ("a", "b", "partial")


@dataclass
class Stimulus:
    """Payloads of the three streams, and of the sums that must come."""

    a: list[int] = field(default_factory=list)
    b: list[int] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)


def _sums_word(sums: list[int], overflow: list[bool], last: bool) -> int:
    word = int(last) << ((ACC_BITS + 1) * COLS)
    for j, (value, flag) in enumerate(zip(sums, overflow, strict=True)):
        word |= (value % (2 * LIMIT)) << (ACC_BITS * j) | int(flag) << (ACC_BITS * COLS + j)
    return word


def _passing(row: np.ndarray, tile: np.ndarray, sums: list[int]) -> tuple[list[int], list[bool]]:
    """(sums, overflow) of the columns for a row of A, (lanes, K), on a tile, (cols, lanes, K)."""
    overflow = [False] * COLS
    lanes_a, depth = row.shape
    for col, lane_b in np.ndindex(tile.shape[:2]):
        j = col * tile.shape[1] + lane_b
        for pair in reversed(range(depth // 2)):
            for lane_a in reversed(range(lanes_a)):
                for k in (2 * pair + 1, 2 * pair):
                    total = sums[j] + int(row[lane_a, k] * tile[col, lane_b, k])
                    overflow[j] |= not -LIMIT <= total < LIMIT
                    sums[j] = wrapped(total, ACC_BITS)
    return sums, overflow


def _fused(sums: list[int], overflow: list[bool]) -> tuple[list[int], list[bool]]:
    """Column pairs added."""
    for j in range(0, COLS, 2):
        total = sums[j] + sums[j + 1]
        outside = not -LIMIT <= total < LIMIT
        overflow[j : j + 2] = [overflow[j] or overflow[j + 1] or outside, False]
        sums[j : j + 2] = [wrapped(total, ACC_BITS), 0]
    return sums, overflow


def _add_pass(
    to: Stimulus,
    rng: np.random.Generator,
    rows: list[tuple[Operand, np.ndarray]],
    tile: tuple[Operand, np.ndarray],
    last_of_b: bool = True,
) -> None:
    """One tile of weights and the rows of A that stream by, some on top of partial sums."""
    format_a, format_b = rows[0][0].format, tile[0].format
    depth = ROWS // format_a.lanes
    n = COLS // format_b.lanes
    tiling = WeightTiling(1, depth, n, ROWS, COLS, format_a.lanes, format_b.lanes)
    lane = LANES["b"]
    low = lane.word_bits(COLS)
    marks = lane.select[format_b.name] | (format_a.lanes - 1) << (lane.select_bits + 1)
    words = weight_words(tile[0], lane, tiling)[0]
    for i, word in enumerate(words):
        last = int(last_of_b and i == len(words) - 1) << lane.select_bits
        to.b.append(int.from_bytes(word.tobytes(), "little") | (marks | last) << low)
    lane = LANES["a"]
    low = lane.word_bits(ROWS // 2)
    for i, (operand, values) in enumerate(rows):
        last, starts = i == len(rows) - 1, bool(rng.random() < 0.5)
        fuses = bool(LANES["b"].group == 2 and rng.random() < 0.5)
        marks = int(last) | int(starts) << 1 | int(fuses) << 2
        marks = lane.select[format_a.name] | marks << lane.select_bits
        word = activation_words(operand, lane, tiling)[0, 0]
        to.a.append(int.from_bytes(word.tobytes(), "little") | marks << low)
        sums, wraps = [0] * COLS, [False] * COLS
        if not starts:
            # Often near the ends of the range, so that some sums leave it.
            sums = [wrapped(int(x), ACC_BITS) for x in LIMIT + rng.integers(-1000, 1000, COLS)]
            sums = [x if rng.random() < 0.5 else x >> 4 for x in sums]
            wraps = [bool(x) for x in rng.random(COLS) < 0.1]
            to.partial.append(_sums_word(sums, wraps, bool(rng.random() < 0.5)))
        sums, overflow = _passing(values[0], tile[1], sums)
        overflow = [x or y for x, y in zip(overflow, wraps, strict=True)]
        if fuses:
            sums, overflow = _fused(sums, overflow)
        to.sums.append(_sums_word(sums, overflow, last))


def _operands(
    rng: np.random.Generator, format_a: Format, format_b: Format, rows: int
) -> tuple[list[tuple[Operand, np.ndarray]], tuple[Operand, np.ndarray]]:
    """Rows of A, one by one, and a tile of B, over the K elements of the array's rows."""
    depth = ROWS // format_a.lanes
    spare = ACC_BITS - required_acc_bits(format_a, format_b, 1)
    window_a, window_b = windows(format_a, format_b, spare)
    return (
        [random_operand(rng, format_a, 1, depth, window_a) for _ in range(rows)],
        random_operand(rng, format_b, COLS // format_b.lanes, depth, window_b),
    )


def _stimulus(rng: np.random.Generator, count: int) -> Stimulus:
    """Passes of random length, each in its own pair of formats."""
    made = Stimulus()
    for _ in range(count):
        format_a, format_b = (
            bench_format(str(rng.choice(lane.formats))) for lane in LANES.values()
        )
        rows = int(rng.integers(1, 2 * ROWS + 3))
        _add_pass(made, rng, *_operands(rng, format_a, format_b, rows))
    return made


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    dut.clear.value = 0
    for side, lane in LANES.items():
        if lane.has_codebook:
            getattr(dut, f"{side}_table_write").value = 0
    dut.a_valid.value = dut.b_valid.value = dut.partial_valid.value = dut.sums_ready.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)


async def _clear(dut: Any) -> None:
    dut.clear.value = 1
    await FallingEdge(dut.clk)
    dut.clear.value = 0
    await FallingEdge(dut.clk)


async def _run(
    dut: Any, rng: np.random.Generator, stimulus: Stimulus, expected: int, busy: float
) -> list[int]:
    """Stream words in, return that many sums; each side holds back with probability 1 - busy.

    Inputs change and outputs are read at falling edges; the stream rules are checked on the way.
    """
    words = {name: getattr(stimulus, name) for name in INPUTS}
    sent = dict.fromkeys(INPUTS, 0)
    offered = dict.fromkeys(INPUTS, False)
    held: int | None = None
    sums: list[int] = []
    quiet = 0
    while len(sums) < expected:
        for name in INPUTS:
            more = sent[name] < len(words[name])
            offered[name] = more and (offered[name] or rng.random() < busy)
            getattr(dut, f"{name}_valid").value = int(offered[name])
            if more:
                getattr(dut, f"{name}_payload").value = words[name][sent[name]]
        take = rng.random() < busy
        dut.sums_ready.value = int(take)
        await Timer(1, unit="ns")
        ready = {name: bool(getattr(dut, f"{name}_ready").value) for name in INPUTS}
        valid = bool(dut.sums_valid.value)
        if valid:
            word = dut.sums_payload.value.to_unsigned()
            assert held is None or word == held, "payload changed while it waited"
            held = None if take else word
            if take:
                sums.append(word)
        else:
            assert held is None, "valid fell before the word was taken"
        quiet = 0 if valid or any(ready.values()) else quiet + 1
        assert quiet < 200 + 100 * (ROWS + COLS), "the array is stuck"
        await FallingEdge(dut.clk)
        for name in INPUTS:
            if ready[name] and offered[name]:
                sent[name] += 1
                offered[name] = False
    return sums


@cocotb.test
@cocotb.parametrize(busy=[1.0, 0.6, 0.2], seed=[0, 1])
async def random_passes(dut: Any, busy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    stimulus = _stimulus(rng, 12)
    assert await _run(dut, rng, stimulus, len(stimulus.sums), busy) == stimulus.sums
    overflows = any(word >> (ACC_BITS * COLS) & ((1 << COLS) - 1) for word in stimulus.sums)
    await FallingEdge(dut.clk)
    assert bool(dut.overflow.value) == overflows
    await _clear(dut)
    assert not dut.overflow.value
    assert not dut.illegal.value
    assert not dut.misaligned.value


@cocotb.test
async def reset_in_flight(dut: Any) -> None:
    rng = np.random.default_rng(2)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    for stop_after in (1, ROWS, 3 * ROWS):
        await _reset(dut)
        stimulus = _stimulus(rng, 6)
        await _run(dut, rng, stimulus, min(stop_after, len(stimulus.sums)), 0.7)
        await _reset(dut)
        stimulus = _stimulus(rng, 5)
        assert await _run(dut, rng, stimulus, len(stimulus.sums), 0.7) == stimulus.sums


@cocotb.test
async def illegal_codes_and_misaligned_last(dut: Any) -> None:
    rng = np.random.default_rng(3)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    first = {side: bench_format(lane.formats[0]) for side, lane in LANES.items()}
    for side, lane in LANES.items():
        for fmt in map(bench_format, lane.formats):
            wrong = illegal_code(fmt)
            if wrong is None:
                continue
            formats = {**first, side: fmt}
            rows, tile = _operands(rng, formats["a"], formats["b"], 2)
            operand, values = rows[0] if side == "a" else tile
            operand.codes[-1], values[-1] = wrong, 0
            stimulus = Stimulus()
            _add_pass(stimulus, rng, rows, tile)
            assert await _run(dut, rng, stimulus, 2, 1.0) == stimulus.sums
            assert dut.illegal.value, f"an illegal code of {fmt.name} on {side} was not flagged"
            await _clear(dut)
            assert not dut.illegal.value, "clear did not clear"
    stimulus = Stimulus()
    _add_pass(stimulus, rng, *_operands(rng, first["a"], first["b"], 2), last_of_b=False)
    assert await _run(dut, rng, stimulus, 2, 1.0) == stimulus.sums
    assert dut.misaligned.value, "a tile without `last` was not flagged"
