"""Array bench, Python on every edge: random tiles and stalls, resets, illegal codes."""

from dataclasses import replace
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.formats import Format
from oleaster.models.lane import Lane, required_acc_bits
from oleaster.models.microscaling import windows
from oleaster.sim.operand import Operand, operand_words
from oleaster.sim.rtl.benches.operands import (
    bench_format,
    fill_tables,
    illegal_code,
    random_operand,
    wrapped,
)
from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()
ROWS, COLS, ACC_BITS = CONFIG["rows"], CONFIG["cols"], CONFIG["acc_bits"]
LANES = {side: Lane(tuple(CONFIG[f"formats_{side}"])) for side in "ab"}
SIZES = {"a": ROWS, "b": COLS}
Words = dict[str, list[int]]
# For each tile what its lanes hold, (elements, lanes, K), of A and of B.
Tiles = list[tuple[np.ndarray, np.ndarray]]


def _payloads(side: str, operand: Operand, last: bool = True) -> list[int]:
    """The operand words of one tile."""
    lane, lanes = LANES[side], SIZES[side]
    words = operand_words(operand, lane, lanes)[0]
    choice = lane.select[operand.format.name] << lane.word_bits(lanes)
    end = int(last) << (lane.word_bits(lanes) + lane.select_bits)
    payloads = [int.from_bytes(word.tobytes(), "little") | choice for word in words]
    payloads[-1] |= end
    return payloads


def _tile(
    rng: np.random.Generator, side: str, fmt: Format, words: int, window: int
) -> tuple[Operand, np.ndarray]:
    """A random tile, and what its lanes hold: (elements, lanes, 2 * words)."""
    return random_operand(rng, fmt, SIZES[side] // fmt.lanes, 2 * words, window)


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    dut.clear.value = 0
    for side, lane in LANES.items():
        if lane.has_codebook:
            getattr(dut, f"{side}_table_write").value = 0
    dut.a_valid.value = dut.b_valid.value = dut.sums_ready.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)


async def _run(
    dut: Any, rng: np.random.Generator, words: Words, expected_rows: int, busy: float
) -> list[int]:
    """Stream words in, return the sums payloads; each side holds back with probability 1 - busy.

    Inputs change and outputs are read at falling edges; the stream rules are checked on the way.
    """
    sent = {"a": 0, "b": 0}
    offered = {"a": False, "b": False}
    held: int | None = None
    rows: list[int] = []
    quiet = 0
    while len(rows) < expected_rows:
        for side in ("a", "b"):
            more = sent[side] < len(words[side])
            offered[side] = more and (offered[side] or rng.random() < busy)
            getattr(dut, f"{side}_valid").value = int(offered[side])
            if more:
                getattr(dut, f"{side}_payload").value = words[side][sent[side]]
        take = rng.random() < busy
        dut.sums_ready.value = int(take)
        await Timer(1, unit="ns")
        ready = {s: bool(getattr(dut, f"{s}_ready").value) for s in ("a", "b")}
        valid = bool(dut.sums_valid.value)
        if valid:
            word = dut.sums_payload.value.to_unsigned()
            assert held is None or word == held, "payload changed while it waited"
            held = None if take else word
            if take:
                rows.append(word)
        else:
            assert held is None, "valid fell before the word was taken"
        quiet = 0 if valid or any(ready.values()) else quiet + 1
        assert quiet < 200 + 100 * (ROWS + COLS), "the array is stuck"
        await FallingEdge(dut.clk)
        for side in ("a", "b"):
            if ready[side] and offered[side]:
                sent[side] += 1
                offered[side] = False
    return rows


def _check(rows: list[int], tiles: Tiles) -> None:
    limit = 1 << (ACC_BITS - 1)
    at = 0
    for tile, (a, b) in enumerate(tiles):
        for row in range(len(a)):
            word = rows[at]
            at += 1
            for place in range(COLS):
                here = f"tile {tile}, row {row}, place {place}"
                col, rest = divmod(place, b.shape[1])
                # Every pair of lanes has its own accumulator.
                partial = [
                    np.cumsum(x * y) for x in a[row] for y in (b[col] if col < len(b) else [])
                ]
                sums = [int(p[-1]) for p in partial] if not rest else []
                got = word >> (ACC_BITS * place) & (2 * limit - 1)
                assert got == sum(sums) % (2 * limit), here
                overflows = not -limit <= sum(wrapped(s, ACC_BITS) for s in sums) < limit or (
                    not rest and any(not -limit <= s < limit for p in partial for s in p)
                )
                assert bool(word >> (ACC_BITS * COLS + place) & 1) == overflows, f"{here}: overflow"
            last = bool(word >> ((ACC_BITS + 1) * COLS) & 1)
            assert last == (row == len(a) - 1), f"tile {tile}, row {row}: last"
    assert at == len(rows)


def _stimulus(rng: np.random.Generator, count: int) -> tuple[Words, Tiles]:
    """Tiles of random depth, each in its own pair of formats."""
    words: Words = {"a": [], "b": []}
    tiles: Tiles = []
    for _ in range(count):
        depth = int(rng.integers(1, 2 * ROWS + 3))
        formats = [bench_format(str(rng.choice(lane.formats))) for lane in LANES.values()]
        spare = ACC_BITS - required_acc_bits(formats[0], formats[1], 1)
        made = [
            _tile(rng, side, fmt, depth, window)
            for side, fmt, window in zip(
                SIZES, formats, windows(formats[0], formats[1], spare), strict=True
            )
        ]
        for side, (operand, _) in zip(SIZES, made, strict=True):
            words[side] += _payloads(side, operand)
        tiles.append((made[0][1], made[1][1]))
    return words, tiles


@cocotb.test
@cocotb.parametrize(busy=[1.0, 0.6, 0.2], seed=[0, 1])
async def random_tiles(dut: Any, busy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    words, tiles = _stimulus(rng, 12)
    rows = await _run(dut, rng, words, sum(len(a) for a, _ in tiles), busy)
    _check(rows, tiles)
    overflows = any(row >> (ACC_BITS * COLS) & ((1 << COLS) - 1) for row in rows)
    assert bool(dut.overflow.value) == overflows
    dut.clear.value = 1
    await FallingEdge(dut.clk)
    dut.clear.value = 0
    await FallingEdge(dut.clk)
    assert not dut.overflow.value
    assert not dut.illegal.value
    assert not dut.misaligned.value


@cocotb.test
async def reset_in_flight(dut: Any) -> None:
    rng = np.random.default_rng(2)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    for stop_after in (1, ROWS, 2 * ROWS):
        await _reset(dut)
        words, _ = _stimulus(rng, 4)
        await _run(dut, rng, words, stop_after, 0.7)
        await _reset(dut)
        words, tiles = _stimulus(rng, 5)
        rows = await _run(dut, rng, words, sum(len(a) for a, _ in tiles), 0.7)
        _check(rows, tiles)


@cocotb.test
async def illegal_codes_and_misaligned_last(dut: Any) -> None:
    rng = np.random.default_rng(3)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await fill_tables(dut, LANES)
    for side, lane in LANES.items():
        for fmt in map(bench_format, lane.formats):
            wrong = illegal_code(fmt)
            if wrong is None:
                continue
            made = {s: _tile(rng, s, bench_format(LANES[s].formats[0]), 1, 0) for s in SIZES}
            operand, values = _tile(rng, side, fmt, 1, 0)
            operand.codes[-1], values[-1] = wrong, 0
            made[side] = (operand, values)
            words = {s: _payloads(s, tile) for s, (tile, _) in made.items()}
            tiles = [(made["a"][1], made["b"][1])]
            _check(await _run(dut, rng, words, len(tiles[0][0]), 1.0), tiles)
            assert dut.illegal.value, f"an illegal code of {fmt.name} on {side} was not flagged"
            dut.clear.value = 1
            await FallingEdge(dut.clk)
            dut.clear.value = 0
            await FallingEdge(dut.clk)
            assert not dut.illegal.value, "clear did not clear"
    for side, lane in LANES.items():
        for fmt in (f for f in map(bench_format, lane.formats) if f.block_size):
            made = {s: _tile(rng, s, bench_format(LANES[s].formats[0]), 1, 0) for s in SIZES}
            operand, values = _tile(rng, side, fmt, 1, 0)
            # A block 16 above the base is beyond the window.
            beyond = replace(
                operand,
                base=np.array([7], np.uint8),
                scales=np.full((len(operand.codes), 1), 23, np.uint8),
            )
            made[side] = (beyond, values * 0)
            words = {s: _payloads(s, tile) for s, (tile, _) in made.items()}
            tiles = [(made["a"][1], made["b"][1])]
            _check(await _run(dut, rng, words, len(tiles[0][0]), 1.0), tiles)
            assert dut.illegal.value, f"a block of {fmt.name} on {side} beyond the window"
    made = {s: _tile(rng, s, bench_format(LANES[s].formats[0]), 1, 0) for s in SIZES}
    words = {s: _payloads(s, tile, last=s == "a") for s, (tile, _) in made.items()}
    await _run(dut, rng, words, len(made["a"][1]), 1.0)
    assert dut.misaligned.value, "different `last` was not flagged"
