"""Which cube the cube finder gives in which cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.renderer.config import BLOCK
from oleaster.sim.nerf.cubes import Cell, CubeWalk, walk_cubes
from oleaster.sim.nerf.projector import ProjectorClock
from oleaster.sim.nerf.words import packed

__all__ = ["FindPlan", "find_cubes", "find_word"]


@dataclass(frozen=True)
class FindPlan:
    """What a tile's walk goes by.

    cubes: (nz, ny, nx) bits of the mask. blocks: those of its blocks. seen: of the same shape,
    whether a block has a window in the tile. home: the camera's cell, any. word, block_word: of
    the memories.
    """

    cubes: NDArray[np.bool_]
    blocks: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    home: Cell
    word: int
    block_word: int

    @property
    def walk(self) -> CubeWalk:
        """Of all cubes."""
        return CubeWalk.whole(self.cubes.shape[::-1], self.home)

    @property
    def block_walk(self) -> CubeWalk:
        """Of all blocks."""
        x, y, z = (at // BLOCK for at in self.walk.home)
        return CubeWalk.whole(self.blocks.shape[::-1], (x, y, z))

    def part(self, block: Cell) -> CubeWalk:
        """Of a block's cubes."""
        walk = self.walk
        low = [at * BLOCK for at in block]
        last = [min(at + BLOCK, size) - 1 for at, size in zip(low, walk.size, strict=True)]
        return CubeWalk(walk.size, walk.home, (low[0], low[1], low[2]), (last[0], last[1], last[2]))


def find_word(walk: CubeWalk, axis_bits: int) -> int:
    """Of `hw/nerf/finder.py`'s FindWord."""
    fields = [(at, axis_bits + 1) for at in walk.size]
    return packed([*fields, *((at, axis_bits + 2) for at in walk.home)])


def find_cubes(plan: FindPlan, start: int, take: Callable[[Cell | None, int], int]) -> int:
    """Hand over cells, then None at the end, in the order of the circuit; returns the end's cycle.

    start: cycle in which the walk was accepted; the next can be in the cycle after the end. take:
    as in `walk_cubes`. The rules, all of them other units':

    - The streamer of blocks accepts its walk at `start` (`walk_cubes`), and hands its blocks and
      its end to the projector of blocks (`ProjectorClock`; a block that is not seen has no window).
    - A window that can be taken in a cycle is taken in that one, or as soon as the streamer of
      cubes is idle: in the cycle after its last walk's end. That is the start of the walk of the
      block's cubes, which leave as `take` says; its end is taken in the first cycle it can be.
    - The projector's end can be taken from when the streamer of cubes is idle, and is `take`'s end.
    """
    projector = ProjectorClock()
    idle = ended = start

    def take_block(block: Cell | None, cycle: int) -> int:
        def take_window(cycle: int) -> int:
            nonlocal idle, ended
            begin = max(cycle, idle)
            if block is None:
                ended = take(None, begin)
                return ended
            idle = 1 + walk_cubes(plan.cubes, plan.part(block), plan.word, begin, take_cube)
            return begin

        x, y, z = block or (0, 0, 0)
        kept = block is None or plan.seen[z, y, x]
        return projector.offer(cycle, block is None, take_window if kept else None)

    def take_cube(cell: Cell | None, cycle: int) -> int:
        return cycle if cell is None else take(cell, cycle)

    walk_cubes(plan.blocks, plan.block_walk, plan.block_word, start, take_block)
    return ended
