"""Which cube the cube streamer gives in which cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.order import OCTANT_VISITS
from oleaster.sim.nerf.pipe import receiver
from oleaster.sim.nerf.words import packed

__all__ = [
    "TO_FIRST_WORD",
    "Cell",
    "CubeWalk",
    "cube_words",
    "stream_cubes",
    "walk_cubes",
    "walk_word",
]

TO_FIRST_WORD = 5  # cycles from a walk's handshake: four stages and the first block's bounds
Cell = tuple[int, int, int]


@dataclass(frozen=True)
class CubeWalk:
    """What `CubeStreamer` is told; each member along x, y, z, `high` included.

    octants: instead of loops outwards from home.
    """

    size: Cell
    home: Cell
    low: Cell
    high: Cell
    octants: bool = False

    @classmethod
    def whole(cls, size: Sequence[int], home: Sequence[int], octants: bool = False) -> CubeWalk:
        """All cubes. home: any cell; those outside count as next to the lattice."""
        nx, ny, nz = (int(each) for each in size)
        x, y, z = (int(np.clip(at, -1, n)) for at, n in zip(home, (nx, ny, nz), strict=True))
        return cls((nx, ny, nz), (x, y, z), (0, 0, 0), (nx - 1, ny - 1, nz - 1), octants)


def walk_word(walk: CubeWalk, axis_bits: int) -> int:
    """Of `hw/nerf/cubes.py`'s WalkWord."""
    fields = [(at, axis_bits + 1) for at in walk.size]
    fields += [(at, axis_bits + 2) for at in walk.home]
    fields += [(at, axis_bits) for at in (*walk.low, *walk.high)]
    return packed([*fields, (walk.octants, 1)])


def cube_words(cubes: NDArray[np.bool_], word: int) -> NDArray[np.bool_]:
    """(nz, ny, nx) -> (words, word) bits in the order of the streamer's memory."""
    nz, ny, nx = cubes.shape
    padded = np.zeros((nz, ny, -(-nx // word) * word), bool)
    padded[:, :, :nx] = cubes
    return padded.reshape(-1, word)


def walk_cubes(
    cubes: NDArray[np.bool_],
    walk: CubeWalk,
    word: int,
    start: int,
    take: Callable[[Cell | None, int], int],
) -> int:
    """Hand over cells, then None at the end, in the order of the circuit; returns the end's cycle.

    cubes: (nz, ny, nx). start: cycle in which the walk was accepted; the next can be in the cycle
    after the end. take: from a cell and the first cycle in which it can be taken to that in which
    it is. A slot takes a cycle for each of its cubes that leaves, one if it has none.
    """
    cycle = start + TO_FIRST_WORD
    for slot in _slots(cubes, walk, word):
        for cell in slot:
            cycle = take(cell, cycle) + 1
        cycle += not slot
    return take(None, cycle)


def stream_cubes(
    cubes: NDArray[np.bool_], walk: CubeWalk, word: int, start: int, ready: NDArray[np.bool_]
) -> tuple[list[Cell | None], list[int]]:
    """What leaves, and in which cycles; ready: as in `receiver`, the rest as in `walk_cubes`."""
    found: list[Cell | None] = []
    cycles: list[int] = []
    next_ready = receiver(ready)

    def take(cell: Cell | None, cycle: int) -> int:
        found.append(cell)
        cycles.append(next_ready(cycle))
        return cycles[-1]

    walk_cubes(cubes, walk, word, start, take)
    return found, cycles


def _slots(cubes: NDArray[np.bool_], walk: CubeWalk, word: int) -> Iterator[tuple[Cell, ...]]:
    """Cubes that each word, or each step between blocks, gives."""
    for block in _blocks(walk):
        yield ()
        if block is None:
            continue
        yield ()
        runs = [_runs(*block[axis]) for axis in range(3)]
        parts = [part for run in runs[0] for part in _parts(run, word)]
        rows = product(*([at for run in runs[axis] for at in run] for axis in (2, 1)))
        for z, y in rows:
            row = cubes[z, y]
            for part in parts:
                yield tuple((x, y, z) for x in part if row[x])


def _blocks(walk: CubeWalk) -> Iterator[list[tuple[int, int, int]] | None]:
    """low, high and home along each axis, of each block; None: an empty one."""
    if not walk.octants:
        yield list(zip(walk.low, walk.high, walk.home, strict=True))
        return
    for behind in OCTANT_VISITS:
        block = []
        for axis in range(3):
            low, high, middle = walk.low[axis], walk.high[axis], walk.size[axis] // 2
            if (walk.home[axis] >= middle) != bool(behind >> axis & 1):
                low = max(low, middle)
            else:
                high = min(high, middle - 1)
            block.append((low, high, low))
        yield block if all(low <= high for low, high, _ in block) else None


def _runs(low: int, high: int, home: int) -> list[range]:
    """From home up, then from below it down."""
    up, down = range(max(home, low), high + 1), range(min(home - 1, high), low - 1, -1)
    return [run for run in (up, down) if run]


def _parts(run: range, word: int) -> Iterator[range]:
    """A run cut where words end."""
    step = run.step
    at = run.start
    while at in run:
        edge = at // word * word + (word if step > 0 else -1)
        stop = min(edge, run.stop) if step > 0 else max(edge, run.stop)
        yield range(at, stop, step)
        at = stop
