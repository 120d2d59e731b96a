"""How a GEMM is cut into passes of the weight-stationary array: the same for cycle model and RTL.

C = A B^T with A (M, K) and B (N, K). A tile of weights is as much of K as fits the array's rows of
as many rows of B as fit its columns; all M rows of A pass it by. K goes from its last tile to its
first, as the array sums a tile from its last element; both tiles of A and B are filled up with
zeros at the end of K.

Order of passes (ours): for each group of B tiles, for each tile along K, for each B tile of the
group. A group is one tile of B if M is large, so that only M words of partial sums wait between two
passes; else as many as it takes for the sums of a pass to be back when the next tile along K asks
for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from oleaster.models.formats import MX_BLOCK, CodebookFormat, Format
from oleaster.models.lane import Lane
from oleaster.sim.operand import Operand, as_bits, operand_words

__all__ = ["WeightTiling", "activation_words", "pads_with_zeros", "weight_words"]


@dataclass(frozen=True)
class WeightTiling:
    """Passes of one GEMM on a weight-stationary array of `rows x cols` PEs.

    lanes_a, lanes_b: lanes that one element takes, 1 or 2 (`Format.lanes`).
    """

    m: int
    k: int
    n: int
    rows: int
    cols: int
    lanes_a: int = 1
    lanes_b: int = 1

    @property
    def tile_k(self) -> int:
        """Elements along K in a tile."""
        return self.rows // self.lanes_a

    @property
    def tile_cols(self) -> int:
        """Rows of B in a tile."""
        return self.cols // self.lanes_b

    @property
    def tiles_k(self) -> int:
        return -(-self.k // self.tile_k)

    @property
    def tiles_b(self) -> int:
        return -(-self.n // self.tile_cols)

    @property
    def passes(self) -> int:
        return self.tiles_k * self.tiles_b

    @property
    def words(self) -> int:
        """Weight words (two K elements) of one tile."""
        return self.tile_k // 2

    @property
    def period(self) -> int:
        """Least cycles from one pass to the next."""
        return max(self.m, self.rows)

    @property
    def latency(self) -> int:
        """Cycles from a row of A to the next that takes its sums as partial sums."""
        return self.rows + self.cols + 1

    @property
    def group(self) -> int:
        """Tiles of B in a group, but for the last."""
        return min(self.tiles_b, -(-self.latency // self.period))

    @property
    def macs(self) -> int:
        """Multiplications of the PEs that the GEMM asks for."""
        return self.m * self.lanes_a * self.k * self.n * self.lanes_b

    def order(self) -> Iterator[tuple[int, int]]:
        """(tile along K, tile of B) of each pass."""
        for first in range(0, self.tiles_b, self.group):
            for k in reversed(range(self.tiles_k)):
                for b in range(first, min(first + self.group, self.tiles_b)):
                    yield k, b


def activation_words(operand: Operand, lane: Lane, tiling: WeightTiling) -> np.ndarray:
    """The words of A, each once, for tiles along K from last to first.

    Parameters
    ----------
    operand: Operand
        `base`, if there is one, of every row.
    lane: Lane
        Of the array, which must read the operand's format.

    Returns
    -------
    uint8 (tiles_k, M, bytes)
        Fields `codes`, `scales` and `base` of an activation word, filled up to whole bytes.
    """
    fmt, padded = operand.format, _padded(operand, tiling, 1)
    codes = padded.codes.reshape(tiling.m, tiling.tiles_k, tiling.words, 2).astype("<u4")
    bits = 2 * lane.code_bits * fmt.lanes
    fields = [as_bits(codes[..., 0] | codes[..., 1] << fmt.code_bits, bits)]
    if lane.has_blocks:
        shape = (tiling.m, tiling.tiles_k, tiling.rows // 2)
        scales, base = np.zeros(shape, "<u4"), np.zeros((*shape[:2], 1), "<u4")
        if padded.scales is not None and padded.base is not None:
            by_pair = padded.scales.repeat(MX_BLOCK // 2, axis=1)[:, : shape[1] * shape[2]]
            scales[:] = by_pair.reshape(shape)
            base[:] = padded.base[:, None, None]
        fields += [as_bits(scales, 8), as_bits(base, 8)]
    words = np.packbits(np.concatenate(fields, axis=2), axis=2, bitorder="little")
    return np.ascontiguousarray(words.transpose(1, 0, 2)[::-1])


def weight_words(operand: Operand, lane: Lane, tiling: WeightTiling) -> np.ndarray:
    """The words of B in the order of the passes.

    Parameters
    ----------
    operand: Operand
        `base`, if there is one, of every `tile_cols` rows.
    lane: Lane
        Of the array, which must read the operand's format.

    Returns
    -------
    uint8 (passes, words, bytes)
        Fields `codes`, `scales` and `base` of a weight word, filled up to whole bytes.
    """
    words = operand_words(_padded(operand, tiling, tiling.tile_cols), lane, tiling.cols)
    by_tile = words.reshape(tiling.tiles_b, tiling.tiles_k, tiling.words, -1)
    order = np.array(list(tiling.order()))
    return by_tile[order[:, 1], order[:, 0]]


def pads_with_zeros(fmt: Format) -> bool:
    """Whether code 0, with which K is filled up, stands for zeros."""
    return not (
        isinstance(fmt, CodebookFormat) and fmt.entries is not None and bool(fmt.entries[0].any())
    )


def _padded(operand: Operand, tiling: WeightTiling, height: int) -> Operand:
    """Filled up to whole tiles along K; `height` rows share a base."""
    rows, k = operand.codes.shape
    depth = tiling.tiles_k * tiling.tile_k
    codes = np.zeros((rows, depth), np.uint8)
    codes[:, :k] = operand.codes
    if operand.scales is None or operand.base is None:
        return replace(operand, codes=codes)
    # A block without a number must not look flushed.
    blocks = operand.scales.shape[1]
    base = operand.base.repeat(height)[:rows, None]
    scales = base.repeat(max(blocks, -(-depth // MX_BLOCK)), axis=1)
    scales[:, :blocks] = operand.scales
    return replace(operand, codes=codes, scales=scales)
