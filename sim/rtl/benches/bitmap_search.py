"""Bitmap search unit: every map of 16 elements; random ones for larger chunks."""

from collections.abc import Iterable
from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.search import search_bitmap
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

CHUNK = bench_config()["chunk"]
LATENCY = LATENCIES["bitmap-search"]
INDEX_BITS = CHUNK.bit_length() - 1


def _payloads(queries: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    words, answers = [], []
    for bitmap, index in queries:
        found = search_bitmap(bitmap, index)
        words.append(bitmap | index << CHUNK)
        answers.append(found.hit | found.next_hit << 1 | found.rank << 2)
    return words, answers


def _random(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Maps from nearly empty to full, and the ends of the range more often than others."""
    shares = rng.choice([0.02, 0.2, 0.5, 0.9, 1.0], count)
    bits = rng.random((count, CHUNK)) < shares[:, None]
    maps = [int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little") for row in bits]
    indices = rng.integers(0, CHUNK, count)
    ends = rng.random(count) < 0.2
    indices[ends] = rng.choice([0, 1, CHUNK - 2, CHUNK - 1], int(ends.sum()))
    return list(zip(maps, indices.tolist(), strict=True))


@cocotb.test
async def queries(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    # All 2^16 maps, each with one index, so that every index meets thousands of them.
    maps = range(1 << 16) if CHUNK == 16 else ()
    every = [(bitmap, (bitmap * 7 + bitmap // 16) % 16) for bitmap in maps]
    await check_pipe(dut, *_payloads([*every, *_random(rng, 4000)]), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_payloads(_random(rng, 800)), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _payloads(_random(rng, 50))
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
