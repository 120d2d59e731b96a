"""The scratchpad of one lane of the array: beats of a row go in, a byte comes out."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named
from oleaster.models.accelerator.config import CHUNK_SLOTS

__all__ = ["ScratchpadLane"]


class ScratchpadLane(Unit):
    """A ring of beats with a synchronous read port; block RAM where the target has it.

    Rows may begin at any byte of their first beat. The beats are kept as they came, and the row's
    place in them, its offset, beside them for each chunk.

    Parameters
    ----------
    beats: int
        Depth of the ring, a power of two.
    beat_bytes: int
        A power of two.

    Members
    -------
    write: In(1), write_beat, write_data: In
        Store a beat.
    write_slot, write_offset: In
        The chunk that it belongs to, and the first byte of the row in the chunk's first beat.
    read: In(1)
        Read a byte: it is at `code` from the next cycle until the next read.
    read_slot, read_position: In
        Its chunk, and its place: ring beat of the chunk's first beat in the upper bits, and the
        place in the row's part added.
    code: Out(8)
    """

    def __init__(self, beats: int, beat_bytes: int) -> None:
        self.beats = beats
        self.beat_bytes = beat_bytes
        super().__init__(
            {
                "write": In(1),
                "write_beat": In(range(beats)),
                "write_data": In(8 * beat_bytes),
                "write_slot": In(range(CHUNK_SLOTS)),
                "write_offset": In(range(beat_bytes)),
                "read": In(1),
                "read_slot": In(range(CHUNK_SLOTS)),
                "read_position": In(range(beats * beat_bytes)),
                "code": Out(8),
            }
        )

    @property
    def module_name(self) -> str:
        return f"scratchpad_lane_{self.beats}x{8 * self.beat_bytes}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"beats": self.beats, "beat_bytes": self.beat_bytes}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = Memory(shape=8 * self.beat_bytes, depth=self.beats, init=[])
        m.submodules.offsets = offsets = Memory(
            shape=range(self.beat_bytes), depth=CHUNK_SLOTS, init=[]
        )
        write, read = named(ring.write_port(), "ring_write"), named(ring.read_port(), "ring_read")
        write_offset = named(offsets.write_port(), "offsets_write")
        read_offset = named(offsets.read_port(domain="comb"), "offsets_read")
        byte_bits = self.beat_bytes.bit_length() - 1
        position = Signal(range(self.beats * self.beat_bytes))
        column = Signal(byte_bits)
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_beat),
            write.data.eq(self.write_data),
            write_offset.en.eq(self.write),
            write_offset.addr.eq(self.write_slot),
            write_offset.data.eq(self.write_offset),
            read_offset.addr.eq(self.read_slot),
            position.eq(self.read_position + read_offset.data),
            read.en.eq(self.read),
            read.addr.eq(position[byte_bits:]),
            # A shift by whole bytes.
            self.code.eq((read.data >> Cat(Const(0, 3), column))[:8]),
        ]
        with m.If(self.read):
            m.d.sync += column.eq(position[:byte_bits])
        return m
