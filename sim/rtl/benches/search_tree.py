"""Adder and search tree: every sorted subset of a small chunk; random words; modes in any mix."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.search import search_coordinates
from oleaster.sim.nerf.latency import search_tree_latency
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()
LEAVES, VALUE_BITS, CHUNK = (CONFIG[name] for name in ("leaves", "value_bits", "chunk"))
LATENCY = search_tree_latency(LEAVES)
QUERY_BITS = CHUNK.bit_length() - 1
COUNT_BITS = LEAVES.bit_length()
SMALL = 16  # elements of a chunk that is searched for everything


@dataclass(frozen=True)
class Word:
    """search: 1 or 0. values: LEAVES of them, of which `count` are coordinates in a search."""

    search: int
    query: int
    count: int
    values: list[int]


def _payloads(words: list[Word]) -> tuple[list[int], list[int]]:
    sent, answers = [], []
    for word in words:
        payload = word.search | word.query << 1 | word.count << 1 + QUERY_BITS
        at = 1 + QUERY_BITS + COUNT_BITS
        for value in word.values:
            payload |= (value & (1 << VALUE_BITS) - 1) << at
            at += VALUE_BITS
        sent.append(payload)
        answers.append(_answer(word))
    return sent, answers


def _answer(word: Word) -> int:
    sum_bits = VALUE_BITS + LEAVES.bit_length() - 1
    if not word.search:
        return (sum(word.values) & (1 << sum_bits) - 1) << 2 + COUNT_BITS
    found = search_coordinates(word.values[: word.count], word.query)
    last = word.values[max(found.rank + found.hit - 1, 0)]
    return found.hit | found.next_hit << 1 | found.rank << 2 | last << 2 + COUNT_BITS


def _search(rng: np.random.Generator, coordinates: list[int], query: int) -> Word:
    """The values beyond the coordinates are any."""
    others = rng.integers(0, CHUNK, LEAVES - len(coordinates)).tolist()
    return Word(1, query, len(coordinates), [*coordinates, *others])


def _sum(rng: np.random.Generator) -> Word:
    """Of any values, or of the ends of their range."""
    ends = [-1 << VALUE_BITS - 1, (1 << VALUE_BITS - 1) - 1]
    values = rng.integers(ends[0], ends[1] + 1, LEAVES)
    kind = rng.integers(0, 4)
    if kind < 2:
        values[:] = ends[kind]
    elif kind == 2:
        values = rng.choice(ends, LEAVES)
    query, count = rng.integers(0, CHUNK), rng.integers(0, LEAVES + 1)
    return Word(0, int(query), int(count), values.tolist())


def _random(rng: np.random.Generator, count: int) -> list[Word]:
    """Searches and sums; queries near a coordinate or at an end more often than others."""
    words = []
    for _ in range(count):
        if rng.random() < 0.4:
            words.append(_sum(rng))
            continue
        stored = rng.choice([0, 1, 2, LEAVES - 1, LEAVES, int(rng.integers(0, LEAVES + 1))])
        coordinates = np.sort(rng.choice(CHUNK, stored, replace=False))
        if rng.random() < 0.3 and stored:  # in a row, so that most neighbours are there
            coordinates = np.arange(stored) + rng.integers(0, CHUNK - stored + 1)
        query = int(rng.choice([0, CHUNK - 1, int(rng.integers(0, CHUNK))]))
        if stored and rng.random() < 0.7:
            query = int(np.clip(rng.choice(coordinates) + rng.integers(-2, 2), 0, CHUNK - 1))
        words.append(_search(rng, coordinates.tolist(), query))
    return words


@cocotb.test
async def searches_and_sums(dut: Any) -> None:
    """All subsets and queries of 16 elements, then random words; a word in every cycle."""
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    sizes = range(LEAVES + 1) if CHUNK == SMALL else ()
    every = [
        _search(rng, list(subset), query)
        for size in sizes
        for subset in combinations(range(CHUNK), size)
        for query in range(CHUNK)
    ]
    await check_pipe(dut, *_payloads([*every, *_random(rng, 4000)]), LATENCY, rng)


@cocotb.test
async def modes_in_turn(dut: Any) -> None:
    """A search, a sum, a search ...: neither finds anything of the other's, nor waits for it."""
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    words = _random(rng, 2000)
    searches, sums = [w for w in words if w.search], [w for w in words if not w.search]
    pairs = zip(searches, sums, strict=False)
    await check_pipe(dut, *_payloads([word for pair in pairs for word in pair]), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_payloads(_random(rng, 800)), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await start_pipe(dut)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _payloads(_random(rng, 50))
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
