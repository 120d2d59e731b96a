# amaranth: UnusedElaboratable=no
"""A master on the AXI4-Lite port of the accelerator's registers, in Amaranth's simulator."""

import random

from amaranth.sim import Simulator

from oleaster.hw.accelerator.control import Control
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.registers import REGISTERS, ControlBit, Status, register_offset

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
