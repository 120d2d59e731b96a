# amaranth: UnusedElaboratable=no
"""The library of units: names, parameters and what it answers to wrong ones."""

import re

import pytest

from oleaster.hw.library import UNITS, build_unit
from oleaster.hw.unit_spec import Formats
from oleaster.models.lane import FORMAT_SETS, Lane


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_builds_with_its_defaults(name):
    spec = UNITS[name]
    unit = build_unit(name)
    assert spec.description
    for key, parameter in spec.parameters.items():
        if isinstance(parameter, Formats):
            assert tuple(unit.parameters[key]) == FORMAT_SETS[parameter.default]
            continue
        assert unit.parameters[key] == parameter.default
        assert parameter.minimum <= parameter.default <= parameter.maximum


@pytest.mark.parametrize("name", [name for name in UNITS if UNITS[name].parameters])
def test_parameters_reach_the_unit_and_its_module_name(name):
    names = {build_unit(name).module_name}
    for key, parameter in UNITS[name].parameters.items():
        if isinstance(parameter, Formats):
            unit = build_unit(name, **{key: "int4, fp4-e2m1"})
            assert unit.parameters[key] == ["int4", "fp4-e2m1"]
        else:
            # Lanes come in groups of two and of four; some sizes are powers of two.
            value = 2 * parameter.default
            if parameter.choices:
                value = next(each for each in parameter.choices if each != parameter.default)
            elif value > parameter.maximum:
                value = min(parameter.default + 4, parameter.maximum)
            unit = build_unit(name, **{key: value})
            assert unit.parameters[key] == value
        names.add(unit.module_name)
    assert len(names) == len(UNITS[name].parameters) + 1


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sistolic", {}, "unknown unit 'sistolic'; did you mean 'systolic'?"),
        ("multiplier", {}, "unknown unit 'multiplier' (known: ovp-decoder4, "),
        ("systolic", {"row": 3}, "systolic has no parameter 'row'; did you mean 'rows'?"),
        ("ovp-decoder4", {"rows": 3}, "ovp-decoder4 has no parameter 'rows' (known: none)"),
        ("systolic", {"rows": 0}, "rows is 0; it must be at least 1"),
        ("systolic", {"cols": 2.0}, "cols is 2.0; it must be an integer"),
        ("systolic", {"cols": True}, "cols is True; it must be an integer"),
        ("systolic", {"cols": "4"}, "cols is '4'; it must be an integer"),
        ("pe", {"formats_a": 6}, "formats_a is 6; it must name formats, as 'olive'"),
        ("pe", {"formats_a": "ovp5-int"}, "unknown format 'ovp5-int'; did you mean 'ovp4-int'?"),
        ("pe", {"formats_b": "int4,int4"}, "the formats of a lane are int4, int4; at least one"),
        ("systolic", {"rows": 5}, "rows is 5; it must be even, for an element of int8 takes"),
        ("ovp-encoder8", {"value_bits": 7}, "value_bits is 7; it must be at least 8"),
        ("ovp-encoder4", {"value_bits": 55}, "value_bits is 55; it must be at most 54"),
        ("pe", {"acc_bits": 70000}, "acc_bits is 70000; it must be at most 62"),
        ("systolic", {"cols": 257}, "cols is 257; it must be at most 256"),
        (
            "systolic",
            {"acc_bits": 16},
            "acc_bits is 16; the largest product, of ovp8 and ovp8, needs at least 32",
        ),
    ],
)
def test_wrong_requests_are_answered_in_one_sentence(name, parameters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*$"):
        build_unit(name, **parameters)


def test_lanes_are_as_wide_as_their_formats():
    olive, olive4 = Lane.named("olive"), Lane.named("olive4")
    assert (olive.group, olive.code_bits, olive.integer_bits, olive.max_exponent) == (2, 4, 5, 12)
    assert (olive4.group, olive4.code_bits, olive4.integer_bits, olive4.max_exponent) == (
        1,
        4,
        4,
        6,
    )
    assert olive.select == {
        **{"int4": 0, "ovp4-int": 0, "flint4": 1, "ovp4-flint": 1},
        **{"int8": 2, "ovp8": 2},
    }
    wide = Lane.named("fp6-e2m3,mxfp6-e2m3")
    assert (wide.code_bits, wide.select_bits, wide.has_blocks, wide.max_exponent) == (
        6,
        0,
        True,
        17,
    )
    every = [Lane.named(text).name for text in ("olive", "int4,fp4-e2m1", "fp4-e2m1,int4")]
    assert len(set(every)) == 3
