"""The order in which a GEMM's tiles and their chunks of K are gone through."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import GemmPlan
from oleaster.hw.block import Block
from oleaster.models.accelerator.config import AcceleratorConfig

__all__ = ["TileWalk"]


class TileWalk(Block[AcceleratorConfig]):
    """One step is one chunk of one tile: for each tile of A, for each of B, for each chunk.

    Loader and feeder have one each and so need not tell each other what comes next. A chunk that
    is a whole panel is used again by the steps that follow as long as they need no other.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    plan: In(GemmPlan)
        Stable from `start` until the walk has ended.
    start: In(1)
        Go to the first step.
    next: In(1)
        Go to the next step.
    rows, cols: Out
        Rows of A and of B in this tile.
    words: Out
        Operand words of this chunk.
    a_beats, b_beats: Out
        Beats that it takes in a lane's scratchpad.
    first_col, first_chunk, last_col, last_chunk, last: Out(1)
        The tile is the first or last of its row of tiles; the chunk is of its tile; the step is
        the last of all.
    takes_a, takes_b: Out(1)
        This step needs a chunk of A, of B, that the one before did not have.
    drops_a, drops_b: Out(1)
        The next step does not use this one's.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        beats = range(config.scratchpad_beats // 2 + 1)
        super().__init__(
            "tile_walk",
            config,
            {
                "plan": In(GemmPlan(config)),
                "start": In(1),
                "next": In(1),
                "rows": Out(range(config.rows + 1)),
                "cols": Out(range(config.cols + 1)),
                "words": Out(24),
                "a_beats": Out(beats),
                "b_beats": Out(beats),
                **{
                    flag: Out(1)
                    for flag in (
                        "first_col",
                        "first_chunk",
                        "last_col",
                        "last_chunk",
                        "last",
                        "takes_a",
                        "takes_b",
                        "drops_a",
                        "drops_b",
                    )
                },
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, plan = self.config, self.plan
        # One by one, because a signal takes its name from the variable it is assigned to.
        rows_left = Signal(24)
        cols_left = Signal(24)
        words_left = Signal(24)
        first_row = Signal()
        tile_rows = Mux(plan.a_wide, config.rows // 2, config.rows)
        tile_cols = Mux(plan.b_wide, config.cols // 2, config.cols)
        last_row = Signal()
        single = Signal()
        single_b = Signal()
        m.d.comb += [
            self.last_chunk.eq(words_left <= plan.chunk_words),
            self.last_col.eq(cols_left <= tile_cols),
            last_row.eq(rows_left <= tile_rows),
            self.last.eq(self.last_chunk & self.last_col & last_row),
            self.rows.eq(Mux(last_row, rows_left, tile_rows)),
            self.cols.eq(Mux(self.last_col, cols_left, tile_cols)),
            self.words.eq(Mux(self.last_chunk, words_left, plan.chunk_words)),
            single.eq(plan.words <= plan.chunk_words),
            single_b.eq(single & (plan.n <= tile_cols)),
            self.takes_a.eq(self.first_col | ~single),
            self.takes_b.eq(first_row | ~single_b),
            self.drops_a.eq(self.last_col | ~single),
            self.drops_b.eq(last_row | ~single_b),
            self.a_beats.eq(self._beats(plan.a_wide, plan.a_spare)),
            self.b_beats.eq(self._beats(plan.b_wide, plan.b_spare)),
        ]
        with m.If(self.start):
            m.d.sync += [
                rows_left.eq(plan.m),
                cols_left.eq(plan.n),
                words_left.eq(plan.words),
                first_row.eq(1),
                self.first_col.eq(1),
                self.first_chunk.eq(1),
            ]
        with m.Elif(self.next):
            m.d.sync += [
                words_left.eq(Mux(self.last_chunk, plan.words, words_left - plan.chunk_words)),
                self.first_chunk.eq(self.last_chunk),
            ]
            with m.If(self.last_chunk):
                m.d.sync += [
                    cols_left.eq(Mux(self.last_col, plan.n, cols_left - tile_cols)),
                    self.first_col.eq(self.last_col),
                ]
                with m.If(self.last_col):
                    m.d.sync += [rows_left.eq(rows_left - tile_rows), first_row.eq(0)]
        return m

    def _beats(self, wide: Value, spare: Value) -> Value:
        beat_bytes = self.config.beat_bytes
        row_bytes = self.words << wide
        return ((row_bytes + (beat_bytes - 1)) >> (beat_bytes.bit_length() - 1)) + spare
