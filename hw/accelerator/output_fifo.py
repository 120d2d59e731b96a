"""A queue in a memory that is read synchronously, as block RAM is."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named

__all__ = ["OutputFIFO"]


class OutputFIFO(Unit):
    """First in, first out; a word can leave two cycles after it came. Ours.

    Parameters
    ----------
    width: int
        Bits of a word.
    depth: int
        Words that fit, a power of two.

    Members
    -------
    i, o: stream of width bits, In and Out
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; it must be a power of two, at least 2")
        self.width = width
        self.depth = depth
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    @property
    def module_name(self) -> str:
        return f"output_fifo_{self.width}x{self.depth}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = named(words.write_port(), "write"), named(words.read_port(), "read")
        # One bit more than an address, so that full and empty differ.
        head = Signal(range(2 * self.depth))
        tail = Signal(range(2 * self.depth))
        valid = Signal()
        m.d.comb += [
            self.i.ready.eq((head ^ tail) != self.depth),
            write.addr.eq(head),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            read.addr.eq(tail),
            read.en.eq((head != tail) & (~valid | self.o.ready)),
            self.o.payload.eq(read.data),
            self.o.valid.eq(valid),
        ]
        with m.If(write.en):
            m.d.sync += head.eq(head + 1)
        with m.If(read.en):
            m.d.sync += [tail.eq(tail + 1), valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        return m
