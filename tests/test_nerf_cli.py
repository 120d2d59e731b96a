"""The verb `nerf render`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera
from PIL import Image, ImageSequence

from oleaster.cli import main
from oleaster.models.nerf.checkpoint import save_checkpoint
from oleaster.models.nerf.encoding import encode
from oleaster.models.nerf.files import save_field
from oleaster.models.nerf.fixed.render import render_fixed
from oleaster.models.nerf.image import decode_image
from oleaster.models.nerf.layout import layouts, quantize
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import Facts, HeldOut, Scene, load_scene, save_scene
from oleaster.models.nerf.tensors import field_tensors
from oleaster.models.nerf.traffic import Visits, encoded_bytes
from oleaster.report.inputs import RenderRun


def write_scene(path, field):
    encoded = {}
    for name, values in field_tensors(field).items():
        codes = quantize(values, 12)
        encoded[name] = encode(codes, layouts(values.shape[2]))
    cameras = [orbit_camera(angle, width=24, height=18) for angle in (0.6, 2.0)]
    views = tuple(HeldOut.of(each, render(field, each).image) for each in cameras)
    facts = Facts("blobs", "ours", "none", "", "0", (0.0, 0.0), (0.0, 0.0), 0.0, 0.0)
    save_scene(path, Scene(field, encoded, views, facts))


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_scene(Path("blobs.npz"), blob_field(24, 16))


def run(capsys, *arguments, status=0):
    assert main(["nerf", "render", *arguments]) == status
    return capsys.readouterr()


def run_json(capsys, *arguments, status=0):
    return json.loads(run(capsys, *arguments, "--json", status=status).out)


def refused(capsys, *arguments):
    """The sentence; nothing else is printed or written."""
    before = sorted(Path.cwd().iterdir())
    out, err = run(capsys, *arguments, status=2)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(Path.cwd().iterdir()) == before
    return err


def test_image_and_counters(capsys):
    result = run_json(capsys, "blobs.npz", "--view", "1", "-o", "out.png")
    assert RenderRun.model_validate(result).counters == result["counters"]  # as reports read it
    scene = load_scene("blobs.npz")
    drawn = render(scene.field, scene.views[1].camera)
    image = decode_image(Path("out.png").read_bytes())
    assert np.abs(image - drawn.image).max() <= 0.5 / 255 + 1e-6
    assert result["counters"] == vars(drawn.counters)
    assert result["psnr_db"] == pytest.approx(psnr(drawn.image, scene.views[1].image()))
    assert result["psnr_db"] > 35
    assert (result["view"], result["order"], result["check"]) == (1, "exact", None)


def test_pipelines_agree(capsys):
    results = [
        run_json(capsys, "blobs.npz", *options, "--check")
        for options in (
            (),
            ("--order", "octants"),
            ("--ball",),
            ("--no-terminate",),
            ("--pipeline", "uniform"),
        )
    ]
    for result in results:
        assert result["check"]["holds"]
        assert result["check"]["psnr_db"] is None or result["check"]["psnr_db"] > 80
    assert results[3]["check"]["largest_difference"] == 0
    assert results[0]["check"]["largest_difference"] > 0
    kept = {result["counters"]["kept"] for result in results}
    assert len(kept) == 1
    assert results[2]["counters"]["outside"] > 10 * results[0]["counters"]["outside"]


def test_check_that_fails_exits_1(capsys, monkeypatch):
    def worse(field, camera, pipeline, **options):
        drawn = render(field, camera, pipeline, **options)
        if pipeline == "cubes":
            drawn.image[0, 0] -= 2e-4
        return drawn

    monkeypatch.setattr("oleaster.cli.nerf.render", worse)
    assert not run_json(capsys, "blobs.npz", "--check", status=1)["check"]["holds"]
    assert "DOES NOT HOLD" in run(capsys, "blobs.npz", "--check", status=1).out


def test_table(capsys):
    out = run(capsys, "blobs.npz", "--check").out
    for words in ("exact order", "skipped by early termination", "held-out view", "holds"):
        assert words in out


def test_size_and_pose(capsys):
    result = run_json(capsys, "blobs.npz", "--size", "12x9")
    assert (result["width"], result["height"], result["psnr_db"]) == (12, 9, None)
    camera = orbit_camera(width=400, height=400)
    matrix = [*camera.pose.tolist(), [0, 0, 0, 1]]
    Path("pose.json").write_text(json.dumps({"transform_matrix": matrix}))
    result = run_json(capsys, "blobs.npz", "--pose", "pose.json", "--size", "10x10", "-o", "p.png")
    assert (result["width"], result["view"]) == (10, None)
    assert decode_image(Path("p.png").read_bytes()).std() > 0.05


def test_bytes_read(capsys):
    scene, visits = load_scene("blobs.npz"), Visits((24, 24, 24))
    render(scene.field, scene.views[0].camera, visits=visits)
    read = encoded_bytes(scene.encoded, visits)
    assert run_json(capsys, "blobs.npz")["encoded_bytes"] == read > 0
    assert "MB as encoded" in run(capsys, "blobs.npz").out


def test_fields_without_views(capsys):
    field = blob_field(24, 16)
    save_field(Path("field.npz"), field)
    save_checkpoint(Path("field.th"), field)
    results = [
        run_json(capsys, name, "--size", "20x20", "-o", f"{name}.png")
        for name in ("field.npz", "field.th")
    ]
    images = [decode_image(Path(f"{name}.png").read_bytes()) for name in ("field.npz", "field.th")]
    assert images[0].std() > 0.05
    np.testing.assert_allclose(images[0], images[1], atol=1 / 255 + 1e-6)
    for result in results:
        assert (result["view"], result["psnr_db"], result["encoded_bytes"]) == (None, None, None)
    assert "none; give --pose" in refused(capsys, "field.npz", "--view", "0")
    Path("field.th").write_bytes(Path("field.th").read_bytes()[:1000])
    assert "field.th" in refused(capsys, "field.th")
    Path("field.npz").write_bytes(Path("field.npz").read_bytes()[:1000])
    assert "field.npz" in refused(capsys, "field.npz")


def test_fixed_point(capsys):
    scene = load_scene("blobs.npz")
    drawn = render_fixed(scene, scene.views[1].camera, mlp="int8")
    result = run_json(
        capsys, "blobs.npz", "--arith", "fixed", "--mlp", "int8", "--view", "1", "-o", "a.png"
    )
    assert (result["arith"], result["mlp"]) == ("fixed", "int8")
    # Fixed point finds almost the same samples, and reads the same encoding for them.
    in_float = run_json(capsys, "blobs.npz", "--view", str(result["view"]))
    bytes_read = [each["encoded_bytes"] for each in (result, in_float)]
    assert bytes_read[0] == pytest.approx(bytes_read[1], rel=0.01)
    assert result["counters"] == vars(drawn.counters)
    np.testing.assert_array_equal(decode_image(Path("a.png").read_bytes()), drawn.image)
    # The held-out views are float images in 8 bits, so that any other loses more than 0.3 dB.
    check = run_json(capsys, "blobs.npz", "--arith", "fixed", "--check", status=1)
    assert check["mlp"] == "ovp8"
    assert check["check"]["loss_db"] > 0.3
    assert (
        "fixed point, network in float"
        in run(capsys, "blobs.npz", "--arith", "fixed", "--mlp", "float", "--size", "8x8").out
    )


def test_check_of_fixed_point_that_holds(capsys):
    scene = load_scene("blobs.npz")
    noise = np.random.default_rng(0).normal(0, 0.05, (18, 24, 3))
    views = tuple(HeldOut.of(each.camera, each.image() + noise) for each in scene.views)
    save_scene(Path("noisy.npz"), replace(scene, views=views))
    result = run_json(capsys, "noisy.npz", "--arith", "fixed", "--check")
    assert result["check"]["holds"]
    assert "allowed" in run(capsys, "noisy.npz", "--arith", "fixed", "--check").out


def test_film(capsys):
    run(capsys, "blobs.npz", "--size", "8x6", "--video", "orbit.gif", "--frames", "3")
    with Image.open("orbit.gif") as film:
        assert (film.n_frames, film.size) == (3, (8, 6))


def test_film_in_h264(capsys):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    run(capsys, "blobs.npz", "--size", "47x34", "--video", "orbit.mp4", "--frames", "4")
    run(capsys, "blobs.npz", "--size", "47x34", "--video", "orbit.png", "--frames", "4")
    command = [
        ffmpeg.get_ffmpeg_exe(),
        "-i",
        "orbit.mp4",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    played = subprocess.run(command, capture_output=True, check=True)
    for about in (b"Video: h264", b"48x34", b"12.50 fps"):
        assert about in played.stderr
    shown = np.frombuffer(played.stdout, np.uint8).reshape(4, 34, 48, 3) / np.float32(255)
    with Image.open("orbit.png") as film:
        drawn = [np.asarray(each.convert("RGB")) / 255 for each in ImageSequence.Iterator(film)]
    for film_frame, image in zip(shown, drawn, strict=True):
        assert psnr(film_frame[:, :47], image) > 25
        assert np.abs(film_frame[:, 47] - film_frame[:, 46]).max() < 0.1


def test_film_without_ffmpeg(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "install oleaster[video]" in refused(capsys, "blobs.npz", "--video", "orbit.mp4")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "nothing"),
        (["blobs.npz", "--size", "0x8"], "--size 0x8: each side must be 1 .. 16384"),
        (["blobs.npz", "--size", "8"], "WIDTHxHEIGHT"),
        (["blobs.npz", "--size", "99999x8"], "1 .. 16384"),
        (["blobs.npz", "--view", "2"], "are 0 .. 1"),
        (["blobs.npz", "--view", "-1"], "are 0 .. 1"),
        (["blobs.npz", "--pose", "none.json"], "No such file"),
        (["blobs.npz", "--pose", "blobs.npz"], "is not JSON"),
        (["blobs.npz", "--pose", "list.json"], "is not a JSON object"),
        (["blobs.npz", "--pose", "short.json"], "4 x 4 finite"),
        (["blobs.npz", "--pose", "wide.json"], "between 0 and pi"),
        (["blobs.npz", "--pose", "flat.json"], "perpendicular"),
        (["blobs.npz", "--pose", "last.json"], "last row"),
        (["blobs.npz", "--pose", "huge.json"], "4 x 4 finite"),
        (["blobs.npz", "--pose", "deep.json"], "is not JSON"),
        (["blobs.npz", "--size", "9" * 5000 + "x8"], "WIDTHxHEIGHT"),
        (["blobs.npz", "--size", "16384x16384"], "16,777,216 at most"),
        (["blobs.npz", "--pose", "short.json", "--view", "0"], "give one of them"),
        (["blobs.npz", "-o", "out.jpg"], "ends in .png"),
        (["blobs.npz", "-o", "nowhere/out.png"], "does not exist"),
        (["blobs.npz", "--video", "out.avi"], "ends in"),
        (["blobs.npz", "--frames", "3"], "--frames is for --video"),
        (["blobs.npz", "--pose", "frames.json"], "has a list of frames"),
        (["blobs.npz", "--video", "a.png", "-o", "a.png"], "both after"),
        (["blobs.npz", "--pipeline", "uniform", "--ball"], "for --pipeline cubes"),
        (["blobs.npz", "--pipeline", "rays"], "rays"),
        (["blobs.npz", "--arith", "fixed", "--ball"], "without --ball"),
        (["blobs.npz", "--arith", "fixed", "--pipeline", "uniform"], "walks cubes"),
        (["blobs.npz", "--mlp", "int8"], "for --arith fixed"),
        (["blobs.npz", "--arith", "fixed", "--mlp", "int3"], "int3"),
        (["blobs.npz", "--arith", "fixed", "--check", "--size", "8x8"], "held-out image"),
    ],
)
def test_refused(capsys, arguments, sentence):
    eye = np.eye(4)
    Path("list.json").write_text("[1, 2]")
    Path("short.json").write_text(json.dumps({"transform_matrix": eye[:2].tolist()}))
    wide = {"transform_matrix": eye.tolist(), "camera_angle_x": 4}
    Path("wide.json").write_text(json.dumps(wide))
    flat = np.zeros((4, 4))
    flat[3, 3] = 1
    Path("flat.json").write_text(json.dumps({"transform_matrix": flat.tolist()}))
    Path("last.json").write_text(json.dumps({"transform_matrix": np.ones((4, 4)).tolist()}))
    huge = json.dumps({"transform_matrix": eye.tolist()}).replace("1.0", "9" * 400, 1)
    Path("huge.json").write_text(huge)
    Path("frames.json").write_text(json.dumps({"frames": [wide]}))
    Path("deep.json").write_text("[" * 200_000)
    assert sentence in refused(capsys, *arguments)
