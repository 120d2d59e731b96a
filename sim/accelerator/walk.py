"""The steps of a GEMM on the accelerator, as `hw/accelerator/walk.py` goes through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from oleaster.models.accelerator.config import AcceleratorConfig, word_bytes
from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.formats import get_format

__all__ = ["Plan", "Step"]


class Step(NamedTuple):
    """One chunk of one tile.

    row, col: first row of A and of B in the tile. rows, cols: how many. word, words: first operand
    word of the chunk, and how many. takes_*: the chunk is not the one of the step before; drops_*:
    the next step's is another. first_chunk, last_chunk: of the tile.
    """

    row: int
    col: int
    word: int
    rows: int
    cols: int
    words: int
    takes_a: bool
    takes_b: bool
    drops_a: bool
    drops_b: bool
    first_chunk: bool
    last_chunk: bool


@dataclass(frozen=True)
class Plan:
    """How a descriptor is cut up on an accelerator."""

    descriptor: Descriptor
    config: AcceleratorConfig

    @cached_property
    def wide_a(self) -> bool:
        """Elements of A take two lanes."""
        return get_format(self.descriptor.a_format).lanes == 2

    @cached_property
    def wide_b(self) -> bool:
        return get_format(self.descriptor.b_format).lanes == 2

    @cached_property
    def words(self) -> int:
        """Operand words of a row."""
        return (self.descriptor.k + 1) // 2

    @cached_property
    def a_spare(self) -> int:
        """1 if rows of A do not all begin with a beat, so that they take a beat more."""
        d = self.descriptor
        return int((d.a_address | d.a_stride) % self.config.beat_bytes != 0)

    @cached_property
    def b_spare(self) -> int:
        d = self.descriptor
        return int((d.b_address | d.b_stride) % self.config.beat_bytes != 0)

    @cached_property
    def chunk_words(self) -> int:
        """Operand words that fit half a lane's scratchpad, whole beats of both operands."""
        half, size = self.config.scratchpad_beats // 2, self.config.beat_bytes
        d = self.descriptor
        return min(
            (half - self.a_spare) // word_bytes(d.a_format) * size,
            (half - self.b_spare) // word_bytes(d.b_format) * size,
        )

    def a_beats(self, words: int) -> int:
        """Beats that so many words of A take in a lane's scratchpad."""
        size = self.config.beat_bytes
        return -(-words * word_bytes(self.descriptor.a_format) // size) + self.a_spare

    def b_beats(self, words: int) -> int:
        size = self.config.beat_bytes
        return -(-words * word_bytes(self.descriptor.b_format) // size) + self.b_spare

    def steps(self) -> Iterator[Step]:
        """All steps in order."""
        d = self.descriptor
        height = self.config.tile_rows(d.a_format)
        width = self.config.tile_cols(d.b_format)
        single = self.words <= self.chunk_words
        single_b = single and d.n <= width
        for row in range(0, d.m, height):
            last_row = row + height >= d.m
            for col in range(0, d.n, width):
                last_col = col + width >= d.n
                for word in range(0, self.words, self.chunk_words):
                    yield Step(
                        row,
                        col,
                        word,
                        min(height, d.m - row),
                        min(width, d.n - col),
                        min(self.chunk_words, self.words - word),
                        col == 0 or not single,
                        row == 0 or not single_b,
                        last_col or not single,
                        last_row or not single_b,
                        word == 0,
                        word + self.chunk_words >= self.words,
                    )
