"""Reference = cycle model = RTL of the accelerator: memory, registers, every bus handshake."""

from dataclasses import replace

import numpy as np
import pytest

from oleaster.designs import design_files
from oleaster.hw.accelerator.top import OliveAccelerator
from oleaster.hw.emit import write_design
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.accelerator.execute import run_list
from oleaster.models.accelerator.registers import Cause, ControlBit, Status, register_offset
from oleaster.models.accelerator.requantize import ChannelWords, channel_table
from oleaster.models.quantize import quantize
from oleaster.sim.accelerator.device import CycleDevice
from oleaster.sim.accelerator.memory import PERIOD, MemoryTiming
from oleaster.sim.accelerator.model import list_timing
from oleaster.sim.driver import AcceleratorError, Driver
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_accelerator
from oleaster.sim.rtl.benches.accelerator_lists import RandomList, random_list, wrong_lists
from oleaster.sim.rtl.cosim import run_bench

pytestmark = pytest.mark.rtl

SMALL = AcceleratorConfig(
    rows=4, cols=4, data_bits=64, scratchpad_beats=8, outstanding=4, burst_beats=8
)
# Lanes of one kind only on one side, a narrower bus address, no power of two.
UNEVEN = AcceleratorConfig(
    rows=6,
    cols=8,
    data_bits=128,
    address_bits=32,
    scratchpad_beats=16,
    outstanding=2,
    burst_beats=16,
    formats_a=("ovp4-flint", "int4"),
    formats_b=("ovp8", "ovp4-flint"),
)
CONFIGS = {"small": SMALL, "uneven": UNEVEN}
MEMORY_BYTES = 1 << 20
COUNTERS = ("words", "wait_data", "wait_output", "read_beats", "write_beats", "tiles")


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def design(config, tmp_path_factory):
    return write_design(OliveAccelerator(config), tmp_path_factory.mktemp("design"))


@pytest.fixture(scope="module")
def device(design):
    with RtlDevice(build_accelerator(*design), memory_bytes=MEMORY_BYTES) as made:
        yield made


def get(device, name):
    return device.read_register(register_offset(name))


def status(device):
    bits = get(device, "STATUS")
    return {bit for bit in Status if bits >> bit & 1}


def start(device, memory, address):
    device.memory[: memory.size] = memory
    device.memory[memory.size :] = 0
    device.writes[:] = 0
    for name, value in (
        ("LIST_LOW", address & 0xFFFFFFFF),
        ("LIST_HIGH", address >> 32),
        ("INTERRUPT_ENABLE", 3),
        ("CONTROL", 1),
    ):
        assert device.write(register_offset(name), value) == 0


def finish(device):
    device.wait(1_000_000)
    moved = device.counts()
    device.run(100)
    assert device.counts()[1:] == moved[1:], "the bus moved after the interrupt"


def descriptors(made):
    return [descriptor for _, descriptor in made.placed]


def check_complete(device, made, config):
    """The list that `device` has run is as the reference has it, no byte written twice or lost."""
    expected = made.expect(config)
    size = made.memory.size
    np.testing.assert_array_equal(device.writes[:size], expected.writes)
    assert not device.writes[size:].any()
    np.testing.assert_array_equal(device.memory[:size], expected.memory)
    flags = {Status.OVERFLOW} if expected.overflow else set()
    flags |= {Status.ILLEGAL} if expected.illegal else set()
    assert status(device) == {Status.DONE, Status.INTERRUPT, *flags}
    assert get(device, "COMPLETED") == len(made.placed)


def check_stopped(device, before, after, cause, completed, address):
    """It stopped after so many descriptors. Of what changes from `before` to `after`, both as
    `RandomList.expect` gives them, there may be some."""
    size = before.memory.size
    writes = device.writes[:size]
    assert not device.writes[size:].any()
    assert (writes >= before.writes).all(), "a lost write"
    assert (writes <= after.writes).all(), "a write too many"
    expected = np.where(writes == after.writes, after.memory, before.memory)
    np.testing.assert_array_equal(device.memory[:size], expected)
    assert status(device) - {Status.OVERFLOW, Status.ILLEGAL} == {Status.ERROR, Status.INTERRUPT}
    assert Cause(get(device, "CAUSE")) == cause
    assert get(device, "COMPLETED") == completed
    assert get(device, "DESCRIPTOR_LOW") | get(device, "DESCRIPTOR_HIGH") << 32 == address
    assert device.write(register_offset("CONTROL"), 1 << ControlBit.CLEAR) == 0
    assert not status(device)


def check_works(device, config, seed):
    made = random_list(np.random.default_rng(seed), config)
    start(device, made.memory, made.address)
    finish(device)
    check_complete(device, made, config)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_random_lists(device, config, share):
    """Bytes, registers and each handshake; some 400 descriptors in all."""
    device.record()
    for seed in range(40):
        rng = np.random.default_rng([seed, int(10 * share)])
        made = random_list(rng, config)
        timing = MemoryTiming.random(int(rng.integers(1, 120)), share, seed)
        device.set_timing(timing)
        start(device, made.memory, made.address)
        finish(device)
        check_complete(device, made, config)
        expected = list_timing(descriptors(made), config, timing, trace=True)
        assert get(device, "CYCLES_LOW") == expected.cycles
        found = {name: get(device, name.upper()) for name in COUNTERS}
        assert found == {name: getattr(expected, name) for name in COUNTERS}
        trace = {name: cycles.tolist() for name, cycles in device.trace().items()}
        assert trace == expected.handshakes
    device.record(False)


def test_chunks_of_one_side_that_begin_inside_the_other_sides_beats(device, config):
    """A narrow, on whole beats; B of two lanes, anywhere: what fits B's rings sets the chunks."""
    device.set_timing(MemoryTiming(1))
    rng = np.random.default_rng(4)
    m, n, beat = 2 * config.rows, 2 * config.cols, config.beat_bytes
    for k in range(3 * beat, 14 * beat, beat // 4 + 1):
        a_stride, b_stride = -(-k // beat) * beat, k + 1 + beat
        a, b = 4096, 4096 + m * a_stride + 3
        c = -(-(b + n * b_stride) // 4096) * 4096
        memory = rng.integers(0, 256, c + 4 * m * n).astype(np.uint8)
        memory.resize(-(-memory.size // 4096) * 4096)
        of = Descriptor(a, b, c, m, k, n, a_stride, b_stride, 4 * n, "int4", "ovp8")
        memory[64:128] = np.frombuffer(of.pack(), np.uint8)
        made = RandomList(memory, [(64, of)])
        start(device, made.memory, made.address)
        finish(device)
        check_complete(device, made, config)


def test_wrong_lists(device, config):
    device.set_timing(MemoryTiming.random(5, 0.2, 0))
    for name, made, address, cause in wrong_lists(np.random.default_rng(1), config):
        outcome = run_list(made.memory.copy(), address, config)
        assert outcome.cause == cause, name
        start(device, made.memory, address)
        finish(device)
        done = made.expect(config, outcome.ran)
        found = outcome.descriptor_address
        check_stopped(device, done, done, cause, outcome.completed, found)
    check_works(device, config, 2)


@pytest.mark.parametrize("timing", [MemoryTiming(1), MemoryTiming.random(30, 0.5, 1)])
@pytest.mark.parametrize("side", ["read", "write"])
def test_an_error_on_any_beat(device, config, side, timing):
    """On each beat that is read, and for each burst that is written."""
    device.set_timing(timing)
    rng = np.random.default_rng(8)
    made = random_list(rng, config, 3, largest=1, deepest=1)
    while any(descriptor.c_format == "int32" for _, descriptor in made.placed):
        made = random_list(rng, config, 3, largest=1, deepest=1)
    expected = [made.expect(config, made.placed[:count]) for count in range(4)]
    ends = []  # of each descriptor, in beats or bursts
    for count in range(1, 4):
        of = list_timing(descriptors(made)[:count], config, timing)
        ends.append(of.read_beats if side == "read" else len(of.handshakes["b"]))
    fail = device.fail_read if side == "read" else device.fail_write
    cause = Cause.READ_RESPONSE if side == "read" else Cause.WRITE_RESPONSE
    for number in range(ends[-1]):
        stopped = int(np.searchsorted(ends, number, side="right"))
        fail(number, 2 + number % 2)
        start(device, made.memory, made.address)
        finish(device)
        around = expected[stopped : stopped + 2]
        check_stopped(device, *around, cause, stopped, made.placed[stopped][0])
    check_works(device, config, 9)


def test_no_row_takes_channel_words_that_came_with_an_error(device, config):
    """Sums wait for their tile's words, so a row would begin as soon as those seem complete."""
    slow = np.ones(PERIOD, bool)
    slow[::20] = False
    timing = MemoryTiming(10, r=slow)
    device.set_timing(timing)
    size = 1 << 15
    memory = np.random.default_rng(3).integers(0, 256, size).astype(np.uint8)
    table = channel_table(np.arange(9), np.full(9, 1), np.zeros(9, int)).reshape(-1)
    memory[0x4000 : 0x4000 + table.size] = table
    d = Descriptor(
        0x1000, 0x2000, 0x3000, 4, 2, 9, 8, 8, 16, "ovp4-flint", "ovp4-flint", "int8", 0x4000
    )
    memory[64:128] = np.frombuffer(d.pack(), np.uint8)
    right = memory.copy()
    run_list(right, 64, config)
    beats = list_timing([d], config, timing).read_beats
    assert beats > 20
    for beat in range(beats):
        device.fail_read(beat)
        start(device, memory, 64)
        finish(device)
        assert Cause(get(device, "CAUSE")) == Cause.READ_RESPONSE
        written = device.writes[:size] > 0
        np.testing.assert_array_equal(device.memory[:size][written], right[written])
        device.reset()


def test_reset_in_flight(device, config):
    timing = MemoryTiming.random(20, 0.3, 2)
    device.set_timing(timing)
    made = random_list(np.random.default_rng(10), config, 2, largest=2, deepest=2)
    cycles = list_timing(descriptors(made), config, timing).cycles
    for stop in range(0, cycles, max(1, cycles // 60)):
        start(device, made.memory, made.address)
        device.run(stop)
        device.reset(1)
        assert not status(device)
        device.run(3)
    check_works(device, config, 11)


def test_the_driver_sees_no_difference(device, config):
    """Circuit and cycle model under the same program, errors included."""
    timing = MemoryTiming.random(9, 0.3, 3)
    device.set_timing(timing)
    model = CycleDevice(config, timing, MEMORY_BYTES)
    drivers = [Driver(device), Driver(model)]
    for seed in range(6):
        made = random_list(np.random.default_rng([seed, 12]), config)
        right = descriptors(made)
        reports = []
        for driver in drivers:
            driver.reset_memory()
            driver.allocate(made.memory.size)
            driver.device.memory[: made.memory.size] = made.memory
            reports.append(driver.run(right))
            wrong = [*right[:-1], replace(right[-1], m=0)]
            with pytest.raises(AcceleratorError) as error:
                driver.run(wrong)
            reports.append((str(error.value), error.value.completed))
        assert reports[:2] == reports[2:]
        np.testing.assert_array_equal(device.memory, model.memory)


def test_bench(config, design, tmp_path):
    result = run_bench("accelerator", *design, folder=tmp_path)
    assert (result.passed, result.failed) == (10, 0), result.log.read_text()[-3000:]


@pytest.mark.parametrize(("operands", "c"), [("ovp4-flint", "int32"), ("ovp8", "ovp8")])
def test_the_default_design_is_as_busy_as_the_model_says(operands, c):
    """256 x 256 x 256 on 16 x 16 PEs, 128 bits, 100 cycles of latency."""
    config, timing = AcceleratorConfig(), MemoryTiming(100)
    rng = np.random.default_rng(1)
    a, b = (quantize(rng.standard_t(4, (256, 256)), operands, scale=0.5) for _ in range(2))
    words = ChannelWords(*(np.full(256, value) for value in (7, 40_000, 22)))
    channels = {} if c == "int32" else {"channels": words}
    results = []
    for device in (
        CycleDevice(config, timing, MEMORY_BYTES),
        RtlDevice(build_accelerator(*design_files("accelerator")), timing, MEMORY_BYTES),
    ):
        driver = Driver(device)
        descriptor = driver.gemm(a, b, c, **channels)
        if isinstance(device, RtlDevice):
            device.record()
        results.append((driver.run([descriptor]), driver.download_c(descriptor)))
    model, rtl = results
    assert rtl[0] == model[0]
    np.testing.assert_array_equal(rtl[1], model[1])
    assert 2 * rtl[0].words / rtl[0].cycles > 0.95
    expected = list_timing([descriptor], config, timing, trace=True)
    found = {name: cycles.tolist() for name, cycles in device.trace().items()}
    assert found == expected.handshakes
    device.close()
