"""Sample generator: ranges of random views, every sample and the cycle of every handshake."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, FixedConfig
from oleaster.sim.nerf.samples import sample_cycles
from oleaster.sim.nerf.words import packed, unpacked
from oleaster.sim.rtl.benches.pipe import reset_pipe, start_pipe
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.views import View, random_view
from oleaster.sim.rtl.cosim import bench_config

CONFIG = FixedConfig(position_bits=bench_config()["position_bits"])
AXIS_BITS, CELL_BITS = bench_config()["axis_bits"], bench_config()["cell_bits"]
TILE_BITS = bench_config()["tile_bits"]
SIDE = 1 << TILE_BITS
K_BITS = (LARGEST_COUNT - 1).bit_length()
AT_BITS = CELL_BITS + CONFIG.position_bits
END = 1 << (3 * AXIS_BITS + 2 * TILE_BITS + 2 * K_BITS)


class _Ranges:
    """Ranges of a view, as the slab unit would give them, and one with `end`."""

    def __init__(self, view: View, most: int) -> None:
        self.view = view
        frame, walk = view.frame, view.walk
        cube, ray = walk.pairs(np.arange(len(walk)), 0, frame.camera.height)
        first, last = walk.ranges(cube, ray, view.rays)
        some = np.flatnonzero(last >= first)[:most]
        cube, ray, first, last = cube[some], ray[some], first[some], last[some]
        pixel = view.pixels(ray, TILE_BITS)
        self.words = [
            packed(
                [
                    *((at, AXIS_BITS) for at in walk.cells[cube[i]]),
                    (pixel[i], 2 * TILE_BITS),
                    (first[i], K_BITS),
                    (last[i], K_BITS),
                ]
            )
            for i in range(len(some))
        ]
        self.words.append(END)
        lengths = last - first + 1
        steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        k = np.repeat(first, lengths) + steps
        cube, ray = np.repeat(cube, lengths), np.repeat(ray, lengths)
        inside = walk.inside(cube, ray, k, view.rays)
        self.lengths = [*lengths.tolist(), 1]
        self.kept = np.zeros(len(k) + 1, bool)
        self.kept[inside] = True
        self.kept[-1] = True
        ray, k = ray[inside], k[inside]
        at = [view.rays.field_at(axis, ray, k) for axis in range(3)]
        final = (k == frame.count - 1).astype(int)
        columns = (view.pixels(ray, TILE_BITS), k, final, *at)
        self.samples = list(zip(*(column.tolist() for column in columns), strict=True))
        names = ("field_base", "field_delta", "mask_base", "mask_delta")
        self.rays = view.store(names, TILE_BITS)


async def _check(dut: Any, ranges: _Ranges, rng: np.random.Generator, busy: float = 1.0) -> None:
    frame = ranges.view.frame
    limits = [(at, CELL_BITS) for at in frame.field_last]
    limits += [(at, AXIS_BITS + 1) for at in frame.mask_last]
    dut.limits.value = packed([*limits, (frame.count - 1, K_BITS)])
    counts = CubeCounts()

    def every_cycle() -> dict[str, int]:
        counts.points += int(dut.tested.value)
        counts.outside += int(dut.dropped.value)
        return {"ray": ranges.rays[dut.read_address.value.to_unsigned()]}

    want = len(ranges.samples) + 1
    done = await exchange(dut, ranges.words, want, rng, busy, every_cycle)
    widths = (2 * TILE_BITS, K_BITS, 1, AT_BITS, AT_BITS, AT_BITS, 1)
    *samples, end = (unpacked(payload, widths) for payload in done.payloads)
    assert [each[:-1] for each in samples] == ranges.samples
    assert [each[-1] for each in (*samples, end)] == [0] * len(samples) + [1]
    accepted, taken = sample_cycles(ranges.lengths, ranges.kept, done.offered, done.ready)
    assert (done.accepted, done.taken) == (accepted.tolist(), taken.tolist())
    assert counts.points == len(ranges.kept) - 1
    assert counts.outside == len(ranges.kept) - 1 - len(samples)
    if busy == 1.0:
        # A sample under test in every cycle.
        assert done.accepted[-1] == len(ranges.kept) - 1


def _views(rng: np.random.Generator, count: int, samples: int) -> list[_Ranges]:
    """Views with at least `samples` ranges of samples."""
    found: list[_Ranges] = []
    while len(found) < count:
        view = random_view(rng, CONFIG, SIDE, min(16, 1 << AXIS_BITS))
        ranges = _Ranges(view, 400)
        if len(ranges.words) > samples:
            found.append(ranges)
    return found


@cocotb.test
async def ranges_of_random_views(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for ranges in _views(rng, 12, 40):
        await _check(dut, ranges, rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for ranges in _views(rng, 4, 100):
        for busy in (0.3, 0.7):
            await _check(dut, ranges, rng, busy)


@cocotb.test
async def reset_in_a_range(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    (ranges,) = _views(rng, 1, 60)
    for after in (1, 2, 3, 5, 9):
        dut.i_payload.value = ranges.words[int(np.argmax(ranges.lengths))]
        dut.i_valid.value = dut.o_ready.value = 1
        for _ in range(after):
            await FallingEdge(dut.clk)
        await reset_pipe(dut)
        await _check(dut, ranges, rng)
