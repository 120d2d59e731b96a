"""The read side: bursts that bring the rows of A and B and the channel words, in time."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import AddressWord, GemmPlan, ReadBeat
from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.accelerator.walk import TileWalk
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.models.accelerator.config import (
    BOUNDARY,
    CHANNEL_SLOTS,
    CHUNK_SLOTS,
    AcceleratorConfig,
)
from oleaster.models.accelerator.descriptor import CHANNEL_BYTES

__all__ = ["Loader"]


class _Kind(IntEnum):
    """What a burst brings."""

    A = 0
    B = 1
    CHANNELS = 2


class _Burst(data.StructLayout):
    """Where the beats of a burst under way go.

    `beat`: the first one's place, in the ring of the row's lane or in the tile's channel words.
    `offset`: the first byte of the row in the first beat of its chunk. `ends`: with the burst's
    last beat the chunk, or the tile's table, is complete.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "kind": _Kind,
                "row": range(max(config.rows, config.cols)),
                "slot": range(max(CHUNK_SLOTS, CHANNEL_SLOTS)),
                "beat": _places(config),
                "offset": range(config.beat_bytes),
                "ends": 1,
            }
        )


def _places(config: AcceleratorConfig) -> range:
    """Of a beat, in a ring or among a tile's channel words."""
    return range(max(config.scratchpad_beats, config.channel_beats))


class Loader(Block[AcceleratorConfig]):
    """Walks through the GEMM ahead of the feeder and asks for what each step takes.

    A chunk is asked for when its ring has room for all of it, so beats are never held back. Bursts
    end at multiples of the longest burst, which keeps them within 4 kB.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    plan: In(GemmPlan)
    start: In(1)
        Begin; `plan` is stable from here on. The unit was reset since the last start.
    abort: In(1)
        Ask for no more; what was asked for still comes.
    ar: stream of AddressWord, Out
    beat_valid, beat: In
        A beat that was read.
    tail_a, tail_b: In
        Ring beats that the feeder has left behind, all in all, modulo twice the ring.
    left_a, left_b: In(range(2 * CHUNK_SLOTS))
        Chunks that the feeder has left behind, modulo twice the slots.
    arrived_a, arrived_b: Out(range(2 * CHUNK_SLOTS))
        Chunks that are complete, likewise.
    channels_freed: In(1)
        A tile's channel words were used.
    write_a, write_b: Out
        A bit for each lane whose scratchpad takes the beat.
    write_beat, write_slot, write_offset: Out
        As in ScratchpadLane.
    channels_write, channels_ready: Out(1); channels_slot, channels_beat: Out
        As in OutputStage.
    quiet: Out(1)
        Nothing is asked for and nothing under way.
    read_error: Out(1)
        A beat came with an error.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        ring = range(2 * config.scratchpad_beats)
        chunks = range(2 * CHUNK_SLOTS)
        super().__init__(
            "loader",
            config,
            {
                "plan": In(GemmPlan(config)),
                "start": In(1),
                "abort": In(1),
                "ar": Out(stream.Signature(AddressWord(config))),
                "beat_valid": In(1),
                "beat": In(ReadBeat(config)),
                "tail_a": In(ring),
                "tail_b": In(ring),
                "left_a": In(chunks),
                "left_b": In(chunks),
                "arrived_a": Out(chunks),
                "arrived_b": Out(chunks),
                "channels_freed": In(1),
                "write_a": Out(config.rows),
                "write_b": Out(config.cols),
                "write_beat": Out(range(config.scratchpad_beats)),
                "write_slot": Out(range(CHUNK_SLOTS)),
                "write_offset": Out(range(config.beat_bytes)),
                "channels_write": Out(1),
                "channels_ready": Out(1),
                "channels_slot": Out(range(CHANNEL_SLOTS)),
                "channels_beat": Out(range(config.channel_beats)),
                "quiet": Out(1),
                "read_error": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, plan = self.config, self.plan
        byte_bits = config.beat_bytes.bit_length() - 1
        step_done = Signal()
        walk = place(
            m, "walk", TileWalk(config), platform, plan=plan, start=self.start, next=step_done
        )

        burst = Signal(_Burst(config))
        queue = place(m, "bursts", Queue(_Burst(config).size, config.outstanding), platform)
        self._receive(m, queue)

        # The row that is asked for.
        kind = Signal(_Kind)
        row = Signal(range(max(config.rows, config.cols)))
        row_count = Signal(range(max(config.rows, config.cols) + 1))
        row_bytes = Signal(24)
        stride = Signal(32)
        address = Signal(config.address_bits)  # of the row's first byte
        beat_address = Signal(config.address_bits - byte_bits)
        beats_left = Signal(24)
        ring_beat = Signal(_places(config))
        chunk_beat = Signal(_places(config))
        slot = Signal(range(max(CHUNK_SLOTS, CHANNEL_SLOTS)))

        beats = Signal(range(config.burst_beats + 1))  # of this burst
        ends_row = Signal()
        last_row = Signal()
        held = Signal()  # an address that was shown must stay until it is taken
        taken = Signal()
        asks = Signal()
        next_address = Signal(config.address_bits)
        m.d.comb += [
            ends_row.eq(beats_left == beats),
            last_row.eq(row + 1 == row_count),
            next_address.eq(address + stride),
            self.ar.valid.eq(asks & queue.i.ready & (held | ~self.abort)),
            self.ar.payload.address.eq(Cat(Const(0, byte_bits), beat_address)),
            self.ar.payload.length.eq((beats - 1)[: len(beats)]),
            taken.eq(self.ar.valid & self.ar.ready),
            burst.kind.eq(kind),
            burst.row.eq(row),
            burst.slot.eq(slot),
            burst.beat.eq(ring_beat),
            burst.offset.eq(address[:byte_bits]),
            burst.ends.eq(ends_row & last_row),
            queue.i.payload.eq(burst),
            queue.i.valid.eq(taken),
        ]
        m.d.sync += held.eq(self.ar.valid & ~self.ar.ready)

        def begin_burst(first: Value, left: Value) -> list[Any]:
            limit = min(config.burst_beats, BOUNDARY // config.beat_bytes)
            to_boundary = limit - first[: limit.bit_length() - 1] if limit > 1 else Const(1)
            return [
                beat_address.eq(first),
                beats_left.eq(left),
                beats.eq(Mux(left < to_boundary, left, to_boundary)),
            ]

        def begin_row(first: Value, size: Value) -> list[Any]:
            left = (first[:byte_bits] + size + (config.beat_bytes - 1)) >> byte_bits
            return [address.eq(first), *begin_burst(first[byte_bits:], left)]

        with m.If(taken):
            with m.If(ends_row):
                m.d.sync += [row.eq(row + 1), ring_beat.eq(chunk_beat)]
                m.d.sync += begin_row(next_address, row_bytes)
            with m.Else():
                m.d.sync += ring_beat.eq(ring_beat + beats)
                m.d.sync += begin_burst((beat_address + beats)[:-1], (beats_left - beats)[:-1])

        # Rings: where the next chunk goes.
        rings = {}
        for side in "ab":
            head = Signal(range(2 * config.scratchpad_beats), name=f"head_{side}")
            count = Signal(range(2 * CHUNK_SLOTS), name=f"chunks_{side}")
            used = Signal(range(2 * config.scratchpad_beats), name=f"used_{side}")
            kept = Signal(range(2 * CHUNK_SLOTS), name=f"kept_{side}")
            m.d.comb += [
                used.eq(head - getattr(self, f"tail_{side}")),
                kept.eq(count - getattr(self, f"left_{side}")),
            ]
            has_room = (used + getattr(walk, f"{side}_beats") <= config.scratchpad_beats) & (
                kept != CHUNK_SLOTS
            )
            rings[side] = (head, count, has_room)
        channel_slot = Signal(range(CHANNEL_SLOTS))
        channels_kept = Signal(range(CHANNEL_SLOTS + 1))
        channels_asked = Signal()

        # First row of this tile's panels and of the next one's, and how far into K the chunk is.
        panels = {
            side: Signal(config.address_bits, name=f"panel_{side}") for side in ("a", "b", "c")
        }
        after = {side: Signal(config.address_bits, name=f"after_{side}") for side in "ab"}
        depth = {side: Signal(26, name=f"depth_{side}") for side in "ab"}
        tile_cols = Mux(plan.b_wide, config.cols // 2, config.cols)

        def begin_rows(of: _Kind, first: Value, count: Value, size: Value, by: Value) -> None:
            m.d.sync += [
                kind.eq(of),
                row.eq(0),
                row_count.eq(count),
                row_bytes.eq(size),
                stride.eq(by),
            ]
            m.d.sync += begin_row(first, size)

        def step() -> None:
            m.d.comb += step_done.eq(1)
            m.next = "PLAN_A"
            with m.If(walk.last):
                m.next = "IDLE"
            with m.If(~walk.last_chunk):
                m.d.sync += [
                    depth["a"].eq(depth["a"] + (plan.chunk_words << plan.a_wide)),
                    depth["b"].eq(depth["b"] + (plan.chunk_words << plan.b_wide)),
                ]
            with m.Else():
                m.d.sync += [
                    depth["a"].eq(0),
                    depth["b"].eq(0),
                    panels["b"].eq(after["b"]),
                    panels["c"].eq(panels["c"] + tile_cols * CHANNEL_BYTES),
                ]
                with m.If(walk.last_col):
                    m.d.sync += [
                        panels["a"].eq(after["a"]),
                        panels["b"].eq(plan.b_address),
                        panels["c"].eq(plan.channels_address),
                    ]

        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.quiet.eq(~queue.o.valid)
                with m.If(self.start):
                    m.d.sync += [
                        panels["a"].eq(plan.a_address),
                        panels["b"].eq(plan.b_address),
                        panels["c"].eq(plan.channels_address),
                        depth["a"].eq(0),
                        depth["b"].eq(0),
                    ]
                    m.next = "PLAN_A"
            for side, of, following in (("a", _Kind.A, "PLAN_B"), ("b", _Kind.B, "PLAN_CHANNELS")):
                head, count, has_room = rings[side]
                with m.State(f"PLAN_{side.upper()}"):
                    with m.If(self.abort):
                        m.next = "IDLE"
                    with m.Elif(~getattr(walk, f"takes_{side}")):
                        m.next = following
                    with m.Elif(has_room):
                        begin_rows(
                            of,
                            panels[side] + depth[side],
                            walk.rows if side == "a" else walk.cols,
                            walk.words << getattr(plan, f"{side}_wide"),
                            getattr(plan, f"{side}_stride"),
                        )
                        m.d.sync += [
                            ring_beat.eq(head),
                            chunk_beat.eq(head),
                            slot.eq(count[:-1]),
                            head.eq(head + getattr(walk, f"{side}_beats")),
                            count.eq(count + 1),
                        ]
                        m.next = f"ROWS_{side.upper()}"
                with m.State(f"ROWS_{side.upper()}"):
                    m.d.comb += asks.eq(1)
                    with m.If(taken & ends_row & last_row):
                        with m.If(walk.first_chunk):
                            m.d.sync += after[side].eq(next_address)
                        m.next = following
                    with m.Elif(self.abort & ~self.ar.valid):
                        m.next = "IDLE"
            with m.State("PLAN_CHANNELS"):
                with m.If(self.abort):
                    m.next = "IDLE"
                with m.Elif(~walk.first_chunk | plan.raw):
                    step()
                with m.Elif(channels_kept != CHANNEL_SLOTS):
                    begin_rows(
                        _Kind.CHANNELS,
                        panels["c"],
                        Const(1),
                        walk.cols * CHANNEL_BYTES,
                        Const(0),
                    )
                    m.d.sync += [
                        ring_beat.eq(0),
                        slot.eq(channel_slot),
                        channel_slot.eq(channel_slot + 1),
                    ]
                    m.d.comb += channels_asked.eq(1)
                    m.next = "ROWS_CHANNELS"
            with m.State("ROWS_CHANNELS"):
                m.d.comb += asks.eq(1)
                with m.If(taken & ends_row):
                    step()
                with m.Elif(self.abort & ~self.ar.valid):
                    m.next = "IDLE"
        with m.If(channels_asked != self.channels_freed):
            m.d.sync += channels_kept.eq(Mux(channels_asked, channels_kept + 1, channels_kept - 1))
        return m

    def _receive(self, m: Module, queue: Queue) -> None:
        """Send each beat to where its burst says."""
        coming = Signal(_Burst(self.config))
        count = Signal(range(self.config.burst_beats + 1))
        beat = Signal(_places(self.config))
        arrives = Signal()
        completes = Signal()
        m.d.comb += [
            coming.eq(queue.o.payload),
            arrives.eq(self.beat_valid & queue.o.valid),
            queue.o.ready.eq(self.beat_valid & self.beat.last),
            beat.eq(coming.beat + count),
            # Of a chunk with an error nothing may come of: the stop takes a cycle longer.
            completes.eq(arrives & self.beat.last & coming.ends & ~self.beat.error),
            self.read_error.eq(arrives & self.beat.error),
            self.write_beat.eq(beat),
            self.write_slot.eq(coming.slot),
            self.write_offset.eq(coming.offset),
            self.channels_slot.eq(coming.slot),
            self.channels_beat.eq(beat),
            self.channels_write.eq(arrives & (coming.kind == _Kind.CHANNELS)),
            self.channels_ready.eq(completes & (coming.kind == _Kind.CHANNELS)),
        ]
        with m.If(arrives):
            m.d.sync += count.eq(Mux(self.beat.last, 0, count + 1))
        for side, kind, arrived, write in (
            ("a", _Kind.A, self.arrived_a, self.write_a),
            ("b", _Kind.B, self.arrived_b, self.write_b),
        ):
            # Both lanes of an element of two lanes keep the row, and each reads its half.
            chosen = Signal(len(write), name=f"lanes_{side}")
            with m.If(self.plan[f"{side}_wide"]):
                m.d.comb += chosen.eq(3 << (coming.row << 1))
            with m.Else():
                m.d.comb += chosen.eq(1 << coming.row)
            with m.If(arrives & (coming.kind == kind)):
                m.d.comb += write.eq(chosen)
            with m.If(completes & (coming.kind == kind)):
                m.d.sync += arrived.eq(arrived + 1)
