"""A row's steps: which sums are read in which cycle, and where their bytes go."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import AddressWord
from oleaster.hw.accelerator.output_rows import RowWord, bits_formats
from oleaster.hw.accelerator.requantizer import FORMAT_SHAPE
from oleaster.hw.block import Block
from oleaster.models.accelerator.config import BOUNDARY, AcceleratorConfig

__all__ = ["OutputSteps", "PackWord", "StepWord"]


class PackWord(data.StructLayout):
    """Where a step's bytes go.

    `offset` in the beat, `bytes`, of which those that do not fit belong to the next beat; `emit`:
    the beat is complete, or its row ends; `last` beat of its burst.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        beat = config.beat_bytes
        super().__init__({"offset": range(beat), "bytes": range(beat + 1), "emit": 1, "last": 1})


class StepWord(data.StructLayout):
    """`out_lanes` columns of a row, or none.

    `part`: which columns of the tile; `row` of the tile; `count`, columns that there are; `pack`,
    a PackWord.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "part": range(config.cols // config.out_lanes),
                "row": range(config.rows),
                "count": range(config.out_lanes + 1),
                "pack": PackWord(config),
            }
        )


class OutputSteps(Block[AcceleratorConfig]):
    """Takes a row, then gives a step a cycle; a row follows the one before without a gap.

    A row whose last bytes do not fit the beat of their step takes one step more. Bursts end with
    the row, at 4 kB and after `burst_beats` beats. Timing is ours.

    Members
    -------
    rows: stream of RowWord, In
        Its first step is in the next cycle.
    c_format: In(FORMAT_SHAPE)
    step: Out(StepWord)
    step_valid: Out(1)
    tile_read: Out(1)
        The step is the last one that reads its tile.
    burst: Out(AddressWord)
    burst_valid: Out(1)
        In the step that completes the burst's last beat.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "output_steps",
            config,
            {
                "rows": In(stream.Signature(RowWord(config))),
                "c_format": In(FORMAT_SHAPE),
                "step": Out(StepWord(config)),
                "step_valid": Out(1),
                "tile_read": Out(1),
                "burst": Out(AddressWord(config)),
                "burst_valid": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        beat_shift = c.beat_bytes.bit_length() - 1
        row = Signal(RowWord(c))
        part = Signal.like(self.step.part)
        offset = Signal(range(c.beat_bytes))
        spills = Signal()  # only what did not fit the last step's beat is left
        beat = Signal(c.address_bits - beat_shift)  # address of the beat that is being filled
        burst_beats = Signal(range(max(2, c.burst_beats)))  # the burst's, before that one

        pack = self.step.pack
        is_last = Signal()
        end = Signal(range(2 * c.beat_bytes))
        row_ends = Signal()
        page_ends = Signal()
        m.d.comb += [
            self.step.part.eq(part),
            self.step.row.eq(row.row),
            is_last.eq(part == row.steps),
            self.step.count.eq(Mux(is_last, row.count, c.out_lanes)),
            pack.offset.eq(offset),
            end.eq(offset + pack.bytes),
            row_ends.eq(spills | (is_last & (end <= c.beat_bytes))),
            page_ends.eq(beat[: (BOUNDARY // c.beat_bytes).bit_length() - 1].all()),
            pack.emit.eq(is_last | (end >= c.beat_bytes)),
            pack.last.eq(row_ends | page_ends | (burst_beats == c.burst_beats - 1)),
            self.tile_read.eq(self.step_valid & is_last & ~spills & row.last),
            self.burst.address.eq((beat - burst_beats) << beat_shift),
            self.burst.length.eq(burst_beats),
            self.burst_valid.eq(self.step_valid & pack.emit & pack.last),
            self.rows.ready.eq(~self.step_valid | row_ends),
        ]
        with m.If(~spills):
            pairs = (self.step.count + 1) >> 1
            for bits, applies in bits_formats(self.c_format):
                with m.If(applies):
                    if bits == 32:
                        m.d.comb += pack.bytes.eq(self.step.count << 2)
                    else:
                        m.d.comb += pack.bytes.eq(pairs << bits // 8)

        with m.If(self.step_valid):
            m.d.sync += offset.eq(end)
            with m.If(is_last):
                m.d.sync += spills.eq(1)
            with m.Else():
                m.d.sync += part.eq(part + 1)
            with m.If(pack.emit):
                m.d.sync += [
                    beat.eq(beat + 1),
                    burst_beats.eq(Mux(pack.last, 0, burst_beats + 1)),
                ]
        with m.If(self.rows.ready):
            m.d.sync += [
                self.step_valid.eq(self.rows.valid),
                row.eq(self.rows.payload),
                part.eq(0),
                offset.eq(self.rows.payload.address),
                spills.eq(0),
                beat.eq(self.rows.payload.address >> beat_shift),
            ]
        return m
