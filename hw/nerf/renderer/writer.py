"""Pixels of tiles into the frame buffer."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import AddressWord, WriteBeat
from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.frame_buffer import PIXEL_BYTES

__all__ = ["PixelWriter"]


class PixelWriter(Block[RendererConfig]):
    """A burst for each row of a tile, offered when its pixels are all there. Ours.

    A pixel is 4 bytes: red, green, blue, 0. Tiles come row by row, and so do a tile's pixels. A
    pixel is taken in any cycle in which the queue, which holds two rows of a tile or more, has room
    for its beat.

    Parameters
    ----------
    config: RendererConfig
        A tile's row is a burst: 1 to `BURST_BEATS` beats.

    Members
    -------
    start: In(1)
        A frame begins; the one before is written.
    output: In
        Address of its buffer, a multiple of 512.
    tiles_across: In
        Both as they are with `start`.
    pixel: stream of 3 bytes, In
    aw: stream of AddressWord, Out
    w: stream of WriteBeat, Out
        Beats of bursts whose addresses were taken.
    b_valid, b_error: In(1)
        A burst was answered, with SLVERR or DECERR.
    idle: Out(1)
        No row waits, and no burst is without an answer.
    error: Out(1)
        Some burst of this frame was answered with an error.
    """

    def __init__(self, config: RendererConfig) -> None:
        self._side = 1 << config.tile_bits
        row_bits = self._side * PIXEL_BYTES * 8
        self.row_beats, rest = divmod(row_bits, config.data_bits)
        if rest or self.row_beats > BURST_BEATS:
            raise ValueError(
                f"a tile's row of {self._side} pixels takes {row_bits} bits; it must be"
                f" 1 .. {BURST_BEATS} beats of {config.data_bits}"
            )
        super().__init__(
            "pixel_writer",
            config,
            {
                "start": In(1),
                "output": In(config.address_bits),
                "tiles_across": In(PIXEL_BITS + 1 - config.tile_bits),
                "pixel": In(stream.Signature(data.ArrayLayout(8, 3))),
                "aw": Out(stream.Signature(AddressWord(config))),
                "w": Out(stream.Signature(WriteBeat(config))),
                "b_valid": In(1),
                "b_error": In(1),
                "idle": Out(1),
                "error": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = max(8, 2 * self.row_beats)
        beats = place(m, "beats", Queue(self.config.data_bits, depth, block_ram=True), platform)
        pushed = self._pack(m, beats)

        rows = Signal(range(depth + 2))  # all there, whose address was not taken
        addressed = Signal(range(OUTSTANDING + 1))  # whose last beat was not taken
        unanswered = Signal(range(OUTSTANDING + 1))
        beat = Signal(range(self.row_beats + 1))  # of the row that comes in
        sent = Signal(range(self.row_beats + 1))  # of the row that goes out
        row_there = Signal()
        aw_taken = Signal()
        w_taken = Signal()
        last = self.row_beats - 1
        m.d.comb += [
            row_there.eq(pushed & (beat == last)),
            self.aw.valid.eq((rows != 0) & (unanswered != OUTSTANDING)),
            self.aw.payload.length.eq(last),
            aw_taken.eq(self.aw.valid & self.aw.ready),
            self.w.valid.eq(beats.o.valid & (addressed != 0)),
            self.w.payload.data.eq(beats.o.payload),
            self.w.payload.strobe.eq((1 << len(self.w.payload.strobe)) - 1),
            self.w.payload.last.eq(sent == last),
            w_taken.eq(self.w.valid & self.w.ready),
            beats.o.ready.eq(self.w.ready & (addressed != 0)),
        ]
        with m.If(pushed):
            m.d.sync += beat.eq(Mux(beat == last, 0, beat + 1))
        with m.If(w_taken):
            m.d.sync += sent.eq(Mux(sent == last, 0, sent + 1))
        m.d.sync += [
            rows.eq(rows + row_there - aw_taken),
            addressed.eq(addressed + aw_taken - (w_taken & (sent == last))),
            unanswered.eq(unanswered + aw_taken - self.b_valid),
        ]
        m.d.comb += self.idle.eq((rows == 0) & (unanswered == 0))
        with m.If(self.start):
            m.d.sync += self.error.eq(0)
        with m.Elif(self.b_valid & self.b_error):
            m.d.sync += self.error.eq(1)
        self._walk(m, aw_taken)
        return m

    def _pack(self, m: Module, beats: Queue) -> Value:
        """Pixels side by side; whether a beat of them goes into the queue."""
        pixel_bits = PIXEL_BYTES * 8
        count = self.config.data_bits // pixel_bits
        number = Signal(range(count))
        before = Signal((count - 1) * pixel_bits, reset_less=True)
        taken = Signal()
        fills = Signal()
        pixel = Cat(Value.cast(self.pixel.payload), Signal(pixel_bits - 24, name="unused"))
        m.d.comb += [
            fills.eq(number == count - 1),
            self.pixel.ready.eq(~fills | beats.i.ready),
            taken.eq(self.pixel.valid & self.pixel.ready),
            beats.i.valid.eq(self.pixel.valid & fills),
            beats.i.payload.eq(Cat(before, pixel)),
        ]
        with m.If(taken):
            m.d.sync += [
                number.eq(number + 1),
                before.eq(Cat(before, pixel)[pixel_bits:]),
            ]
        return taken & fills

    def _walk(self, m: Module, aw_taken: Value) -> None:
        """The address of the row whose burst comes next."""
        side = self._side
        row_bytes = side * PIXEL_BYTES
        address = Signal(self.config.address_bits)
        tile = Signal(self.config.address_bits)  # of the tile's first row
        left = Signal(self.config.address_bits)  # of the first tile of these
        stride = Signal(len(self.tiles_across) + row_bytes.bit_length() - 1)
        row = Signal(range(side))
        column = Signal(len(self.tiles_across))
        below = Signal(self.config.address_bits)
        m.d.comb += [
            below.eq(left + (stride << self.config.tile_bits)),
            self.aw.payload.address.eq(address),
        ]
        with m.If(self.start):
            m.d.sync += [
                *(each.eq(self.output) for each in (address, tile, left)),
                stride.eq(self.tiles_across * row_bytes),
                row.eq(0),
                column.eq(0),
            ]
        with m.Elif(aw_taken):
            m.d.sync += [row.eq(row + 1), address.eq(address + stride)]
            with m.If(row == side - 1):
                with m.If(column + 1 == self.tiles_across):
                    m.d.sync += [column.eq(0), *(each.eq(below) for each in (address, tile, left))]
                with m.Else():
                    m.d.sync += [
                        column.eq(column + 1),
                        *(each.eq(tile + row_bytes) for each in (address, tile)),
                    ]
