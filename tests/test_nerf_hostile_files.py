"""Small files that claim much: refused with a sentence, before memory or time goes to them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera
from nerf_random import random_field

from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.files import load_field, save_field
from oleaster.models.nerf.render import Pipeline, render
from oleaster.models.nerf.store import read_arrays, unpack_mask

_FIELD = random_field(0, (5, 4, 3), (2, 1, 3), (1, 3, 2), (1, 2), mask=True)


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


# Archives ---------------------------------------------------------------------------------------


def _archive(compression: int = zipfile.ZIP_DEFLATED, **members: np.ndarray) -> io.BytesIO:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as file:
        for name, array in members.items():
            file.writestr(f"{name}.npy", _npy(array))
    return data


def test_only_the_arrays_asked_for_are_unpacked() -> None:
    data = _archive(a=np.arange(3), b=np.zeros(4))
    with zipfile.ZipFile(data, "a") as file:
        file.writestr("junk.npy", b"no array")
    found = read_arrays(data, ("a", "c"))
    assert list(found) == ["a"]
    assert found["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_archive(zipfile.ZIP_BZIP2, a=np.zeros(3)), "compressed in a way"),
        (_archive(a=np.empty(3, "V0")), "a is [|]V0; it must be numbers or text"),
        (_archive(a=np.zeros(3, complex)), "a is complex128"),
    ],
)
def test_archives_that_numpy_would_not_write(data: io.BytesIO, says: str) -> None:
    with pytest.raises(FieldError, match=says):
        read_arrays(data, ("a",))


def test_a_field_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    save_field(path, _FIELD)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("junk.npy", _npy(np.zeros(1 << 20, np.uint8)))
    load_field(path)
    monkeypatch.setattr("oleaster.models.nerf.store._LARGEST_FILE", 1 << 20)
    with pytest.raises(FieldError, match=r"a\.npz: it unpacks to \d+ bytes; at most"):
        load_field(path)


@pytest.mark.parametrize(
    ("packed", "size", "says"),
    [
        (np.zeros(1, np.uint8), (1200, 1200, 1200), "1200 x 1200 x 1200 points; 1 to"),
        (np.zeros(1, np.uint8), (9, 9, 9), "1 bytes, wrong for 9 x 9 x 9"),
        (np.zeros(2, np.uint8), (2, 2, 2), "2 bytes, wrong for 2 x 2 x 2"),
        (np.zeros(1, np.uint8), (-2, -2, 2), "-2 x -2 x 2 points"),
        (np.zeros(1), (2, 2, 2), "must be bytes"),
        (np.zeros((1, 1), np.uint8), (2, 2, 2), "must be bytes"),
    ],
)
def test_masks_that_are_not_their_size(packed: Any, size: tuple[int, int, int], says: str) -> None:
    with pytest.raises(FieldError, match=says):
        unpack_mask(packed, size)


# Settings ---------------------------------------------------------------------------------------


def _box(low: float, high: float) -> np.ndarray:
    return np.array([[low] * 3, [high] * 3], np.float32)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"step_ratio": 1e-50}, "samples are 0.0 apart"),
        ({"step_ratio": 1e-30}, "a ray has .* samples"),
        ({"step_ratio": 1e-7}, "a ray has .* samples"),
        ({"step_ratio": 1e300}, "step_ratio is 1e.300"),
        ({"step_ratio": 1e38, "box": _box(-100, 100)}, "samples are inf apart"),
        ({"box": _box(-3e38, 3e38)}, "box is .*too large"),
        ({"box": _box(-1e30, 1e30)}, "a ray has inf samples"),
        ({"box": _box(0, 1e-40)}, "too flat"),
        ({"mask": Mask(np.ones((2, 2, 2), bool), _box(-3e38, 3e38))}, "mask.box is .*too large"),
        ({"far": 1e300}, "far is 1e.300"),
        ({"density_shift": 1e300}, "density_shift is 1e.300"),
        ({"distance_scale": 1e300}, "distance_scale is 1e.300"),
    ],
)
def test_settings_that_no_ray_can_follow(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(FieldError, match=says):
        check_field(replace(_FIELD, **changes))


def test_a_mask_of_too_many_points() -> None:
    bits = np.broadcast_to(np.True_, (1024, 1024, 1024))  # without memory of its own
    with pytest.raises(FieldError, match=r"the mask has .* points, above"):
        check_field(replace(_FIELD, mask=Mask(bits, _FIELD.box)))


def _extreme(field: Field) -> dict[str, Field]:
    # Infinite products of both signs, whose sum is no number.
    huge = {
        name: tuple(np.full_like(part, 1e30) for part in getattr(field, name))
        for name in ("density_planes", "density_lines")
    }
    for plane in huge["density_planes"]:
        plane[::2] *= -1
    weights = tuple(np.copysign(np.float32(3e38), weight) for weight in field.weights)
    return {"factors": replace(field, **huge), "weights": replace(field, weights=weights)}


@pytest.mark.parametrize("pipeline", ["cubes", "uniform"])
@pytest.mark.parametrize("what", ["factors", "weights"])
def test_an_image_of_what_overflows_is_refused(what: str, pipeline: Pipeline) -> None:
    field = _extreme(blob_field(24, 16))[what]
    check_field(field)
    with pytest.raises(FieldError, match="the image is not finite"):
        render(field, orbit_camera(width=12, height=9), pipeline)
