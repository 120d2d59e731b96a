# amaranth: UnusedElaboratable=no
"""The AXI4-Lite port of the accelerator's registers, in Amaranth's simulator."""

import pytest
from amaranth.sim import Simulator
from control_bus import CHANGING, CONFIG, DOORBELL, OKAY, SLVERR, WRITABLE, Bus, run

from oleaster.hw.accelerator.control import Control
from oleaster.hw.axi import AXI_LITE_PORTS
from oleaster.hw.emit import verilog
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.registers import REGISTERS, register_offset


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


def test_the_verilog_has_the_standard_ports_and_names_its_parameters():
    text = verilog(Control(CONFIG))
    header = text[text.index("module ") : text.index(";", text.index("module "))]
    assert Control(CONFIG).module_name in header
    for port in AXI_LITE_PORTS:
        assert port in header
    other = Control(AcceleratorConfig(rows=6, cols=8, data_bits=64, address_bits=36))
    assert other.module_name != Control(CONFIG).module_name
