"""Slab unit: windows of random views, every range and the cycle of every handshake."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, FixedConfig
from oleaster.sim.nerf.slabs import slab_cycles
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import View, random_view
from oleaster.sim.rtl.cosim import bench_config

CONFIG = FixedConfig(
    position_bits=bench_config()["position_bits"], inverse_bits=bench_config()["inverse_bits"]
)
AXIS_BITS, TILE_BITS = bench_config()["axis_bits"], bench_config()["tile_bits"]
SIDE = 1 << TILE_BITS
K_BITS = (LARGEST_COUNT - 1).bit_length()
END = 1 << (3 * AXIS_BITS + 4 * TILE_BITS)


class _Windows:
    """Windows of a view's cubes, and one with `end`; some pixels are dark."""

    def __init__(self, view: View, rng: np.random.Generator, most: int) -> None:
        self.view = view
        walk = view.walk
        w = walk.windows
        some = np.flatnonzero(w.pixels)
        some = np.sort(rng.permutation(some)[:most])
        self.words = []
        for i in some:
            window = w.left[i], w.top[i], w.right[i] - 1, w.bottom[i] - 1
            cell = [(at, AXIS_BITS) for at in walk.cells[i]]
            self.words.append(packed([*cell, *((at, TILE_BITS) for at in window)]))
        self.words.append(END)
        self.pixels = [*w.pixels[some].tolist(), 1]
        cube, ray = walk.pairs(some, 0, view.frame.camera.height)
        first, last = walk.ranges(cube, ray, view.rays)
        pixel = view.pixels(ray, TILE_BITS)
        self.dark = rng.random(SIDE * SIDE) < rng.choice([0.0, 0.2])
        kept = (first <= last) & ~self.dark[pixel]
        self.kept = np.append(kept, True)
        cells = walk.cells[cube].T
        columns = (*cells, pixel, first, last)
        self.ranges = list(zip(*(column[kept].tolist() for column in columns), strict=True))
        names = ("mask_base", "mask_delta", "inverse", "exponent")
        self.rays = view.store(names, TILE_BITS)


async def _check(dut: Any, windows: _Windows, rng: np.random.Generator, busy: float = 1.0) -> None:
    dut.last_k.value = windows.view.frame.count - 1
    tests = 0

    def every_cycle() -> dict[str, int]:
        nonlocal tests
        tests += int(dut.tested.value)
        pixel = dut.read_address.value.to_unsigned()
        return {"ray": windows.rays[pixel], "dark": int(windows.dark[pixel])}

    want = len(windows.ranges) + 1
    done = await exchange(dut, windows.words, want, rng, busy, every_cycle)
    widths = (AXIS_BITS,) * 3 + (2 * TILE_BITS, K_BITS, K_BITS, 1)
    *ranges, end = (unpacked(payload, widths) for payload in done.payloads)
    assert [each[:-1] for each in ranges] == windows.ranges
    assert [each[-1] for each in (*ranges, end)] == [0] * len(ranges) + [1]
    accepted, taken = slab_cycles(windows.pixels, windows.kept, done.offered, done.ready)
    assert (done.accepted, done.taken) == (accepted.tolist(), taken.tolist())
    assert tests == len(windows.kept) - 1
    if busy == 1.0:
        # A pixel under test in every cycle.
        assert done.accepted[-1] == len(windows.kept) - 1


def _views(rng: np.random.Generator, count: int, least: int) -> list[_Windows]:
    """Views with at least so many ranges."""
    found: list[_Windows] = []
    while len(found) < count:
        view = random_view(rng, CONFIG, SIDE, min(16, 1 << AXIS_BITS))
        windows = _Windows(view, rng, 60)
        if len(windows.ranges) >= least:
            found.append(windows)
    return found


@cocotb.test
async def windows_of_random_views(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for windows in [*_views(rng, 12, 0), *_views(rng, 16, 30)]:
        await _check(dut, windows, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for windows in _views(rng, 4, 50):
        for busy in (0.3, 0.7):
            await _check(dut, windows, rng, busy)


@cocotb.test
async def reset_in_a_window(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    (windows,) = _views(rng, 1, 50)
    for after in (1, 2, 5, 12, 20):
        dut.i_payload.value = windows.words[int(np.argmax(windows.pixels))]
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, windows, rng)
