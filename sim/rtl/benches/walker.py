"""Cube walker: whole tiny frames, every sample and its cycle, and the model's own counts."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.fixed.blocks import block_bits, plan_blocks
from oleaster.models.nerf.fixed.walk import project, project_blocks
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, FixedConfig
from oleaster.models.nerf.renderer.config import BLOCK_BITS
from oleaster.models.nerf.samples import merge_samples
from oleaster.sim.nerf.finder import find_word
from oleaster.sim.nerf.pipe import receiver
from oleaster.sim.nerf.projector import view_word
from oleaster.sim.nerf.walker import Tile, WalkerModel
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import View, random_view, write_cubes
from oleaster.sim.rtl.cosim import bench_config

_NAMES = "position_bits", "inverse_bits", "inverse_address_bits"
CONFIG = FixedConfig(**{name: bench_config()[name] for name in _NAMES})
AXIS_BITS, WORD = bench_config()["axis_bits"], bench_config()["word"]
BLOCK_WORD = 1 << (AXIS_BITS - BLOCK_BITS - 1)
CELL_BITS, TILE_BITS = bench_config()["cell_bits"], bench_config()["tile_bits"]
SIDE = 1 << TILE_BITS
K_BITS = (LARGEST_COUNT - 1).bit_length()
AT_BITS = CELL_BITS + CONFIG.position_bits


@dataclass
class _Part:
    """A tile of a view, with some dark pixels."""

    view: View
    tile: Tile
    dark: NDArray[np.bool_]

    def model(self) -> WalkerModel:
        view, words = self.view, (WORD, BLOCK_WORD)
        blocks = plan_blocks(view.frame, view.mask)
        cubes = view.mask.cubes
        return WalkerModel(view.walk, blocks, view.rays, cubes, self.tile, *words, self.dark)

    def seen(self, ray: NDArray[Any]) -> NDArray[np.bool_]:
        y, x = np.divmod(ray, self.view.frame.camera.width)
        tile = self.tile
        inside = (x >= tile.left) & (x < tile.right) & (y >= tile.top) & (y < tile.bottom)
        kept: NDArray[np.bool_] = inside & ~self.dark[ray]
        return kept


def _tiles(view: View, dark: NDArray[np.bool_]) -> list[_Part]:
    width, height = view.frame.camera.width, view.frame.camera.height
    return [
        _Part(view, Tile(x, y, min(x + SIDE, width), min(y + SIDE, height)), dark)
        for y in range(0, height, SIDE)
        for x in range(0, width, SIDE)
    ]


def _set_up(dut: Any, part: _Part) -> None:
    frame, tile = part.view.frame, part.tile
    ends = tile.left, tile.top, tile.right, tile.bottom
    for port, projects in ((dut.view, project), (dut.block_view, project_blocks)):
        port.value = view_word(frame, projects(frame, part.view.mask), *ends)
    limits = [(at, CELL_BITS) for at in frame.field_last]
    limits += [(at, AXIS_BITS + 1) for at in frame.mask_last]
    dut.limits.value = packed([*limits, (frame.count - 1, K_BITS)])


async def _write_mask(dut: Any, view: View) -> None:
    cubes = view.mask.cubes
    await write_cubes(dut, cubes, WORD, "cube_write")
    await write_cubes(dut, block_bits(cubes), BLOCK_WORD, "block_write")


async def _check(
    dut: Any, part: _Part, rng: np.random.Generator, busy: float = 1.0
) -> tuple[CubeCounts, list[tuple[int, int]]]:
    """What was counted, and the samples."""
    view, tile = part.view, part.tile
    _set_up(dut, part)
    y, x = np.divmod(np.arange(len(view.rays)), view.frame.camera.width)
    held = (x >= tile.left) & (x < tile.right) & (y >= tile.top) & (y < tile.bottom)
    pixels = ((y - tile.top << TILE_BITS) + x - tile.left)[held].tolist()
    rays = dict(zip(pixels, np.flatnonzero(held).tolist(), strict=True))
    slab_rays = view.words(("mask_base", "mask_delta", "inverse", "exponent"))
    step_rays = view.words(("field_base", "field_delta", "mask_base", "mask_delta"))
    counts, cubes = CubeCounts(), 0

    def every_cycle() -> dict[str, int]:
        nonlocal cubes
        cubes += int(dut.cube_found.value)
        counts.pixel_tests += int(dut.pixel_tested.value)
        counts.points += int(dut.sample_tested.value)
        counts.outside += int(dut.sample_dropped.value)
        slab = rays.get(dut.slab_address.value.to_unsigned())
        step = rays.get(dut.step_address.value.to_unsigned())
        return {
            "slab_ray": 0 if slab is None else slab_rays[slab],
            "dark": 0 if slab is None else int(part.dark[slab]),
            "step_ray": 0 if step is None else step_rays[step],
        }

    found = merge_samples(
        list(view.walk.batches(view.rays, 0, view.frame.camera.height, CubeCounts())),
        view.frame.count,
    )
    kept = part.seen(found.ray)
    expected = list(zip(found.ray[kept].tolist(), found.k[kept].tolist(), strict=True))
    model = part.model()
    words = [find_word(model.plan.walk, AXIS_BITS)]
    done = await exchange(dut, words, len(expected) + 1, rng, busy, every_cycle)
    widths = (2 * TILE_BITS, K_BITS, 1, AT_BITS, AT_BITS, AT_BITS, 1)
    *samples, end = (unpacked(payload, widths) for payload in done.payloads)
    assert [each[-1] for each in (*samples, end)] == [0] * len(samples) + [1]
    order = [(rays[pixel], k) for pixel, k, *_ in samples]
    # All samples of the frame that are in the tile, each ray's in order.
    assert sorted(order, key=lambda each: each[0]) == expected
    for (ray, k), (_, _, final, *at, _) in zip(order, samples, strict=True):
        index = np.array([ray])
        assert at == [int(view.rays.field_at(a, index, np.array([k]))[0]) for a in range(3)]
        assert final == (k == view.frame.count - 1)
    end_cycle = model.run(done.accepted[0], receiver(done.ready))
    assert order == model.samples
    assert done.taken == [*model.cycles, end_cycle]
    assert (counts, cubes) == (model.counts, model.found)
    return counts, order


def _random_dark(rng: np.random.Generator, view: View) -> NDArray[np.bool_]:
    dark: NDArray[np.bool_] = rng.random(len(view.rays)) < rng.choice([0.0, 0.3])
    return dark


def _views(rng: np.random.Generator, count: int, tiles: int, least: int) -> list[View]:
    """Images of up to tiles x tiles tiles, with at least so many samples."""
    found: list[View] = []
    while len(found) < count:
        view = random_view(rng, CONFIG, SIDE * tiles, min(20, 1 << AXIS_BITS))
        counts = CubeCounts()
        for _ in view.walk.batches(view.rays, 0, view.frame.camera.height, counts):
            pass
        if counts.points - counts.outside >= least:
            found.append(view)
    return found


@cocotb.test
async def frames_of_one_tile(dut: Any) -> None:
    """A tile that is the image passes over nothing that is seen: counts are those of the walk."""
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for view in [*_views(rng, 2, 1, 0), *_views(rng, 4, 1, 100)]:
        await _write_mask(dut, view)
        (part,) = _tiles(view, np.zeros(len(view.rays), bool))
        counts, _ = await _check(dut, part, rng)
        want = CubeCounts()
        for _ in view.walk.batches(view.rays, 0, view.frame.camera.height, want):
            pass
        assert counts == want


@cocotb.test
async def frames_of_many_tiles_under_stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for view, busy in zip(_views(rng, 2, 2, 100), (0.3, 0.8), strict=True):
        await _write_mask(dut, view)
        for part in _tiles(view, _random_dark(rng, view)):
            await _check(dut, part, rng, busy)


@cocotb.test
async def reset_in_a_walk(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    (view,) = _views(rng, 1, 1, 200)
    (part,) = _tiles(view, np.zeros(len(view.rays), bool))
    await _write_mask(dut, view)
    for after in (9, 40, 160):
        _set_up(dut, part)
        dut.i_payload.value = find_word(part.model().plan.walk, AXIS_BITS)
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, part, rng)
