"""Alpha unit: extreme codes and scales through a table of random values."""

from dataclasses import replace
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.fixed.features import FixedField
from oleaster.models.nerf.fixed.tables import Curve
from oleaster.sim.nerf.curve import curve_words
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.nerf.renderer.words import codes_around, taps_word
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.benches.sample_words import (
    extreme_field,
    random_coordinates,
    read_config,
    tags,
)
from oleaster.sim.rtl.cosim import bench_config

CONFIG = read_config(bench_config())
FIXED = CONFIG.fixed
TAG_BITS = bench_config()["tag_bits"]
LATENCY = LATENCIES["alpha-unit"]
ALPHA_BITS = FIXED.transmittance_bits + 1


def _field(rng: np.random.Generator) -> FixedField:
    """Fewer components than there are places for, now and then; sums all over the table."""
    components = int(rng.integers(1, CONFIG.density_components + 1))
    field = extreme_field(rng, CONFIG, components)
    field.density_shift[:] = rng.integers(22, 32, 3)
    sums = np.abs(field.density_sums(random_coordinates(rng, field, 200)))
    intervals = 1 << FIXED.alpha_address_bits
    shift = int(np.log2(max(np.median(sums), intervals)) - FIXED.alpha_address_bits) + 1
    shift = min(shift, CONFIG.alpha_largest_shift)
    values = rng.integers(0, 1 << ALPHA_BITS, intervals + 1)
    return replace(field, alpha=Curve(-(intervals << shift >> 1), shift, values))


async def _load(dut: Any, field: FixedField) -> None:
    dut.scale.value = packed(
        part
        for pair in zip(field.density_multiplier, field.density_shift, strict=True)
        for part in zip(pair, (16, 6), strict=True)
    )
    dut.lowest.value, dut.shift.value = field.alpha.lowest, field.alpha.shift
    dut.write_enable.value = 1
    for i, word in enumerate(curve_words(field.alpha, ALPHA_BITS, FIXED.alpha_address_bits)):
        dut.write_address.value, dut.write_data.value = i, word
        await FallingEdge(dut.clk)
    dut.write_enable.value = 0


def _words(rng: np.random.Generator, field: FixedField, count: int) -> tuple[list[int], list[int]]:
    at = random_coordinates(rng, field, count)
    codes = codes_around(field, field.density, at, CONFIG.density_components)
    _, weights = field.cells(at)
    numbers, ends = tags(rng, count, TAG_BITS), tags(rng, count, 1)
    words = [
        taps_word(CONFIG, code, weight, bool(end), tag, TAG_BITS)
        for code, weight, end, tag in zip(codes, weights.T, ends, numbers, strict=True)
    ]
    most = 1 << (CONFIG.alpha_sum_bits - 1)
    alpha = field.alpha(np.clip(field.density_sums(at), -most, most - 1)).tolist()
    answers = [
        packed([(share, ALPHA_BITS), (end, 1), (tag, TAG_BITS)])
        for share, end, tag in zip(alpha, ends, numbers, strict=True)
    ]
    assert len(set(alpha)) > count // 8
    return words, answers


async def _start(dut: Any) -> None:
    dut.write_enable.value = 0
    await start_pipe(dut)


@cocotb.test
async def random_fields(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await _start(dut)
    for _ in range(6):
        await _load(dut, field := _field(rng))
        await check_pipe(dut, *_words(rng, field, 300), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await _start(dut)
    await _load(dut, field := _field(rng))
    for busy in (0.3, 0.7):
        await check_pipe(dut, *_words(rng, field, 200), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    """A reset drops samples; the table stays."""
    rng = np.random.default_rng(3)
    await _start(dut)
    await _load(dut, field := _field(rng))
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _words(rng, field, 80)
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
