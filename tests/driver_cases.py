"""A device of the models, and operands for it, that the driver's tests share."""

from dataclasses import replace

import numpy as np

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.quantize import quantize
from oleaster.sim.accelerator.device import CycleDevice
from oleaster.sim.accelerator.memory import MemoryTiming

CONFIG = AcceleratorConfig(
    rows=6,
    cols=8,
    data_bits=64,
    address_bits=36,
    scratchpad_beats=16,
    outstanding=8,
    burst_beats=16,
    formats_b=("int4", "int8", "ovp8", "fp4-e2m1"),
)


def device(config=CONFIG, memory_bytes=1 << 16):
    return CycleDevice(config, MemoryTiming(20), memory_bytes)


def matrix(rows, k, name, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, k))
    return quantize(values, name)


def ones(driver, c_format="int32", **change):
    """A 2 x 2 x 2 GEMM on memory of zeros."""
    base = driver.allocate(64)
    return replace(
        Descriptor(base, base, base + 32, 2, 2, 2, 4, 4, 8, "int4", "int4", c_format), **change
    )
