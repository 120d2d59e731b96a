"""Compositor: random tiles against `FixedPixels`, with runs of one pixel, over both backgrounds."""

from typing import Any

import cocotb
import numpy as np

from oleaster.sim.nerf.compositor import compositor_cycles
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.tiles import Tile, config_of, shade_tile
from oleaster.sim.rtl.benches.traffic import reset_streams, start_streams, traffic
from oleaster.sim.rtl.cosim import bench_config

BITS = bench_config()
PIXELS = BITS["pixels"]
CONFIG = config_of(BITS)
IDLE = "i_valid", "light_valid", "o_ready"


def _words(rng: np.random.Generator, tile: Tile) -> list[int]:
    """Samples that have a colour, and the end."""
    seen = np.flatnonzero(tile.colored)
    color = CONFIG.color_bits + 1
    widths = PIXELS.bit_length() - 1, CONFIG.transmittance_bits + 1, color, color, color, 1
    rows = [(tile.pixel[i], tile.weight[i], *tile.color[i], 0) for i in seen]
    rows.append((*(rng.integers(1 << width) for width in widths[:-1]), 1))
    return [packed(zip(row, widths, strict=True)) for row in rows]


async def _check(
    dut: Any, rng: np.random.Generator, sizes: list[int], white: bool, busy: float
) -> None:
    """Tiles of so many samples, after a reset."""
    dut.white.value = int(white)
    words: list[int] = []
    ends: list[bool] = []
    light: list[int] = []
    pixels: list[int] = []
    for i, size in enumerate(sizes):
        tile = shade_tile(rng, CONFIG, PIXELS, size, thin=i % 2 == 0)
        words += _words(rng, tile)
        ends += [False] * (len(words) - len(ends) - 1) + [True]
        light += tile.finished.light.tolist()
        found = tile.finished.finish(white, CONFIG.transmittance_bits, CONFIG.color_bits)
        pixels += [packed((byte, 8) for byte in pixel) for pixel in found]
    sends = {"i": words, "light": light}
    sent, received = await traffic(dut, sends, {"o": len(pixels)}, rng, busy)
    assert received["o"].words == pixels
    model = compositor_cycles(
        sent["i"].offered, ends, sent["light"].offered, PIXELS, received["o"].ready
    )
    assert sent["i"].accepted == model.accepted
    assert sent["light"].accepted == model.light
    assert received["o"].taken == model.taken
    if busy == 1.0:
        steps = np.diff(sent["i"].accepted)
        assert np.all(steps[~np.array(ends)[:-1]] == 1), "a cycle was lost"


@cocotb.test
async def tiles(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_streams(dut, *IDLE)
    for white in (True, False):
        await _check(dut, rng, [1500, 0, *[4 * PIXELS] * 3], white, 1.0)
        await reset_streams(dut, *IDLE)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_streams(dut, *IDLE)
    for busy in (0.3, 0.7):
        await _check(dut, rng, [300, 0, 1, 300], True, busy)
        await reset_streams(dut, *IDLE)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_streams(dut, *IDLE)
    # While samples are on their way, and while pixels leave.
    for count, cycles in ((50, PIXELS + 4), (3, 2 * PIXELS)):
        tile = shade_tile(rng, CONFIG, PIXELS, count)
        sends = {"i": _words(rng, tile), "light": tile.finished.light.tolist()}
        await traffic(dut, sends, {"o": 0}, rng, 0.8, cycles=cycles)
        await reset_streams(dut, *IDLE)
        await _check(dut, rng, [60], True, 1.0)
        await reset_streams(dut, *IDLE)
