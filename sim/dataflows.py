"""What the two dataflows cost: words that cross an array's edges, and registers inside.

Output stationary (OliVe, section 4) against weight stationary (ours); formulas ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from oleaster.models.lane import Lane
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_tiling import WeightTiling

__all__ = [
    "Traffic",
    "output_stationary_register_bits",
    "output_stationary_traffic",
    "partial_buffer_bits",
    "weight_stationary_register_bits",
    "weight_stationary_traffic",
]


@dataclass(frozen=True)
class Traffic:
    """Bits that cross the edges of an array in one GEMM.

    a, b: operand words (codes, and block exponents if the lanes have them). partial: words of
    partial sums, out and in again. sums: words of finished sums. A word of sums has `acc_bits` and
    an overflow bit for each column. Words count whole, with what fills them up.
    """

    a: int
    b: int
    partial: int
    sums: int


def output_stationary_traffic(tiling: Tiling, a: Lane, b: Lane, acc_bits: int = 32) -> Traffic:
    """Every tile streams its rows of A and of B over the whole of K, and leaves once."""
    words = tiling.tiles * tiling.words
    sums = tiling.tiles * tiling.tile_rows * tiling.cols * (acc_bits + 1)
    return Traffic(words * a.word_bits(tiling.rows), words * b.word_bits(tiling.cols), 0, sums)


def weight_stationary_traffic(
    tiling: WeightTiling, a: Lane, b: Lane, acc_bits: int = 32
) -> Traffic:
    """Every weight enters once; A streams by for every tile of B, sums for every tile along K."""
    sums = tiling.tiles_b * tiling.m * tiling.cols * (acc_bits + 1)
    return Traffic(
        tiling.passes * tiling.m * a.word_bits(tiling.rows // 2),
        tiling.passes * tiling.words * b.word_bits(tiling.cols),
        2 * (tiling.tiles_k - 1) * sums,
        sums,
    )


def partial_buffer_bits(tiling: WeightTiling, acc_bits: int = 32) -> int:
    """The buffer that partial sums need outside of the weight-stationary array."""
    if tiling.tiles_k == 1:
        return 0
    return tiling.group * tiling.m * tiling.cols * (acc_bits + 1)


def output_stationary_register_bits(
    a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32
) -> int:
    """Flip-flops of the array, without those whose output nobody reads and codebooks' tables."""
    width_a, width_b, total = _width(a), _width(b), acc_bits + 1
    early = max(0, cols - rows)
    pes = 2 * rows * cols * total + _passing(width_a, width_b, rows, cols)
    swaps = rows * (cols - (early > 0)) + rows - 1 + rows * early
    borders = 2 * rows * width_a + _triangle(rows - 1) * width_a
    borders += 2 * cols * width_b + _triangle(cols - 1) * width_b
    late = _triangle(early) * total
    sequencer = 4 + (max(rows, 2) - 1).bit_length()
    output = cols * total + 2
    is_wide_a, is_wide_b = a.group == 2, b.group == 2
    fusing = 0
    if is_wide_a or is_wide_b:
        modes = is_wide_a + is_wide_b
        fusing = modes * (1 + cols + 1 + 1) + cols * total + 1
        fusing += 2 * (rows - 1).bit_length()
        fusing += cols * (acc_bits + 2) if is_wide_a else 0
    return pes + swaps + borders + late + sequencer + fusing + output + _flags(a, b)


def weight_stationary_register_bits(
    a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32
) -> int:
    """Flip-flops of the array, without those whose output nobody reads and codebooks' tables."""
    width_a, width_b, total = _width(a), _width(b), acc_bits + 1
    pes = rows * cols * (total + width_b) + _passing(width_a, width_b, rows, cols)
    swaps = rows * (cols - 1) + rows - 1
    loads = (rows - 1) * (cols - 1)
    borders = rows * width_a + _triangle(rows - 1) * width_a
    borders += 2 * cols * width_b + _triangle(cols - 1) * width_b
    skew = (_triangle(cols) + _triangle(cols - 1)) * total
    way = (rows + cols) * (1 + b.group)
    loader = 4 + (a.group - 1) + rows - 1
    return pes + swaps + loads + borders + skew + way + loader + _flags(a, b)


def _passing(width_a: int, width_b: int, rows: int, cols: int) -> int:
    """Operands on their way to the right and down."""
    return rows * (cols - 1) * width_a + (rows - 1) * cols * width_b


def _width(lane: Lane) -> int:
    return lane.integer_bits + lane.exponent_bits


def _flags(a: Lane, b: Lane) -> int:
    return 3 + (a.has_blocks or b.has_blocks)


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
