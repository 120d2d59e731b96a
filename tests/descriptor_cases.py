"""A descriptor that is right, and the accelerator it is for, that several tests share."""

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor

CONFIG = AcceleratorConfig(
    rows=4,
    cols=8,
    data_bits=64,
    address_bits=36,
    scratchpad_beats=8,
    formats_a=("int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8", "fp4-e2m1"),
)
GOOD = Descriptor(
    a_address=0x1000,
    b_address=0x1101,
    c_address=0x1204,
    m=3,
    k=5,
    n=4,
    a_stride=3,
    b_stride=7,
    c_stride=16,
    next_address=0,
)
