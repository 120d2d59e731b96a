"""Curve table: a scene's alpha and the sigmoid over all their inputs, and a curve that falls."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.tables import Curve, Longs, sigmoid_curve
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.curve import curve_words
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

PARAMETERS = bench_config()
INPUT_BITS = PARAMETERS["input_bits"]
VALUE_BITS = PARAMETERS["value_bits"]
ADDRESS_BITS = PARAMETERS["address_bits"]
LATENCY = LATENCIES["curve-table"]
LOWEST, HIGHEST = -(1 << (INPUT_BITS - 1)), (1 << (INPUT_BITS - 1)) - 1
MARGIN = 2000  # inputs beyond either end of a table
SIGMOID = sigmoid_curve(FixedConfig())


def _falling(rng: np.random.Generator, shift: int) -> Curve:
    """Random values, also from the largest to 0 in one interval."""
    values = rng.integers(0, 1 << VALUE_BITS, (1 << ADDRESS_BITS) + 1)
    values[:2] = (1 << VALUE_BITS) - 1, 0
    return Curve(int(rng.integers(LOWEST // 2, 0)), shift, values)


def _curves(rng: np.random.Generator) -> list[Curve]:
    curves = [_falling(rng, 0), _falling(rng, PARAMETERS["largest_shift"])]
    for curve in (fix_scene(load_scene("lego"), mlp="float").tensors.alpha, SIGMOID):
        fits = curve.values.max() >> VALUE_BITS == 0
        if fits and len(curve.values) - 1 <= 1 << ADDRESS_BITS:
            curves.append(curve)
    return curves


async def _load(dut: Any, curve: Curve) -> None:
    """Write a curve's table; entries that do not fit its number of intervals are filled up."""
    dut.lowest.value, dut.shift.value = curve.lowest, curve.shift
    dut.write_enable.value = 1
    for i, word in enumerate(curve_words(curve, VALUE_BITS, ADDRESS_BITS)):
        dut.write_address.value, dut.write_data.value = i, word
        await FallingEdge(dut.clk)
    dut.write_enable.value = 0


def _payloads(curve: Curve, inputs: Longs) -> tuple[list[int], list[int]]:
    return (inputs & ((1 << INPUT_BITS) - 1)).tolist(), curve(inputs).tolist()


def _random(rng: np.random.Generator, curve: Curve, count: int) -> Longs:
    span = (len(curve.values) - 1) << curve.shift
    inputs = curve.lowest + rng.integers(-(span // 4) - 9, span + span // 4 + 9, count)
    ends = rng.random(count) < 0.1
    inputs[ends] = rng.choice([LOWEST, HIGHEST, curve.lowest, curve.lowest + span], ends.sum())
    return np.clip(inputs, LOWEST, HIGHEST)


@cocotb.test
async def every_input(dut: Any) -> None:
    rng = np.random.default_rng(1)
    dut.write_enable.value = 0
    await start_pipe(dut)
    for curve in _curves(rng):
        await _load(dut, curve)
        last = curve.lowest + ((len(curve.values) - 1) << curve.shift)
        low, high = max(curve.lowest - MARGIN, LOWEST), min(last + MARGIN, HIGHEST)
        inputs = np.concatenate([np.arange(low, high + 1), [LOWEST, HIGHEST]])
        await check_pipe(dut, *_payloads(curve, inputs), LATENCY, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    dut.write_enable.value = 0
    await start_pipe(dut)
    for busy in (0.3, 0.7):
        await _load(dut, curve := _falling(rng, 1))
        await check_pipe(dut, *_payloads(curve, _random(rng, curve, 800)), LATENCY, rng, busy=busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    """A reset drops inputs; the table stays."""
    rng = np.random.default_rng(3)
    dut.write_enable.value = 0
    await start_pipe(dut)
    await _load(dut, curve := _falling(rng, 1))
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _payloads(curve, _random(rng, curve, 50))
        await reset_midway(dut, words[:waiting])
        await check_pipe(dut, words, answers, LATENCY, rng)
