# amaranth: UnusedElaboratable=no
"""The accelerator's registers over AXI4-Lite, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator

from oleaster.hw.accelerator.control import AXI_LITE_PORTS, EVENT_COUNTERS, Control
from oleaster.hw.emit import verilog
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import FORMAT_CODES
from oleaster.models.accelerator.registers import (
    REGISTERS,
    Cause,
    ControlBit,
    Status,
    register_offset,
)

OKAY, SLVERR = 0, 2
CONFIG = AcceleratorConfig(
    rows=6, cols=8, data_bits=64, address_bits=36, scratchpad_beats=16, formats_b=("int8", "ovp8")
)
DOORBELL, CLEAR = 1 << ControlBit.DOORBELL, 1 << ControlBit.CLEAR
IDENTIFICATION = ("ID", "ARRAY", "BUS", "SCRATCHPAD", "FORMATS", "BURSTS")
CHANGING = [register for register in REGISTERS if register.name not in IDENTIFICATION]
WRITABLE = {"LIST_LOW": 32, "LIST_HIGH": 16, "INTERRUPT_ENABLE": 2}


class Bus:
    """A master, and what the unit's pulses did each cycle."""

    def __init__(self, ctx, unit, seed=0, pause=0.0):
        self.ctx, self.unit, self.pause = ctx, unit, pause
        self.random = random.Random(seed)
        self.pulses = {"doorbell": 0, "doorbell_busy": 0, "clear": 0}
        self.addresses = []

    async def tick(self):
        for name in self.pulses:
            self.pulses[name] += self.ctx.get(getattr(self.unit, name))
        if self.ctx.get(self.unit.doorbell):
            self.addresses.append(self.ctx.get(self.unit.list_address))
        await self.ctx.tick()

    def set(self, **values):
        for name, value in values.items():
            self.ctx.set(getattr(self.unit, name), value)

    def get(self, name):
        return self.ctx.get(getattr(self.unit, name))

    async def pulse(self, cycles=1, **values):
        self.set(**values)
        for _ in range(cycles):
            await self.tick()
        self.set(**dict.fromkeys(values, 0))

    async def send(self, channel, delay, **payload):
        """A coroutine step by step: yields each cycle until the channel's handshake is done."""
        for _ in range(delay):
            yield
        self.set(**{f"s_axi_{channel}valid": 1}, **payload)
        while not self.get(f"s_axi_{channel}ready"):
            yield
        yield  # the handshake's own cycle
        self.set(**{f"s_axi_{channel}valid": 0}, **dict.fromkeys(payload, 0))

    def wait(self):
        delay = 0
        while self.random.random() < self.pause:
            delay += 1
        return delay

    async def write(self, address, data, strobe=15, delays=None):
        """The response. delays: cycles before AW, W and, once there is a response, bready."""
        aw, w, b = delays or (self.wait(), self.wait(), self.wait())
        halves = [
            self.send("aw", aw, s_axi_awaddr=address),
            self.send("w", w, s_axi_wdata=data, s_axi_wstrb=strobe),
        ]
        while halves:
            for half in list(halves):
                try:
                    await anext(half)
                except StopAsyncIteration:
                    halves.remove(half)
            if halves:
                await self.tick()
        return (await self.response("b", b, "bresp"))[0]

    async def read(self, address, delays=None):
        """(data, response)"""
        ar, r = delays or (self.wait(), self.wait())
        async for _ in self.send("ar", ar, s_axi_araddr=address):
            await self.tick()
        return await self.response("r", r, "rdata", "rresp")

    async def response(self, channel, delay, *names):
        for _ in range(20):
            if self.get(f"s_axi_{channel}valid"):
                break
            await self.tick()
        held = [self.get(f"s_axi_{name}") for name in names]
        for _ in range(delay):
            await self.tick()
            assert self.get(f"s_axi_{channel}valid"), "valid fell before the handshake"
            assert [self.get(f"s_axi_{name}") for name in names] == held
        self.set(**{f"s_axi_{channel}ready": 1})
        await self.tick()
        self.set(**{f"s_axi_{channel}ready": 0})
        assert not self.get(f"s_axi_{channel}valid"), "one request, two responses"
        return held

    async def value(self, name):
        data, response = await self.read(register_offset(name))
        assert response == OKAY
        return data

    async def status(self):
        value = await self.value("STATUS")
        assert value < 1 << len(Status)
        return {bit for bit in Status if value >> bit & 1}

    async def command(self, bits, strobe=15):
        return await self.write(register_offset("CONTROL"), bits, strobe)


def run(test, config=CONFIG, **options):
    unit = Control(config)

    async def testbench(ctx):
        await test(Bus(ctx, unit, **options))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("config", [CONFIG, AcceleratorConfig()])
def test_identification_reads_back_the_configuration(config):
    async def test(bus):
        assert (await bus.value("ID")).to_bytes(4, "little") == b"OLV\x01"
        array, width, bursts, formats = [
            await bus.value(name) for name in ("ARRAY", "BUS", "BURSTS", "FORMATS")
        ]
        assert (array & 0xFFFF, array >> 16) == (config.rows, config.cols)
        assert (width & 0xFFFF, width >> 16) == (config.data_bits, config.address_bits)
        assert (bursts & 0xFFFF, bursts >> 16) == (config.outstanding, config.burst_beats)
        assert await bus.value("SCRATCHPAD") == config.scratchpad_beats
        for name, code in FORMAT_CODES.items():
            assert (formats >> code & 1) == (name in config.formats_a)
            assert (formats >> (16 + code) & 1) == (name in config.formats_b)

    run(test, config)


def test_after_reset_all_else_reads_zero():
    async def test(bus):
        for register in CHANGING:
            assert await bus.value(register.name) == 0
        assert not bus.get("interrupt")

    run(test)


def test_every_address_answers_as_its_register_says():
    async def test(bus):
        access = {register.offset: register.access for register in REGISTERS}
        for address in range(0, 256, 4):
            known = access.get(address)
            _, response = await bus.read(address)
            assert response == (OKAY if known else SLVERR)
            # No bit that does anything in CONTROL.
            response = await bus.write(address, 0xFFFF_FF00)
            assert response == (OKAY if known in ("rw", "wo") else SLVERR)
        for register in CHANGING:
            expected = {"LIST_LOW": 0xFFFF_FF00, "LIST_HIGH": 0xFF00}.get(register.name, 0)
            assert await bus.value(register.name) == expected
        assert not any(bus.pulses.values())

    run(test)


@pytest.mark.parametrize("strobe", range(16))
def test_strobes_choose_bytes_of_writable_registers(strobe):
    mask = sum(255 << 8 * i for i in range(4) if strobe >> i & 1)

    async def test(bus):
        for name, width in WRITABLE.items():
            for first, second in ((0x1234_5678, 0xFEDC_BA99), (0xFFFF_FFFF, 0)):
                assert await bus.write(register_offset(name), first) == OKAY
                assert await bus.write(register_offset(name), second, strobe) == OKAY
                expected = (first & ~mask | second & mask) & ((1 << width) - 1)
                assert await bus.value(name) == expected

    run(test)


@pytest.mark.parametrize("seed", range(6))
def test_both_channels_in_any_order_and_with_any_pauses(seed):
    """Writes and reads of two masters at once against a plain dictionary."""
    unit = Control(CONFIG)
    names = list(WRITABLE)
    state = dict.fromkeys(names, 0)
    history = {name: {0} for name in names}
    reads = 0

    async def writer(ctx):
        bus = Bus(ctx, unit, seed, pause=0.5)
        for _ in range(150):
            name = bus.random.choice(names)
            value = bus.random.getrandbits(32)
            history[name].add(value & ((1 << WRITABLE[name]) - 1))
            assert await bus.write(register_offset(name), value) == OKAY
            state[name] = value & ((1 << WRITABLE[name]) - 1)

    async def reader(ctx):
        nonlocal reads
        bus = Bus(ctx, unit, seed + 100, pause=0.3)
        for _ in range(150):
            name = bus.random.choice(names)
            assert await bus.value(name) in history[name]
            reads += 1

    async def check(ctx):
        await ctx.tick().repeat(4000)
        bus = Bus(ctx, unit)
        for name in names:
            assert await bus.value(name) == state[name]

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    for testbench in (writer, reader, check):
        simulator.add_testbench(testbench)
    simulator.run_until(5000e-6)
    assert reads == 150


@pytest.mark.parametrize("order", [(0, 0), (0, 3), (3, 0), (0, 1), (1, 0)])
def test_a_write_waits_for_the_response_before(order):
    async def test(bus):
        bus.set(s_axi_awvalid=1, s_axi_wvalid=1, s_axi_wstrb=15)
        bus.set(s_axi_awaddr=register_offset("LIST_LOW"), s_axi_wdata=7)
        await bus.tick()
        bus.set(s_axi_awvalid=0, s_axi_wvalid=0)
        await bus.tick()
        assert bus.get("s_axi_bvalid")
        # A second one is taken but not done while bready is low.
        sends = [
            bus.send("aw", order[0], s_axi_awaddr=register_offset("CONTROL")),
            bus.send("w", order[1], s_axi_wdata=DOORBELL, s_axi_wstrb=15),
        ]
        for _ in range(8):
            for send in sends:
                await anext(send, None)
            await bus.tick()
            assert bus.get("s_axi_bvalid")
            assert not bus.get("doorbell")
        bus.set(s_axi_bready=1)
        for _ in range(4):
            await bus.tick()
        assert bus.pulses["doorbell"] == 1
        assert bus.addresses == [7]

    run(test)


def test_a_read_waits_until_the_answer_before_is_taken():
    async def test(bus):
        bus.set(s_axi_arvalid=1, s_axi_araddr=register_offset("ARRAY"))
        await bus.tick()
        bus.set(s_axi_araddr=0xFC)
        for _ in range(4):
            assert not bus.get("s_axi_arready")
            assert bus.get("s_axi_rdata") == CONFIG.rows | CONFIG.cols << 16
            await bus.tick()
        assert await bus.response("r", 0, "rdata", "rresp") == [0x0008_0006, OKAY]
        await bus.tick()
        bus.set(s_axi_arvalid=0)
        assert await bus.response("r", 2, "rdata", "rresp") == [0, SLVERR]

    run(test)


@pytest.mark.parametrize("address", [0, 0x40, 0xFFFF_FFFF_FFC0, 0x1234_5678_9AB1])
def test_the_doorbell_rings_once_with_the_list_address(address):
    async def test(bus):
        await bus.write(register_offset("LIST_LOW"), address & 0xFFFF_FFFF)
        await bus.write(register_offset("LIST_HIGH"), address >> 32)
        assert await bus.command(DOORBELL, strobe=14) == OKAY
        assert bus.pulses["doorbell"] == 0
        assert await bus.command(DOORBELL) == OKAY
        assert bus.pulses == {"doorbell": 1, "doorbell_busy": 0, "clear": 0}
        assert bus.addresses == [address]
        assert await bus.value("CONTROL") == 0

    run(test)


def test_a_doorbell_while_busy_is_refused_and_told():
    async def test(bus):
        bus.set(busy=1)
        assert await bus.command(DOORBELL) == SLVERR
        assert bus.pulses == {"doorbell": 0, "doorbell_busy": 1, "clear": 0}
        assert await bus.command(DOORBELL, strobe=14) == OKAY
        assert await bus.command(CLEAR) == SLVERR
        assert bus.pulses == {"doorbell": 0, "doorbell_busy": 1, "clear": 0}
        bus.set(busy=0)
        assert await bus.command(DOORBELL) == OKAY
        assert bus.pulses["doorbell"] == 1

    run(test)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause])
def test_an_error_shuts_the_doorbell_until_it_is_cleared(cause):
    async def test(bus):
        await bus.write(register_offset("INTERRUPT_ENABLE"), 2)
        await bus.command(DOORBELL)
        bus.set(busy=1, descriptor_address=0xABCD_1234_5640)
        await bus.tick()
        await bus.pulse(error=1, cause=cause, overflow=1, illegal=1)
        # Only the first error counts.
        await bus.pulse(error=1, cause=1 + cause % 8)
        bus.set(busy=0)
        assert bus.get("interrupt")
        flags = {Status.ERROR, Status.OVERFLOW, Status.ILLEGAL, Status.INTERRUPT}
        for _ in range(2):
            assert await bus.status() == flags
            assert await bus.value("CAUSE") == cause
            assert await bus.value("DESCRIPTOR_LOW") == 0x1234_5640
            assert await bus.value("DESCRIPTOR_HIGH") == 0xABCD
            assert await bus.command(DOORBELL) == SLVERR
            assert await bus.command(DOORBELL | CLEAR) == SLVERR
            bus.set(busy=1)
            assert await bus.command(DOORBELL) == SLVERR
            assert await bus.command(CLEAR) == SLVERR
            bus.set(busy=0)
        assert bus.pulses == {"doorbell": 1, "doorbell_busy": 0, "clear": 0}
        assert await bus.command(CLEAR, strobe=14) == OKAY
        assert await bus.status() == flags
        assert await bus.command(CLEAR) == OKAY
        assert bus.pulses["clear"] == 1
        assert await bus.status() == set()
        assert await bus.value("CAUSE") == Cause.NONE
        assert not bus.get("interrupt")
        assert await bus.command(DOORBELL) == OKAY
        assert bus.pulses["doorbell"] == 2

    run(test)


@pytest.mark.parametrize("enable", range(4))
@pytest.mark.parametrize("event", ["done", "error"])
def test_the_interrupt_is_what_is_enabled_of_done_and_error(event, enable):
    async def test(bus):
        await bus.write(register_offset("INTERRUPT_ENABLE"), enable)
        await bus.command(DOORBELL)
        await bus.pulse(busy=1, cycles=3)
        assert not bus.get("interrupt")
        await bus.pulse(**{event: 1}, cause=Cause.SIZE)
        expected = enable >> (event == "error") & 1
        assert bus.get("interrupt") == expected
        status = {Status[event.upper()]} | ({Status.INTERRUPT} if expected else set())
        assert await bus.status() == status
        # Enabling afterwards raises it, disabling lowers it.
        await bus.write(register_offset("INTERRUPT_ENABLE"), 3)
        assert bus.get("interrupt")
        await bus.write(register_offset("INTERRUPT_ENABLE"), 0)
        assert not bus.get("interrupt")

    run(test)


def test_the_doorbell_wipes_what_the_list_before_left():
    async def test(bus):
        await bus.command(DOORBELL)
        events = dict.fromkeys(EVENT_COUNTERS, 1)
        await bus.pulse(cycles=5, busy=1, done=1, overflow=1, illegal=1, **events)
        assert await bus.status() == {Status.DONE, Status.OVERFLOW, Status.ILLEGAL}
        for name in (*EVENT_COUNTERS.values(), "CYCLES_LOW"):
            assert await bus.value(name) == 5
        assert await bus.command(DOORBELL) == OKAY
        assert await bus.status() == set()
        for name in (*EVENT_COUNTERS.values(), "CYCLES_LOW"):
            assert await bus.value(name) == 0

    run(test)


def test_an_event_in_the_cycle_of_a_clear_is_not_lost():
    async def test(bus):
        bus.set(overflow=1, illegal=1)
        await bus.command(CLEAR)
        await bus.command(DOORBELL)
        assert bus.pulses["doorbell"] == bus.pulses["clear"] == 1
        assert await bus.status() == {Status.OVERFLOW, Status.ILLEGAL}

    run(test)


@pytest.mark.parametrize("event", EVENT_COUNTERS)
def test_each_counter_counts_its_own_event(event):
    async def test(bus):
        await bus.command(DOORBELL)
        total = 0
        for cycles in (1, 4, 2):
            await bus.pulse(cycles=cycles, **{event: 1})
            await bus.tick()
            total += cycles
        for name in EVENT_COUNTERS.values():
            assert await bus.value(name) == (total if name == EVENT_COUNTERS[event] else 0)
        await bus.command(CLEAR)
        assert await bus.value(EVENT_COUNTERS[event]) == total

    run(test)


def test_cycles_are_those_in_which_busy_is_high():
    async def test(bus):
        await bus.command(DOORBELL)
        await bus.pulse(cycles=17, busy=1)
        await bus.pulse(cycles=4, word_taken=1)
        await bus.pulse(cycles=6, busy=1)
        assert await bus.value("CYCLES_LOW") == 23
        bus.set(busy=1)
        assert Status.BUSY in await bus.status()
        before = await bus.value("CYCLES_LOW")
        assert await bus.value("CYCLES_LOW") > before
        assert await bus.value("CYCLES_HIGH") == 0

    run(test)


def test_the_descriptor_address_is_shown_live():
    async def test(bus):
        for address in (0x8000_0000_0040, 0x40, 0xFFFF_FFFF_FFC0):
            bus.set(descriptor_address=address)
            assert await bus.value("DESCRIPTOR_LOW") == address & 0xFFFF_FFFF
            assert await bus.value("DESCRIPTOR_HIGH") == address >> 32

    run(test)


def test_the_verilog_has_the_standard_ports_and_names_its_parameters():
    text = verilog(Control(CONFIG))
    header = text[text.index("module ") : text.index(";", text.index("module "))]
    assert Control(CONFIG).module_name in header
    for port in AXI_LITE_PORTS:
        assert port in header
    other = Control(AcceleratorConfig(rows=6, cols=8, data_bits=64, address_bits=36))
    assert other.module_name != Control(CONFIG).module_name
