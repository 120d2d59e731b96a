"""A tile's walk, compiled: from blocks of cubes to samples (`sim/nerf/finder.py`, `walker.py`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.renderer.config import BLOCK
from oleaster.sim.nerf.cubes import TO_FIRST_WORD
from oleaster.sim.nerf.projector import CORNERS, TO_FIRST_CORNER
from oleaster.sim.nerf.renderer.clocks import ACCEPTED_AT, accept, answered, offers
from oleaster.sim.nerf.renderer.jit import kernel
from oleaster.sim.nerf.renderer.machine import Count, Machine, Pipes, Register
from oleaster.sim.nerf.renderer.samples import end_samples, take_sample
from oleaster.sim.nerf.renderer.values import Codes, Curve, Limits, Rays, cut, cut_ball, inside

__all__ = ["Lattice", "run_tile", "run_uniform", "run_whole"]

_EMPTY_SLOTS = 2  # of a walk, before its first word
_BLOCKS, _CUBES, _SLABS, _TESTS = (
    int(Pipes.BLOCKS), int(Pipes.CUBES), int(Pipes.SLABS), int(Pipes.TESTS)
)  # fmt: skip
_BLOCK_SENT, _CUBE_SENT, _STREAMER_IDLE = (
    int(Register.BLOCK_SENT), int(Register.CUBE_SENT), int(Register.STREAMER_IDLE)
)  # fmt: skip
_COLORED = int(Register.COLORED)
_N_BLOCK_SLOTS, _N_BLOCK, _N_BLOCK_SEEN = (
    int(Count.BLOCK_SLOTS), int(Count.BLOCK), int(Count.BLOCK_SEEN)
)  # fmt: skip
_N_CUBE_SLOTS, _N_CUBE, _N_WINDOW, _N_PIXEL, _N_RANGE, _N_TESTED = (
    int(Count.CUBE_SLOTS), int(Count.CUBE), int(Count.WINDOW),
    int(Count.PIXEL_TESTED), int(Count.RANGE), int(Count.SAMPLE_TESTED),
)  # fmt: skip


class Lattice(NamedTuple):
    """Cubes, or blocks of them. at: (nz, ny, nx) number of its window, or -1. windows: (n, 4) left,
    top, right, bottom of the image, right and bottom one past the last. home: (3,). word: of the
    memory."""

    at: NDArray[np.int32]
    windows: NDArray[np.int32]
    home: Longs
    word: int


@kernel
def _rises(low: int, high: int, home: int) -> int:
    """Places of a loop along an axis from home on, before it turns."""
    return max(0, high - max(home, low) + 1)


@kernel
def _place(low: int, high: int, home: int, i: int) -> int:
    """The i-th place of a loop along an axis."""
    rises = _rises(low, high, home)
    return max(home, low) + i if i < rises else min(home - 1, high) - (i - rises)


@kernel
def _project(m: Machine, pipe: int, sent: int, corners: int, cycle: int) -> int:
    """As `ProjectorClock.offer`, up to the last corner, which is not yet answered."""
    clock = m.pipes[pipe]
    accepted = max(cycle, m.registers[sent] + 1)
    begins = max(accepted + TO_FIRST_CORNER, clock[ACCEPTED_AT])
    m.registers[sent] = begins
    for i in range(corners):
        accept(clock, begins + 1)
        if i < corners - 1:
            answered(clock, offers(clock))
    return accepted


@kernel
def _sample(
    m: Machine, rays: Rays, limits: Limits, codes: Codes, curve: Curve, colored: Longs,
    pixel: int, ray: int, k: int, cycle: int,
) -> int:  # fmt: skip
    """A sample at the address unit: the cycle in which it is accepted. It is recorded if it has a
    colour, as long as there is room."""
    for axis in range(3):
        m.at[axis] = rays.field_base[axis, ray] + k * rays.field_delta[axis, ray]
    accepted, weight = take_sample(m, codes, curve, pixel, k == limits.last_k, cycle)
    if weight:
        n = m.registers[_COLORED]
        if n < len(colored):
            colored[n, 0] = ray
            colored[n, 1] = weight
            for axis in range(3):
                colored[n, 2 + axis] = m.at[axis]
        m.registers[_COLORED] = n + 1
    return accepted


@kernel
def _ranges(
    m: Machine, rays: Rays, limits: Limits, codes: Codes, curve: Curve, colored: Longs,
    pixel: int, ray: int, x: int, y: int, z: int, first: int, last: int, cycle: int,
) -> int:  # fmt: skip
    """A range of k at the sample generator: the cycle in which its last k is accepted."""
    tests = m.pipes[_TESTS]
    m.counts[_N_TESTED] += last - first + 1
    for k in range(first, last + 1):
        accept(tests, cycle)
        taken = offers(tests)
        if inside(rays, limits, ray, k, x, y, z):
            taken = _sample(m, rays, limits, codes, curve, colored, pixel, ray, k, taken)
        answered(tests, taken)
    return int(tests[ACCEPTED_AT])


@kernel
def _window(
    m: Machine, rays: Rays, limits: Limits, codes: Codes, curve: Curve, colored: Longs,
    width: int, left: int, window: Longs, x: int, y: int, z: int, cycle: int,
) -> int:  # fmt: skip
    """A cube's window at the slab unit: the cycle in which its last pixel is accepted.

    window: left, top, right, bottom in the row of tiles.
    """
    slabs = m.pipes[_SLABS]
    for row in range(window[1], window[3]):
        for column in range(window[0], window[2]):
            accepted = accept(slabs, cycle)
            m.counts[_N_PIXEL] += 1
            pixel = (row << m.tile_bits) + column - left
            taken = offers(slabs)
            if m.dark_from[pixel] > accepted:
                ray = row * width + column
                if limits.ball:
                    first, last = cut_ball(rays, limits, ray, x, y, z)
                else:
                    first, last = cut(rays, limits, ray, x, y, z)
                if first <= last:
                    m.counts[_N_RANGE] += 1
                    taken = _ranges(
                        m, rays, limits, codes, curve, colored,
                        pixel, ray, x, y, z, first, last, taken,
                    )  # fmt: skip
            answered(slabs, taken)
    return int(slabs[ACCEPTED_AT])


@kernel
def _clip(
    window: NDArray[np.int32], left: int, top: int, width: int, side: int, found: Longs
) -> bool:
    """A window's part in a tile, its rows counted from the tile's first; whether there is any."""
    found[0] = max(window[0], left)
    found[1] = max(window[1], top) - top
    found[2] = min(window[2], left + side)
    found[3] = min(window[3], top + side) - top
    return found[0] < found[2] and found[1] < found[3]


@kernel
def _walk_cubes(
    m: Machine, cubes: Lattice, rays: Rays, limits: Limits, codes: Codes, curve: Curve,
    colored: Longs, width: int, left: int, top: int, bounds: Longs, start: int,
) -> int:  # fmt: skip
    """A walk through the cubes within bounds (low along x, y, z, then high): its end's cycle, as of
    `walk_cubes`, if that is taken at once."""
    home, window = cubes.home, m.window
    side = 1 << m.tile_bits
    cycle = start + TO_FIRST_WORD + _EMPTY_SLOTS
    for c in range(bounds[5] - bounds[2] + 1):
        z = _place(bounds[2], bounds[5], home[2], c)
        for b in range(bounds[4] - bounds[1] + 1):
            y = _place(bounds[1], bounds[4], home[1], b)
            rises = _rises(bounds[0], bounds[3], home[0])
            empty = True
            for a in range(bounds[3] - bounds[0] + 1):
                x = _place(bounds[0], bounds[3], home[0], a)
                number = cubes.at[z, y, x]
                if number >= 0:
                    empty = False
                    m.counts[_N_CUBE] += 1
                    cycle = _project(m, _CUBES, _CUBE_SENT, CORNERS, cycle) + 1
                    clock = m.pipes[_CUBES]
                    taken = offers(clock)
                    if _clip(cubes.windows[number], left, top, width, side, window):
                        m.counts[_N_WINDOW] += 1
                        taken = _window(
                            m, rays, limits, codes, curve, colored,
                            width, left, window, x, y, z, taken,
                        )  # fmt: skip
                    answered(clock, taken)
                ahead = a + 1
                last = ahead == (bounds[3] - bounds[0] + 1) or ahead == rises
                edge = (x + 1) % cubes.word == 0 if a < rises else x % cubes.word == 0
                if last or edge:
                    m.counts[_N_CUBE_SLOTS] += 1
                    cycle += empty
                    empty = True
    return cycle


@kernel
def run_tile(
    m: Machine, blocks: Lattice, cubes: Lattice, rays: Rays, limits: Limits, codes: Codes,
    curve: Curve, colored: Longs, width: int, left: int, top: int, start: int,
) -> int:  # fmt: skip
    """A tile whose walk is accepted in cycle `start`: the cycle in which its last pixel leaves."""
    size, home, window = blocks.at.shape, blocks.home, m.block_window
    side = 1 << m.tile_bits
    bounds = m.bounds
    cycle = start + TO_FIRST_WORD + _EMPTY_SLOTS
    clock = m.pipes[_BLOCKS]
    m.registers[_STREAMER_IDLE] = start
    for c in range(size[0]):
        z = _place(0, size[0] - 1, home[2], c)
        for b in range(size[1]):
            y = _place(0, size[1] - 1, home[1], b)
            rises = _rises(0, size[2] - 1, home[0])
            empty = True
            for a in range(size[2]):
                x = _place(0, size[2] - 1, home[0], a)
                number = blocks.at[z, y, x]
                if number >= 0:
                    empty = False
                    m.counts[_N_BLOCK] += 1
                    cycle = _project(m, _BLOCKS, _BLOCK_SENT, CORNERS, cycle) + 1
                    taken = offers(clock)
                    if _clip(blocks.windows[number], left, top, width, side, window):
                        m.counts[_N_BLOCK_SEEN] += 1
                        taken = max(taken, m.registers[_STREAMER_IDLE])
                        bounds[0], bounds[1], bounds[2] = x * BLOCK, y * BLOCK, z * BLOCK
                        for axis in range(3):
                            most = cubes.at.shape[2 - axis]
                            bounds[3 + axis] = min(bounds[axis] + BLOCK, most) - 1
                        ended = _walk_cubes(
                            m, cubes, rays, limits, codes, curve, colored,
                            width, left, top, bounds, taken,
                        )  # fmt: skip
                        m.registers[_STREAMER_IDLE] = ended + 1
                    answered(clock, taken)
                ahead = a + 1
                last = ahead == size[2] or ahead == rises
                edge = (x + 1) % blocks.word == 0 if a < rises else x % blocks.word == 0
                if last or edge:
                    m.counts[_N_BLOCK_SLOTS] += 1
                    cycle += empty
                    empty = True
    # The blocks' end, which is the cubes' end, too.
    _project(m, _BLOCKS, _BLOCK_SENT, 1, cycle)
    taken = _end_cubes(m, max(offers(clock), m.registers[_STREAMER_IDLE]))
    answered(clock, taken)
    return end_samples(m, offers(m.pipes[_TESTS]))


@kernel
def run_whole(
    m: Machine, cubes: Lattice, rays: Rays, limits: Limits, codes: Codes, curve: Curve,
    colored: Longs, width: int, left: int, top: int, start: int,
) -> int:  # fmt: skip
    """As `run_tile` without blocks: all cubes are walked and projected for every tile."""
    for axis in range(3):
        m.bounds[axis] = 0
        m.bounds[3 + axis] = cubes.at.shape[2 - axis] - 1
    cycle = _walk_cubes(
        m, cubes, rays, limits, codes, curve, colored, width, left, top, m.bounds, start
    )
    _end_cubes(m, cycle)
    return end_samples(m, offers(m.pipes[_TESTS]))


@kernel
def run_uniform(
    m: Machine, cubes: Lattice, rays: Rays, limits: Limits, codes: Codes, curve: Curve,
    colored: Longs, width: int, left: int, top: int, start: int,
) -> int:  # fmt: skip
    """As `run_tile` without a walk: every k of every ray is a test, which reads a cube's bit; one
    in a cycle, until the ray's pixel is seen to be dark."""
    side, tests = 1 << m.tile_bits, m.pipes[_TESTS]
    cycle, bits = start, limits.position_bits
    for row in range(min(side, rays.mask_base.shape[1] // width)):
        for column in range(left, min(left + side, width)):
            pixel, ray = (row << m.tile_bits) + column - left, row * width + column
            for k in range(limits.last_k + 1):
                accepted = accept(tests, cycle)
                taken = offers(tests)
                if m.dark_from[pixel] <= accepted:
                    answered(tests, taken)
                    break
                m.counts[_N_TESTED] += 1
                m.counts[_N_CUBE_SLOTS] += 1
                for axis in range(3):
                    at = rays.mask_base[axis, ray] + k * rays.mask_delta[axis, ray]
                    m.bounds[axis] = min(at >> bits, limits.mask_last[axis] - 1)
                x, y, z = m.bounds[0], m.bounds[1], m.bounds[2]
                if (
                    x >= 0 and y >= 0 and z >= 0
                    and cubes.at[z, y, x] >= 0
                    and inside(rays, limits, ray, k, x, y, z)
                ):  # fmt: skip
                    taken = _sample(m, rays, limits, codes, curve, colored, pixel, ray, k, taken)
                answered(tests, taken)
    accept(tests, cycle)
    return end_samples(m, offers(tests))


@kernel
def _end_cubes(m: Machine, cycle: int) -> int:
    """The cubes' end through projector, slab unit and sample generator; when it is accepted."""
    cubes, slabs, tests = m.pipes[_CUBES], m.pipes[_SLABS], m.pipes[_TESTS]
    accepted = _project(m, _CUBES, _CUBE_SENT, 1, cycle)
    accept(slabs, offers(cubes))
    answered(cubes, slabs[ACCEPTED_AT])
    accept(tests, offers(slabs))
    answered(slabs, tests[ACCEPTED_AT])
    return accepted
