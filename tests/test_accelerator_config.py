"""What an accelerator cannot be generated from."""

from dataclasses import MISSING, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 3}, "rows is 3; it must be a multiple of 2 up to 256"),
        ({"rows": 258}, "rows is 258; it must be a multiple of 2 up to 256"),
        ({"rows": 8.0}, "rows is 8.0; it must be an integer"),
        ({"cols": "8"}, "cols is '8'; it must be an integer"),
        ({"cols": True}, "cols is True; it must be an integer"),
        ({"cols": 4}, "cols is 4; it must be a multiple of 8 .* with 128 data bits and formats"),
        ({"data_bits": 512}, "cols is 16; it must be a multiple of 32 .* with 512 data bits"),
        ({"data_bits": 96}, "data_bits is 96; it must be one of 64, 128, 256, 512"),
        ({"address_bits": 31}, "address_bits is 31; it must be 32 to 48"),
        ({"scratchpad_beats": 12}, "scratchpad_beats is 12; it must be a power of two"),
        ({"outstanding": 1}, "outstanding is 1; it must be 2 to 256"),
        ({"burst_beats": 2}, "burst_beats is 2; it must be 4 to 256"),
        ({"formats_a": ()}, r"formats_a is \(\); it must be a tuple of names"),
        ({"formats_b": ["int4"]}, r"formats_b is \['int4'\]; it must be a tuple of names"),
        ({"formats_b": "ovp8"}, "formats_b is 'ovp8'; it must be a tuple of names"),
        ({"formats_a": ("mxfp4-e2m1",)}, "formats_a has mxfp4-e2m1; the accelerator reads int4"),
    ],
)
def test_wrong_parameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        AcceleratorConfig(**wrong)


def test_names_tell_configurations_apart():
    variants = [
        {},
        {"rows": 8},
        {"cols": 8},
        {"data_bits": 64},
        {"address_bits": 32},
        {"scratchpad_beats": 8},
        {"outstanding": 2},
        {"burst_beats": 4},
        {"formats_a": ("int4",)},
        {"formats_b": ("int4",)},
        {"formats_a": ("int4", "ovp4-int")},
        {"formats_a": ("int4",), "formats_b": ("int4",)},
    ]
    assert len({AcceleratorConfig(**variant).name for variant in variants}) == len(variants)


SIZES = st.integers(0, 2**32 - 1)


@given(st.integers(0, 2**48 - 1), SIZES, SIZES, st.sampled_from(["int8", "ovp4-flint"]))
def test_descriptors_are_packed_and_read_back(address, size, stride, name):
    d = Descriptor(address, 1, 2, size, 3, 4, stride, 5, 6, name, "int4", name, 128, True, 64)
    assert Descriptor.unpack(d.pack()) == d


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("m", 2.5, "m is 2.5; it must be an integer from 0 to 4294967295"),
        ("m", "7", "m is '7'; it must be an integer"),
        ("a_address", 1 << 48, "a_address is 281474976710656; it must be an integer from 0"),
        ("c_stride", -1, "c_stride is -1; it must be"),
        ("b_format", "int5", "b_format is 'int5'; it must be one of int32, int4"),
    ],
)
def test_what_no_descriptor_holds_is_refused(member, value, message):
    names = [field.name for field in fields(Descriptor) if field.default is MISSING]
    members = dict.fromkeys(names, 8)
    with pytest.raises(ValueError, match=message):
        Descriptor(**{**members, member: value}).pack()
