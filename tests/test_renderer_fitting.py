"""Encoding a scene again for the renderer: nothing is lost, and elements are of the sizes asked."""

from dataclasses import replace

import numpy as np
import pytest

from oleaster.models.nerf.encoding import decode
from oleaster.models.nerf.layout import PLAIN
from oleaster.models.nerf.lookup import LARGEST_ELEMENT
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.renderer.image import fitting


@pytest.mark.parametrize("least", [1, 4, 12])
def test_elements_have_as_many_components_as_are_asked_for_and_fit(least):
    encoded = load_scene("chair").encoded
    found = fitting(encoded, replace(RendererConfig(), least_group=least))
    for name, each in found.items():
        np.testing.assert_array_equal(decode(each).codes, decode(encoded[name]).codes)
        group = each.components if each.layout == PLAIN else each.layout.group
        assert group * each.bits <= LARGEST_ELEMENT
        # Of chair's colour lines, twelve codes of ten bits are too wide for the decoder.
        most = 6 if "color_lines" in name else each.components
        assert group >= min(least, most)
    assert found["color_lines[0]"].layout != encoded["color_lines[0]"].layout
    kept = [name for name in encoded if found[name] is encoded[name]]
    assert (len(kept) > 8) == (least == 1)
