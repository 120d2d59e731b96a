"""Wave table: every colour feature, directions, every octave, sine and cosine."""

from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.network import FEATURE_WIDTH
from oleaster.models.nerf.fixed.tables import Longs, wave
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

PARAMETERS = bench_config()
OCTAVES = PARAMETERS["octaves"]
CONFIG = FixedConfig(**{name: value for name, value in PARAMETERS.items() if name in RANGES})
LATENCY = LATENCIES["wave-table"]
VALUE_BITS = max(FEATURE_WIDTH, ray_fields(CONFIG)["direction"].bits)
FEATURES = 1 << FEATURE_WIDTH


def _payloads(
    values: Longs, octaves: Longs, cosines: Longs, directions: Longs
) -> tuple[list[int], list[int]]:
    at = VALUE_BITS
    words = values & ((1 << at) - 1)
    for field, bits in ((octaves, (OCTAVES - 1).bit_length()), (cosines, 1), (directions, 1)):
        words |= field << at
        at += bits
    answers = np.empty_like(values)
    for octave in range(OCTAVES):
        for cosine in (False, True):
            for direction in (False, True):
                chosen = (octaves == octave) & (cosines == cosine) & (directions == direction)
                fraction = CONFIG.direction_bits if direction else CONFIG.feature_bits
                answers[chosen] = wave(values[chosen], fraction, octave, cosine, CONFIG)
    return words.tolist(), (answers & ((1 << (CONFIG.wave_bits + 2)) - 1)).tolist()


def _random(rng: np.random.Generator, count: int) -> tuple[Longs, Longs, Longs, Longs]:
    one = 1 << CONFIG.direction_bits
    directions = rng.integers(0, 2, count)
    values = np.where(
        directions,
        rng.integers(-one, one + 1, count),
        rng.integers(-FEATURES // 2, FEATURES // 2, count),
    )
    corners = rng.random(count) < 0.1
    ends = np.where(directions, one, FEATURES // 2 - 1)
    values[corners] = (ends * rng.choice([-1, 0, 1], count))[corners]
    return values, rng.integers(0, OCTAVES, count), rng.integers(0, 2, count), directions


@cocotb.test
async def values(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    # Each feature once, so that every octave, and sine and cosine, meet every part of the range.
    every = np.arange(-FEATURES // 2, FEATURES // 2)
    turn = every * 7 + every // 256
    columns = every, turn // 2 % OCTAVES, turn % 2, np.zeros_like(every)
    await check_pipe(dut, *_payloads(*columns), LATENCY, rng)
    await check_pipe(dut, *_payloads(*_random(rng, 4000)), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_payloads(*_random(rng, 800)), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _payloads(*_random(rng, 50))
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
