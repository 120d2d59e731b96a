"""What the driver places in the device's memory, and what it refuses to."""

import numpy as np
import pytest
from driver_cases import device, matrix, ones

from oleaster.models.accelerator.requantize import ChannelWords
from oleaster.models.quantize import quantize
from oleaster.sim.driver import Driver


@pytest.mark.parametrize("align", [1, 2, 64, 4096])
def test_allocations_are_aligned_and_apart(align):
    driver = Driver(device())
    end = 1
    for nbytes in (1, 64, 3, 4096, 7):
        address = driver.allocate(nbytes, align)
        assert address % align == 0
        assert address >= end > 0
        end = address + nbytes
    driver.reset_memory()
    assert driver.allocate(1) == 64


@pytest.mark.parametrize(
    ("nbytes", "align", "message"),
    [
        (0, 64, "0 bytes cannot be allocated"),
        (-5, 64, "-5 bytes cannot"),
        (8, 0, "align is 0; it must be a power of two"),
        (8, 24, "align is 24"),
        (1 << 40, 64, "1099511627776 bytes do not fit .*: 65472 of 65536 are free; give the"),
        (65473, 64, "do not fit"),
        (1, 1 << 20, "1 bytes do not fit .*: 0 of 65536 are free"),
    ],
)
def test_allocations_that_cannot_be(nbytes, align, message):
    driver = Driver(device())
    with pytest.raises(ValueError, match=message):
        driver.allocate(nbytes, align)
    assert driver.allocate(65472) == 64


def test_what_is_uploaded_comes_back():
    driver = Driver(device())
    array = np.arange(24, dtype="<i2").reshape(4, 6).T
    for data in (array, array.tobytes(), bytearray(b"abc"), memoryview(b"x" * 70)):
        expected = data.tobytes() if hasattr(data, "tobytes") else bytes(data)
        address = driver.upload(data, 8)
        assert address % 8 == 0
        assert driver.download(address, len(expected)).tobytes() == expected
    copy = driver.download(address, 2)
    copy[:] = 0
    assert driver.device.memory[address] == ord("x")
    for address, nbytes in ((65535, 2), (-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="not within the memory, which ends at 0x10000"):
            driver.download(address, nbytes)


@pytest.mark.parametrize("name", ["int4", "ovp8"])
@pytest.mark.parametrize("k", [1, 7, 8, 33])
def test_matrices_lie_in_whole_beats(name, k):
    driver = Driver(device())
    driver.device.memory[:] = 0xFF
    tensor = matrix(5, k, name)
    address, stride = driver.upload_matrix(tensor)
    size = tensor.packed.shape[1]
    assert address % 8 == stride % 8 == 0
    assert size <= stride < size + 8
    rows = driver.download(address, 5 * stride).reshape(5, stride)
    assert np.array_equal(rows[:, :size], tensor.packed)
    assert not rows[:, size:].any()


def test_what_no_descriptor_says():
    driver = Driver(device())
    with pytest.raises(ValueError, match=r"not the shape \(2, 2, 4\)"):
        driver.upload_matrix(quantize(np.ones((2, 2, 4)), "int4"))
    with pytest.raises(ValueError, match="do not know fp8-e4m3, only int4, flint4"):
        driver.upload_matrix(quantize(np.ones((2, 4)), "fp8-e4m3"))
    a, b = matrix(3, 4, "int4"), matrix(5, 6, "int4")
    with pytest.raises(ValueError, match=r"A is \(3, 4\) and B is \(5, 6\)"):
        driver.gemm(a, b)
    one = np.ones(2, np.int64)
    with pytest.raises(ValueError, match="C in int8 takes 3 channel words, not 2"):
        driver.gemm(a, a, "int8", ChannelWords(one, one, one))
    with pytest.raises(ValueError, match="C in int32 takes 0 channel words, not 2"):
        driver.gemm(a, a, "int32", ChannelWords(one, one, one))
    with pytest.raises(ValueError, match="C is 'fp4-e2m1'; it must be one of int32, int4"):
        driver.gemm(a, a, "fp4-e2m1", ChannelWords(one, one, one))
    with pytest.raises(ValueError, match="int32 takes no ReLU"):
        driver.gemm(a, a, relu=True)
    with pytest.raises(ValueError, match="no descriptor to run"):
        driver.run([])
    with pytest.raises(ValueError, match="m is -1; it must be an integer from 0"):
        driver.run([ones(driver, m=-1)])
