"""Cube finder: random masks seen by random cameras, every cube and the cycle of every handshake."""

from dataclasses import dataclass, replace
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.field import Mask
from oleaster.models.nerf.fixed.blocks import block_bits, plan_blocks
from oleaster.models.nerf.fixed.walk import project_blocks
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.order import nested_order
from oleaster.models.nerf.renderer.config import BLOCK, BLOCK_BITS
from oleaster.sim.nerf.cubes import Cell
from oleaster.sim.nerf.finder import FindPlan, find_cubes, find_word
from oleaster.sim.nerf.pipe import receiver
from oleaster.sim.nerf.projector import view_word
from oleaster.sim.nerf.words import unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import View, random_view, write_cubes
from oleaster.sim.rtl.cosim import bench_config

CONFIG = FixedConfig(
    inverse_bits=bench_config()["inverse_bits"],
    inverse_address_bits=bench_config()["inverse_address_bits"],
)
AXIS_BITS, WORD = bench_config()["axis_bits"], bench_config()["word"]
BLOCK_WORD = 1 << (AXIS_BITS - BLOCK_BITS - 1)
SIDE = 1 << bench_config()["tile_bits"]


@dataclass
class _Tile:
    """left, top, right, bottom: of a view's image."""

    view: View
    bounds: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        frame, mask = self.view.frame, self.view.mask
        self.blocks = plan_blocks(frame, mask)
        x, y, z = (frame.mask_origin >> CONFIG.position_bits).tolist()
        seen = self.blocks.seen(*self.bounds)
        words = WORD, BLOCK_WORD
        self.plan = FindPlan(mask.cubes, self.blocks.bits, seen, (x, y, z), *words)

    def set_up(self, dut: Any) -> None:
        projection = project_blocks(self.view.frame, self.view.mask)
        dut.block_view.value = view_word(self.view.frame, projection, *self.bounds)

    def cubes(self) -> list[Cell]:
        """Of the blocks that are seen, in the order of the walk."""
        home = np.array(self.plan.walk.home)
        found: list[Cell] = []
        blocks = np.argwhere(self.plan.seen)[:, ::-1].astype(np.int32)
        cells = np.argwhere(self.view.mask.cubes)[:, ::-1].astype(np.int32)
        for block in blocks[nested_order(blocks, home // BLOCK)]:
            part = cells[(cells // BLOCK == block).all(axis=1)]
            found += [(x, y, z) for x, y, z in part[nested_order(part, home)].tolist()]
        return found


def _tiles(rng: np.random.Generator, view: View, count: int) -> list[_Tile]:
    width, height = view.frame.camera.width, view.frame.camera.height
    corners = zip(rng.integers(0, width, count), rng.integers(0, height, count), strict=True)
    return [
        _Tile(view, (int(x), int(y), min(int(x) + SIDE, width), min(int(y) + SIDE, height)))
        for x, y in corners
    ]


async def _write_mask(dut: Any, view: View) -> None:
    cubes = view.mask.cubes
    await write_cubes(dut, cubes, WORD, "cube_write")
    await write_cubes(dut, block_bits(cubes), BLOCK_WORD, "block_write")


async def _check(
    dut: Any, tile: _Tile, rng: np.random.Generator, walks: int = 1, busy: float = 1.0
) -> int:
    """How many blocks were passed over."""
    tile.set_up(dut)
    want: list[Cell | None] = [*tile.cubes(), None]
    words = [find_word(tile.plan.walk, AXIS_BITS)] * walks
    done = await exchange(dut, words, len(want) * walks, rng, busy)
    got: list[Cell | None] = []
    for payload in done.payloads:
        x, y, z, end = unpacked(payload, (AXIS_BITS, AXIS_BITS, AXIS_BITS, 1))
        got.append(None if end else (x, y, z))
    assert got == want * walks
    cycles: list[int] = []
    order: list[Cell | None] = []
    take = receiver(done.ready)

    def record(cell: Cell | None, cycle: int) -> int:
        order.append(cell)
        cycles.append(take(cycle))
        return cycles[-1]

    for offered, accepted in zip(done.offered, done.accepted, strict=True):
        assert accepted == max(offered, cycles[-1] + 1 if cycles else 0)
        assert find_cubes(tile.plan, accepted, record) == cycles[-1]
    assert (order, cycles) == (got, done.taken)
    return int(tile.plan.blocks.sum() - tile.plan.seen.sum())


@cocotb.test
async def tiles_of_random_views(dut: Any) -> None:
    """Some blocks are passed over, some walks have nothing."""
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    skipped = []
    for _ in range(12):
        view = random_view(rng, CONFIG, SIDE * int(rng.integers(1, 6)), 1 << AXIS_BITS)
        await _write_mask(dut, view)
        for tile in _tiles(rng, view, 3):
            skipped.append(await _check(dut, tile, rng))
    assert 0 in skipped
    assert max(skipped) > 4


@cocotb.test
async def lattices_with_part_of_a_block(dut: Any) -> None:
    """All cubes set; the image is the tile."""
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for points in (2, 3, 9, 10, 11, 18):
        view = random_view(rng, CONFIG, SIDE, points)
        view = replace(view, mask=Mask(np.ones_like(view.mask.bits), view.mask.box))
        await _write_mask(dut, view)
        camera = view.frame.camera
        await _check(dut, _Tile(view, (0, 0, camera.width, camera.height)), rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for busy in (0.1, 0.3, 0.7, 0.9):
        view = random_view(rng, CONFIG, SIDE * 2, 20)
        await _write_mask(dut, view)
        for tile in _tiles(rng, view, 2):
            await _check(dut, tile, rng, 2, busy)


@cocotb.test
async def reset_in_a_walk(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await start_pipe(dut)
    while True:
        view = random_view(rng, CONFIG, SIDE, 20)
        (tile,) = _tiles(rng, view, 1)
        if len(tile.cubes()) > 200:
            break
    await _write_mask(dut, view)
    for after in (1, 6, 20, 35, 70, 150):
        tile.set_up(dut)
        dut.i_payload.value = find_word(tile.plan.walk, AXIS_BITS)
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, tile, rng)
