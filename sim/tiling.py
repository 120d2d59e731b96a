"""How a GEMM is cut into tiles and streamed: the same for the cycle model and the RTL.

C = A B^T with A (M, K) and B (N, K). A tile is as many rows of A as fit the array's rows against as
many rows of B as fit its columns, over the whole of K; for each tile of A all tiles of B follow.
Missing rows are zero, K is padded to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Tiling", "assemble_sums"]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one GEMM on an array of `rows x cols` PEs.

    lanes_a, lanes_b: lanes that one element takes, 1 or 2 (`Format.lanes`).
    is_fusing: the array can read formats of two lanes, so that its sums leave a cycle later.
    """

    m: int
    k: int
    n: int
    rows: int
    cols: int
    lanes_a: int = 1
    lanes_b: int = 1
    is_fusing: bool = False

    @property
    def tile_rows(self) -> int:
        """Rows of A, and words of sums, in a tile."""
        return self.rows // self.lanes_a

    @property
    def tile_cols(self) -> int:
        """Rows of B in a tile."""
        return self.cols // self.lanes_b

    @property
    def tiles_a(self) -> int:
        return -(-self.m // self.tile_rows)

    @property
    def tiles_b(self) -> int:
        return -(-self.n // self.tile_cols)

    @property
    def tiles(self) -> int:
        return self.tiles_a * self.tiles_b

    @property
    def words(self) -> int:
        """Operand words (two K elements) of one tile."""
        return (self.k + 1) // 2

    @property
    def macs(self) -> int:
        """Multiplications of the PEs that the GEMM asks for."""
        return self.m * self.lanes_a * self.k * self.n * self.lanes_b


def assemble_sums(tiles: np.ndarray, tiling: Tiling) -> np.ndarray:
    """(tiles, tile_rows, tile_cols) sums in streaming order -> (M, N)."""
    height, width = tiling.tile_rows, tiling.tile_cols
    grid = tiles.reshape(tiling.tiles_a, tiling.tiles_b, height, width)
    full = grid.transpose(0, 2, 1, 3).reshape(tiling.tiles_a * height, tiling.tiles_b * width)
    return full[: tiling.m, : tiling.n]
