"""Cube streamer and order generator: non-zero cubes of the mask, front to back, without a sort."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named
from oleaster.models.nerf.order import OCTANT_VISITS

__all__ = ["CubeStreamer", "CubeWord", "WalkWord"]


class CubeWord(data.StructLayout):
    """`cell`: x, y, z of a cube. `end`: nothing follows in this walk, and `cell` means nothing."""

    def __init__(self, axis_bits: int) -> None:
        super().__init__({"cell": data.ArrayLayout(axis_bits, 3), "end": 1})


class WalkWord(data.StructLayout):
    """A walk through a lattice, each member along x, y, z.

    `size`: cubes of the lattice, at least 1. `home`: the camera's cell, those outside counted as
    -1 or as `size`. `low`, `high`: first and last cube of the part to walk, low <= high < size.
    `octants`: walk octants instead of outwards from `home`.
    """

    def __init__(self, axis_bits: int) -> None:
        super().__init__(
            {
                "size": data.ArrayLayout(axis_bits + 1, 3),
                "home": data.ArrayLayout(signed(axis_bits + 2), 3),
                "low": data.ArrayLayout(axis_bits, 3),
                "high": data.ArrayLayout(axis_bits, 3),
                "octants": 1,
            }
        )


class _Axis:
    """Bounds of a block along one axis, and where its loop is.

    The loop runs from `rise` to `high`, then from `fall` to `low`; either may be missing. It counts
    in units of 2^skip cells.
    """

    def __init__(self, name: str, bits: int, skip: int) -> None:
        def register(kind: str, shape: int) -> Signal:
            return Signal(shape, name=f"{name}_{kind}", reset_less=True)

        self.skip = skip
        self.low, self.high = register("low", bits), register("high", bits)
        self.rise, self.fall = register("rise", bits), register("fall", bits)
        self.rises, self.falls = register("rises", 1), register("falls", 1)
        self.at = register("at", bits - skip)
        self.down = register("down", 1)
        self.last = Signal(name=f"{name}_last")

    def unit(self, bound: Signal) -> Value:
        return bound[self.skip :]

    def enter(self) -> list[Any]:
        first = Mux(self.rises, self.unit(self.rise), self.unit(self.fall))
        return [self.at.eq(first), self.down.eq(~self.rises)]

    def find_last(self) -> Any:
        ends_above = (self.at == self.unit(self.high)) & ~self.falls
        return self.last.eq(Mux(self.down, self.at == self.unit(self.low), ends_above))

    def step(self, m: Module) -> None:
        """To the next place, which there is."""
        with m.If(self.down):
            m.d.sync += self.at.eq(self.at - 1)
        with m.Elif(self.at == self.unit(self.high)):
            m.d.sync += [self.at.eq(self.unit(self.fall)), self.down.eq(1)]
        with m.Else():
            m.d.sync += self.at.eq(self.at + 1)


class CubeStreamer(Unit):
    """Streams the cells of non-zero cubes in an order in which no ray goes back.

    The order, and that words of cubes are skipped whole, are our reading of RT-NeRF's
    "coarse-grained view-dependent computing ordering"; `models/nerf/order.py`: `nested_order` is
    the reference, `sim/nerf/cubes.py` the cycle model. A cube every cycle; a word without any, and
    the part of a word on either side of `home`, takes one.

    Parameters
    ----------
    axis_bits: int
        The lattice has up to 2**axis_bits cubes along an axis.
    word: int
        Bits that are read at once, a power of two.
    depth: int
        Words of the memory.

    Members
    -------
    i: stream of WalkWord, In
        A walk; taken when the one before has ended.
    o: stream of CubeWord, Out
        Its cubes, then a word with `end`.
    write_enable, write_address, write_data: In
        Bit b of word (z * size[1] + y) * ceil(size[0] / word) + i is cube (i * word + b, y, z).
        The memory must not change, nor be too small, in a walk.
    """

    def __init__(self, axis_bits: int, word: int, depth: int) -> None:
        if word & (word - 1) or not 2 <= word < 1 << axis_bits:
            raise ValueError(f"word is {word}; it must be a power of two below 2**{axis_bits}")
        self.axis_bits = axis_bits
        self.word = word
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(WalkWord(axis_bits))),
                "o": Out(stream.Signature(CubeWord(axis_bits))),
                "write_enable": In(1),
                "write_address": In(range(depth)),
                "write_data": In(word),
            }
        )

    @property
    def module_name(self) -> str:
        return f"cube_streamer_{self.axis_bits}_{self.word}x{self.depth}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"axis_bits": self.axis_bits, "word": self.word, "depth": self.depth}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        skip = self.word.bit_length() - 1
        axes = [_Axis("x", self.axis_bits, skip)]
        axes += [_Axis(name, self.axis_bits, 0) for name in "yz"]
        walk = Signal(self.i.payload.shape(), reset_less=True)
        # Everything moves at once, when the last stage has no cube left.
        move = Signal()
        emits = Signal()
        ends = Signal()
        self._control(m, axes, walk, move, emits, ends)
        self._read(m, axes, walk, move, emits, ends)
        return m

    def _control(
        self, m: Module, axes: list[_Axis], walk: Any, move: Signal, emits: Signal, ends: Signal
    ) -> None:
        """Blocks of a walk, and the loops over each."""
        block = Signal(range(len(OCTANT_VISITS)))
        behind = Signal(3)
        with m.Switch(block):
            for i, visit in enumerate(OCTANT_VISITS):
                with m.Case(i):
                    m.d.comb += behind.eq(visit)
        empty = Signal(3)
        for i, axis in enumerate(axes):
            m.d.comb += [
                empty[i].eq(self._bound(m, axis, walk, i, behind[i])),
                axis.find_last(),
            ]
        last_block = Signal()
        m.d.comb += last_block.eq(~walk.octants | (block == len(OCTANT_VISITS) - 1))
        x, y, z = axes
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [walk.eq(self.i.payload), block.eq(0)]
                with m.If(self.i.valid):
                    m.next = "block"
            with m.State("block"), m.If(move):
                with m.If(~(walk.octants & empty.any())):
                    m.next = "enter"
                with m.Elif(last_block):
                    m.next = "end"
                with m.Else():
                    m.d.sync += block.eq(block + 1)
            with m.State("enter"), m.If(move):
                m.d.sync += [each for axis in axes for each in axis.enter()]
                m.next = "walk"
            with m.State("walk"):
                m.d.comb += emits.eq(1)
                with m.If(move):
                    with m.If(~x.last):
                        x.step(m)
                    with m.Else():
                        m.d.sync += x.enter()
                        with m.If(~y.last):
                            y.step(m)
                        with m.Else():
                            m.d.sync += y.enter()
                            z.step(m)
                    with m.If(x.last & y.last & z.last):
                        m.d.sync += block.eq(block + 1)
                        m.next = "block"
                        with m.If(last_block):
                            m.next = "end"
            with m.State("end"):
                m.d.comb += ends.eq(1)
                with m.If(move):
                    m.next = "drain"
            with m.State("drain"), m.If(self.o.valid & self.o.ready & self.o.payload.end):
                m.next = "idle"

    def _bound(self, m: Module, axis: _Axis, walk: Any, i: int, behind: Value) -> Value:
        """Registers of a block's bounds along an axis; whether an octant is empty there."""
        size, home, low, high = walk.size[i], walk.home[i], walk.low[i], walk.high[i]
        middle = size >> 1
        upper = (home >= middle) ^ behind
        with m.If(walk.octants):
            start = Mux(upper & (middle > low), middle, low)
            m.d.sync += [
                axis.low.eq(start),
                axis.high.eq(Mux(~upper & (middle <= high), middle - 1, high)),
                axis.rise.eq(start),
                axis.rises.eq(1),
                axis.falls.eq(0),
            ]
        with m.Else():
            m.d.sync += [
                axis.low.eq(low),
                axis.high.eq(high),
                axis.rise.eq(Mux(home > low, home, low)),
                axis.rises.eq(home <= high),
                axis.fall.eq(Mux(home <= high, home - 1, high)),
                axis.falls.eq(home > low),
            ]
        return Mux(upper, middle > high, middle <= low)

    def _read(
        self, m: Module, axes: list[_Axis], walk: Any, move: Signal, emits: Signal, ends: Signal
    ) -> None:
        """Row, address, word, cubes: four stages."""
        x, y, z = axes
        m.submodules.cubes = cubes = Memory(shape=self.word, depth=self.depth, init=[])
        write = named(cubes.write_port(), "write")
        read = named(cubes.read_port(), "read")
        at = data.StructLayout(
            {
                "x": self.axis_bits - x.skip,
                "y": self.axis_bits,
                "z": self.axis_bits,
                "down": 1,
            }
        )
        kind = data.StructLayout({"emits": 1, "ends": 1})
        row_at = Signal(at, reset_less=True)
        row_kind = Signal(kind)
        address_at = Signal(at, reset_less=True)
        address_kind = Signal(kind)
        read_at = Signal(at, reset_less=True)
        read_kind = Signal(kind)
        row = Signal(2 * self.axis_bits, reset_less=True)
        first_bit = Signal(range(self.word), reset_less=True)
        last_bit = Signal(range(self.word), reset_less=True)
        row_words = Signal(range((1 << self.axis_bits >> x.skip) + 1))
        mask = Signal(self.word, reset_less=True)
        read_mask = Signal(self.word, reset_less=True)
        address = Signal(range(self.depth), reset_less=True)
        lower = Mux(x.down, x.low, x.rise)
        upper = Mux(x.down, x.fall, x.high)
        every = Const((1 << self.word) - 1)
        m.d.comb += [
            row_words.eq((walk.size[0] + self.word - 1) >> x.skip),
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(move),
            read.addr.eq(address),
        ]
        with m.If(move):
            m.d.sync += [
                row_at.x.eq(x.at),
                row_at.y.eq(y.at),
                row_at.z.eq(z.at),
                row_at.down.eq(x.down),
                row_kind.emits.eq(emits),
                row_kind.ends.eq(ends),
                row.eq(z.at * walk.size[1] + y.at),
                first_bit.eq(Mux(x.at == x.unit(lower), lower[: x.skip], 0)),
                last_bit.eq(Mux(x.at == x.unit(upper), upper[: x.skip], self.word - 1)),
                address_at.eq(row_at),
                address_kind.eq(row_kind),
                address.eq(row * row_words + row_at.x),
                mask.eq((every << first_bit)[: self.word] & (every >> ~last_bit)),
                read_at.eq(address_at),
                read_kind.eq(address_kind),
                read_mask.eq(mask),
            ]
        self._stream(m, read_at, read_kind, read.data & read_mask, move)

    def _stream(self, m: Module, at: Any, kind: Any, bits: Value, move: Signal) -> None:
        """The cubes of a word, lowest bit first; downwards, with its bits the other way round."""
        left = Signal(self.word)
        current = Signal(at.shape(), reset_less=True)
        end = Signal()
        rest = Signal(self.word)
        place = Signal(range(self.word))
        for i in reversed(range(self.word)):
            with m.If(left[i]):
                m.d.comb += place.eq(i)
        m.d.comb += [
            rest.eq(left & (left - 1)),
            self.o.valid.eq(left.any() | end),
            move.eq((rest == 0) & (self.o.ready | ~self.o.valid)),
            self.o.payload.cell[0].eq(Cat(place ^ current.down.replicate(len(place)), current.x)),
            self.o.payload.cell[1].eq(current.y),
            self.o.payload.cell[2].eq(current.z),
            self.o.payload.end.eq(end),
        ]
        with m.If(move):
            m.d.sync += [
                current.eq(at),
                end.eq(kind.ends),
                left.eq(Mux(kind.emits, Mux(at.down, bits[::-1], bits), Const(0, self.word))),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += left.eq(rest)
