"""Colour features: extreme codes, directions of a store of rays, and ends between."""

from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.words import ray_fields
from oleaster.models.nerf.renderer.targets import PAIRS
from oleaster.sim.nerf.pipe import receiver
from oleaster.sim.nerf.renderer.taps import ColorFeaturesClock
from oleaster.sim.nerf.renderer.words import codes_around, taps_word
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.pipe import reset_midway, start_pipe
from oleaster.sim.rtl.benches.sample_words import (
    extreme_field,
    random_coordinates,
    read_config,
    tags,
)
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.cosim import bench_config

CONFIG = read_config(bench_config())
TAG_BITS = bench_config()["tag_bits"]
PARTS = CONFIG.color_components // CONFIG.color_at_once
SUM_BITS = 32
DIRECTION_BITS = 3 * ray_fields(CONFIG.fixed)["direction"].bits


class _Samples:
    """Words, ends among them, and what comes of each: products, direction, end, tag."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        field = extreme_field(rng, CONFIG, int(rng.integers(1, CONFIG.color_components + 1)))
        at = random_coordinates(rng, field, count)
        codes = codes_around(field, field.color, at, CONFIG.color_components)
        _, weights = field.cells(at)
        products = np.zeros((count, PAIRS, CONFIG.color_components), np.int64)
        for m, each in enumerate(field.products(field.color, at)):
            products[:, m, : each.shape[1]] = each
        numbers = tags(rng, count, TAG_BITS)
        self.directions = tags(rng, CONFIG.pixels, min(DIRECTION_BITS, 62))
        self.ends = (rng.random(count) < 0.1).tolist()
        self.words = [
            taps_word(CONFIG, *each, TAG_BITS)
            for each in zip(codes, weights.T, self.ends, numbers, strict=True)
        ]
        self.answers = [
            (
                None if end else packed((x, SUM_BITS) for x in row.ravel()),
                self.directions[tag % CONFIG.pixels],
                int(end),
                tag,
            )
            for row, end, tag in zip(products, self.ends, numbers, strict=True)
        ]


async def _check(dut: Any, samples: _Samples, rng: np.random.Generator, busy: float = 1.0) -> None:
    def store() -> dict[str, int]:
        return {"direction": samples.directions[dut.read_address.value.to_unsigned()]}

    done = await exchange(dut, samples.words, len(samples.words), rng, busy, store)
    widths = PAIRS * CONFIG.color_components * SUM_BITS, DIRECTION_BITS, 1, TAG_BITS
    for payload, want in zip(done.payloads, samples.answers, strict=True):
        products, *rest = unpacked(payload, widths)
        # Of an end, they mean nothing.
        assert (None if want[0] is None else products, *rest) == want
    clock, take = ColorFeaturesClock(PARTS), receiver(done.ready)
    words = zip(done.offered, samples.ends, done.accepted, done.taken, strict=True)
    for offered, end, accepted, taken in words:
        assert clock.accept(offered, end) == accepted
        clock.answer(take)
        assert clock.taken == taken
    if busy == 1.0:
        assert done.accepted[-1] - done.accepted[0] < PARTS * len(samples.words)


@cocotb.test
async def random_fields(dut: Any) -> None:
    """A word in every cycle."""
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for _ in range(4):
        await _check(dut, _Samples(rng, 150), rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for busy in (0.05, 0.3, 0.7):
        await _check(dut, _Samples(rng, 100), rng, busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for waiting in (1, 2, 10, 40):
        samples = _Samples(rng, 60)
        await reset_midway(dut, samples.words[:waiting])
        await _check(dut, samples, rng)
