"""Projector: the cubes of random views, every window and the cycle of every handshake."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.fixed.walk import project
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.sim.nerf.projector import projector_cycles, view_word
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import View, random_view
from oleaster.sim.rtl.cosim import bench_config

CONFIG = FixedConfig(
    inverse_bits=bench_config()["inverse_bits"],
    inverse_address_bits=bench_config()["inverse_address_bits"],
)
AXIS_BITS, TILE_BITS = bench_config()["axis_bits"], bench_config()["tile_bits"]
SIDE = 1 << TILE_BITS
END = 1 << 3 * AXIS_BITS


class _Tile:
    """Cubes of a view, an end, and their windows in a tile anywhere in the image."""

    def __init__(self, view: View, rng: np.random.Generator, most: int) -> None:
        camera, walk = view.frame.camera, view.walk
        left, top = (int(rng.integers(size)) for size in (camera.width, camera.height))
        right, bottom = min(left + SIDE, camera.width), min(top + SIDE, camera.height)
        self.word = view_word(view.frame, project(view.frame, view.mask), left, top, right, bottom)
        some = np.sort(rng.permutation(len(walk))[:most])
        cells = walk.cells[some].tolist()
        self.words = [packed((at, AXIS_BITS) for at in cell) for cell in cells]
        w = walk.windows
        bounds = (
            np.clip(w.left[some], left, right) - left,
            np.clip(w.top[some], top, bottom) - top,
            np.clip(w.right[some], left, right) - left,
            np.clip(w.bottom[some], top, bottom) - top,
        )
        kept = (bounds[0] < bounds[2]) & (bounds[1] < bounds[3])
        lists = [each.tolist() for each in (*bounds[:2], bounds[2] - 1, bounds[3] - 1)]
        windows = zip(cells, *lists, strict=True)
        self.windows = [
            (*cell, *window) for (cell, *window), keeps in zip(windows, kept, strict=True) if keeps
        ]
        self.words.append(END)
        self.ends = [False] * len(cells) + [True]
        self.kept = [*kept.tolist(), True]


async def _check(dut: Any, tile: _Tile, rng: np.random.Generator, busy: float = 1.0) -> None:
    dut.view.value = tile.word
    done = await exchange(dut, tile.words, len(tile.windows) + 1, rng, busy)
    widths = (AXIS_BITS,) * 3 + (TILE_BITS,) * 4 + (1,)
    *windows, end = (unpacked(payload, widths) for payload in done.payloads)
    assert [each[:-1] for each in windows] == tile.windows
    assert [each[-1] for each in (*windows, end)] == [0] * len(windows) + [1]
    accepted, taken = projector_cycles(tile.ends, tile.kept, done.offered, done.ready)
    assert (done.accepted, done.taken) == (accepted, taken)
    if busy == 1.0:
        assert all(gap == 8 for gap in np.diff(done.accepted[1:])), "a cycle was lost"


def _tiles(rng: np.random.Generator, count: int, least: int) -> list[_Tile]:
    """Tiles of images up to four tiles wide, in which at least so many cubes are seen."""
    found: list[_Tile] = []
    while len(found) < count:
        view = random_view(rng, CONFIG, SIDE * int(rng.integers(1, 5)), min(16, 1 << AXIS_BITS))
        tile = _Tile(view, rng, 60)
        if len(tile.windows) >= least:
            found.append(tile)
    return found


@cocotb.test
async def cubes_of_random_views(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for tile in [*_tiles(rng, 30, 0), *_tiles(rng, 30, 10)]:
        await _check(dut, tile, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for tile in _tiles(rng, 6, 20):
        for busy in (0.05, 0.5):
            await _check(dut, tile, rng, busy)


@cocotb.test
async def reset_in_a_cube(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    (tile,) = _tiles(rng, 1, 20)
    for after in (1, 3, 8, 15, 30):
        dut.view.value = tile.word
        dut.i_payload.value = tile.words[0]
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, tile, rng)
