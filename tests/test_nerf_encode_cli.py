"""The verb `nerf encode`: a field becomes a scene within its budget; what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera

from oleaster.cli import main
from oleaster.models.nerf.files import save_field
from oleaster.models.nerf.image import encode_png
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import load_scene

SIDE = 24
NOISE = 0.02  # in the held-out images, so that the field has a PSNR that pruning can lower


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field = blob_field(24, 16)
    save_field(Path("field.npz"), field)
    Path("views").mkdir()
    rng = np.random.default_rng(0)
    frames = []
    for i in range(5):
        camera = orbit_camera(1.3 * i, width=SIDE, height=SIDE)
        image = render(field, camera).image
        image = np.clip(image + NOISE * rng.standard_normal(image.shape), 0, 1)
        Path(f"views/{i}.png").write_bytes(encode_png(image))
        matrix = [*camera.pose.tolist(), [0, 0, 0, 1]]
        frames.append({"file_path": f"{i}", "transform_matrix": matrix})
    angle = 2 * math.atan(SIDE / 2 / camera.focal)
    data = {"camera_angle_x": angle, "frames": frames}
    Path("views/transforms_test.json").write_text(json.dumps(data))


def encode(*arguments):
    return main(["nerf", "encode", "field.npz", "-o", "scene.npz", *arguments])


def test_a_budget_is_kept_and_used(capsys):
    assert encode("--views", "views", "--budget", "0.3", "--origin", "blobs", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["scene"]
    scene = load_scene("scene.npz")
    assert (scene.facts.name, scene.facts.origin) == ("scene", "blobs")
    # Views 0, 2 and 4 of the five.
    for i, view, before, after in zip(
        (0, 2, 4), scene.views, scene.facts.float_psnr, scene.facts.psnr, strict=True
    ):
        held_out = np.abs(view.camera.pose - orbit_camera(1.3 * i).pose)
        assert held_out.max() < 1e-6
        assert after == pytest.approx(
            psnr(render(scene.field, view.camera).image, view.image()), abs=1e-3
        )
        assert 30 < before < 40
    loss = np.mean(scene.facts.float_psnr) - np.mean(scene.facts.psnr)
    assert 0.05 < loss <= 0.3005
    assert shown["encoded_bytes"] < 0.4 * shown["fp16_bytes"]


def test_a_smaller_budget_gives_a_larger_scene(capsys):
    sizes = []
    for budget in ("0.05", "1"):
        assert encode("--views", "views", "--budget", budget, "--size", "12", "--json") == 0
        sizes.append(json.loads(capsys.readouterr().out)["scene"]["encoded_bytes"])
    assert sizes[1] < sizes[0]
    assert {(v.camera.width, v.image().shape[0]) for v in load_scene("scene.npz").views} == {
        (12, 12)
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --views, --teacher and --mesh"),
        (["--views", "views", "--budget", "0"], "--budget 0.0: expected dB above 0"),
        (["--views", "nowhere"], "nowhere: has no transforms_test.json; a scene needs views"),
        (["--teacher", "none.npz"], "none.npz: no such file"),
        (["--teacher", "none.npz", "--device", "cuda:99"], "PyTorch cannot use it here"),
        (["--mesh", "cow"], "no mesh 'cow'"),
        (["--views", "views", "-o", "scene.png"], "scene.png: the name after -o ends in .npz"),
    ],
)
def test_what_is_wrong_is_said(words, message, capsys):
    before = sorted(Path.cwd().iterdir())
    assert encode(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert sorted(Path.cwd().iterdir()) == before


def test_a_file_that_is_no_field(capsys):
    Path("field.npz").write_bytes(b"PK")
    assert encode("--views", "views") == 2
    assert "field.npz" in capsys.readouterr().err
    assert not Path("scene.npz").exists()
