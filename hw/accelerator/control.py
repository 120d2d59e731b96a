"""The accelerator's registers on AXI4-Lite. All of this is ours; the bus rules are AMBA's."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.axi import AXI_LITE_PORTS, read_registers, take_writes
from oleaster.hw.block import Block
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import ADDRESS_BITS
from oleaster.models.accelerator.registers import (
    CAUSE_BITS,
    ID,
    REGISTERS,
    Cause,
    ControlBit,
    InterruptBit,
    Status,
    register_offset,
)

__all__ = ["EVENT_COUNTERS", "Control"]

EVENT_COUNTERS = {
    "completed": "COMPLETED",
    "word_taken": "WORDS",
    "wait_data": "WAIT_DATA",
    "wait_output": "WAIT_OUTPUT",
    "read_beat": "READ_BEATS",
    "write_beat": "WRITE_BEATS",
    "tile_done": "TILES",
}
"""Input port -> the register that counts the cycles in which it is high."""


class Control(Block[AcceleratorConfig]):
    """Identification, list address, doorbell, status, counters, interrupt.

    One write and one read may be under way; AW and W come in any order. A read shows the state of
    the cycle in which its address is taken. No output of the bus depends on an input of the same
    cycle; `doorbell`, `doorbell_busy` and `clear` look at `busy`.

    A write acts in the cycle in which both halves are there and the response before has left.
    SLVERR and no effect: an unmapped address, a write to a read-only register, a doorbell while
    STATUS.ERROR is set, a clear while `busy`. A doorbell while `busy` gets SLVERR too, and
    `doorbell_busy` tells of it. A doorbell bit beside a clear bit counts alone. Bits 1:0 of an
    address are not looked at.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    s_axi_*: the AXI4-Lite port
    list_address: Out(48)
        As written, stable while `doorbell` is high.
    doorbell: Out(1)
        Pulse: a list begins. `busy` must rise in the next cycle, or a second one could pass.
    doorbell_busy, clear: Out(1)
        Pulses.
    interrupt: Out(1)
        Level, from the cycle after `done` or `error` on.
    busy: In(1)
        Counted in CYCLES.
    done, error: In(1)
        Pulses: the list has come to its end, or has stopped for `cause`. The first error counts.
    cause: In(4)
        With `error`.
    descriptor_address: In(48)
        What DESCRIPTOR_LOW and _HIGH show.
    overflow, illegal: In(1)
        Set their bits of STATUS.
    completed, word_taken, wait_data, wait_output, read_beat, write_beat, tile_done: In(1)
        Each is counted in every cycle in which it is high; `doorbell` zeroes all counters.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "accelerator_control",
            config,
            {
                **AXI_LITE_PORTS,
                "list_address": Out(ADDRESS_BITS),
                "doorbell": Out(1),
                "doorbell_busy": Out(1),
                "clear": Out(1),
                "interrupt": Out(1),
                "busy": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(CAUSE_BITS),
                "descriptor_address": In(ADDRESS_BITS),
                "overflow": In(1),
                "illegal": In(1),
                **{event: In(1) for event in EVENT_COUNTERS},
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writable = {
            "LIST_LOW": Signal(32, name="list_low"),
            "LIST_HIGH": Signal(ADDRESS_BITS - 32, name="list_high"),
            "INTERRUPT_ENABLE": Signal(len(InterruptBit), name="interrupt_enable"),
        }
        flags = {
            bit: Signal(name=f"status_{bit.name.lower()}")
            for bit in (Status.DONE, Status.ERROR, Status.OVERFLOW, Status.ILLEGAL)
        }
        cause = Signal(CAUSE_BITS, name="stopped_by")
        self._write_channels(m, writable, flags[Status.ERROR])
        counters = self._counters(m)
        self._track(m, flags, cause)

        enable = writable["INTERRUPT_ENABLE"]
        m.d.comb += [
            self.list_address.eq(Cat(writable["LIST_LOW"], writable["LIST_HIGH"])),
            self.interrupt.eq(
                (flags[Status.DONE] & enable[InterruptBit.DONE])
                | (flags[Status.ERROR] & enable[InterruptBit.ERROR])
            ),
        ]
        bits = {**flags, Status.BUSY: self.busy, Status.INTERRUPT: self.interrupt}
        status = Cat(bits[bit] for bit in Status)
        of = self.config
        read_registers(
            m,
            self,
            REGISTERS,
            {
                **writable,
                **counters,
                "ID": Const(ID, 32),
                "ARRAY": Const(of.rows | of.cols << 16, 32),
                "BUS": Const(of.data_bits | of.address_bits << 16, 32),
                "SCRATCHPAD": Const(of.scratchpad_beats, 32),
                "BURSTS": Const(of.outstanding | of.burst_beats << 16, 32),
                "FORMATS": Const(of.formats_mask, 32),
                "STATUS": status,
                "CAUSE": cause,
                "DESCRIPTOR_LOW": self.descriptor_address[:32],
                "DESCRIPTOR_HIGH": self.descriptor_address[32:],
            },
        )
        return m

    def _write_channels(self, m: Module, writable: dict[str, Signal], error: Signal) -> None:
        write = take_writes(m, self)
        with m.Switch(write.word):
            for name, signal in writable.items():
                with m.Case(register_offset(name) >> 2):
                    write.into(m, signal)
            with m.Case(register_offset("CONTROL") >> 2), m.If(write.strobe[0]):
                with m.If(write.data[ControlBit.DOORBELL]):
                    m.d.comb += [
                        write.refused.eq(error | self.busy),
                        self.doorbell.eq(write.act & ~write.refused),
                        self.doorbell_busy.eq(write.act & self.busy & ~error),
                    ]
                with m.Elif(write.data[ControlBit.CLEAR]):
                    m.d.comb += [
                        write.refused.eq(self.busy),
                        self.clear.eq(write.act & ~write.refused),
                    ]
            with m.Default():
                m.d.comb += write.refused.eq(1)

    def _counters(self, m: Module) -> dict[str, Value]:
        counters: dict[str, Value] = {}
        for event, name in EVENT_COUNTERS.items():
            counter = Signal(32, name=f"count_{name.lower()}")
            with m.If(getattr(self, event)):
                m.d.sync += counter.eq(counter + 1)
            with m.If(self.doorbell):
                m.d.sync += counter.eq(0)
            counters[name] = counter
        cycles = Signal(64)
        with m.If(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.doorbell):
            m.d.sync += cycles.eq(0)
        return {**counters, "CYCLES_LOW": cycles[:32], "CYCLES_HIGH": cycles[32:]}

    def _track(self, m: Module, flags: dict[Status, Signal], cause: Signal) -> None:
        # Software's reset comes first, so that an event of the same cycle is not lost.
        with m.If(self.doorbell | self.clear):
            m.d.sync += [flag.eq(0) for flag in flags.values()]
            m.d.sync += cause.eq(Cause.NONE)
        for bit, event in (
            (Status.DONE, self.done),
            (Status.OVERFLOW, self.overflow),
            (Status.ILLEGAL, self.illegal),
        ):
            with m.If(event):
                m.d.sync += flags[bit].eq(1)
        with m.If(self.error & ~flags[Status.ERROR]):
            m.d.sync += [flags[Status.ERROR].eq(1), cause.eq(self.cause)]
