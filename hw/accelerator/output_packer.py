"""Bytes of C to beats of the bus."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import WriteBeat
from oleaster.hw.accelerator.output_steps import PackWord
from oleaster.hw.block import Block
from oleaster.models.accelerator.config import AcceleratorConfig

__all__ = ["BeatPacker"]


class BeatPacker(Block[AcceleratorConfig]):
    """Puts the bytes of steps together; a beat leaves LATENCY cycles after the step that emits it.

    Members
    -------
    data: In(data_bits)
        The step's bytes, from bit 0 on.
    pack: In(PackWord)
    pack_valid: In(1)
    beat: Out(WriteBeat)
        Bytes without a strobe are left over from others.
    beat_valid: Out(1)
    """

    LATENCY = 1

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "beat_packer",
            config,
            {
                "data": In(config.data_bits),
                "pack": In(PackWord(config)),
                "pack_valid": In(1),
                "beat": Out(WriteBeat(config)),
                "beat_valid": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.beat_bytes
        bytes_ = data.ArrayLayout(8, lanes)
        offset = self.pack.offset
        rotated = Signal(bytes_, reset_less=True)
        strobe = Signal(lanes, reset_less=True)
        next_beat = Signal(lanes, reset_less=True)  # places whose bytes belong to the next beat
        emit = Signal()
        last = Signal(reset_less=True)
        valid = Signal()
        m.d.sync += [
            rotated.eq(_rotate(m, "data", self.data, offset, 8)),
            strobe.eq(_rotate(m, "strobe", Cat(i < self.pack.bytes for i in range(lanes)), offset)),
            next_beat.eq((1 << offset) - 1),
            emit.eq(self.pack.emit),
            last.eq(self.pack.last),
            valid.eq(self.pack_valid),
        ]

        held = Signal(bytes_, reset_less=True)
        is_held = Signal(lanes)
        merged = Signal(bytes_)
        m.d.comb += [
            *(merged[i].eq(Mux(is_held[i], held[i], rotated[i])) for i in range(lanes)),
            self.beat.data.eq(merged),
            self.beat.strobe.eq(is_held | (strobe & ~next_beat)),
            self.beat.last.eq(last),
            self.beat_valid.eq(valid & emit),
        ]
        with m.If(valid):
            m.d.sync += [
                held.eq(Mux(emit, rotated, merged)),
                is_held.eq(Mux(emit, strobe & next_beat, self.beat.strobe)),
            ]
        return m


def _rotate(m: Module, name: str, value: Value, places: Value, width: int = 1) -> Value:
    """`value` moved up by so many times `width` bits, the top ones to the bottom."""
    for i, moves in enumerate(places):
        moved = Signal(len(value), name=f"{name}_moved{i}")
        m.d.comb += moved.eq(Mux(moves, value.rotate_left(width << i), value))
        value = moved
    return value
