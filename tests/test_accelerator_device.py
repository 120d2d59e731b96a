"""The harness around the accelerator's Verilog: its memory's timing, and the rules it watches.

A copying engine (axi_copy.v) stands in for the accelerator: it can break each rule when told to.
"""

import gc
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_accelerator, config_of
from oleaster.sim.rtl.toolchain import ToolError

pytestmark = pytest.mark.rtl

CONFIG = AcceleratorConfig(
    rows=4, cols=4, data_bits=64, scratchpad_beats=8, outstanding=4, burst_beats=16
)
MEMORY_BYTES = 1 << 16
SOURCE, DESTINATION, BEATS, BURSTS, BREACH, START, ERRORS = range(0, 28, 4)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("copy") / "axi_copy.json"
    path.write_text(json.dumps({"parameters": asdict(CONFIG)}))
    return path


@pytest.fixture(scope="module")
def executable(manifest):
    return build_accelerator(Path(__file__).with_name("axi_copy.v"), manifest)


def copy(device, source=0x1000, destination=0x2100, beats=8, bursts=3, breach=0):
    """Copy random bytes; returns them."""
    values = {SOURCE: source, DESTINATION: destination, BEATS: beats, BURSTS: bursts}
    rng = np.random.default_rng(source)
    data = rng.integers(0, 256, min(8 * beats * bursts, MEMORY_BYTES - source)).astype(np.uint8)
    device.memory[source : source + len(data)] = data
    for register, value in {**values, BREACH: breach, START: 1}.items():
        device.write_register(register, value)
    assert device.interrupt_within(100_000)
    return data


def expected_trace(timing, beats, bursts):
    """What MemoryTiming's rules make of the engine: all reads at once, then all writes."""
    ar, r, aw, w, b = (timing.channels[name] for name in ("ar", "r", "aw", "w", "b"))
    cycles = {name: [] for name in ("ar", "r", "aw", "w", "b")}

    def then(name, channel, earliest):
        last = cycles[name][-1] + 1 if cycles[name] else 0
        cycles[name].append(channel.nth(max(earliest, last)))

    for _ in range(bursts):
        then("ar", ar, 0)
    for burst in range(bursts):
        for _ in range(beats):
            then("r", r, cycles["ar"][burst] + timing.latency)
    for _ in range(bursts):
        then("aw", aw, cycles["r"][-1] + 1)
    for burst in range(bursts):
        for _ in range(beats):
            then("w", w, cycles["aw"][burst] + 1)
        then("b", b, cycles["w"][-1] + timing.latency)
    return cycles


@pytest.mark.parametrize(
    "timing",
    [
        MemoryTiming(1),
        MemoryTiming(100),
        MemoryTiming.with_bandwidth(17, read=0.3, write=0.7),
        *(MemoryTiming.random(1 + 9 * seed, 0.2 + 0.15 * seed, seed) for seed in range(5)),
    ],
)
def test_timing_is_the_models(executable, timing):
    with RtlDevice(executable, timing, MEMORY_BYTES) as device:
        device.record()
        for beats, bursts in ((1, 1), (16, 4), (5, 3)):
            copy(device, beats=beats, bursts=bursts)
            device.run(3)
            found = device.trace()
            expected = expected_trace(timing, beats, bursts)
            assert {name: cycles.tolist() for name, cycles in found.items()} == expected


def test_copies_and_counts(executable):
    with RtlDevice(executable, MemoryTiming(3), MEMORY_BYTES) as device:
        assert device.memory.shape == device.writes.shape == (MEMORY_BYTES,)
        assert not device.memory.any()
        data = copy(device, 0x1000, 0x2100, 16, 2)
        expected = np.zeros(MEMORY_BYTES, np.uint8)
        expected[0x1000:0x1100] = expected[0x2100:0x2200] = data
        np.testing.assert_array_equal(device.memory, expected)
        written = np.zeros(MEMORY_BYTES, np.uint8)
        written[0x2100:0x2200] = 1
        np.testing.assert_array_equal(device.writes, written)
        assert device.counts()[1:] == (2, 32, 2, 32)
        copy(device, 0x1100, 0x2180, 16, 1)
        written[0x2180:0x2200] += 1
        np.testing.assert_array_equal(device.writes, written)
        assert device.counts().write_bursts == 3


def test_a_write_is_seen_once_it_is_answered(executable):
    with RtlDevice(executable, MemoryTiming(1000), MEMORY_BYTES) as device:
        device.memory[0x1000] = 7
        for register, value in ((SOURCE, 0x1000), (DESTINATION, 0x2000), (BEATS, 1), (BURSTS, 1)):
            device.write_register(register, value)
        device.write_register(START, 1)
        while not device.counts().write_beats:
            device.run(1)
        device.run(990)
        assert device.memory[0x2000] == 0
        device.run(20)
        assert device.memory[0x2000] == 7


def test_register_responses(executable):
    with RtlDevice(executable, memory_bytes=MEMORY_BYTES) as device:
        assert device.write(SOURCE, 0xFFFFFFFF) == 0
        assert device.read(SOURCE) == (0xFFFFFFFF, 0)
        assert device.read_register(SOURCE) == 0xFFFFFFFF
        assert device.write(0x40, 1) == 2
        assert device.read(0x40)[1] == 2


def test_injected_faults_and_addresses_beyond_memory(executable):
    with RtlDevice(executable, MemoryTiming(3), MEMORY_BYTES) as device:

        def errors():
            found = device.read_register(ERRORS)
            return found & 0xFFFF, found >> 16

        device.fail_read(9)
        data = copy(device)
        assert errors() == (1, 0)
        copied = device.memory[0x2100 : 0x2100 + len(data)]
        wrong = np.flatnonzero((copied != data).reshape(-1, 8).any(axis=1))
        assert wrong.tolist() == [9]
        copy(device)
        assert errors() == (0, 0)

        device.writes[:] = 0
        device.fail_write(1, 3)
        device.fail_read(0, 3)
        copy(device)
        assert errors() == (1, 1)
        written = np.flatnonzero(device.writes)
        assert written.tolist() == [*range(0x2100, 0x2140), *range(0x2180, 0x21C0)]

        copy(device, source=MEMORY_BYTES - 64, beats=8, bursts=2)
        assert errors() == (8, 0)
        copy(device, destination=MEMORY_BYTES - 64, beats=8, bursts=2)
        assert errors() == (0, 1)
        copy(device, destination=MEMORY_BYTES, beats=8, bursts=2)
        assert errors() == (0, 2)


def test_reset_forgets_what_is_in_flight(executable):
    with RtlDevice(executable, MemoryTiming(50), MEMORY_BYTES) as device:
        for stop in range(0, 140, 7):
            device.fail_read(1000)
            for register, value in (
                *((SOURCE, 0x1000), (DESTINATION, 0x2000), (BEATS, 8), (BURSTS, 2)),
                *((BREACH, 0), (START, 1)),
            ):
                device.write_register(register, value)
            device.run(stop)
            device.reset()
            device.writes[:] = 0
            data = copy(device, destination=0x3000)
            np.testing.assert_array_equal(device.memory[0x3000 : 0x3000 + len(data)], data)
            assert np.flatnonzero(device.writes).size == len(data)
            assert not device.read_register(ERRORS)


SLOW = MemoryTiming.random(4, 0.5, 1)


@pytest.mark.parametrize(
    ("message", "copied"),
    [
        ("arvalid fell before arready", {"breach": 1}),
        ("the payload of ar changed", {"breach": 2}),
        ("awvalid fell before awready", {"breach": 3}),
        ("the payload of w changed", {"breach": 4}),
        ("wvalid fell before wready", {"breach": 5}),
        ("wlast is 1 in beat 2 of 8", {"breach": 6}),
        ("wlast is 0 in beat 8 of 8", {"breach": 7}),
        ("wvalid is high before the burst's address was taken", {"breach": 8}),
        ("ar has burst 1, size 2, lock 0; right are 1, 3, 0", {"breach": 9}),
        ("aw has burst 0, size 3, lock 0; right are 1, 3, 0", {"breach": 10}),
        ("rready and bready must be high", {"breach": 11}),
        ("arvalid is high while busy is low", {"breach": 12}),
        ("busy fell while bursts were in flight", {"breach": 13}),
        ("busy depends on inputs of the same cycle", {"breach": 14}),
        ("araddr 0x1004 is no multiple of a beat", {"breach": 15}),
        ("a write of register 0x14 was not answered", {"breach": 16}),
        ("ar: 8 beats from 0x1fe0 cross a 4 kB boundary", {"source": 0x1FE0}),
        ("aw: 8 beats from 0x2fc8 cross a 4 kB boundary", {"destination": 0x2FC8}),
        ("ar: 17 beats are beyond burst_beats", {"beats": 17}),
        ("more reads than `outstanding`", {"bursts": 5, "beats": 2}),
    ],
)
def test_breaches_are_named(executable, message, copied):
    timing = MemoryTiming(100) if "more" in message else SLOW
    with RtlDevice(executable, timing, MEMORY_BYTES) as device:

        def copy_and_go_on():
            copy(device, **copied)
            device.run(1)

        with pytest.raises(ToolError, match=message):
            copy_and_go_on()


def test_ends_are_clean(executable):
    with pytest.raises(ValueError, match="memory_bytes is 100; it must be a multiple of 4096"):
        RtlDevice(executable, memory_bytes=100)
    device = RtlDevice(executable, memory_bytes=MEMORY_BYTES)
    assert not device.interrupt_within(10)
    process = device._process
    device.memory[5] = 7
    memory = device.memory
    device.close()
    assert process.returncode is not None
    assert memory[5] == 7
    with pytest.raises(ToolError, match="the simulation is over"):
        device.run(1)
    device = RtlDevice(executable, memory_bytes=MEMORY_BYTES)
    device._process.kill()
    with pytest.raises(ToolError, match="the simulation stopped: exit code -9"):
        device.run(1)
    device = RtlDevice(executable, memory_bytes=MEMORY_BYTES)
    process = device._process
    del device
    gc.collect()
    assert process.returncode is not None


def test_config_comes_from_the_manifest(manifest):
    assert config_of(json.loads(manifest.read_text())["parameters"]) == CONFIG
