# amaranth: UnusedElaboratable=no
"""Widths of the units that make a sample's density hold what the shipped scenes need."""

import numpy as np
import pytest

from oleaster.hw.library import UNITS, build_unit
from oleaster.hw.nerf.features import product_bits
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.scene import load_scene, scene_names


def default(unit, parameter):
    return UNITS[unit].parameters[parameter].default


@pytest.mark.parametrize("name", scene_names())
def test_default_widths_hold_every_scene(name):
    tensors = fix_scene(load_scene(name), mlp="float").tensors
    for pair in (*tensors.density, *tensors.color):
        for codes, bits in ((pair.plane, "plane_bits"), (pair.line, "line_bits")):
            assert np.abs(codes).max() < 1 << (default("feature-unit", bits) - 1)
    assert max(tensors.size) <= 1 << default("sample-address", "cell_bits")
    assert tensors.density[0].line.shape[1] == default("density-unit", "components")
    # The sum saturates beyond both ends of the curve, which clips there: no alpha changes.
    end = 1 << (default("density-unit", "sum_bits") - 1)
    last = tensors.alpha.lowest + ((len(tensors.alpha.values) - 1) << tensors.alpha.shift)
    assert -end <= tensors.alpha.lowest < last < end
    sums = np.array([-(1 << 40), -end - 1, -end, end - 1, end, 1 << 40])
    assert (tensors.alpha(np.clip(sums, -end, end - 1)) == tensors.alpha(sums)).all()


def test_widths_agree_between_units():
    bits = [default("feature-unit", each) for each in ("plane_bits", "line_bits", "guard_bits")]
    assert default("density-unit", "product_bits") == product_bits(*bits)
    assert default("density-unit", "sum_bits") == default("curve-table", "input_bits")
