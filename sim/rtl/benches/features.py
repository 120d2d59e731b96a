"""Feature unit: extreme codes at corners and between, and a shipped scene's own."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.features import Factors
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.features import Words, feature_words
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.rtl.benches.fixed_fields import random_field
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

BITS = bench_config()
LATENCY = LATENCIES["feature-unit"]
CONFIG = FixedConfig(**{name: value for name, value in BITS.items() if name in RANGES})
LEGO = fix_scene(load_scene("lego"), CONFIG, mlp="float").tensors


def _coordinates(rng: np.random.Generator, size: tuple[int, int, int], count: int) -> Longs:
    """(3, count) random ones, of which some are on a point, on a face or just before one."""
    one = 1 << CONFIG.position_bits
    last = np.array(size)[:, None] - 1
    at = rng.integers(0, last * one + 1, (3, count))
    kind = rng.integers(0, 8, (3, count))
    at = np.where(kind == 0, at >> CONFIG.position_bits << CONFIG.position_bits, at)
    at = np.where(kind == 1, last * one, at)
    return np.where(kind == 2, np.maximum((at // one) * one, 1) - 1, at)


def _extremes(rng: np.random.Generator, count: int) -> Words:
    size = (7, 5, 3)
    field = random_field(rng, size, BITS["components"], BITS)
    return feature_words(field, field.color, _coordinates(rng, size, count), BITS)


@cocotb.test
async def extremes(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for _ in range(3):
        await check_pipe(dut, *_extremes(rng, 400), LATENCY, rng)


def _fits(factors: Sequence[Factors]) -> bool:
    """Whether the unit has room for a scene's codes, and takes all components in whole words."""
    return factors[0].line.shape[1] % BITS["components"] == 0 and all(
        int(abs(codes).max()) < 1 << (BITS[name] - 1)
        for each in factors
        for codes, name in ((each.plane, "plane_bits"), (each.line, "line_bits"))
    )


if _fits(LEGO.density) and _fits(LEGO.color):

    @cocotb.test
    async def scene(dut: Any) -> None:
        rng = np.random.default_rng(2)
        await start_pipe(dut)
        ends = [(0, (n - 1) << CONFIG.position_bits) for n in LEGO.size]
        corners = np.array(list(product(*ends)), np.int64).T
        for factors, count in ((LEGO.density, 300), (LEGO.color, 100)):
            at = np.concatenate([corners, _coordinates(rng, LEGO.size, count)], axis=1)
            await check_pipe(dut, *feature_words(LEGO, factors, at, BITS), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_extremes(rng, 60), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await start_pipe(dut)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _extremes(rng, 12)
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
