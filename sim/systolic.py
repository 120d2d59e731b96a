"""Cycle model of the output-stationary array: what is at its edges in every cycle.

The array moves as one: in a cycle in which a word of sums waits to be taken nothing moves
("stalled"), in every other one everything does. Timing is therefore counted in moving cycles:

- A pair of operand words is taken and its even elements issued; the odd ones follow in the next.
- After a tile's last element its *swap* is issued with whatever comes next, the next tile's first
  element or a bubble, but at least `rows` moving cycles after the swap before.
- Row r of the tile's sums is at the output `cols + 2 + r` moving cycles after its swap; in an array
  that can fuse PEs `cols + 3 + r`, and only odd rows if elements of A take two lanes.

`step` walks through the cycles, with either side holding back; `gemm_cycles` is the closed form
when none does. Both equal the RTL (tests/test_cosim_gemm.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oleaster.sim.tiling import Tiling

__all__ = ["Gaps", "Trace", "gemm_cycles", "step"]


@dataclass(frozen=True)
class Gaps:
    """When a side holds back: bool arrays over cycles after reset, repeated at their end.

    a, b: no new word is offered in this cycle (one already offered stays until it is taken).
    sums: the word of sums is not taken in this cycle.
    """

    a: np.ndarray
    b: np.ndarray
    sums: np.ndarray

    @staticmethod
    def none() -> Gaps:
        never = np.zeros(1, bool)
        return Gaps(never, never, never)


@dataclass(frozen=True)
class Trace:
    """The edges of the array from the first cycle after reset on; arrays of (cycles,).

    word: index of the operand word offered (A and B words are taken together), in stream order.
    sums_word: index of the word of sums shown, tile * tile_rows + row; -1 when there is none.
    """

    a_valid: np.ndarray
    a_ready: np.ndarray
    b_valid: np.ndarray
    b_ready: np.ndarray
    sums_valid: np.ndarray
    sums_ready: np.ndarray
    word: np.ndarray
    sums_word: np.ndarray

    @property
    def cycles(self) -> int:
        """From the first operand word taken to the last word of sums taken, inclusive."""
        return len(self.a_valid) - int(np.argmax(self.a_valid & self.a_ready))


def gemm_cycles(tiling: Tiling) -> int:
    """Cycles of a whole GEMM when nobody holds back.

    `T * max(K, rows)` for T tiles (K padded to even) plus fill and drain: `rows + cols + 2`, one
    more in an array that can fuse PEs, and `rows - K` less if K < rows, since the last tile need
    not wait for the one before to leave.
    """
    depth = 2 * tiling.words
    drain = tiling.rows + tiling.cols + 2 + tiling.is_fusing
    return depth + (tiling.tiles - 1) * max(depth, tiling.rows) + drain


def step(tiling: Tiling, gaps: Gaps) -> Trace:
    """Walk through all cycles of a GEMM until its last word of sums is taken."""
    rows, latency = tiling.rows, tiling.cols + 2 + tiling.is_fusing
    total_words, total_rows = tiling.tiles * tiling.words, tiling.tiles * tiling.tile_rows
    gap_a, gap_b, gap_sums = (g.tolist() for g in (gaps.a, gaps.b, gaps.sums))
    edges: list[tuple[bool, bool, bool, bool, bool, bool, int, int]] = []

    cycle = moving = 0
    word = 0  # operand words taken
    issue_odd = ends = pending = False
    a_held = b_held = False
    next_swap = 0  # earliest moving cycle of the next swap
    swaps: list[int] = []  # moving cycles in which swaps were issued
    draining = 0  # index in `swaps` of the tile that leaves next
    taken = 0  # words of sums taken
    while taken < total_rows:
        a_valid = word < total_words and (a_held or not gap_a[cycle % len(gap_a)])
        b_valid = word < total_words and (b_held or not gap_b[cycle % len(gap_b)])
        row = moving - swaps[draining] - latency if draining < len(swaps) else -1
        sums_valid = 0 <= row < rows and (row + 1) % tiling.lanes_a == 0
        sums_ready = not gap_sums[cycle % len(gap_sums)]
        moves = sums_ready or not sums_valid

        may_swap = moving >= next_swap
        issue_even = a_valid and b_valid and not issue_odd and (not pending or may_swap)
        ready = moves and issue_even
        shown = draining * tiling.tile_rows + row // tiling.lanes_a if sums_valid else -1
        edges.append((a_valid, ready, b_valid, ready, sums_valid, sums_ready, word, shown))

        a_held, b_held = a_valid and not ready, b_valid and not ready
        if moves:
            if sums_valid:
                taken += 1
                draining += row == rows - 1
            if pending and may_swap:
                swaps.append(moving)
                next_swap = moving + rows
                pending = False
            if issue_odd and ends:
                pending = True
            issue_odd = issue_even
            if issue_even:
                word += 1
                ends = word % tiling.words == 0
            moving += 1
        cycle += 1
    columns = list(zip(*edges, strict=True))
    flags = (np.array(column, bool) for column in columns[:6])
    return Trace(*flags, *(np.array(column, np.int64) for column in columns[6:]))
