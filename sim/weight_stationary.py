"""Cycle model of the weight-stationary array: what is at its edges in every cycle.

The array moves as one: in a cycle in which a word of sums waits to be taken nothing moves
("stalled"), in every other one everything does. Timing is therefore counted in moving cycles:

- The `rows` elements of a weight tile are issued in so many moving cycles, one row of PEs each. A
  word gives its two; if elements of A take two lanes it gives both twice and is taken with the
  third issue. The tile is ready the cycle after its last issue; the next one may begin when the
  first row of A of a pass swaps it in.
- A row of A is taken with its word of partial sums, or alone at the first tile along K; its sums
  are at the output `rows + cols` moving cycles later.

A word of partial sums that leaves can be taken again in the next cycle. `step` walks through the
cycles, with each side holding back; `gemm_cycles` is the closed form when none does. Both equal
the RTL (tests/test_cosim_weight_stationary.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from oleaster.sim.weight_tiling import WeightTiling

__all__ = ["WeightGaps", "WeightTrace", "gemm_cycles", "step"]


@dataclass(frozen=True)
class WeightGaps:
    """When a side holds back: bool arrays over cycles after reset, repeated at their end.

    a, b, partial: no new word is offered in this cycle (one already offered stays until it is
    taken). sums: the word of sums is not taken in this cycle.
    """

    a: np.ndarray
    b: np.ndarray
    partial: np.ndarray
    sums: np.ndarray

    @staticmethod
    def none() -> WeightGaps:
        never = np.zeros(1, bool)
        return WeightGaps(never, never, never, never)


@dataclass(frozen=True)
class WeightTrace:
    """The edges of the array from the first cycle after reset on; bool (cycles,)."""

    a_valid: np.ndarray
    a_ready: np.ndarray
    b_valid: np.ndarray
    b_ready: np.ndarray
    partial_valid: np.ndarray
    partial_ready: np.ndarray
    sums_valid: np.ndarray
    sums_ready: np.ndarray

    @property
    def cycles(self) -> int:
        """From the first weight word taken to the last word of sums taken, inclusive."""
        return len(self.b_valid) - int(np.argmax(self.b_valid & self.b_ready))


def gemm_cycles(tiling: WeightTiling) -> int:
    """Cycles of a whole GEMM when nobody holds back.

    A pass every `max(M, rows)` cycles; where the tiles along K go by faster than sums come back, a
    round of the group's tiles takes `rows + cols + 1`. `M + 2 rows + cols` more to load the first
    tile and for the last pass; 2 less if elements of A take two lanes, for the first word is then
    taken 2 cycles after its first issue.
    """

    def group_cycles(tiles: int) -> int:
        straight = tiles * tiling.period
        return (tiling.tiles_k - 1) * max(straight, tiling.latency) + straight

    groups, rest = divmod(tiling.tiles_b, tiling.group)
    starts = groups * group_cycles(tiling.group) + (group_cycles(rest) if rest else 0)
    ends = tiling.m + 2 * tiling.rows + tiling.cols - 2 * (tiling.lanes_a - 1)
    return starts - tiling.period + ends


def step(tiling: WeightTiling, gaps: WeightGaps) -> WeightTrace:
    """Walk through all cycles of a GEMM until its last word of sums is taken."""
    rows, passes = tiling.rows, list(tiling.order())
    total_rows, total_words = len(passes) * tiling.m, len(passes) * tiling.words
    gap_a, gap_b, gap_partial, gap_sums = (
        pattern.tolist() for pattern in (gaps.a, gaps.b, gaps.partial, gaps.sums)
    )
    edges: list[tuple[bool, ...]] = []

    cycle = moving = 0
    taken_rows = taken_words = 0
    a_held = b_held = partial_held = False
    issued = 0  # elements of the tile that is loading
    odd_next = again = is_loaded = False
    under_way: deque[tuple[int, bool]] = deque()  # (moving cycle taken, sums are partial)
    waiting = 0  # words of partial sums
    while taken_rows < total_rows or under_way:
        a_valid = taken_rows < total_rows and (a_held or not gap_a[cycle % len(gap_a)])
        b_valid = taken_words < total_words and (b_held or not gap_b[cycle % len(gap_b)])
        partial_valid = waiting > 0 and (partial_held or not gap_partial[cycle % len(gap_partial)])
        sums_valid = bool(under_way) and moving == under_way[0][0] + rows + tiling.cols
        sums_ready = not gap_sums[cycle % len(gap_sums)]
        moves = sums_ready or not sums_valid

        tile_k = passes[taken_rows // tiling.m][0] if taken_rows < total_rows else 0
        starts, begins = tile_k == tiling.tiles_k - 1, taken_rows % tiling.m == 0
        take = a_valid and (starts or partial_valid) and (is_loaded or not begins)
        swap = take and begins
        issue_even = b_valid and not odd_next and (not is_loaded or swap)
        first_of_two = tiling.lanes_a == 2 and not again
        a_ready, b_ready = moves and take, moves and issue_even and not first_of_two
        partial_ready = a_ready and not starts
        edges.append(
            (
                *(a_valid, a_ready, b_valid, b_ready),
                *(partial_valid, partial_ready, sums_valid, sums_ready),
            )
        )

        a_held, b_held = a_valid and not a_ready, b_valid and not b_ready
        partial_held = partial_valid and not partial_ready
        if moves:
            if sums_valid:
                waiting += under_way.popleft()[1]
            if swap:
                is_loaded = False
            if issue_even or odd_next:
                issued += 1
            if issue_even:
                again = first_of_two
                taken_words += not first_of_two
            if issued == rows:
                issued, is_loaded = 0, True
            odd_next = issue_even
            if take:
                waiting -= not starts
                under_way.append((moving, tile_k > 0))
                taken_rows += 1
            moving += 1
        cycle += 1
    columns = zip(*edges, strict=True)
    return WeightTrace(*(np.array(column, bool) for column in columns))
