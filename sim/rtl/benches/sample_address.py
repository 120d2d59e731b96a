"""Cells and weights of a sample: every corner, edge and face of a lattice, and random points."""

from itertools import product
from typing import Any

import cocotb
import numpy as np

from oleaster.sim.nerf.features import address_words
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.fixed_fields import random_field
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

BITS = bench_config()
LATENCY = LATENCIES["sample-address"]


def _samples(
    dut: Any, rng: np.random.Generator, size: tuple[int, int, int], count: int
) -> tuple[list[int], list[int]]:
    """Of a lattice of so many points, whose last ones the unit is told."""
    last = np.array(size) - 1
    dut.last.value = packed((x, BITS["cell_bits"]) for x in last)
    one = 1 << BITS["position_bits"]
    axes = [[0, 1, one - 1, one, end * one // 2, end * one - 1, end * one] for end in last.tolist()]
    corners = np.array(list(product(*axes)), np.int64).T
    at = rng.integers(0, last[:, None] * one + 1, (3, count))
    field = random_field(rng, size, 0, BITS)
    return address_words(field, np.concatenate([corners, at], axis=1), BITS)


@cocotb.test
async def coordinates(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    largest = 1 << BITS["cell_bits"]
    for size in ((2, 2, 2), (3, largest, largest // 2), (largest, 2, largest - 1)):
        await check_pipe(dut, *_samples(dut, rng, size, 1000), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_samples(dut, rng, (4, 3, 2), 300), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for waiting in (1, LATENCY + 1):
        words, answers = _samples(dut, rng, (4, 3, 2), 0)
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
