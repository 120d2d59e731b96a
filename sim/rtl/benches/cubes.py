"""Cube streamer: walks through random masks, every cube and the cycle of every handshake."""

from itertools import product
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from oleaster.models.nerf.order import nested_order
from oleaster.sim.nerf.cubes import CubeWalk, stream_cubes, walk_word
from oleaster.sim.nerf.words import unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import write_cubes
from oleaster.sim.rtl.cosim import bench_config

AXIS_BITS, WORD = bench_config()["axis_bits"], bench_config()["word"]
_Cubes = NDArray[np.bool_]


async def _check(
    dut: Any, cubes: _Cubes, walks: list[CubeWalk], rng: np.random.Generator, busy: float = 1.0
) -> None:
    """Walks one after the other through a mask that is in the memory."""
    z, y, x = np.nonzero(cubes)
    cells = np.stack([x, y, z], axis=1).astype(np.int32)
    want: list[tuple[int, ...] | None] = []
    for walk in walks:
        middle = np.array(walk.size) // 2 if walk.octants else None
        part = cells[((cells >= walk.low) & (cells <= walk.high)).all(axis=1)]
        order = nested_order(part, np.array(walk.home), middle)
        want += [*map(tuple, part[order].tolist()), None]
    done = await exchange(dut, [walk_word(walk, AXIS_BITS) for walk in walks], len(want), rng, busy)
    got: list[tuple[int, ...] | None] = []
    for payload in done.payloads:
        *cell, end = unpacked(payload, (AXIS_BITS, AXIS_BITS, AXIS_BITS, 1))
        got.append(None if end else tuple(cell))
    assert got == want
    cycles: list[int] = []
    for walk, offered, accepted in zip(walks, done.offered, done.accepted, strict=True):
        assert accepted == max(offered, cycles[-1] + 1 if cycles else 0)
        cycles += stream_cubes(cubes, walk, WORD, accepted, done.ready)[1]
    assert done.taken == cycles


def _random_walk(rng: np.random.Generator, size: NDArray[np.int64], octants: bool) -> CubeWalk:
    """Of the whole lattice or of a part; the camera within or outside."""
    whole = CubeWalk.whole(size.tolist(), rng.integers(-3, size + 3).tolist(), octants)
    if rng.random() < 0.5:
        return whole
    low = rng.integers(0, size)
    high = rng.integers(low, size)
    low_x, low_y, low_z = low.tolist()
    high_x, high_y, high_z = high.tolist()
    return CubeWalk(
        whole.size, whole.home, (low_x, low_y, low_z), (high_x, high_y, high_z), octants
    )


def _random_cubes(rng: np.random.Generator, wide: bool) -> _Cubes:
    most = min(1 << AXIS_BITS, 2 * WORD + 5)
    size = rng.integers(1, [most, 7, 5] if wide else [WORD + 3, 9, 9])
    cubes: _Cubes = rng.random(size[::-1]) < rng.choice([0.0, 0.03, 0.4, 1.0])
    return cubes


@cocotb.test
async def every_small_lattice(dut: Any) -> None:
    """All sizes up to 3 x 3 x 2, all cells of the camera, both orders."""
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for size in product((1, 2, 3), (1, 2, 3), (1, 2)):
        cubes = rng.random(size[::-1]) < 0.7
        await write_cubes(dut, cubes, WORD)
        walks = [
            CubeWalk.whole(size, home, octants)
            for home in product(*(range(-1, n + 1) for n in size))
            for octants in (False, True)
        ]
        await _check(dut, cubes, walks, rng)


@cocotb.test
async def random_walks(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for i in range(24):
        cubes = _random_cubes(rng, i % 2 == 0)
        size = np.array(cubes.shape[::-1])
        await write_cubes(dut, cubes, WORD)
        walks = [_random_walk(rng, size, octants) for octants in (False, True)]
        await _check(dut, cubes, walks, rng, (1.0, 0.7, 0.3)[i % 3])


@cocotb.test
async def reset_in_a_walk(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    cubes = np.ones((3, 4, 9), bool)
    await write_cubes(dut, cubes, WORD)
    for after in range(1, 16):
        walk = CubeWalk.whole((9, 4, 3), (2, 2, 2), octants=after % 2 == 0)
        dut.i_payload.value = walk_word(walk, AXIS_BITS)
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, cubes, [walk], rng)
