"""From a walk's start to each sample: which one leaves the cube walker, and in which cycle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.fixed.blocks import BlockWindows
from oleaster.models.nerf.fixed.rays import FixedRays
from oleaster.models.nerf.fixed.walk import FixedWalk
from oleaster.sim.nerf.cubes import Cell
from oleaster.sim.nerf.finder import FindPlan, find_cubes
from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import PipeClock, Receiver
from oleaster.sim.nerf.projector import ProjectorClock

__all__ = ["Tile", "WalkerModel"]


@dataclass(frozen=True)
class Tile:
    """Pixels of an image; right and bottom: one past the last."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass
class WalkerModel:
    """A cube walker that is idle at first, for one tile.

    walk, blocks, rays: of the frame, all of its rows. cubes: (nz, ny, nx) of the mask. word,
    block_word: of the memories of cubes and blocks. dark: (rays,) pixels that take no samples, all
    along. samples: (ray, k) of those that left, in order; cycles: in which. found: cubes that the
    projector was handed. counts: of what was tested.
    """

    walk: FixedWalk
    blocks: BlockWindows
    rays: FixedRays
    cubes: NDArray[np.bool_]
    tile: Tile
    word: int
    block_word: int
    dark: NDArray[np.bool_]
    samples: list[tuple[int, int]] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    found: int = 0
    counts: CubeCounts = field(default_factory=CubeCounts)

    def __post_init__(self) -> None:
        self._projector = ProjectorClock()
        self._slabs = PipeClock(LATENCY["slab-unit"])
        self._tests = PipeClock(LATENCY["sample-generator"])
        self._index = {(x, y, z): i for i, (x, y, z) in enumerate(self.walk.cells.tolist())}

    @property
    def plan(self) -> FindPlan:
        """Of the tile's cubes."""
        tile, frame = self.tile, self.walk.frame
        x, y, z = (frame.mask_origin >> frame.config.position_bits).tolist()
        seen = self.blocks.seen(tile.left, tile.top, tile.right, tile.bottom)
        words = self.word, self.block_word
        return FindPlan(self.cubes, self.blocks.bits, seen, (x, y, z), *words)

    def run(self, start: int, take: Receiver) -> int:
        """The whole walk; returns the cycle in which its `end` is taken.

        start: cycle in which it was accepted. take: of samples and of `end`.
        """

        def through_tests(cycle: int) -> int:
            accepted = self._tests.accept(cycle)
            self._tests.answer(take)
            return accepted

        def through_slabs(cycle: int) -> int:
            accepted = self._slabs.accept(cycle)
            self._slabs.answer(through_tests)
            return accepted

        def take_cube(cell: Cell | None, cycle: int) -> int:
            if cell is None:
                return self._projector.offer(cycle, True, through_slabs)
            self.found += 1
            return self._take_cube(self._index[cell], cycle, take)

        find_cubes(self.plan, start, take_cube)
        return self._tests.taken

    def _take_cube(self, cube: int, cycle: int, take: Receiver) -> int:
        w, tile = self.walk.windows, self.tile
        columns = np.arange(max(w.left[cube], tile.left), min(w.right[cube], tile.right))
        rows = np.arange(max(w.top[cube], tile.top), min(w.bottom[cube], tile.bottom))
        rays = (rows[:, None] * self.walk.frame.camera.width + columns).ravel()
        if not len(rays):
            return self._projector.offer(cycle, False, None)
        cubes = np.full(len(rays), cube)
        first, last = self.walk.ranges(cubes, rays.astype(np.int32), self.rays)
        ranges = list(zip(rays.tolist(), first.tolist(), last.tolist(), strict=True))
        self.counts.pixel_tests += len(rays)

        def take_window(cycle: int) -> int:
            for ray, first, last in ranges:
                self._slabs.accept(cycle)
                kept = first <= last and not self.dark[ray]
                part = partial(self._take_range, cube, ray, first, last, take)
                self._slabs.answer(part if kept else None)
            return self._slabs.accepted

        return self._projector.offer(cycle, False, take_window)

    def _take_range(
        self, cube: int, ray: int, first: int, last: int, take: Receiver, cycle: int
    ) -> int:
        k = np.arange(first, last + 1, dtype=np.int32)
        inside = np.zeros(len(k), bool)
        rays = np.full(len(k), ray, np.int32)
        inside[self.walk.inside(np.full(len(k), cube), rays, k, self.rays)] = True
        self.counts.points += len(k)
        self.counts.outside += int(len(k) - inside.sum())
        for each, keeps in zip(k.tolist(), inside.tolist(), strict=True):
            self._tests.accept(cycle)
            self._tests.answer(take if keeps else None)
            if keeps:
                self.samples.append((ray, each))
                self.cycles.append(self._tests.taken)
        return self._tests.accepted
