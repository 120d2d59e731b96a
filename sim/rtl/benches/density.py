"""Density unit: extreme products and scales, and a shipped scene's with as many components."""

from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.features import FixedField
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.features import Words, density_words
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.fixed_fields import random_field
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

BITS = bench_config()
COMPONENTS = BITS["components"]
LATENCY = LATENCIES["density-unit"]
LEGO = fix_scene(load_scene("lego"), mlp="float").tensors


def _set_scales(dut: Any, field: FixedField) -> None:
    scales = zip(field.density_multiplier, field.density_shift, strict=True)
    dut.scale.value = packed(part for x, s in scales for part in ((x, 16), (s, 6)))


def _extremes(rng: np.random.Generator, field: FixedField, count: int) -> Words:
    """Products of all sizes, of which some are the greatest or the least."""
    end = 1 << (BITS["product_bits"] - 1)
    products = rng.integers(-end, end, (3, count, COMPONENTS))
    products >>= rng.integers(0, BITS["product_bits"], (1, count, 1))
    whole = rng.random(count) < 0.2
    products[:, whole] = rng.choice([-end, end - 1], (3, int(whole.sum()), 1))
    return density_words(field, products, BITS)


@cocotb.test
async def extremes(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for _ in range(8):
        field = random_field(rng, (2, 2, 2), 0, {})
        field.density_shift[:2] = rng.integers(0, 56, 2)
        _set_scales(dut, field)
        await check_pipe(dut, *_extremes(rng, field, 500), LATENCY, rng)


if LEGO.density[0].line.shape[1] == COMPONENTS:

    @cocotb.test
    async def scene(dut: Any) -> None:
        rng = np.random.default_rng(2)
        await start_pipe(dut)
        _set_scales(dut, LEGO)
        last = np.array(LEGO.size)[:, None] - 1
        at = rng.integers(0, (last << LEGO.config.position_bits) + 1, (3, 2000))
        products = np.stack(LEGO.products(LEGO.density, at)).astype(np.int64)
        await check_pipe(dut, *density_words(LEGO, products, BITS), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    field = random_field(rng, (2, 2, 2), 0, {})
    _set_scales(dut, field)
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_extremes(rng, field, 300), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await start_pipe(dut)
    field = random_field(rng, (2, 2, 2), 0, {})
    _set_scales(dut, field)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _extremes(rng, field, 40)
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
