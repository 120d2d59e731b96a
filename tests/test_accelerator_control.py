# amaranth: UnusedElaboratable=no
"""What the accelerator's registers do, in Amaranth's simulator."""

import pytest
from control_bus import CHANGING, CLEAR, CONFIG, DOORBELL, OKAY, SLVERR, run

from oleaster.hw.accelerator.control import EVENT_COUNTERS
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import FORMAT_CODES
from oleaster.models.accelerator.registers import Cause, Status, register_offset


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
