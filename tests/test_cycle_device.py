"""The registers of the device of the models."""

from dataclasses import replace

import pytest
from driver_cases import device, matrix

from oleaster.models.accelerator.registers import (
    REGISTERS,
    Cause,
    ControlBit,
    Status,
    register_offset,
)
from oleaster.sim.driver import AcceleratorError, DeviceTimeout, Driver

DOORBELL, CLEAR = 1 << ControlBit.DOORBELL, 1 << ControlBit.CLEAR


def test_the_device_refuses_what_the_circuit_refuses():
    unit = device()
    offset = {register.name: register.offset for register in REGISTERS}
    for register in REGISTERS:
        if register.access == "ro":
            before = unit.read_register(register.offset)
            unit.write_register(register.offset, 0xFFFF_FFFF)
            assert unit.read_register(register.offset) == before
    for name, width in (("LIST_LOW", 32), ("LIST_HIGH", 16), ("INTERRUPT_ENABLE", 2)):
        unit.write_register(offset[name], 0xFFFF_FFFF)
        assert unit.read_register(offset[name]) == (1 << width) - 1
    assert unit.read_register(0xFC) == unit.read_register(offset["CONTROL"]) == 0
    unit.write_register(0xFC, 1)

    # The list at 2^48 - 1 stops; a second doorbell does nothing until the clear.
    unit.write_register(offset["CONTROL"], DOORBELL)
    failed = 1 << Status.ERROR | 1 << Status.INTERRUPT
    assert unit.read_register(offset["STATUS"]) == failed
    assert unit.read_register(offset["CAUSE"]) == Cause.RESERVED
    assert unit.read_register(offset["DESCRIPTOR_LOW"]) == 0xFFFF_FFFF
    assert unit.read_register(offset["DESCRIPTOR_HIGH"]) == 0xFFFF
    unit.write_register(offset["LIST_HIGH"], 0)
    unit.write_register(offset["CONTROL"], DOORBELL | CLEAR)
    assert unit.read_register(offset["CAUSE"]) == Cause.RESERVED
    unit.write_register(offset["CONTROL"], CLEAR)
    assert unit.read_register(offset["STATUS"]) == unit.read_register(offset["CAUSE"]) == 0
    unit.write_register(offset["CONTROL"], DOORBELL)
    assert unit.read_register(offset["CAUSE"]) == Cause.ALIGNMENT
    unit.write_register(offset["INTERRUPT_ENABLE"], 1)
    assert unit.read_register(offset["STATUS"]) == 1 << Status.ERROR
    with pytest.raises(DeviceTimeout):
        unit.wait(10)


def test_a_failed_list_counts_the_descriptors_before():
    driver = Driver(device())
    good = driver.gemm(matrix(20, 40, "int4"), matrix(9, 40, "int8"))
    alone = driver.run([good])
    with pytest.raises(AcceleratorError):
        driver.run([good, replace(good, n=0)])
    assert driver.device.read_register(register_offset("WORDS")) == alone.words
    assert driver.device.read_register(register_offset("COMPLETED")) == 1
    assert driver.download_c(good).any()


@pytest.mark.parametrize("size", [0, 100, -4096])
def test_a_memory_of_no_whole_pages_is_refused(size):
    with pytest.raises(ValueError, match=f"memory_bytes is {size}; it must be a multiple of 4096"):
        device(memory_bytes=size)
