"""Shader: random tiles against `shade_fixed`, runs of one pixel and light near the limits."""

from typing import Any

import cocotb
import numpy as np

from oleaster.models.nerf.fixed.shade import limits
from oleaster.sim.nerf.shader import shader_cycles
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.tiles import THRESHOLD, Tile, config_of, shade_tile
from oleaster.sim.rtl.benches.traffic import reset_streams, start_streams, traffic
from oleaster.sim.rtl.cosim import bench_config

BITS = bench_config()
PIXELS = BITS["pixels"]
PIXEL_BITS = PIXELS.bit_length() - 1
SHARE_BITS = BITS["transmittance_bits"] + 1
CONFIG = config_of(BITS)
IDLE = "i_valid", "o_ready", "light_ready"
_WRITTEN = 3  # cycles from a sample's handshake until its light can be looked at


def _words(rng: np.random.Generator, tile: Tile, tags: list[int], end: bool) -> list[int]:
    columns = zip(tile.pixel, tile.alpha, tile.last, tags, strict=False)
    rows = [(pixel, alpha, last, 0, tag) for pixel, alpha, last, tag in columns]
    if end:
        rows.append((rng.integers(PIXELS), rng.integers(1 << SHARE_BITS), 0, 1, tags[-1]))
    widths = PIXEL_BITS, SHARE_BITS, 1, 1, BITS["tag_bits"]
    return [packed(zip(row, widths, strict=True)) for row in rows]


def _tags(rng: np.random.Generator, tile: Tile) -> list[int]:
    size = len(tile.pixel) + 1
    return [int(tag) for tag in rng.integers(0, 1 << min(BITS["tag_bits"], 62), size)]


def _set_limits(dut: Any, terminate: bool) -> None:
    dark, least = limits(THRESHOLD, BITS["transmittance_bits"], terminate)
    dut.dark.value, dut.threshold.value = dark, least
    dut.look.value = 0


async def _check(
    dut: Any, rng: np.random.Generator, sizes: list[int], terminate: bool, busy: float
) -> None:
    """Tiles of so many samples, after a reset."""
    _set_limits(dut, terminate)
    words: list[int] = []
    kept: list[bool] = []
    ends: list[bool] = []
    light: list[int] = []
    weights: list[tuple[int, ...]] = []
    counts = {"skipped": 0, "density": 0, "colored": 0}
    for size in sizes:
        tile = shade_tile(rng, CONFIG, PIXELS, size, terminate=terminate)
        tags = _tags(rng, tile)
        words += _words(rng, tile, tags, True)
        kept += [*tile.colored.tolist(), True]
        ends += [False] * size + [True]
        light += tile.finished.light.tolist()
        for i in np.flatnonzero(tile.colored):
            weights.append((int(tile.pixel[i]), int(tile.weight[i]), 0, tags[i]))
        weights.append((1, tags[-1]))
        for name in counts:
            counts[name] += getattr(tile.counts, name)
    takes = {"o": len(weights), "light": len(light)}
    sent, received = await traffic(dut, {"i": words}, takes, rng, busy)
    widths = PIXEL_BITS, SHARE_BITS, 1, BITS["tag_bits"]
    got = [unpacked(word, widths) for word in received["o"].words]
    # Of an end only that and its tag count.
    assert [each[2:] if each[2] else each for each in got] == weights
    assert received["light"].words == light
    # i is not ready until the pixels are cleared.
    model = shader_cycles(
        sent["i"].offered, kept, ends, PIXELS, received["o"].ready, received["light"].ready
    )
    assert sent["i"].accepted == model.accepted
    assert received["o"].taken == model.taken
    assert received["light"].taken == model.light
    found = unpacked(dut.counts.value.to_unsigned(), (32, 32, 32))
    assert dict(zip(counts, found, strict=True)) == counts


@cocotb.test
async def tiles(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_streams(dut, *IDLE)
    for terminate in (True, False):
        await _check(dut, rng, [1500, 0, *[4 * PIXELS] * 4], terminate, 1.0)
        await reset_streams(dut, *IDLE)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_streams(dut, *IDLE)
    for busy in (0.3, 0.7):
        await _check(dut, rng, [300, 0, 1, 300], True, busy)
        await reset_streams(dut, *IDLE)


@cocotb.test
async def a_sample_every_cycle(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_streams(dut, *IDLE)
    _set_limits(dut, True)
    tile = shade_tile(rng, CONFIG, PIXELS, 500)
    words = _words(rng, tile, _tags(rng, tile), False)
    sent, _ = await traffic(dut, {"i": words}, {"o": int(tile.colored.sum()), "light": 0}, rng, 1.0)
    assert np.all(np.diff(sent["i"].accepted) == 1)


@cocotb.test
async def dark_pixels(dut: Any) -> None:
    """Any pixel can be looked at, in every cycle."""
    rng = np.random.default_rng(4)
    await start_streams(dut, *IDLE)
    _set_limits(dut, True)
    dark, _ = limits(THRESHOLD, BITS["transmittance_bits"], True)
    tile = shade_tile(rng, CONFIG, PIXELS, 30 * PIXELS)
    looked: list[int] = []
    seen: list[int] = []

    def look(cycle: int) -> None:
        seen.append(int(dut.is_dark.value))
        looked.append(int(rng.integers(PIXELS)))
        dut.look.value = looked[-1]

    words = _words(rng, tile, _tags(rng, tile), False)
    takes = {"o": int(tile.colored.sum()), "light": 0}
    sent, _ = await traffic(dut, {"i": words}, takes, rng, 0.9, every_cycle=look)
    through = np.searchsorted(sent["i"].accepted, np.arange(len(seen)) - _WRITTEN, side="right")
    first = PIXELS + _WRITTEN
    for cycle in range(first, len(seen) - 1):
        want = tile.light[through[cycle], looked[cycle]] < dark
        assert seen[cycle + 1] == want, f"pixel {looked[cycle]} in cycle {cycle}"
    assert 0 < sum(seen[first:]) < len(seen[first:])


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(5)
    await start_streams(dut, *IDLE)
    _set_limits(dut, True)
    # While samples are on their way, while they wait, and while light leaves.
    for count, cycles in ((50, PIXELS + 4), (50, PIXELS + 40), (3, 2 * PIXELS)):
        tile = shade_tile(rng, CONFIG, PIXELS, count)
        words = _words(rng, tile, _tags(rng, tile), True)
        await traffic(dut, {"i": words}, {"o": 0, "light": 0}, rng, 0.6, cycles=cycles)
        await reset_streams(dut, *IDLE)
        await _check(dut, rng, [60], True, 1.0)
        await reset_streams(dut, *IDLE)
