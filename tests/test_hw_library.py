# amaranth: UnusedElaboratable=no
"""The library of units: names, parameters and what it answers to wrong ones."""

import re

import pytest

from oleaster.hw.layouts import Lane
from oleaster.hw.library import UNITS, build_unit


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_builds_with_its_defaults(name):
    spec = UNITS[name]
    unit = build_unit(name)
    assert spec.description
    for key, parameter in spec.parameters.items():
        assert unit.parameters[key] == parameter.default
        assert parameter.minimum <= parameter.default <= parameter.maximum


@pytest.mark.parametrize("name", [name for name in UNITS if UNITS[name].parameters])
def test_parameters_reach_the_unit_and_its_module_name(name):
    names = {build_unit(name).module_name}
    for key, parameter in UNITS[name].parameters.items():
        value = parameter.choices[-1] if parameter.choices else parameter.default + 1
        unit = build_unit(name, **{key: value})
        assert unit.parameters[key] == value
        names.add(unit.module_name)
    assert len(names) == len(UNITS[name].parameters) + 1


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sistolic", {}, "unknown unit 'sistolic'; did you mean 'systolic'?"),
        ("adder-tree", {}, "unknown unit 'adder-tree' (known: ovp-decoder4, "),
        ("systolic", {"row": 3}, "systolic has no parameter 'row'; did you mean 'rows'?"),
        ("ovp-decoder4", {"rows": 3}, "ovp-decoder4 has no parameter 'rows' (known: none)"),
        ("systolic", {"rows": 0}, "rows is 0; it must be at least 1"),
        ("systolic", {"cols": 2.0}, "cols is 2.0; it must be an integer"),
        ("systolic", {"cols": True}, "cols is True; it must be an integer"),
        ("systolic", {"cols": "4"}, "cols is '4'; it must be an integer"),
        ("pe", {"code_bits_a": 6}, "code_bits_a is 6; it must be 4 or 8"),
        ("ovp-encoder8", {"value_bits": 7}, "value_bits is 7; it must be at least 8"),
        ("ovp-encoder4", {"value_bits": 55}, "value_bits is 55; it must be at most 54"),
        ("pe", {"acc_bits": 70000}, "acc_bits is 70000; it must be at most 64"),
        ("systolic", {"cols": 257}, "cols is 257; it must be at most 256"),
        (
            "systolic",
            {"acc_bits": 16},
            "acc_bits is 16; the largest product of 4-bit and 4-bit operands needs at least 17",
        ),
    ],
)
def test_wrong_requests_are_answered_in_one_sentence(name, parameters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*$"):
        build_unit(name, **parameters)


def test_lanes_are_4_or_8_bits_wide():
    with pytest.raises(ValueError, match="code_bits is 5; it must be 4 or 8"):
        Lane(5)
    assert (Lane(4).max_magnitude, Lane(8).max_magnitude) == (192, 1 << 15)
