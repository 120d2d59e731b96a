"""First in, first out."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named

__all__ = ["Queue"]


class Queue(Unit):
    """A word that went in can come out in the next cycle; room left by a word likewise.

    Parameters
    ----------
    width: int
        Bits of a word.
    depth: int
        Words that fit, a power of two.

    Members
    -------
    i: stream of width bits, In
    o: stream of width bits, Out
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; it must be a power of two, at least 2")
        self.width = width
        self.depth = depth
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    @property
    def module_name(self) -> str:
        return f"queue_{self.width}x{self.depth}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self.depth, init=[])
        write = named(words.write_port(), "write")
        read = named(words.read_port(domain="comb"), "read")
        # One bit more than an address, so that full and empty differ.
        head = Signal(range(2 * self.depth))
        tail = Signal(range(2 * self.depth))
        takes = Signal()
        m.d.comb += [
            self.i.ready.eq((head ^ tail) != self.depth),
            takes.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(head != tail),
            write.addr.eq(head),
            write.data.eq(self.i.payload),
            write.en.eq(takes),
            read.addr.eq(tail),
            self.o.payload.eq(read.data),
        ]
        with m.If(takes):
            m.d.sync += head.eq(head + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += tail.eq(tail + 1)
        return m
