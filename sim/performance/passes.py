"""Blocks of a GEMM on the weight-stationary array: see `blocks`.

A tile of weights stays in the PEs while rows of A pass; their partial sums wait in the output
buffer for the next tile along K. So rows of A come in blocks whose partial sums fit half of it.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.performance.blocks import Gemm, Schedules, Whole
from oleaster.sim.performance.design import DesignFault
from oleaster.sim.weight_stationary import gemm_cycles
from oleaster.sim.weight_tiling import WeightTiling

__all__ = ["PARTIAL_BITS", "weight_stationary"]

PARTIAL_BITS = 32
"""Of a sum that waits in the output buffer."""


def weight_stationary(gemm: Gemm) -> Iterator[Schedules]:
    """Those of the array that keeps a tile of weights while rows of A pass.

    Rows of A come in blocks whose partial sums fit half of the output buffer. Raises DesignFault
    for buffers that hold no tile of weights or, of one row, no tile of A or of partial sums.
    """
    design, a, b = gemm.design, gemm.a, gemm.b
    k, depth = a.k, min(a.k, design.rows // a.lanes)
    half = design.output_buffer_bytes // 2
    b.require(design.name, b.height, depth)
    a.require(design.name, 1, depth)
    one = design.rows, design.cols, a.lanes, b.lanes
    tilings = [WeightTiling(size, k, b.rows, *one) for size in _row_blocks(a.rows)]
    every = _Rounds(*map(np.array, zip(*(_rounds(t, a.rows) for t in tilings), strict=True)))
    fits = (every.partial_bytes <= half) & (every.rows * a.held(depth) <= a.buffer_bytes // 2)
    if not fits.any():
        raise DesignFault(
            f"{design.name}: partial sums of {every.rows[-1]} rows need "
            f"{every.partial_bytes[-1]:,} bytes; half of the buffer for outputs has {half:,}"
        )
    rounds = every.select(fits)
    yield _passes(gemm, tilings[0], rounds, "nothing")
    wide = np.minimum(rounds.group * b.tile, b.rows)
    for kept, rows in ((a, rounds.rows), (b, wide)):
        fits = rows * kept.row_bytes <= kept.buffer_bytes // 2
        if fits.any():
            yield _passes(gemm, tilings[0], rounds.select(fits), kept.name)


def _row_blocks(rows: int) -> list[int]:
    """Rows in a block when there are 1, 2, 3, 4, 6, 8, 12, ... of them: largest first."""
    counts = {factor << i for i in range(rows.bit_length()) for factor in (1, 3)}
    return sorted({-(-rows // count) for count in counts | {rows}}, reverse=True)


def _passes(gemm: Gemm, tiling: WeightTiling, rounds: "_Rounds", keeps: str) -> Schedules:
    """A step is a round: all passes of a group of B tiles with a block of rows of A."""
    a, b, tiles_k = gemm.a, gemm.b, tiling.tiles_k
    steps = rounds.blocks * rounds.groups
    several = steps > 1
    one = np.ones(len(steps), np.int64)
    activation_loads = one if keeps == "activations" else rounds.groups
    weight_loads = one if keeps == "weights" else rounds.blocks
    loads = activation_loads * a.rows * a.moved(a.k) + weight_loads * b.rows * b.moved(a.k)
    wide = np.minimum(rounds.group * b.tile, b.rows)
    head = rounds.rows * a.moved(a.k) + wide * b.moved(a.k)
    tile_of_b = b.height * b.moved(a.k) / tiles_k
    first = tile_of_b + a.moved(a.k) / tiles_k
    tile = tile_of_b + rounds.rows * a.moved(a.k) / tiles_k
    next_load = np.where(several, (loads - head) / np.maximum(steps - 1, 1), 0)
    # A slice of A serves all passes of a group; each pass has a tile of weights.
    depth = min(a.k, tiling.tile_k)
    slots, refills = a.turns(rounds.rows * a.held(depth))
    if keeps != "weights":
        of_b, refills = b.turns(b.height * b.held(depth))
        slots = of_b if keeps == "activations" else np.minimum(slots, of_b)
        refills = refills * rounds.group
    tail = gemm.store_bytes / (rounds.blocks * b.tiles)
    more_store = np.where(several, 0, gemm.store_bytes - tail)
    rest_store = np.where(several, (steps - 2) * gemm.store_bytes / steps, 0)
    head_compute = rounds.group * tiles_k * rounds.period
    return Schedules(
        tile=rounds.period,
        head_compute=head_compute,
        rest_compute=rounds.compute - head_compute - rounds.last_compute,
        last_compute=rounds.last_compute,
        fill_drain=rounds.cycles - rounds.compute,
        first=first,
        tile_load=tile - first,
        first_end=1.0,  # the last row of A
        more_load=head - tile,
        next_load=next_load,
        rest_load=next_load * np.maximum(steps - 2, 0),
        refills=refills * tiles_k * np.maximum(steps - 2, 0),
        slots=slots,
        more_store=more_store,
        rest_store=rest_store,
        last_store=np.where(several, gemm.store_bytes - tail - rest_store, 0),
        tail_store=tail,
        tail_rows=rounds.last_rows,
        tail_interval=1,
        activation_loads=activation_loads,
        weight_loads=weight_loads,
        activation_uses=tiling.tiles_b,
        weight_uses=rounds.blocks,
    )


class _Rounds(NamedTuple):
    """What the array does with blocks of `rows` rows of A, as arrays over the sizes of blocks.

    partial_bytes: what waits in the output buffer between two passes.
    """

    rows: Whole
    blocks: Whole
    group: Whole
    groups: Whole
    period: Whole
    last_rows: Whole
    last_compute: Whole
    compute: Whole
    cycles: Whole
    partial_bytes: Whole

    def select(self, mask: NDArray[np.bool_]) -> "_Rounds":
        return _Rounds(*(column[mask] for column in self))


@lru_cache(1 << 14)
def _rounds(block: WeightTiling, rows: int) -> tuple[int, ...]:
    """Blocks follow each other without a gap: only the last one's end counts."""
    blocks = -(-rows // block.m)
    last_rows = rows - (blocks - 1) * block.m
    last = WeightTiling(
        last_rows, block.k, block.n, block.rows, block.cols, block.lanes_a, block.lanes_b
    )
    cycles = gemm_cycles(last)
    if blocks > 1:
        # Until the next block's first pass: without what follows the last pass.
        alone = gemm_cycles(block)
        end = block.m + 2 * block.rows + block.cols - 2 * (block.lanes_a - 1)
        cycles += (blocks - 1) * (alone - end + block.period)
    groups = -(-block.tiles_b // block.group)
    last_tiles = block.tiles_b - (groups - 1) * block.group
    return (
        block.m,
        blocks,
        block.group,
        groups,
        block.period,
        last_rows,
        last_tiles * block.tiles_k * last.period if blocks * groups > 1 else 0,
        block.passes * ((blocks - 1) * block.period + last.period),
        cycles,
        max(PARTIAL_BITS // 8 * t.m * min(t.group * t.tile_cols, t.n) for t in (block, last)),
    )
