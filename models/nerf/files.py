"""Fields in .npz files.

A file holds `format` and `version`, then the fields of `Field` by their names; of a tuple each
array as `name.0` .. `name.2`; of the mask `mask.bits` (packed, most significant bit first),
`mask.size` (points along x, y, z) and `mask.box`. Nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.store import read_arrays, unpack_mask, write_aside

__all__ = ["load_field", "save_field"]

_FORMAT = "oleaster field"
_VERSION = 1
_TRIPLES = (
    "density_planes",
    "density_lines",
    "color_planes",
    "color_lines",
    "weights",
    "biases",
)
_SCALARS = {
    "feature_frequencies": int,
    "direction_frequencies": int,
    "near": float,
    "far": float,
    "density_shift": float,
    "distance_scale": float,
    "step_ratio": float,
    "weight_threshold": float,
    "softplus": bool,
    "white_background": bool,
}
_NAMES = (
    *("format", "version", "box", "basis", "mask.bits", "mask.size", "mask.box"),
    *(f"{name}.{i}" for name in _TRIPLES for i in range(3)),
    *_SCALARS,
)
_KINDS = {int: "i", float: "f", bool: "b"}


def save_field(path: Path, field: Field) -> None:
    """Write a field, uncompressed; the same field gives the same bytes. Raises FieldError."""
    check_field(field)
    arrays: dict[str, Any] = {"format": np.array(_FORMAT), "version": np.array(_VERSION)}
    arrays |= {"box": field.box, "basis": field.basis}
    for name in _TRIPLES:
        arrays |= {f"{name}.{i}": array for i, array in enumerate(getattr(field, name))}
    arrays |= {name: np.array(kind(getattr(field, name))) for name, kind in _SCALARS.items()}
    if field.mask is not None:
        arrays["mask.bits"] = np.packbits(field.mask.bits)
        arrays["mask.size"] = np.array(field.mask.size)
        arrays["mask.box"] = field.mask.box
    with write_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def load_field(path: Path) -> Field:
    """Read what `save_field` wrote. Raises FieldError, which names the file, for anything else."""
    try:
        field = _field(_read(path))
        check_field(field)
    except FieldError as error:
        raise FieldError(f"{path}: {error}") from error
    return field


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise FieldError("no such file" if not path.exists() else "not a file")
    try:
        with path.open("rb") as opened:
            if opened.read(4) != b"PK\x03\x04":
                raise FieldError("is not an .npz file")
            opened.seek(0)
            arrays = read_arrays(opened, _NAMES)
    except FieldError:
        raise
    except OSError as error:
        raise FieldError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy hands headers to Python's parser, which raises anything
        raise FieldError(f"is a truncated or damaged .npz file ({error})") from error
    if "format" not in arrays or str(arrays["format"]) != _FORMAT:
        raise FieldError(f"is not a field; its array `format` should be {_FORMAT!r}")
    version = str(arrays.get("version"))
    if version != str(_VERSION):
        raise FieldError(f"is version {version} of the format; this reads {_VERSION}")
    return arrays


def _field(arrays: dict[str, NDArray[Any]]) -> Field:
    values: dict[str, Any] = {name: _get(arrays, name) for name in ("box", "basis")}
    for name in _TRIPLES:
        values[name] = tuple(_get(arrays, f"{name}.{i}") for i in range(3))
    for name, kind in _SCALARS.items():
        array = _get(arrays, name, kinds=_KINDS[kind])
        if array.shape != ():
            raise FieldError(f"{name} is {array.shape}; it must be a single value")
        values[name] = kind(array)
    if "mask.bits" in arrays:
        values["mask"] = _mask(arrays)
    return Field(**values)


def _mask(arrays: dict[str, NDArray[Any]]) -> Mask:
    size = _get(arrays, "mask.size", kinds="i")
    if size.shape != (3,):
        raise FieldError("mask.size is not three numbers of points")
    nx, ny, nz = (int(points) for points in size)
    bits = unpack_mask(_get(arrays, "mask.bits", kinds="u"), (nx, ny, nz))
    return Mask(bits, _get(arrays, "mask.box"))


def _get(arrays: dict[str, NDArray[Any]], name: str, *, kinds: str = "") -> NDArray[Any]:
    """An array by name: float32, or anything of these kinds of numpy."""
    if name not in arrays:
        raise FieldError(f"the array {name} is missing")
    array = arrays[name]
    if array.dtype.kind not in kinds if kinds else array.dtype != np.float32:
        right = {"": "float32", "u": "uint8", "i": "integer", "f": "float", "b": "bool"}[kinds]
        raise FieldError(f"{name} is {array.dtype}; it must be {right}")
    return array
