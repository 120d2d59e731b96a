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
    """Words that went in come out in order.

    A word can come out in the cycle after it went in, or two cycles after with `block_ram`, whose
    read port is synchronous. The room that a word leaves can be taken in the cycle after, and after
    `block_ram`'s output register took it.

    Parameters
    ----------
    width: int
        Bits of a word.
    depth: int
        Words that fit, a power of two; with `block_ram` one more, at the output.
    block_ram: bool
        For many wide words.

    Members
    -------
    i: stream of width bits, In
    o: stream of width bits, Out
    """

    def __init__(self, width: int, depth: int, block_ram: bool = False) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth is {depth}; it must be a power of two, at least 2")
        self.width = width
        self.depth = depth
        self.block_ram = block_ram
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    @property
    def module_name(self) -> str:
        return f"{'block_' if self.block_ram else ''}queue_{self.width}x{self.depth}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth, "block_ram": self.block_ram}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self.depth, init=[])
        write = named(words.write_port(), "write")
        read = named(words.read_port(domain="sync" if self.block_ram else "comb"), "read")
        # One bit more than an address, so that full and empty differ.
        head = Signal(range(2 * self.depth))
        tail = Signal(range(2 * self.depth))
        takes = Signal()
        gives = Signal()
        m.d.comb += [
            self.i.ready.eq((head ^ tail) != self.depth),
            takes.eq(self.i.valid & self.i.ready),
            write.addr.eq(head),
            write.data.eq(self.i.payload),
            write.en.eq(takes),
            read.addr.eq(tail),
            self.o.payload.eq(read.data),
        ]
        with m.If(takes):
            m.d.sync += head.eq(head + 1)
        with m.If(gives):
            m.d.sync += tail.eq(tail + 1)
        if not self.block_ram:
            m.d.comb += [
                self.o.valid.eq(head != tail),
                gives.eq(self.o.valid & self.o.ready),
            ]
            return m
        valid = Signal()
        m.d.comb += [
            self.o.valid.eq(valid),
            gives.eq((head != tail) & (~valid | self.o.ready)),
            read.en.eq(gives),
        ]
        with m.If(gives):
            m.d.sync += valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += valid.eq(0)
        return m
