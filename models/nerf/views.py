"""Cameras and images from a folder in the Blender format of the NeRF data sets.

`transforms_SPLIT.json` has `camera_angle_x` (radians) and `frames`, each with `file_path` (of a PNG
file, its ending left out) and `transform_matrix` (4 x 4, camera to world). Mildenhall et al., ECCV
2020.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array, FieldError
from oleaster.models.nerf.image import decode_image

__all__ = ["View", "load_pose", "load_views"]


@dataclass(frozen=True, eq=False)
class View:
    """A camera and what it sees: image is (height, width, 3) float32, 0 .. 1."""

    camera: Camera
    image: Array


def load_views(folder: Path, split: str) -> list[View]:
    """The views of a split ("train", "val", "test"), blended on white; all of one size.

    They take 12 bytes a pixel. Raises FieldError for a folder that lacks any of it.
    """
    path = folder / f"transforms_{split}.json"
    angle, frames = _read(path)
    views: list[View] = []
    for i, frame in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise FieldError(f"{where}: has no file_path")
        pose = _pose(where, frame.get("transform_matrix"))
        image = _image(folder, frame["file_path"])
        height, width = image.shape[:2]
        if views and views[0].image.shape != image.shape:
            first = views[0].camera
            raise FieldError(
                f"{where}: its image is {width} x {height}, "
                f"the first one {first.width} x {first.height}; all must have one size"
            )
        focal = width / 2 / math.tan(angle / 2)
        try:
            views.append(View(Camera(width, height, focal, pose), image))
        except FieldError as error:
            raise FieldError(f"{where}: {error}") from error
    return views


def load_pose(path: Path) -> tuple[Array, float | None]:
    """(3, 4) camera to world, and camera_angle_x in radians if it is there, of one frame's JSON.

    Raises FieldError for a file that is not such a frame.
    """
    frame = _load(path)
    if "frames" in frame:
        raise FieldError(f"{path}: has a list of frames; give one of them in a file of its own")
    angle = frame.get("camera_angle_x")
    pose = _pose(str(path), frame.get("transform_matrix"))
    return pose, None if angle is None else _angle(path, angle)


def _read(path: Path) -> tuple[float, list[Any]]:
    if not path.is_file():
        raise FieldError(f"{path}: no such file; a scene's folder has one for each split")
    data = _load(path)
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames:
        raise FieldError(f"{path}: frames must be a list of at least one view")
    return _angle(path, data.get("camera_angle_x")), frames


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise FieldError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FieldError(f"{path}: is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise FieldError(f"{path}: is not a JSON object, as transforms.json and its frames are")
    return data


def _angle(path: Path, angle: Any) -> float:
    if not isinstance(angle, float | int) or angle is True or not 0 < angle < math.pi:
        raise FieldError(f"{path}: camera_angle_x must be an angle between 0 and pi, not {angle!r}")
    return angle


def _pose(where: str, matrix: Any) -> Array:
    try:
        with np.errstate(over="ignore"):
            pose = np.array(matrix, np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        pose = np.empty(0, np.float32)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise FieldError(f"{where}: transform_matrix must be 4 x 4 finite numbers")
    if pose[3].tolist() != [0, 0, 0, 1]:
        raise FieldError(f"{where}: the last row of transform_matrix must be 0 0 0 1")
    return pose[:3]


def _image(folder: Path, name: str) -> Array:
    """(height, width, 3) float32, 0 .. 1, on white."""
    path = folder / name
    if not path.name:
        raise FieldError(f"{path}: is a folder, not an image")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        path = path.with_name(path.name + ".png")
    try:
        return decode_image(path.read_bytes())
    except FileNotFoundError:
        raise FieldError(f"{path}: no such image") from None
    except (OSError, FieldError) as error:
        raise FieldError(f"{path}: {error}") from error
