"""The driver runs lists on the device of the models."""

from dataclasses import replace

import numpy as np
import pytest
from driver_cases import CONFIG, device, matrix, ones

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import FORMAT_CODES, Descriptor
from oleaster.models.accelerator.registers import Cause, ControlBit, Status, register_offset
from oleaster.models.accelerator.requantize import (
    OUTPUT_FORMATS,
    ChannelWords,
    encode_output,
    requantize,
)
from oleaster.models.formats import get_format
from oleaster.sim.accelerator.device import CycleDevice
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import ListTiming, list_timing
from oleaster.sim.driver import AcceleratorError, DeviceError, DeviceTimeout, Driver, read_config

CLEAR = 1 << ControlBit.CLEAR


def counted(ran, config, timing):
    """A stand-in for the cycle model with a number of its own in each counter."""
    return ListTiming(
        cycles=(1 << 32) + 1000 * len(ran),
        words=2,
        wait_data=3,
        wait_output=4,
        read_beats=5,
        write_beats=6,
        tiles=7,
    )


def test_the_configuration_is_read_from_the_registers():
    assert read_config(device()) == CONFIG
    default = AcceleratorConfig()
    driver = Driver(device(default))
    assert driver.config == replace(
        default,
        formats_a=tuple(n for n in FORMAT_CODES if n in default.formats_a),
        formats_b=tuple(n for n in FORMAT_CODES if n in default.formats_b),
    )


@pytest.mark.parametrize("found", [0, 0x0256_4C4F, 0xFFFF_FFFF])
def test_another_device_is_refused(found):
    class Other(CycleDevice):
        def read_register(self, offset):
            return found

    with pytest.raises(DeviceError, match=rf"ID is {found:#010x}; an accelerator .* 0x01564c4f"):
        Driver(Other(CONFIG))


@pytest.mark.parametrize("a_format", CONFIG.formats_a)
@pytest.mark.parametrize("b_format", CONFIG.formats_b)
def test_a_gemm_from_matrices_to_sums(a_format, b_format):
    driver = Driver(device())
    a, b = matrix(9, 13, a_format), matrix(7, 13, b_format, 1)
    driver.device.memory[:] = 0xA5
    descriptor = driver.gemm(a, b)
    report = driver.run([descriptor])
    values = [q.number_format.decode(q.codes).astype(np.int64) for q in (a, b)]
    assert np.array_equal(driver.download_c(descriptor), values[0] @ values[1].T)
    assert not report.overflow
    assert not report.illegal


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("c_format", [name for name in OUTPUT_FORMATS if name != "int32"])
def test_a_layers_output_is_the_next_ones_operand(c_format, relu):
    """Two descriptors in one list: the second reads the first one's C as its A."""
    driver = Driver(device())
    rng = np.random.default_rng(3)
    a, b, b2 = matrix(5, 6, "int8"), matrix(9, 6, "int8", 1), matrix(4, 9, "int8", 2)
    words = ChannelWords(
        rng.integers(-300, 300, 9), rng.integers(1, 1 << 16, 9), rng.integers(20, 24, 9)
    )
    first = driver.gemm(a, b, c_format, words, relu)
    address, stride = driver.upload_matrix(b2)
    second = Descriptor(
        a_address=first.c_address,
        b_address=address,
        c_address=driver.allocate(5 * 16),
        m=5,
        k=9,
        n=4,
        a_stride=first.c_stride,
        b_stride=stride,
        c_stride=16,
        a_format=c_format,
        b_format="int8",
    )
    driver.run([first, second])
    x, y, z = (q.number_format.decode(q.codes).astype(np.int64) for q in (a, b, b2))
    packed = encode_output(requantize(x @ y.T, *words, relu), c_format)
    fmt = get_format(c_format)
    assert np.array_equal(driver.download_c(first), fmt.unpack(packed))
    assert (fmt.decode(fmt.unpack(packed)) < 0).any() != relu
    expected = fmt.decode(fmt.unpack(packed)).astype(np.int64) @ z.T
    assert np.array_equal(driver.download_c(second), expected)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (1, 31, 3), (3, 1, 2)])
def test_single_rows_and_columns(m, k, n):
    driver = Driver(device())
    a, b = matrix(m, k, "ovp8"), matrix(n, k, "ovp8", 1)
    descriptor = driver.gemm(a, b)
    driver.run([descriptor])
    values = [q.number_format.decode(q.codes).astype(np.int64) for q in (a, b)]
    assert np.array_equal(driver.download_c(descriptor), values[0] @ values[1].T)


def test_the_report_has_every_counter(monkeypatch):
    monkeypatch.setattr("oleaster.sim.accelerator.device.list_timing", counted)
    driver = Driver(device())
    report = driver.run([ones(driver)] * 3, max_cycles=1 << 40)
    assert report.cycles == (1 << 32) + 3000
    counters = (report.words, report.wait_data, report.wait_output, report.read_beats)
    assert counters == (2, 3, 4, 5)
    assert (report.write_beats, report.tiles) == (6, 7)
    assert (report.overflow, report.illegal) == (False, False)


def test_the_counters_are_the_cycle_models():
    driver = Driver(device())
    descriptors = [driver.gemm(matrix(20, 40, "int4"), matrix(9, 40, "int8")) for _ in range(2)]
    report = driver.run(descriptors)
    timing = list_timing(descriptors, CONFIG, MemoryTiming(20))
    counters = ("cycles", "words", "wait_data", "wait_output", "read_beats", "write_beats", "tiles")
    assert [getattr(report, name) for name in counters] == [
        getattr(timing, name) for name in counters
    ]
    assert report.cycles > 0


def test_flags_are_reported_and_gone_by_the_next_run():
    driver = Driver(device())
    bad = ones(driver, a_format="ovp4-int")
    driver.device.memory[bad.a_address] = 0x88
    assert driver.run([bad, ones(driver)]).illegal
    assert not driver.run([ones(driver)]).illegal
    big = matrix(1, 40, "ovp8")
    codes = get_format("ovp8").encode([32768.0, 0] * 20)
    big = replace(big, packed=codes[None])
    report = driver.run([driver.gemm(big, big)])
    assert report.overflow
    assert not report.illegal


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        ({"m": 0}, Cause.SIZE, "M, K or N is 0"),
        ({"c_address": 30}, Cause.ALIGNMENT, "An address or stride is not the multiple"),
        ({"b_format": "flint4"}, Cause.FORMAT, "A format is unknown, or not built in"),
        ({"a_address": 1 << 36}, Cause.RESERVED, "A reserved bit is set"),
        ({"a_address": 1 << 35}, Cause.READ_RESPONSE, "The bus answered a read with an error"),
        ({"c_address": 1 << 35}, Cause.WRITE_RESPONSE, "The bus answered a write"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_an_error_names_the_descriptor_and_the_next_run_works(change, cause, words, place):
    driver = Driver(device())
    good = ones(driver)
    driver.device.memory[good.a_address : good.a_address + 8] = 0x11
    descriptors = [good, good, good]
    descriptors[place] = replace(good, **change)
    with pytest.raises(AcceleratorError) as raised:
        driver.run(descriptors)
    error = raised.value
    assert (error.cause, error.place, error.completed) == (cause, place, place)
    written = driver.download(error.address, 64).tobytes()
    assert replace(Descriptor.unpack(written), next_address=0) == descriptors[place]
    assert f"descriptor {place + 1} of 3, at {error.address:#x}, stopped the list" in str(error)
    assert words in str(error)
    assert driver.device.read_register(register_offset("STATUS")) == 0
    driver.run([good])
    assert driver.download_c(good).tolist() == [[2, 2], [2, 2]]


def test_an_error_elsewhere_is_not_blamed_on_the_list():
    class Foreign(CycleDevice):
        def read_register(self, offset):
            if offset == register_offset("CAUSE"):
                return 15
            value = super().read_register(offset)
            return value + 0x8000 if offset == register_offset("DESCRIPTOR_LOW") else value

    driver = Driver(Foreign(CONFIG, MemoryTiming(1), 1 << 16))
    with pytest.raises(AcceleratorError, match=r"not of the list, at 0x8.*: unknown cause 15"):
        driver.run([ones(driver, m=0)])


def test_lists_reuse_their_memory():
    driver = Driver(device(memory_bytes=1 << 14))
    descriptor = ones(driver)
    for count in (*range(1, 40), *[39] * 20):
        driver.run([descriptor] * count)
    driver.reset_memory()
    with pytest.raises(ValueError, match=r"25600 bytes do not fit .*: 163.. of 16384 are free"):
        driver.run([descriptor] * 400)


def test_a_run_waits_no_longer_than_asked():
    driver = Driver(device())
    descriptor = driver.gemm(matrix(20, 40, "int4"), matrix(9, 40, "int8"))
    cycles = driver.run([descriptor]).cycles
    assert driver.run([descriptor], max_cycles=cycles).cycles == cycles
    with pytest.raises(DeviceTimeout, match=f"no interrupt within {cycles - 1} cycles"):
        driver.run([descriptor], max_cycles=cycles - 1)


def test_the_patience_is_enough_for_a_slow_bus():
    timing = MemoryTiming.with_bandwidth(1000, read=0.05, write=0.05)
    driver = Driver(CycleDevice(CONFIG, timing, 1 << 20))
    descriptors = [
        driver.gemm(matrix(m, k, "ovp8"), matrix(n, k, "ovp8"))
        for m, k, n in ((1, 1, 1), (200, 1, 200), (1, 9000, 1), (70, 300, 70))
    ]
    for descriptor in descriptors:
        assert driver.run([descriptor]).cycles > 2000


def test_a_busy_device_is_left_alone():
    """Its registers, and the list in memory, which it may still read."""

    class Busy(CycleDevice):
        busy = False

        def read_register(self, offset):
            value = super().read_register(offset)
            busy = self.busy and offset == register_offset("STATUS")
            return value | 1 << Status.BUSY if busy else value

        def write_register(self, offset, value):
            assert not self.busy
            super().write_register(offset, value)

    driver = Driver(Busy(CONFIG, memory_bytes=1 << 16))
    descriptor = ones(driver)
    driver.run([descriptor] * 2)
    before = driver.device.memory.copy()
    driver.device.busy = True
    for count in (1, 2, 9):
        with pytest.raises(DeviceError, match="a list runs already"):
            driver.run([replace(descriptor, relu=True)] * count)
    assert np.array_equal(driver.device.memory, before)
    driver.device.busy = False
    driver.run([descriptor])


def test_an_interrupt_without_a_reason_is_told():
    class Spurious(CycleDevice):
        def wait(self, cycles):
            self.write_register(register_offset("CONTROL"), CLEAR)

    driver = Driver(Spurious(CONFIG, MemoryTiming(1)))
    with pytest.raises(DeviceError, match="neither done nor in error"):
        driver.run([ones(driver)])
