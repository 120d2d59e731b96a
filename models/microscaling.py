"""Exponents of MX blocks: how they are found, and how an array with few spare bits takes them.

OCP Microscaling Formats (MX) 1.0: 32 elements along K share one E8M0 exponent. An accumulator of
integers cannot hold all 255 of them, so exponents enter relative to the largest of a tile, within a
window; what lies below is flushed to zero (ours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.formats import MX_BLOCK, Format

if TYPE_CHECKING:
    from oleaster.models.quantize import QuantizedTensor

MAX_WINDOW = 15
"""The largest shift of a block: the array's exponent path is 4 bits wider for it."""

E8M0_BIAS = 127
E8M0_NAN = 255


class BlockShifts(NamedTuple):
    """How the blocks of (L, K) codes enter an array of `lanes` lanes; B blocks a row.

    shift: (L, B) uint8, 0 .. window, the left shift of a block's values; 0 for empty and for
    flushed blocks. flushed: (L, B) bool, blocks that lie below the window and count as zero.
    base: (tiles,) uint8, the E8M0 exponent that shift 0 stands for in each tile.
    """

    shift: NDArray[np.uint8]
    flushed: NDArray[np.bool_]
    base: NDArray[np.uint8]


def block_exponents(x: NDArray[np.float32], fmt: Format) -> NDArray[np.uint8]:
    """E8M0 codes (L, ceil(K / 32)) for finite `x` (L, K) in an MX format.

    floor(log2(max|block|)) less the exponent of the format's largest value (OCP MX 1.0, section
    6.3), plus 127, within 0 .. 254. A block of zeros gets 0. A last block that is shorter counts as
    padded with zeros.
    """
    starts = np.arange(0, x.shape[1], MX_BLOCK)
    largest = np.maximum.reduceat(np.abs(x), starts, axis=1)
    exponent = np.frexp(largest.astype(np.float64))[1] - 1
    top = fmt.max_normal.bit_length() - 1 + fmt.normal.unit_exponent
    codes = (exponent - top + E8M0_BIAS).clip(0, E8M0_NAN - 1)
    return np.where(largest > 0, codes, 0).astype(np.uint8)


def block_factors(exponents: NDArray[np.uint8], k: int) -> NDArray[np.float64]:
    """(L, k) the power of two of every element's block, from E8M0 codes (L, ceil(k / 32))."""
    factors = np.ldexp(1.0, exponents.astype(np.int64) - E8M0_BIAS)
    return np.repeat(factors, MX_BLOCK, axis=1)[:, :k]


def relative_exponents(
    block_exponents: NDArray[np.uint8], occupied: NDArray[np.bool_], lanes: int, window: int
) -> BlockShifts:
    """Shifts of E8M0 codes (L, B), for each tile of `lanes` consecutive rows (or what is left).

    occupied: (L, B), blocks with a value that is not 0; only they choose the base, which is
    max(0, largest - window), and only they are flushed. shift = code - base.

    Raises ValueError unless window is 0 .. 15 and lanes at least 1.
    """
    if not 0 <= window <= MAX_WINDOW:
        raise ValueError(f"window is {window}; expected 0 to {MAX_WINDOW}")
    if lanes < 1:
        raise ValueError(f"lanes is {lanes}; expected at least 1")
    codes = np.where(occupied, block_exponents, 0).astype(np.int64)
    tops = np.maximum.reduceat(codes.max(axis=1), np.arange(0, len(codes), lanes))
    base = np.maximum(tops - window, 0)
    shift = codes - np.repeat(base, lanes)[: len(codes), None]
    flushed = occupied & (shift < 0)
    return BlockShifts(shift.clip(0).astype(np.uint8), flushed, base.astype(np.uint8))


def aligned_values(
    q: QuantizedTensor, lanes: int, window: int
) -> tuple[NDArray[np.int64], BlockShifts]:
    """What an array with that window computes with: (L, K padded to even) values, and the shifts.

    A value is decoded << shift, in units of the scale times 2**(base - 127) of its tile; 0 in
    flushed blocks. q: MX, of shape (L, K). Raises ValueError for any other.
    """
    if q.block_exponents is None or len(q.shape) != 2:
        raise ValueError(f"{q.format} of shape {q.shape} is no MX matrix")
    codes = q.codes
    values = q.number_format.decode(codes).astype(np.int64)
    starts = np.arange(0, codes.shape[1], MX_BLOCK)
    occupied = np.logical_or.reduceat(values != 0, starts, axis=1)
    shifts = relative_exponents(q.block_exponents, occupied, lanes, window)
    width = values.shape[1]
    values <<= _by_element(shifts.shift, width)
    values[_by_element(shifts.flushed, width)] = 0
    return values, shifts


def windows(fmt_a: Format, fmt_b: Format, spare_bits: int) -> tuple[int, int]:
    """The windows of two operands that share `spare_bits` bits of an accumulator.

    0 for a format without blocks. Of two with blocks each gets half, B the odd bit. At most 15, and
    0 if there is nothing to spare.
    """
    spare = max(0, spare_bits)
    a = spare // 2 if fmt_b.block_size else spare
    window_a = min(a, MAX_WINDOW) if fmt_a.block_size else 0
    b = spare - spare // 2 if fmt_a.block_size else spare
    return window_a, min(b, MAX_WINDOW) if fmt_b.block_size else 0


def _by_element(by_block: NDArray[Any], k: int) -> NDArray[Any]:
    return np.repeat(by_block, MX_BLOCK, axis=1)[:, :k]
