"""The output stage: tiles of sums in, C in memory."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from oleaster.hw.accelerator.layouts import AddressWord, ChannelLayout, WriteBeat
from oleaster.hw.accelerator.output_packer import BeatPacker
from oleaster.hw.accelerator.output_rows import OutputRows
from oleaster.hw.accelerator.output_steps import OutputSteps, StepWord
from oleaster.hw.accelerator.output_writes import OutputWrites, count
from oleaster.hw.accelerator.requantizer import FORMAT_SHAPE, Requantizer, has_format
from oleaster.hw.block import Block
from oleaster.hw.emit import named, place
from oleaster.hw.layouts import SumsWord
from oleaster.models.accelerator.config import CHANNEL_SLOTS, OUTPUT_SLOTS, AcceleratorConfig
from oleaster.models.accelerator.descriptor import MAX_SIZE

__all__ = ["OutputStage"]

_SUM_BITS = 32
_READ_CYCLES = 2
"""From a step to its sums and channel words at the requantiser: memory, then choice."""


class OutputStage(Block[AcceleratorConfig]):
    """Keeps sums, requantises and encodes them, and writes C (`requantize`, `encode_output`); ours.

    A row of a tile goes out when it and its channel words are there, and the write queue has room
    for all its beats, so nothing behind that waits. It takes a cycle for every `out_lanes`
    columns, and one more if its last bytes begin another beat. The last row that C has in a tile
    waits for the end of the tile. `StoreModel` in sim/ says which cycle.

    Members
    -------
    sums: stream of SumsWord(cols, 32), In
        Always ready. A tile may only come if one of OUTPUT_SLOTS is free, none in the cycle of
        `start`. `overflow` is not looked at.
    start: In(1)
        C begins; only when `idle`. What is kept is forgotten.
    abort: In(1)
        No further row begins.
    c_format, relu, wide_a, wide_b, m, n, c_address, c_stride: In
        As in the descriptor; wide_x: elements of X take two lanes. From `start` on they must
        stay.
    channels_write, channels_slot, channels_beat, channels_data: In
        A beat of channel words into its place. A slot has a tile's words; the first tile after
        `start` has slot 0.
    channels_ready: In(1)
        The next tile's channel words are complete; not in the cycle of `start`, never for int32.
    channels_freed: Out(1)
        The oldest slot is free again; never for int32.
    slot_freed: Out(1)
        The oldest tile's sums are no longer needed.
    aw, w: streams of AddressWord and WriteBeat, Out
    b_valid, b_error: In(1)
        A burst was answered, with an error.
    write_error: Out(1)
    done: Out(1)
        All of C is written and answered. From the cycle after `start` on low, before it high.
    idle: Out(1)
        No row has begun that is not answered.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "output_stage",
            config,
            {
                "sums": In(stream.Signature(SumsWord(config.cols, _SUM_BITS))),
                "start": In(1),
                "abort": In(1),
                "c_format": In(FORMAT_SHAPE),
                "relu": In(1),
                "wide_a": In(1),
                "wide_b": In(1),
                "m": In(range(MAX_SIZE + 1)),
                "n": In(range(MAX_SIZE + 1)),
                "c_address": In(config.address_bits),
                "c_stride": In(32),
                "channels_write": In(1),
                "channels_slot": In(range(CHANNEL_SLOTS)),
                "channels_beat": In(range(config.channel_beats)),
                "channels_data": In(config.data_bits),
                "channels_ready": In(1),
                "channels_freed": Out(1),
                "slot_freed": Out(1),
                "aw": Out(stream.Signature(AddressWord(config))),
                "w": Out(stream.Signature(WriteBeat(config))),
                "b_valid": In(1),
                "b_error": In(1),
                "write_error": Out(1),
                "done": Out(1),
                "idle": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = {"start": self.start, "c_format": self.c_format}
        for name in ("wide_a", "wide_b", "m", "n", "c_address", "c_stride"):
            config[name] = getattr(self, name)
        rows = OutputRows(self.config)
        steps = OutputSteps(self.config)
        may_begin = Signal()
        place(m, "rows", rows, platform, **config)
        place(m, "steps", steps, platform, c_format=self.c_format)
        m.d.comb += [
            steps.rows.payload.eq(rows.rows.payload),
            steps.rows.valid.eq(rows.rows.valid & may_begin),
            rows.rows.ready.eq(steps.rows.ready & may_begin),
        ]

        is_raw = has_format(self.c_format, ["int32"])
        arrived = Signal(range(self.config.rows + 1))
        slot = Signal(range(OUTPUT_SLOTS))
        read_slot = Signal(range(OUTPUT_SLOTS))
        table_slot = Signal(range(CHANNEL_SLOTS))
        sums = self._sums(m, Cat(arrived[: len(steps.step.row)], slot), steps, read_slot)
        channels = self._channels(m, steps, table_slot)

        requantizer = Requantizer(self.config.out_lanes)
        packer = BeatPacker(self.config)
        step, valid = self._delayed(m, "read", steps.step, steps.step_valid, _READ_CYCLES)
        place(
            m,
            "requantizer",
            requantizer,
            platform,
            sums=sums,
            channels=channels,
            count=step.count,
            c_format=self.c_format,
            relu=self.relu,
        )
        step, valid = self._delayed(m, "requantized", step, valid, requantizer.LATENCY)
        place(
            m,
            "packer",
            packer,
            platform,
            data=requantizer.data,
            pack=step.pack,
            pack_valid=valid,
        )
        writes = OutputWrites(self.config)
        place(
            m,
            "writes",
            writes,
            platform,
            burst=steps.burst,
            burst_valid=steps.burst_valid,
            beat=packer.beat,
            beat_valid=packer.beat_valid,
            b_valid=self.b_valid,
        )
        connect(m, writes.aw, flipped(self.aw))
        connect(m, writes.w, flipped(self.w))

        row = rows.rows.payload
        begins = Signal()
        tile_begun = Signal()
        complete = Signal(range(OUTPUT_SLOTS + 1))  # tiles with a row that has not begun
        tables = Signal(range(CHANNEL_SLOTS + 1))
        room = Signal(range(self.config.write_queue_beats + 1), init=self.config.write_queue_beats)
        m.d.comb += [
            may_begin.eq(
                ~self.abort
                & ~self.start  # or a row that an abort left would begin
                # Without `last` the tile's end would be taken for rows of the next one.
                & ((complete != 0) | (~row.last & (row.row < arrived)))
                & (is_raw | (tables != 0))
                & (row.beats <= room)
            ),
            begins.eq(rows.rows.valid & rows.rows.ready),
            tile_begun.eq(begins & row.last),
            self.sums.ready.eq(1),
            self.slot_freed.eq(steps.tile_read),
            self.channels_freed.eq(steps.tile_read & ~is_raw),
            self.write_error.eq(self.b_valid & self.b_error),
            self.idle.eq(~steps.step_valid & writes.answered),
            self.done.eq(rows.exhausted & self.idle),
        ]
        count(m, complete, self.sums.valid & self.sums.payload.last, tile_begun)
        count(m, tables, self.channels_ready, tile_begun & ~is_raw)
        count(m, room, self.w.valid & self.w.ready, Mux(begins, row.beats, 0))
        with m.If(self.sums.valid):
            m.d.sync += arrived.eq(Mux(self.sums.payload.last, 0, arrived + 1))
        m.d.sync += [
            slot.eq(slot + (self.sums.valid & self.sums.payload.last)),
            read_slot.eq(read_slot + steps.tile_read),
            table_slot.eq(table_slot + steps.tile_read),
        ]
        with m.If(self.start):
            m.d.sync += [
                register.eq(0)
                for register in (complete, tables, arrived, slot, read_slot, table_slot)
            ]
        return m

    def _sums(self, m: Module, address: Value, steps: OutputSteps, slot: Value) -> Signal:
        """The step's sums, _READ_CYCLES later."""
        c = self.config
        part = data.ArrayLayout(_SUM_BITS, c.out_lanes)
        row = data.ArrayLayout(part, c.cols // c.out_lanes)
        depth = OUTPUT_SLOTS << len(steps.step.row)
        m.submodules.sums = memory = Memory(shape=row, depth=depth, init=[])
        write = named(memory.write_port(), "sums_write")
        read = named(memory.read_port(), "sums_read")
        sums = self.sums.payload.sums
        words = list(sums)
        if c.lane_b.group == 2:
            for place_ in range(c.cols // 2):
                words[place_] = Mux(self.wide_b, sums[2 * place_], sums[place_])
        m.d.comb += [
            write.addr.eq(address),
            write.data.eq(Cat(words)),
            write.en.eq(self.sums.valid),
            read.addr.eq(Cat(steps.step.row, slot)),
            read.en.eq(steps.step_valid),
        ]
        index = Signal.like(steps.step.part, name="sums_part")
        chosen = Signal(part, name="sums_chosen", reset_less=True)
        m.d.sync += [index.eq(steps.step.part), chosen.eq(read.data[index])]
        return chosen

    def _channels(self, m: Module, steps: OutputSteps, slot: Value) -> Signal:
        """The step's channel words, _READ_CYCLES later."""
        c = self.config
        # A word has two beats, which come one by one.
        shape = data.ArrayLayout(c.data_bits, 2)
        depth = CHANNEL_SLOTS << len(steps.step.part)
        m.submodules.channels = memory = Memory(shape=shape, depth=depth, init=[])
        write = named(memory.write_port(granularity=1), "table_write")
        read = named(memory.read_port(), "table_read")
        m.d.comb += [
            write.addr.eq(Cat(self.channels_beat[1:], self.channels_slot)),
            write.data.eq(Cat(self.channels_data, self.channels_data)),
            write.en.eq(Mux(self.channels_write, Mux(self.channels_beat[0], 0b10, 0b01), 0)),
            read.addr.eq(Cat(steps.step.part, slot)),
            read.en.eq(steps.step_valid),
        ]
        chosen = Signal(
            data.ArrayLayout(ChannelLayout(), c.out_lanes),
            name="channels_chosen",
            reset_less=True,
        )
        m.d.sync += chosen.eq(read.data)
        return chosen

    def _delayed(
        self, m: Module, name: str, step: Value, valid: Value, cycles: int
    ) -> tuple[Any, Value]:
        for cycle in range(cycles):
            later = Signal(StepWord(self.config), name=f"{name}_step{cycle}", reset_less=True)
            later_valid = Signal(name=f"{name}_valid{cycle}")
            m.d.sync += [later.eq(step), later_valid.eq(valid)]
            step, valid = later, later_valid
        return step, valid
