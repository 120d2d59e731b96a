"""Scene files: read back whole, installed by name, refused with a sentence; `nerf info`."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import typer
from nerf_fields import blob_field, orbit_camera
from typer.testing import CliRunner

from oleaster.cli import main
from oleaster.cli.nerf_info import info
from oleaster.models.nerf.encoding import decode
from oleaster.models.nerf.field import Field, FieldError
from oleaster.models.nerf.fixed.render import render_fixed
from oleaster.models.nerf.prune import Pruned, encode_field
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.report import report, total
from oleaster.models.nerf.scene import (
    HeldOut,
    Scene,
    load_scene,
    make_scene,
    save_scene,
    scene_names,
    view_psnr,
)

pytest.importorskip("PIL", reason="images of scenes need the extra nerf")


@pytest.fixture(scope="module")
def scene() -> Scene:
    field = blob_field(32, 20)
    views = [
        HeldOut.of(camera, render(field, camera).image)
        for camera in (orbit_camera(0.3, width=20, height=14), orbit_camera(2, width=12, height=9))
    ]
    decoded, encoded = encode_field(field, 8, 2)
    pruned = Pruned(decoded, encoded, 8, 2, 0.25, 0.0, 50.0, 49.0)
    return make_scene(
        field,
        pruned,
        views,
        name="blobs",
        origin="three balls",
        licence="Apache-2.0",
        command="none",
        version="0",
    )


@pytest.fixture
def path(scene, tmp_path) -> Path:
    path = tmp_path / "blobs.npz"
    save_scene(path, scene)
    return path


def test_a_scene_reads_back(scene, path):
    back = load_scene(path)
    for each in dataclasses.fields(Field):
        a, b = getattr(scene.field, each.name), getattr(back.field, each.name)
        if each.name == "mask":
            assert np.array_equal(a.bits, b.bits)
            assert np.array_equal(a.box, b.box)
        elif isinstance(a, tuple):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        else:
            assert np.array_equal(a, b)
    for name, encoded in scene.encoded.items():
        assert np.array_equal(decode(back.encoded[name]).codes, decode(encoded).codes)
    assert back.facts == scene.facts
    for a, b in zip(scene.views, back.views, strict=True):
        assert a.png == b.png
        assert (a.camera.width, a.camera.height, a.camera.focal) == (
            b.camera.width, b.camera.height, b.camera.focal,
        )  # fmt: skip
        assert np.array_equal(a.camera.pose, b.camera.pose)


def test_the_same_scene_is_the_same_bytes(path, tmp_path):
    save_scene(tmp_path / "again.npz", load_scene(path))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_facts_hold_each_views_psnr(scene):
    for view, after, before in zip(
        scene.views, scene.facts.psnr, scene.facts.float_psnr, strict=True
    ):
        image = render(scene.field, view.camera).image
        assert after == pytest.approx(psnr(image, view.image()), abs=1e-3)
        assert before > after > 20
    assert view_psnr(scene.views)(scene.field) == pytest.approx(np.mean(scene.facts.psnr), abs=1e-3)


def test_held_out_images_round_to_eight_bits(scene):
    camera = scene.views[0].camera
    image = np.random.default_rng(0).random((camera.height, camera.width, 3)).astype(np.float32)
    back = HeldOut.of(camera, image).image()
    assert np.abs(back - image).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(FieldError, match="camera of 20 x 14"):
        HeldOut.of(camera, image[1:])
    other = HeldOut(scene.views[1].camera, scene.views[0].png)
    with pytest.raises(FieldError, match="20 x 14 pixels; its camera has 12 x 9"):
        other.image()
    with pytest.raises(FieldError, match="cannot be read"):
        HeldOut(camera, b"no image").image()


def test_installed_scenes_load():
    for name in scene_names():
        loaded = load_scene(name)
        assert loaded.facts.name == name
        assert loaded.facts.origin
        assert loaded.facts.licence
        assert len(loaded.views) == len(loaded.facts.psnr) == len(loaded.facts.float_psnr) >= 1
        rows = report(loaded.encoded)
        for row in rows:
            assert row.hybrid_bits <= min(row.dense_bits, row.bitmap_bits, row.coordinate_bits)
        assert total(rows).ratio >= 5


def test_notices_lie_beside_the_scenes():
    text = resources.files("oleaster.scenes").joinpath("README.md").read_text()
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ")][1:]
    sources = {name.strip(): rest for names, *rest in rows for name in names.split(",")}
    assert sorted(sources) == scene_names()
    for name, row in sources.items():
        facts = load_scene(name).facts
        for word in ("krrish94/nerf-pytorch", "soccerball.obj", "duck.obj", "MIT", "zlib"):
            assert (word in facts.origin + facts.licence) == (word in "".join(row))
    assert "Permission is hereby granted" in text
    assert "Altered source versions must be plainly marked" in text


@pytest.mark.parametrize("name", scene_names())
def test_whole_chain_of_an_installed_scene(name):
    """Pruned, encoded, in fixed point, with a network in ovp8, against the float field.

    One view of three, which may lose a little more than their mean: that is within 0.3 dB, which
    benchmarks/nerf_scenes.py checks.
    """
    loaded = load_scene(name)
    view, facts = loaded.views[1], loaded.facts
    pruned = psnr(render(loaded.field, view.camera).image, view.image())
    assert pruned == pytest.approx(facts.psnr[1], abs=0.01)
    drawn = psnr(render_fixed(loaded, view.camera, mlp="ovp8").image, view.image())
    assert facts.float_psnr[1] - drawn <= 0.35


# Damage -----------------------------------------------------------------------------------------


def _change(path: Path, **arrays: np.ndarray | None) -> Path:
    with np.load(path) as loaded:
        kept = {key: loaded[key] for key in loaded}
    kept.update(arrays)
    out = path.with_name("changed.npz")
    np.savez(out, **{key: value for key, value in kept.items() if value is not None})
    return out


def _json(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def test_what_is_no_scene_is_refused(path, tmp_path):
    with pytest.raises(FieldError, match=r"none\.npz: neither a file nor one of the scenes"):
        load_scene(tmp_path / "none.npz")
    other = tmp_path / "other.npz"
    for data in (b"", b"hello", path.read_bytes()[:5000], path.read_bytes()[:-30]):
        other.write_bytes(data)
        with pytest.raises(FieldError, match=r"other\.npz: is not a scene"):
            load_scene(other)
    np.savez(other, a=np.zeros(3))
    with pytest.raises(FieldError, match='it says "no format"'):
        load_scene(other)
    np.savez(other, format=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FieldError, match=r"other\.npz: is not a scene"):
        load_scene(other)


def test_a_flipped_byte_is_refused(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(FieldError, match=r"blobs\.npz: "):
        load_scene(path)


@pytest.mark.parametrize("key", ["encoding", "box", "weight1", "facts", "poses", "mask_shape"])
def test_a_missing_part_is_named(path, key):
    with pytest.raises(FieldError, match=f"{key}.* is missing"):
        load_scene(_change(path, **{key: None}))


def test_wrong_parts_are_refused(scene, path):
    settings = {"near": 2.0}
    for change, says in (
        ({"settings": _json(settings)}, "its settings are"),
        ({"facts": _json({"name": "x"})}, "its facts are"),
        ({"box": np.full((2, 3), np.nan, np.float32)}, "box"),
        ({"weight1": np.zeros((3, 3), np.float32)}, "weights"),
        ({"encoding": np.zeros(10, np.uint8)}, "truncated"),
        ({"poses": np.full((2, 3, 4), np.inf, np.float32)}, "pose"),
        ({"cameras": np.zeros((2, 3))}, "image of 0 x 0"),
        ({"cameras": np.ones((1, 3))}, "2 images, cameras .1, 3. and poses .2, 3, 4."),
        ({"cameras": np.ones((2, 3), "U1")}, "its cameras is <U1; it must be float"),
        ({"cameras": np.full((2, 3), np.nan)}, "damaged"),
        ({"mask_shape": np.array([-1, 2, 3])}, "its mask has 3 x 2 x -1 points"),
        ({"mask_shape": np.array([1200] * 3)}, "its mask has 1200 x 1200 x 1200 points"),
        ({"mask_shape": np.array([20, 20])}, "three numbers of points"),
        ({"mask": np.zeros(9, np.uint8)}, "its mask has 9 bytes, wrong for 20 x 20 x 20"),
        ({"encoding": np.zeros(9000)}, "its encoding is 1 axes of float64; it must be bytes"),
        ({"png": np.zeros(1000, np.uint8)}, "its images have 1000 bytes; png_bytes says"),
        ({"png_bytes": np.array([-5, 1005])}, "png_bytes are not the lengths"),
        ({"png_bytes": np.array([0.5, 1.5])}, "png_bytes are not the lengths"),
    ):
        with pytest.raises(FieldError, match=says):
            load_scene(_change(path, **change))
    none = {"png": np.zeros(0, np.uint8), "png_bytes": np.zeros(0, int)}
    none |= {"cameras": np.zeros((0, 3)), "poses": np.zeros((0, 3, 4))}
    with pytest.raises(FieldError, match="no held-out views"):
        load_scene(_change(path, **none))
    facts = dataclasses.asdict(scene.facts)
    for key, value, says in (
        ("psnr", [30.0], r"its psnr is \[30.0\]; it must be a number for each view"),
        ("float_psnr", [30.0, float("nan")], "its float_psnr is .* for each view"),
        ("psnr", ["a", "b"], "its psnr is .* a list of numbers"),
        ("psnr", 30.0, "its psnr is 30.0; it must be a list of numbers"),
        ("density_share", "x", "its density_share is 'x'"),
        ("color_share", 1.5, "its color_share is 1.5"),
        ("color_share", True, "its color_share is True"),
        ("name", [1], r"its name is \[1\]; it must be text"),
        ("licence", None, "its licence is None"),
    ):
        with pytest.raises(FieldError, match=says):
            load_scene(_change(path, facts=_json({**facts, key: value})))
    for key in ("facts", "settings"):
        with pytest.raises(FieldError, match=f"its {key} are"):
            load_scene(_change(path, **{key: _json(["near"])}))
    with pytest.raises(FieldError, match="a number for each view"):
        save_scene(path, dataclasses.replace(scene, views=scene.views[:1]))


def test_settings_of_another_type_are_refused(scene, path):
    good = {k: getattr(scene.field, k) for k in json.loads(np.load(path)["settings"].tobytes())}
    load_scene(_change(path, settings=_json(good)))
    with pytest.raises(FieldError, match="its setting density_shift is nan"):
        load_scene(_change(path, settings=_json({**good, "density_shift": float("nan")})))
    load_scene(_change(path, settings=_json({**good, "near": 2})))
    for key, value in (
        ("near", "x"),
        ("near", True),
        ("feature_frequencies", 2.0),
        ("feature_frequencies", True),
        ("softplus", 0.5),
        ("white_background", 1),
    ):
        with pytest.raises(FieldError, match=f"its setting {key} is {value!r}"):
            load_scene(_change(path, settings=_json({**good, key: value})))


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("oleaster.models.nerf.store._LARGEST_FILE", 1 << 20)
    out = tmp_path / "bomb.npz"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        data = io.BytesIO()
        np.save(data, np.zeros(1 << 21, np.uint8))
        archive.writestr("mask.npy", data.getvalue())
    with pytest.raises(FieldError, match="it unpacks to"):
        load_scene(out)


def test_a_file_that_cannot_be_written_leaves_nothing(scene, tmp_path):
    folder = tmp_path / "taken.npz"
    folder.mkdir()
    with pytest.raises(FieldError, match="cannot be written"):
        save_scene(folder, scene)
    assert list(tmp_path.iterdir()) == [folder]


# The verb ---------------------------------------------------------------------------------------


def _run(*words: str) -> str:
    app = typer.Typer()
    app.command()(info)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_info_answers_bad_input(tmp_path, capsys):
    text = tmp_path / "text.npz"
    text.write_text("no scene")
    for name, says in ((tmp_path / "none.npz", "neither a file"), (text, "is not a scene")):
        assert main(["nerf", "info", str(name)]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert captured.err.count("\n") == 1
        assert not captured.out


def test_info_in_words(path):
    out = _run(str(path))
    for text in ("three balls", "Apache-2.0", "20 x 14", "color_planes[2]", "plain", "25.0%"):
        assert text in out


def test_info_as_json(scene, path):
    out = json.loads(_run(str(path), "--json"))
    assert out["scene"]["psnr"] == list(scene.facts.psnr)
    assert out["scene"]["size"] == [32, 32, 32]
    assert [row["name"] for row in out["tensors"]] == list(scene.encoded)
    assert out["scene"]["encoded_bytes"] * 8 == sum(row["hybrid_bits"] for row in out["tensors"])
    for row in out["tensors"]:
        assert row["hybrid_bits"] <= min(
            row["dense_bits"], row["bitmap_bits"], row["coordinate_bits"]
        )
