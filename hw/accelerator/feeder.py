"""From the scratchpads into the array: one pair of operand words after the other."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import GemmPlan
from oleaster.hw.accelerator.walk import TileWalk
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.hw.layouts import OperandWord
from oleaster.models.accelerator.config import CHUNK_SLOTS, OUTPUT_SLOTS, AcceleratorConfig

__all__ = ["Feeder"]


class Feeder(Block[AcceleratorConfig]):
    """Walks through the GEMM as chunks arrive and offers their words.

    Words follow each other every two cycles, across chunks and tiles, as long as the next chunk is
    there. A tile's last word is held until the output stage has room for its sums, so that sums
    never wait in the array.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    plan: In(GemmPlan)
    start: In(1)
    abort: In(1)
        Offer no more.
    arrived_a, arrived_b: In; tail_a, tail_b, left_a, left_b: Out
        As in Loader.
    read: Out(1)
        Read all lanes' scratchpads.
    slot_a, position_a, slot_b, position_b: Out
        As in ScratchpadLane, for even lanes; odd ones of elements of two lanes read a byte on.
    codes_a, codes_b: In
        What was read, 8 bits a lane.
    a, b: streams of OperandWord, Out
    slot_freed: In(1)
        The output stage has read a tile's sums.
    wait_data, wait_output: Out(1)
        The array is idle because chunks have not come; because a tile cannot end for want of room.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        ring = range(2 * config.scratchpad_beats)
        chunks = range(2 * CHUNK_SLOTS)
        position = range(config.scratchpad_beats * config.beat_bytes)
        super().__init__(
            "feeder",
            config,
            {
                "plan": In(GemmPlan(config)),
                "start": In(1),
                "abort": In(1),
                "arrived_a": In(chunks),
                "arrived_b": In(chunks),
                "tail_a": Out(ring),
                "tail_b": Out(ring),
                "left_a": Out(chunks),
                "left_b": Out(chunks),
                "read": Out(1),
                "slot_a": Out(range(CHUNK_SLOTS)),
                "slot_b": Out(range(CHUNK_SLOTS)),
                "position_a": Out(position),
                "position_b": Out(position),
                "codes_a": In(8 * config.rows),
                "codes_b": In(8 * config.cols),
                "a": Out(stream.Signature(OperandWord(config.lane_a, config.rows))),
                "b": Out(stream.Signature(OperandWord(config.lane_b, config.cols))),
                "slot_freed": In(1),
                "wait_data": Out(1),
                "wait_output": Out(1),
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
        words_left = Signal(24)
        full = Signal()  # a word was read and not yet taken
        ends_tile = Signal()  # it is the tile's last
        offered = Signal()
        taken = Signal()
        odd = Signal()  # the array is at the odd elements of the word that it took
        slots = Signal(range(OUTPUT_SLOTS + 1), init=OUTPUT_SLOTS)
        m.d.comb += [
            offered.eq(full & (~ends_tile | (slots != 0))),
            self.wait_output.eq(full & ends_tile & (slots == 0) & ~odd),
            # The array takes both words or none.
            taken.eq(offered & self.a.ready & self.b.ready),
        ]
        m.d.sync += odd.eq(taken)
        ended = Signal()
        m.d.comb += ended.eq(taken & ends_tile)
        with m.If(ended != self.slot_freed):
            m.d.sync += slots.eq(Mux(ended, slots - 1, slots + 1))

        has_chunks = Signal()
        m.d.comb += has_chunks.eq((self.arrived_a != self.left_a) & (self.arrived_b != self.left_b))
        with m.If(taken):
            m.d.sync += full.eq(0)
        with m.FSM(name="state"):
            with m.State("IDLE"), m.If(self.start):
                m.next = "CHUNK"
            with m.State("CHUNK"):
                m.d.comb += self.wait_data.eq(~has_chunks & ~full & ~odd)
                with m.If(self.abort):
                    m.next = "IDLE"
                with m.Elif(has_chunks):
                    m.d.sync += [
                        words_left.eq(walk.words),
                        self.position_a.eq(Cat(Const(0, byte_bits), self.tail_a)),
                        self.position_b.eq(Cat(Const(0, byte_bits), self.tail_b)),
                    ]
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += self.read.eq((~full | taken) & ~self.abort)
                with m.If(self.abort):
                    m.next = "IDLE"
                with m.If(self.read):
                    m.d.sync += [
                        full.eq(1),
                        ends_tile.eq((words_left == 1) & walk.last_chunk),
                        words_left.eq(words_left - 1),
                        self.position_a.eq(self.position_a + (Const(1, 2) << plan.a_wide)),
                        self.position_b.eq(self.position_b + (Const(1, 2) << plan.b_wide)),
                    ]
                    with m.If(words_left == 1):
                        m.d.comb += step_done.eq(1)
                        m.next = "CHUNK"
                        with m.If(walk.last):
                            m.next = "IDLE"
        for side, drops in (("a", walk.drops_a), ("b", walk.drops_b)):
            tail, left = getattr(self, f"tail_{side}"), getattr(self, f"left_{side}")
            m.d.comb += getattr(self, f"slot_{side}").eq(left)
            with m.If(step_done & drops):
                m.d.sync += [
                    tail.eq(tail + getattr(walk, f"{side}_beats")),
                    left.eq(left + 1),
                ]

        # Lanes beyond the tile's rows are fed zeros. The walk may be a step ahead of the word.
        for side, count, codes, port in (
            ("a", walk.rows, self.codes_a, self.a),
            ("b", walk.cols, self.codes_b, self.b),
        ):
            lanes = Signal(range(max(config.rows, config.cols) + 1), name=f"lanes_{side}")
            with m.If(self.read):
                m.d.sync += lanes.eq(count << getattr(plan, f"{side}_wide"))
            masked: list[Value] = [
                codes.word_select(i, 8) & (lanes > i).replicate(8) for i in range(len(codes) // 8)
            ]
            m.d.comb += [
                Value.cast(port.payload.codes).eq(Cat(masked)),
                port.payload.last.eq(ends_tile),
                port.valid.eq(offered),
            ]
            lane = config.lane_a if side == "a" else config.lane_b
            if lane.select_bits:
                m.d.comb += port.payload.format.eq(getattr(plan, f"{side}_select"))
        return m
