"""Folders in the Blender format: cameras, images on white, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.views import load_views

_POSES = [
    look_at(np.array(origin), np.zeros(3), width=6, height=4, focal=5.0).pose
    for origin in ([4.0, 0, 0], [0, 3.0, 2])
]

_MATRIX = [*_POSES[0].tolist(), [0, 0, 0, 1]]


def _scene(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write two views; returns what the JSON file holds."""
    frames = []
    for i, pose in enumerate(_POSES):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (4, 6, 4), np.uint8)).save(folder / f"r_{i}.png")
        matrix = [*pose.tolist(), [0, 0, 0, 1]]
        frames.append({"file_path": f"./r_{i}", "transform_matrix": matrix})
    data = {"camera_angle_x": 0.8, "frames": frames} | changes
    (folder / "transforms_train.json").write_text(json.dumps(data))
    return data


def test_cameras_and_images(tmp_path: Path) -> None:
    _scene(tmp_path)
    views = load_views(tmp_path, "train")
    for i, view in enumerate(views):
        assert (view.camera.width, view.camera.height) == (6, 4)
        assert view.camera.focal == pytest.approx(3 / np.tan(0.4))
        assert np.array_equal(view.camera.pose, _POSES[i])
        pixels = np.random.default_rng(i).integers(0, 256, (4, 6, 4), np.uint8) / 255
        expected = pixels[..., :3] * pixels[..., 3:] + (1 - pixels[..., 3:])
        assert view.image.dtype == np.float32
        np.testing.assert_allclose(view.image, expected, atol=1e-6)
    assert len(views) == 2


def test_images_without_transparency_and_with_an_ending(tmp_path: Path) -> None:
    data = _scene(tmp_path)
    data["frames"] = data["frames"][:1]
    data["frames"][0]["file_path"] = "r_0.png"
    (tmp_path / "transforms_train.json").write_text(json.dumps(data))
    Image.new("RGB", (6, 4), (0, 51, 255)).save(tmp_path / "r_0.png")
    (view,) = load_views(tmp_path, "train")
    np.testing.assert_allclose(view.image, np.broadcast_to([0, 0.2, 1], (4, 6, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera_angle_x": 0}, "camera_angle_x must be an angle between 0 and pi, not 0"),
        ({"camera_angle_x": float("nan")}, "camera_angle_x must be"),
        ({"camera_angle_x": "wide"}, "camera_angle_x must be"),
        ({"camera_angle_x": True}, "camera_angle_x must be"),
        ({"frames": []}, "at least one view"),
        ({"frames": [{}]}, "frame 0: has no file_path"),
        ({"frames": [{"file_path": "r_0"}]}, "4 x 4 finite numbers"),
        (
            {"frames": [{"file_path": "r_9", "transform_matrix": _MATRIX}]},
            r"r_9\.png: no such image",
        ),
    ],
)
def test_bad_descriptions(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    _scene(tmp_path, **changes)
    with pytest.raises(FieldError, match=message):
        load_views(tmp_path, "train")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 3, float("nan"), "frame 1: transform_matrix must be 4 x 4 finite numbers"),
        (0, 3, 1e300, "frame 1: transform_matrix must be 4 x 4 finite numbers"),
        (0, 3, "x", "frame 1: transform_matrix must be 4 x 4 finite numbers"),
        (3, 3, 2, "frame 1: the last row"),
        (0, 0, 5.0, "frame 1: a pose's first three columns"),
    ],
)
def test_bad_poses(tmp_path: Path, row: int, column: int, value: Any, message: str) -> None:
    data = _scene(tmp_path)
    data["frames"][1]["transform_matrix"][row][column] = value
    (tmp_path / "transforms_train.json").write_text(json.dumps(data))
    with pytest.raises(FieldError, match=message):
        load_views(tmp_path, "train")


def test_bad_files(tmp_path: Path) -> None:
    _scene(tmp_path)
    with pytest.raises(FieldError, match=r"transforms_test\.json: no such file"):
        load_views(tmp_path, "test")
    whole = (tmp_path / "r_1.png").read_bytes()
    (tmp_path / "r_1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FieldError, match=r"r_1\.png: an image cannot be read"):
        load_views(tmp_path, "train")
    Image.new("RGB", (4, 4)).save(tmp_path / "r_1.png")
    with pytest.raises(FieldError, match="its image is 4 x 4, the first one 6 x 4"):
        load_views(tmp_path, "train")
    for text in ("{", "[]", "[" * 100_000, "\udcff"):
        (tmp_path / "transforms_train.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(FieldError, match=r"transforms_train\.json: is not"):
            load_views(tmp_path, "train")


def test_a_frame_that_names_a_folder(tmp_path: Path) -> None:
    data = _scene(tmp_path)
    data["frames"][1]["file_path"] = "/"
    (tmp_path / "transforms_train.json").write_text(json.dumps(data))
    with pytest.raises(FieldError, match="/: is a folder, not an image"):
        load_views(tmp_path, "train")


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scene(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FieldError, match=r"images need pillow: install oleaster\[nerf\]"):
        load_views(tmp_path, "train")
