"""A field's own file: back as it was, or one sentence that names the file."""

import io
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerf_random import random_field

from oleaster.models.nerf.field import Field, FieldError
from oleaster.models.nerf.files import load_field, save_field

_FIELD = replace(
    random_field(0, (5, 4, 3), (2, 1, 3), (1, 3, 2), (1, 2), mask=True),
    softplus=False,
    far=7.25,
    white_background=False,
)


def same_field(a: Field, b: Field) -> bool:
    for entry in fields(Field):
        x, y = getattr(a, entry.name), getattr(b, entry.name)
        if entry.name == "mask":
            same = (x is None) == (y is None)
            if x is not None and y is not None:
                same = np.array_equal(x.bits, y.bits) and np.array_equal(x.box, y.box)
        elif isinstance(x, tuple):
            same = all(np.array_equal(p, q) for p, q in zip(x, y, strict=True))
        else:
            same = type(x) is type(y) and np.array_equal(x, y)
        if not same:
            return False
    return True


@pytest.mark.parametrize("masked", [True, False])
def test_round_trip(tmp_path: Path, masked: bool) -> None:
    field = _FIELD if masked else replace(_FIELD, mask=None)
    save_field(tmp_path / "a.npz", field)
    save_field(tmp_path / "b.npz", load_field(tmp_path / "a.npz"))
    assert same_field(load_field(tmp_path / "a.npz"), field)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_field(path, _FIELD)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(FieldError, match=r"a\.npz: is (not an|a truncated or damaged) \.npz"):
            load_field(path)


def test_a_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_field(path, _FIELD)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            # What a zip does not check (times, a second copy of a size) may change.
            assert same_field(load_field(path), _FIELD)
        except FieldError:
            refused += 1
    assert refused > 100


_CHANGES: dict[str, dict[str, Any]] = {
    "its array `format` should be": {"format": np.array("something")},
    "is version 2 of the format; this reads 1": {"version": np.array(2)},
    "the array density_lines.2 is missing": {"density_lines.2": None},
    "the array near is missing": {"near": None},
    "basis is float64; it must be float32": {"basis": np.ones((5, 6))},
    "near is int64; it must be float": {"near": np.array(2)},
    "softplus is \\(2,\\); it must be a single value": {"softplus": np.array([True, False])},
    "biases\\[1\\] holds NaN or infinity": {"biases.1": np.full(8, np.nan, np.float32)},
    "box is \\(3, 2\\); it must be": {"box": np.zeros((3, 2), np.float32)},
    "its mask has 9 bytes, wrong for 5 x 4 x 3": {"mask.bits": np.zeros(9, np.uint8)},
    "its mask has 5 x 4 x -3 points": {"mask.size": np.array([5, 4, -3])},
    "mask.size is not three numbers": {"mask.size": np.array([5, 4])},
    "nothing to render": {"mask.bits": np.zeros(8, np.uint8)},
}


@pytest.mark.parametrize("message", _CHANGES)
def test_a_wrong_array_is_named(tmp_path: Path, message: str) -> None:
    path = tmp_path / "a.npz"
    save_field(path, _FIELD)
    with np.load(path) as file:
        arrays = dict(file)
    arrays |= _CHANGES[message]
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(FieldError, match=rf"a\.npz: .*{message}"):
        load_field(path)


def test_what_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(FieldError, match="no such file"):
        load_field(path)
    with pytest.raises(FieldError, match="not a file"):
        load_field(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FieldError, match=r"is not an \.npz file"):
        load_field(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(FieldError, match="is not a field"):
        load_field(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("box.npy", b"\x93NUMPY nonsense")
    with pytest.raises(FieldError, match="damaged"):
        load_field(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, format=np.array([object()]))
    with pytest.raises(FieldError, match="damaged"):
        load_field(path)


def test_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("before")
    with pytest.raises(FieldError, match="basis is"):
        save_field(path, replace(_FIELD, basis=_FIELD.basis[:, :1]))
    assert path.read_text() == "before"
    with pytest.raises(FieldError, match="cannot be written"):
        save_field(tmp_path / "missing" / "a.npz", _FIELD)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FieldError, match="cannot be written"):
        save_field(tmp_path / "folder.npz", _FIELD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "folder.npz"]
