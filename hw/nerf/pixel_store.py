"""A word of state for every pixel of a tile."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named

__all__ = ["PixelStore"]


class PixelStore(Unit):
    """Words that are read, changed and written back, one in every cycle; then swept out.

    A pixel may follow itself at once: what is written is handed over to the next reader. A sweep
    hands out all words, pixel 0 first, and leaves `start` behind. After a reset there is a sweep
    that hands out nothing. `sim/nerf/pixel_store.py` has the cycles of a sweep.

    Parameters
    ----------
    pixels: int
        Of a tile, a power of two.
    width: int
        Bits of a word.
    start: int
        What a word is before anything changed it.

    Members
    -------
    pixel: In
        Whose word is to be changed; with `take`.
    take: In
        Only while `idle`.
    was: width bits, Out
        The word, two cycles after take.
    becomes: width bits, In
        What is to be written, in that same cycle.
    sweep: In
        Asks for a sweep; only while `idle`, not with take.
    idle: Out
    o: stream of width bits, Out
        The words of a sweep.
    look: In
    seen: width bits, Out
        The word of pixel `look` in the cycle before.
    """

    def __init__(self, pixels: int, width: int, start: int) -> None:
        if pixels < 2 or pixels & (pixels - 1):
            raise ValueError(f"pixels is {pixels}; it must be a power of two, at least 2")
        self.pixels = pixels
        self.width = width
        self.start = start
        super().__init__(
            {
                "pixel": In(range(pixels)),
                "take": In(1),
                "was": Out(width),
                "becomes": In(width),
                "sweep": In(1),
                "idle": Out(1),
                "o": Out(stream.Signature(width)),
                "look": In(range(pixels)),
                "seen": Out(width),
            }
        )

    @property
    def module_name(self) -> str:
        return f"pixel_store_{self.pixels}x{self.width}_{self.start:x}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"pixels": self.pixels, "width": self.width, "start": self.start}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self.pixels, init=[])
        write = named(words.write_port(), "write")
        read = named(words.read_port(transparent_for=(write,)), "read")
        look = named(words.read_port(), "looked")
        m.d.comb += [look.addr.eq(self.look), look.en.eq(1), self.seen.eq(look.data)]
        # The pixel whose word is read out of the memory, and the one whose word is `was`.
        reads = Signal()
        changes = Signal()
        reads_pixel = Signal(range(self.pixels), reset_less=True)
        changes_pixel = Signal(range(self.pixels), reset_less=True)
        word = Signal(self.width, reset_less=True)
        again = Signal()
        m.d.comb += [
            again.eq(changes & (changes_pixel == reads_pixel)),
            self.was.eq(word),
        ]
        m.d.sync += [
            reads.eq(self.take),
            reads_pixel.eq(self.pixel),
            changes.eq(reads),
            changes_pixel.eq(reads_pixel),
            word.eq(Mux(again, self.becomes, read.data)),
        ]
        sweeps = Signal(init=1)
        silent = Signal(init=1)
        swept = Signal(range(self.pixels))
        valid = Signal()
        # A word is cleared in the cycle after it was read.
        clears = Signal()
        cleared = Signal(range(self.pixels), reset_less=True)
        steps = Signal()
        m.d.comb += [
            self.idle.eq(~sweeps & ~valid),
            self.o.valid.eq(valid),
            self.o.payload.eq(read.data),
            steps.eq(sweeps & (~valid | self.o.ready)),
            read.addr.eq(Mux(sweeps, swept, self.pixel)),
            read.en.eq(self.take | steps),
            write.addr.eq(Mux(clears, cleared, changes_pixel)),
            write.data.eq(Mux(clears, self.start, self.becomes)),
            write.en.eq(clears | changes),
        ]
        m.d.sync += [clears.eq(steps), cleared.eq(swept)]
        with m.If(self.sweep):
            m.d.sync += sweeps.eq(1)
        with m.If(steps):
            m.d.sync += [valid.eq(~silent), swept.eq(swept + 1)]
            with m.If(swept == self.pixels - 1):
                m.d.sync += [sweeps.eq(0), silent.eq(0)]
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        return m
