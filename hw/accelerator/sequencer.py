"""Runs a list of descriptors: fetches each, checks it, and has the other units do it."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import AddressWord, DescriptorLayout, GemmPlan, ReadBeat
from oleaster.hw.accelerator.requantizer import has_format
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    ADDRESS_BITS,
    DESCRIPTOR_BYTES,
    FIELDS,
    FORMAT_CODES,
    MAX_SIZE,
    element_bits,
)
from oleaster.models.accelerator.registers import CAUSE_BITS, Cause
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS
from oleaster.models.formats import get_format

__all__ = ["DescriptorCheck", "Sequencer"]

_SIZE_BITS = MAX_SIZE.bit_length()


class DescriptorCheck(Block[AcceleratorConfig]):
    """What is wrong with a descriptor, if anything, and its plan; combinational.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    descriptor: In(DescriptorLayout)
    cause: Out
        A `Cause`, NONE if it can run.
    plan: Out(GemmPlan)
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "descriptor_check",
            config,
            {
                "descriptor": In(DescriptorLayout()),
                "cause": Out(CAUSE_BITS),
                "plan": Out(GemmPlan(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, given, plan = self.config, self.descriptor, self.plan
        beat_bytes = config.beat_bytes
        bytes_bits = beat_bytes.bit_length() - 1

        reserved = Signal()
        m.d.comb += reserved.eq(
            sum(
                (given[field.name] != 0 for field in FIELDS if field.name.startswith("reserved")),
                start=Const(0, 1),
            )
            + sum(
                given[field.name][config.address_bits :] != 0
                for field in FIELDS
                if field.name.endswith("_address")
            )
            != 0
        )
        wrong_format = Signal()
        m.d.comb += wrong_format.eq(
            ~(
                has_format(given.a_format, config.formats_a)
                & has_format(given.b_format, config.formats_b)
                & has_format(given.c_format, OUTPUT_FORMATS)
            )
        )
        raw = given.c_format == FORMAT_CODES["int32"]
        even_n = given.n + given.n[0]
        row = Signal(36)  # bytes of a row of C
        eight = has_format(given.c_format, tuple(n for n in OUTPUT_FORMATS if element_bits(n) == 8))
        m.d.comb += row.eq(Mux(raw, given.n << 2, Mux(eight, even_n, even_n >> 1)))
        wrong_size = Signal()
        m.d.comb += wrong_size.eq(
            sum(
                ((size == 0) | (size[_SIZE_BITS:] != 0) for size in (given.m, given.k, given.n)),
                start=(given.m > 1) & (given.c_stride < row),
            )
            != 0
        )
        unaligned = Signal()
        m.d.comb += unaligned.eq(
            Mux(
                raw,
                (given.c_address[:2] != 0) | (given.c_stride[:2] != 0),
                given.channels_address[:bytes_bits] != 0,
            )
        )
        with m.If(reserved):
            m.d.comb += self.cause.eq(Cause.RESERVED)
        with m.Elif(wrong_format):
            m.d.comb += self.cause.eq(Cause.FORMAT)
        with m.Elif(wrong_size):
            m.d.comb += self.cause.eq(Cause.SIZE)
        with m.Elif(unaligned):
            m.d.comb += self.cause.eq(Cause.ALIGNMENT)

        m.d.comb += [
            plan.m.eq(given.m),
            plan.n.eq(given.n),
            plan.words.eq((given.k + 1) >> 1),
            plan.c_address.eq(given.c_address),
            plan.c_stride.eq(given.c_stride),
            plan.c_format.eq(given.c_format),
            plan.raw.eq(raw),
            plan.relu.eq(given.relu),
            plan.channels_address.eq(given.channels_address),
        ]
        chunks = []
        for side, lane in (("a", config.lane_a), ("b", config.lane_b)):
            address, stride = given[f"{side}_address"], given[f"{side}_stride"]
            wide = has_format(
                given[f"{side}_format"], [n for n in lane.formats if get_format(n).lanes == 2]
            )
            spare = Signal(name=f"{side}_spare")
            chunk = Signal(range(config.scratchpad_beats * beat_bytes), name=f"{side}_chunk")
            m.d.comb += [
                plan[f"{side}_address"].eq(address),
                plan[f"{side}_stride"].eq(stride),
                plan[f"{side}_wide"].eq(wide),
                plan[f"{side}_spare"].eq(spare),
                spare.eq((address[:bytes_bits] | stride[:bytes_bits]) != 0),
                # Whole beats of both operands, so that every chunk of a row begins with one.
                chunk.eq(((config.scratchpad_beats // 2 - spare) >> wide) << bytes_bits),
            ]
            chunks.append(chunk)
            with m.Switch(given[f"{side}_format"]):
                for name in lane.formats:
                    with m.Case(FORMAT_CODES[name]):
                        m.d.comb += plan[f"{side}_select"].eq(lane.select[name])
        m.d.comb += plan.chunk_words.eq(Mux(chunks[0] < chunks[1], chunks[0], chunks[1]))
        return m


class Sequencer(Block[AcceleratorConfig]):
    """Runs one list at a time; the state of the run is its alone.

    Every unit that works on a descriptor is reset before it starts, so nothing is left over from a
    run that stopped.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    doorbell, doorbell_busy: In(1); list_address: In
        As in Control.
    busy, done, error, completed, overflow, illegal: Out(1); cause, descriptor_address: Out
        As in Control.
    ar: stream of AddressWord, Out
    beat_valid, beat: In
        A beat that was read.
    plan: Out(GemmPlan)
    reset, start, abort: Out(1)
        To the units that work on the descriptor.
    read_error, write_error: In(1)
    quiet: In(1)
        Nothing that was asked for or begun is under way.
    finished: In(1)
        All of C is written.
    array_overflow, array_illegal: In(1)
        The array's sticky flags.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "sequencer",
            config,
            {
                "doorbell": In(1),
                "doorbell_busy": In(1),
                "list_address": In(ADDRESS_BITS),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
                "descriptor_address": Out(ADDRESS_BITS),
                "completed": Out(1),
                "overflow": Out(1),
                "illegal": Out(1),
                "ar": Out(stream.Signature(AddressWord(config))),
                "beat_valid": In(1),
                "beat": In(ReadBeat(config)),
                "plan": Out(GemmPlan(config)),
                "reset": Out(1),
                "start": Out(1),
                "abort": Out(1),
                "read_error": In(1),
                "write_error": In(1),
                "quiet": In(1),
                "finished": In(1),
                "array_overflow": In(1),
                "array_illegal": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        descriptor = Signal(DescriptorLayout())
        check = place(m, "check", DescriptorCheck(config), platform, descriptor=descriptor)
        m.d.comb += self.plan.eq(check.plan)

        address = Signal(ADDRESS_BITS)
        cause = Signal(CAUSE_BITS)
        m.d.comb += [self.cause.eq(cause), self.descriptor_address.eq(address)]
        # Brent's search for a cycle: the address at the last power of two of descriptors.
        tortoise = Signal(ADDRESS_BITS)
        length = Signal(32)
        power = Signal(32)

        fetching = Signal()  # reads are of a descriptor
        wrong = Signal(CAUSE_BITS)
        with m.If(self.read_error | (fetching & self.beat_valid & self.beat.error)):
            m.d.comb += wrong.eq(Cause.READ_RESPONSE)
        with m.Elif(self.write_error):
            m.d.comb += wrong.eq(Cause.WRITE_RESPONSE)
        with m.Elif(self.doorbell_busy):
            m.d.comb += wrong.eq(Cause.DOORBELL)
        running = Signal()

        bits = config.data_bits
        following = descriptor.next_address
        with m.FSM(name="state") as fsm:
            m.d.comb += [
                self.busy.eq(~fsm.ongoing("IDLE")),
                running.eq(self.busy & ~fsm.ongoing("FAIL") & (cause == Cause.NONE)),
            ]
            with m.State("IDLE"), m.If(self.doorbell):
                m.d.sync += [
                    address.eq(self.list_address),
                    tortoise.eq(self.list_address),
                    length.eq(0),
                    power.eq(1),
                    cause.eq(Cause.NONE),
                ]
                m.next = "VET"
            with m.State("VET"):
                m.next = "ASK"
                with m.If(address[config.address_bits :] != 0):
                    m.d.sync += cause.eq(Cause.RESERVED)
                    m.next = "FAIL"
                with m.Elif((address == 0) | (address % DESCRIPTOR_BYTES != 0)):
                    m.d.sync += cause.eq(Cause.ALIGNMENT)
                    m.next = "FAIL"
            with m.State("ASK"):
                m.d.comb += [
                    self.ar.valid.eq(1),
                    self.ar.payload.address.eq(address),
                    self.ar.payload.length.eq(DESCRIPTOR_BYTES * 8 // bits - 1),
                ]
                with m.If(self.ar.ready):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.comb += fetching.eq(1)
                with m.If(self.beat_valid):
                    if bits == DESCRIPTOR_BYTES * 8:
                        m.d.sync += descriptor.as_value().eq(self.beat.data)
                    else:
                        shifted = descriptor.as_value()[bits:]
                        m.d.sync += [
                            descriptor.as_value()[: len(shifted)].eq(shifted),
                            descriptor.as_value()[-bits:].eq(self.beat.data),
                        ]
                    with m.If(self.beat.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.reset.eq(1)
                m.next = "START"
                with m.If(cause != Cause.NONE):
                    m.next = "FAIL"
                with m.Elif(check.cause != Cause.NONE):
                    m.d.sync += cause.eq(check.cause)
                    m.next = "FAIL"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(cause != Cause.NONE):
                    m.next = "STOP"
                with m.Elif(self.finished):
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += [
                    self.completed.eq(1),
                    self.overflow.eq(self.array_overflow),
                    self.illegal.eq(self.array_illegal),
                ]
                m.d.sync += length.eq(length + 1)
                with m.If(length + 1 == power):
                    m.d.sync += [tortoise.eq(following), power.eq(power << 1), length.eq(0)]
                with m.If((cause != Cause.NONE) | (wrong != Cause.NONE)):
                    m.next = "FAIL"
                with m.Elif(following == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += address.eq(following)
                    m.next = "VET"
                    with m.If(following == tortoise):
                        m.d.sync += cause.eq(Cause.LOOP)
                        m.next = "FAIL"
            with m.State("STOP"):
                m.d.comb += self.abort.eq(1)
                with m.If(self.quiet):
                    m.d.comb += [
                        self.overflow.eq(self.array_overflow),
                        self.illegal.eq(self.array_illegal),
                    ]
                    m.next = "FAIL"
            with m.State("FAIL"):
                # What was cut off must not go on once `abort` is low.
                m.d.comb += [self.error.eq(1), self.reset.eq(1)]
                m.next = "IDLE"

        # The first thing that went wrong is the cause.
        with m.If(running & (wrong != Cause.NONE)):
            m.d.sync += cause.eq(wrong)
        return m
