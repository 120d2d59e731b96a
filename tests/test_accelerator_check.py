"""What is wrong with wrong descriptors, and which of two causes is told."""

import pytest
from descriptor_cases import CONFIG, GOOD

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import FIELDS, FORMAT_CODES, pack_fields, unpack_fields
from oleaster.models.accelerator.execute import check, check_address
from oleaster.models.accelerator.registers import Cause

CODES = GOOD.pack()


def changed(**values):
    """The good descriptor with fields changed, reserved ones and format numbers too."""
    return pack_fields(FIELDS, {**unpack_fields(FIELDS, CODES), **values})


WRONG = {
    Cause.RESERVED: [
        *({field.name: 1} for field in FIELDS if field.name.startswith("reserved")),
        *({field.name: 1 << field.bits - 1} for field in FIELDS if field.name == "reserved4"),
        *({field.name: 1 << 36} for field in FIELDS if field.name.endswith("address")),
    ],
    Cause.FORMAT: [
        {"a_format": 0},
        {"b_format": 0},
        {"a_format": 8},
        {"b_format": 255},
        {"b_format": FORMAT_CODES["fp4-e2m1"]},  # not built in
        {"c_format": FORMAT_CODES["fp4-e2m1"]},
        {"c_format": 8},
    ],
    Cause.SIZE: [
        *({size: 0} for size in "mkn"),
        *({size: 1 << 24} for size in "mk"),
        {"n": 1 << 24, "c_stride": (1 << 32) - 4},
        {"c_stride": 12},
        {"c_stride": 0},
    ],
    Cause.ALIGNMENT: [
        {"c_address": 0x1206},
        {"c_stride": 18},
        {"c_format": FORMAT_CODES["int8"], "channels_address": 0x1004},
    ],
}
SINGLE = [(cause, change) for cause, changes in WRONG.items() for change in changes]


@pytest.mark.parametrize(("cause", "change"), SINGLE)
def test_each_wrong_field_has_its_cause(cause, change):
    assert check(CODES, CONFIG) == Cause.NONE
    assert check(changed(**change), CONFIG) == cause


def test_of_two_causes_the_first_in_the_order_is_told():
    order = list(WRONG)
    pairs = 0
    for first, one in SINGLE:
        for second, two in SINGLE:
            # In another format the row of C may fit its stride.
            clash = set(one) & set(two) or {"c_stride", "c_format"} <= set(one) | set(two)
            if order.index(first) < order.index(second) and not clash:
                assert check(changed(**two, **one), CONFIG) == first
                pairs += 1
    assert pairs > 200


@pytest.mark.parametrize(
    "change",
    [
        {"m": (1 << 24) - 1, "k": (1 << 24) - 1, "n": (1 << 24) - 1, "c_stride": (1 << 26)},
        {"m": 1, "c_stride": 0},  # there is no second row
        {"a_stride": 0, "b_stride": 0, "a_address": 0, "b_address": 1, "channels_address": 3},
        {"c_format": FORMAT_CODES["ovp4-int"], "c_address": 3, "c_stride": 3, "n": 5},
        {"relu": 1},
        {"c_format": FORMAT_CODES["int8"], "channels_address": 8},
        {"a_format": FORMAT_CODES["fp4-e2m1"]},
    ],
)
def test_what_looks_odd_but_is_right(change):
    assert check(changed(**change), CONFIG) == Cause.NONE


@pytest.mark.parametrize("bits", [64, 128, 256, 512])
def test_the_channel_table_lies_on_the_buss_bytes(bits):
    config = AcceleratorConfig(rows=16, cols=32, data_bits=bits)
    for address in range(0, 128, 4):
        data = changed(c_format=FORMAT_CODES["ovp8"], channels_address=address)
        expected = Cause.ALIGNMENT if address % (bits // 8) else Cause.NONE
        assert check(data, config) == expected


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        (0, Cause.ALIGNMENT),
        (64, Cause.NONE),
        (32, Cause.ALIGNMENT),
        (65, Cause.ALIGNMENT),
        ((1 << 36) - 64, Cause.NONE),
        (1 << 36, Cause.RESERVED),
        ((1 << 47) + 1, Cause.RESERVED),
    ],
)
def test_a_descriptors_own_address(address, cause):
    assert check_address(address, CONFIG) == cause
