"""The word of a frame's constants, as the host packs it and as the circuit reads it."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.lib import data

from oleaster.hw.nerf.renderer.layouts import ConstantsWord
from oleaster.models.nerf.fixed.rays import make_frame
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.walk import project, project_blocks
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.layout import PLAIN
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.renderer.constants import constants_word


@pytest.fixture(scope="module")
def duck():
    scene = load_scene("duck")
    return scene, fix_scene(scene)


@pytest.mark.parametrize("terminate", [True, False])
def test_each_constant_is_where_the_circuit_looks_for_it(duck, terminate):
    scene, fixed = duck
    config = RendererConfig()
    camera = scene.views[0].camera.scaled(20, 13)
    word = constants_word(fixed, scene.encoded, camera, config, terminate=terminate)
    layout = ConstantsWord(config)
    assert len(word) * 8 == -(-layout.size // 256) * 256
    found = data.Const(layout, int.from_bytes(word, "little") & ((1 << layout.size) - 1))
    frame = make_frame(fixed.field, fixed.mask, camera, config.fixed)
    assert found.frame.near == frame.near
    assert [found.frame.mask_step[i] for i in range(3)] == frame.mask_step.tolist()
    for name, projection in (
        ("cubes", project(frame, fixed.mask)),
        ("blocks", project_blocks(frame, fixed.mask)),
    ):
        corners = [
            [getattr(found[name].corners[i], key) for key in ("right", "down", "depth")]
            for i in range(8)
        ]
        np.testing.assert_array_equal(corners, projection.corners)
    assert (found.width, found.height) == (20, 13)
    assert [found.size[i] for i in range(3)] == frame.mask_last.tolist()
    assert found.limits.last_k == frame.count - 1
    for kind in ("density", "color"):
        for m in range(3):
            for part in ("plane", "line"):
                encoded = scene.encoded[f"{kind}_{part}s[{m}]"]
                told = found[kind][m][part]
                assert told.bits == encoded.bits
                assert told.groups * told.element == encoded.components * encoded.bits
                assert encoded.layout == PLAIN or told.element == encoded.layout.group * told.bits
    assert [found.scale[i].shift for i in range(3)] == fixed.tensors.density_shift.tolist()
    assert found.alpha_lowest == fixed.tensors.alpha.lowest
    assert (found.dark > 0) == terminate
    assert found.white == fixed.field.white_background


def test_equal_names_mean_equal_configurations():
    usual = RendererConfig()
    others = [
        replace(usual, tile_bits=5),
        replace(usual, color_rows=32),
        replace(usual, density_words=1 << 15),
        replace(usual, fixed=FixedConfig(weight_bits=9)),
    ]
    names = [each.name for each in (usual, *others)]
    assert len(set(names)) == len(names)
    assert RendererConfig().name == usual.name == "16x16_t4"
