"""Array bench, Python on every edge: random tiles and stalls, resets, illegal pairs."""

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.formats import FORMATS
from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()
ROWS, COLS, ACC_BITS = CONFIG["rows"], CONFIG["cols"], CONFIG["acc_bits"]
Words = dict[str, list[int]]
Tiles = list[tuple[np.ndarray, np.ndarray]]

SIDES = {"a": (CONFIG["code_bits_a"], ROWS), "b": (CONFIG["code_bits_b"], COLS)}


def _payload(side: str, codes: np.ndarray, flint: bool, last: bool) -> int:
    """One operand word from codes (lanes, 2)."""
    bits, lanes = SIDES[side]
    word = 0
    for lane, (even, odd) in enumerate(codes.tolist()):
        word |= (even | odd << bits) << (2 * bits * lane)
    top = 2 * bits * lanes
    if bits == 4:
        word |= int(flint) << top
        top += 1
    return word | int(last) << top


def _tile(rng: np.random.Generator, side: str, words: int) -> tuple[list[int], np.ndarray]:
    """(operand words, decoded values (lanes, K)) of a random tile in a random format."""
    bits, lanes = SIDES[side]
    formats = [f for f in FORMATS.values() if f.code_bits == bits]
    fmt = formats[int(rng.integers(len(formats)))]
    values = rng.standard_t(1.5, (lanes, 2 * words)) * fmt.max_normal / 2
    codes = fmt.encode(np.clip(values, -fmt.max_magnitude, fmt.max_magnitude))
    payloads = [
        _payload(side, codes[:, 2 * w : 2 * w + 2], "flint" in fmt.name, w == words - 1)
        for w in range(words)
    ]
    return payloads, fmt.decode(codes).astype(np.int64)


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    dut.clear.value = 0
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
    for index, word in enumerate(rows):
        tile, row = divmod(index, ROWS)
        a, b = tiles[tile]
        want = (a[row] * b).cumsum(axis=1)
        for col in range(COLS):
            got = word >> (ACC_BITS * col) & (2 * limit - 1)
            assert got == int(want[col, -1]) % (2 * limit), f"tile {tile}, row {row}, col {col}"
            wrapped = bool(((want[col] < -limit) | (want[col] >= limit)).any())
            flag = bool(word >> (ACC_BITS * COLS + col) & 1)
            assert flag == wrapped, f"tile {tile}, row {row}, col {col}: overflow"
        assert bool(word >> ((ACC_BITS + 1) * COLS) & 1) == (row == ROWS - 1), "last"


def _stimulus(rng: np.random.Generator, count: int) -> tuple[Words, Tiles]:
    words: Words = {"a": [], "b": []}
    tiles: Tiles = []
    for _ in range(count):
        depth = int(rng.integers(1, 2 * ROWS + 3))
        made = {side: _tile(rng, side, depth) for side in SIDES}
        for side, (payloads, _) in made.items():
            words[side] += payloads
        tiles.append((made["a"][1], made["b"][1]))
    return words, tiles


@cocotb.test
@cocotb.parametrize(busy=[1.0, 0.6, 0.2], seed=[0, 1])
async def random_tiles(dut: Any, busy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    words, tiles = _stimulus(rng, 8)
    rows = await _run(dut, rng, words, 8 * ROWS, busy)
    _check(rows, tiles)
    wrapped = any(row >> (ACC_BITS * COLS) & ((1 << COLS) - 1) for row in rows)
    assert bool(dut.overflow.value) == wrapped
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
    for stop_after in (1, ROWS, 2 * ROWS):
        await _reset(dut)
        words, _ = _stimulus(rng, 4)
        await _run(dut, rng, words, stop_after, 0.7)
        await _reset(dut)
        words, tiles = _stimulus(rng, 3)
        _check(await _run(dut, rng, words, 3 * ROWS, 0.7), tiles)


@cocotb.test
async def illegal_pair_and_misaligned_last(dut: Any) -> None:
    rng = np.random.default_rng(3)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    for side in SIDES:
        bits, lanes = SIDES[side]
        ones = {s: np.full((n, 2), 1, np.uint8) for s, (_, n) in SIDES.items()}
        ones[side][lanes - 1] = 1 << (bits - 1)
        words = {s: [_payload(s, codes, False, True)] for s, codes in ones.items()}
        values = {s: np.where(codes == 1, 1, 0) for s, codes in ones.items()}
        tiles = [(values["a"].astype(np.int64), values["b"].astype(np.int64))]
        _check(await _run(dut, rng, words, ROWS, 1.0), tiles)
        assert dut.illegal.value, f"illegal pair on {side} was not flagged"
        dut.clear.value = 1
        await FallingEdge(dut.clk)
        dut.clear.value = 0
        await FallingEdge(dut.clk)
        assert not dut.illegal.value, "clear did not clear"
    ones = {s: np.full((n, 2), 1, np.uint8) for s, (_, n) in SIDES.items()}
    words = {s: [_payload(s, codes, False, s == "a")] for s, codes in ones.items()}
    await _run(dut, rng, words, ROWS, 1.0)
    assert dut.misaligned.value, "different `last` was not flagged"
