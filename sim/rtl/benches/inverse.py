"""Reciprocals and inverse roots: every number of few bits; corners and random ones of many."""

from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.tables import Longs, inverse_root, reciprocal
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

PARAMETERS = bench_config()
WIDTH = PARAMETERS["width"]
CONFIG = FixedConfig(
    inverse_bits=PARAMETERS["inverse_bits"],
    inverse_address_bits=PARAMETERS["inverse_address_bits"],
)
LATENCY = LATENCIES["inverse-root" if "fraction" in PARAMETERS else "reciprocal"]
EVERY_BITS = 14  # of numbers so narrow, all are tried


def _payloads(numbers: Longs) -> tuple[list[int], list[int]]:
    if "fraction" in PARAMETERS:
        y, e = inverse_root(numbers, PARAMETERS["fraction"], CONFIG)
    else:
        y, e = reciprocal(numbers, CONFIG)
    return numbers.tolist(), (y | e << (CONFIG.inverse_bits + 1)).tolist()


def _random(rng: np.random.Generator, count: int) -> Longs:
    """Of all magnitudes alike."""
    tops = rng.integers(0, WIDTH, count)
    return (1 << tops) + rng.integers(0, 1 << tops)


@cocotb.test
async def numbers(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    if WIDTH <= EVERY_BITS:
        numbers = np.arange(1, 1 << WIDTH)
    else:
        powers = 1 << np.arange(WIDTH + 1)
        ends = np.concatenate([powers[:-1], powers[1:] - 1, powers[1:-1] + 1])
        # Every entry of the table, from both ends of its interval.
        size = 1 << CONFIG.inverse_address_bits
        edges = np.arange(size, 4 * size) << (WIDTH - CONFIG.inverse_address_bits - 2)
        numbers = np.concatenate([ends, edges, edges - 1, _random(rng, 10_000)])
    await check_pipe(dut, *_payloads(numbers), LATENCY, rng)


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
