"""In place of the tile renderer: pixels that tell where they are and what was written before."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.hw.nerf.renderer.layouts import ConstantsWord, EventsWord, TileWord, WriteWord
from oleaster.models.nerf.renderer.events import EVENTS
from oleaster.models.nerf.renderer.targets import WRITE_ADDRESS_BITS

WORD = (1 << 64) - 1


def rotated(word, count):
    return (word << count | word >> (64 - count)) & WORD


def digest(writes, before=0):
    """Of (target, address, data) in order."""
    for target, address, item in writes:
        words = [item >> 64 * i & WORD for i in range(4)]
        before = rotated(before, 1) ^ target << WRITE_ADDRESS_BITS ^ address
        for i, word in enumerate(words):
            before ^= rotated(word, 8 * i)
    return before


def constants_byte(constants):
    """Of the bytes of the constants' word."""
    found = 0
    for i, byte in enumerate(constants):
        turn = (i + i // 32) % 8
        found ^= (byte << turn | byte >> (8 - turn)) & 0xFF
    return found


class StandIn(Unit):
    """Red: the column, green: the row, blue: a byte of the digest xor that of the constants.

    Constants, from bit 0: the (left, top) of a tile that shows faults, whether one does, and which.
    """

    def __init__(self, config):
        self.config = config
        super().__init__(
            {
                "constants": In(ConstantsWord(config)),
                "tile": In(stream.Signature(TileWord())),
                "pixel": Out(stream.Signature(data.ArrayLayout(8, 3))),
                "write": In(WriteWord()),
                "write_valid": In(1),
                "faults": Out(24),
                "clear": In(1),
                "events": Out(EventsWord()),
            }
        )

    @property
    def module_name(self):
        return f"stand_in_{self.config.name}"

    @property
    def parameters(self):
        return self.config.parameters

    def elaborate(self, platform):
        m = Module()
        bits = self.config.tile_bits
        word = self.write.data
        digest = Signal(64)
        turned = [word.word_select(i, 64).rotate_left(8 * i) for i in range(4)]
        with m.If(self.write_valid):
            m.d.sync += digest.eq(
                digest.rotate_left(1)
                ^ Cat(self.write.address, self.write.target)
                ^ turned[0]
                ^ turned[1]
                ^ turned[2]
                ^ turned[3]
            )
        constants = Value.cast(self.constants)
        constants = Cat(constants, Signal(-len(constants) % 8, name="nothing"))
        folded = Signal(8)
        turns = [
            constants.word_select(i, 8).rotate_left((i + i // 32) % 8)
            for i in range(len(constants) // 8)
        ]
        m.d.comb += [folded[bit].eq(Cat(turn[bit] for turn in turns).xor()) for bit in range(8)]

        tile = Signal(28)
        index = Signal(2 * bits)
        works = Signal()
        rests = Signal()  # every third pixel takes a cycle longer
        given = Signal()
        m.d.comb += [
            self.tile.ready.eq(~works),
            self.pixel.valid.eq(works & ~rests),
            given.eq(self.pixel.valid & self.pixel.ready),
            self.pixel.payload[0].eq(tile[:14] + index[:bits]),
            self.pixel.payload[1].eq(tile[14:] + index[bits:]),
            self.pixel.payload[2].eq(digest.word_select(index[:3], 8) ^ folded),
            *(
                self.events[name].eq(given & (index < (1 << place)))
                for place, name in enumerate(EVENTS)
            ),
        ]
        m.d.sync += rests.eq(Mux(given, index % 3 == 0, 0))
        with m.If(given):
            m.d.sync += index.eq(index + 1)
            with m.If(index.all()):
                m.d.sync += works.eq(0)
        with m.If(self.clear):
            m.d.sync += self.faults.eq(0)
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += [works.eq(1), tile.eq(self.tile.payload)]
            with m.If((constants[:28] == Value.cast(self.tile.payload)) & constants[28]):
                m.d.sync += self.faults.eq(constants[29:53])
        return m
