"""The option --engine of `nerf render`: the cycle model, and what is refused."""

import json

import numpy as np
import pytest
from nerf_fields import blob_field

from oleaster.cli import main
from oleaster.models.nerf.files import save_field
from oleaster.models.nerf.fixed.render import render_fixed
from oleaster.models.nerf.image import decode_image
from oleaster.models.nerf.scene import load_scene


def test_the_cycle_model_draws_the_references_image(tmp_path, capsys):
    path = tmp_path / "duck.png"
    command = ["nerf", "render", "duck", "--size", "21x9", "--engine", "cycle", "-o", str(path)]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    scene = load_scene("duck")
    reference = render_fixed(scene, scene.views[0].camera.scaled(21, 9))
    np.testing.assert_array_equal(decode_image(path.read_bytes()), reference.image)
    assert (result["engine"], result["arith"], result["mlp"]) == ("cycle", "fixed", "ovp8")
    hardware = result["hardware"]
    assert (hardware["tiles"], hardware["wrong_pixels"]) == (2, 0)
    assert hardware["cycles"] > 2 * 256
    assert main(command) == 0
    assert "equal in every pixel" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ["--pipeline", "uniform"],
        ["--order", "octants"],
        ["--ball"],
        ["--arith", "fixed", "--mlp", "int8"],
        ["--mlp", "int8"],
        ["--arith", "float"],
        ["--check"],
        ["--video", "orbit.gif"],
    ],
    ids=str,
)
@pytest.mark.parametrize("engine", ["cycle", "rtl"])
def test_what_only_the_reference_does_is_refused(engine, options, capsys):
    command = ["nerf", "render", "duck", "--size", "8x8", "--engine", engine]
    assert main([*command, *options]) == 2
    assert f"is for --engine model, not for {engine}" in capsys.readouterr().err


def test_what_the_renderer_cannot_hold_is_refused(tmp_path, capsys):
    path = tmp_path / "blobs.npz"
    save_field(path, blob_field(24, 16))
    assert main(["nerf", "render", str(path), "--size", "8x8", "--engine", "rtl"]) == 2
    assert "takes a scene, which is encoded" in capsys.readouterr().err
