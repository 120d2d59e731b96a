"""How a GEMM is cut into tiles and streamed: the same for the cycle model and the RTL.

C = A B^T with A (M, K) and B (N, K). A tile is `rows` rows of A against `cols` rows of B over the
whole of K; for each tile of A all tiles of B follow. Missing rows are zero, K is padded to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Tiling", "assemble_sums", "lanes_of_words", "operand_words", "stream_order"]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one GEMM on an array of `rows x cols` PEs."""

    m: int
    k: int
    n: int
    rows: int
    cols: int

    @property
    def tiles_a(self) -> int:
        return -(-self.m // self.rows)

    @property
    def tiles_b(self) -> int:
        return -(-self.n // self.cols)

    @property
    def tiles(self) -> int:
        return self.tiles_a * self.tiles_b

    @property
    def words(self) -> int:
        """Operand words (two K elements) of one tile."""
        return (self.k + 1) // 2


def operand_words(packed: np.ndarray, lanes: int, code_bits: int) -> np.ndarray:
    """The words of one operand, each tile once.

    Parameters
    ----------
    packed: uint8 (L, bytes)
        Packed codes of the operand's rows, an even number of codes each.
    lanes: int
        Rows of the operand that one tile takes.
    code_bits: int

    Returns
    -------
    uint8 (tiles, words, lanes * code_bits // 4)
        Byte order of the `codes` field: lane 0 first.
    """
    pair_bytes = code_bits // 4
    rows, size = packed.shape
    tiles = -(-rows // lanes)
    padded = np.zeros((tiles * lanes, size), np.uint8)
    padded[:rows] = packed
    by_lane = padded.reshape(tiles, lanes, size // pair_bytes, pair_bytes)
    return by_lane.transpose(0, 2, 1, 3).reshape(tiles, size // pair_bytes, lanes * pair_bytes)


def lanes_of_words(words: np.ndarray, lanes: int) -> np.ndarray:
    """The inverse of `operand_words`: (tiles * lanes, bytes), with the rows that were missing."""
    tiles, count, size = words.shape
    by_word = words.reshape(tiles, count, lanes, size // lanes)
    return by_word.transpose(0, 2, 1, 3).reshape(tiles * lanes, count * (size // lanes))


def stream_order(full: np.ndarray, tiling: Tiling) -> np.ndarray:
    """(tiles_a * rows, tiles_b * cols) -> (tiles, rows, cols) in streaming order."""
    grid = full.reshape(tiling.tiles_a, tiling.rows, tiling.tiles_b, tiling.cols)
    return grid.transpose(0, 2, 1, 3).reshape(tiling.tiles, tiling.rows, tiling.cols)


def assemble_sums(tiles: np.ndarray, tiling: Tiling) -> np.ndarray:
    """(tiles_a * tiles_b, rows, cols) sums in streaming order -> (M, N)."""
    grid = tiles.reshape(tiling.tiles_a, tiling.tiles_b, tiling.rows, tiling.cols)
    full = grid.transpose(0, 2, 1, 3).reshape(
        tiling.tiles_a * tiling.rows, tiling.tiles_b * tiling.cols
    )
    return full[: tiling.m, : tiling.n]
