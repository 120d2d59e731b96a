"""A scene in one file: an encoded field, views held out from its training, and where it is from."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.blob import read_blob, write_blob
from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.encoding import Encoded, decode_all
from oleaster.models.nerf.field import Array, Field, FieldError, Mask
from oleaster.models.nerf.image import decode_image, encode_png, shrink
from oleaster.models.nerf.prune import Pruned
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.store import read_arrays, unpack_mask, write_aside
from oleaster.models.nerf.tensors import tensor_parts

__all__ = [
    "Facts",
    "HeldOut",
    "Scene",
    "load_scene",
    "make_scene",
    "save_scene",
    "scene_names",
    "view_psnr",
]

_FORMAT = "oleaster scene 1"
_NAMES = (
    *("format", "encoding", "box", "basis", "settings", "facts", "cameras", "poses"),
    *("png_bytes", "png", "mask", "mask_shape", "mask_box"),
    *(f"{layer}{i}" for layer in ("weight", "bias") for i in range(3)),
)
_SETTINGS = {
    each.name: str(each.type) for each in fields(Field) if each.type in ("int", "float", "bool")
}  # of a field, beside its arrays, and their types


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An image that training never saw. png: 8 bits, RGB, of the camera's size."""

    camera: Camera
    png: bytes

    @classmethod
    def of(cls, camera: Camera, image: NDArray[np.floating[Any]]) -> HeldOut:
        """From (height, width, 3) values 0 .. 1, rounded to 8 bits. Needs pillow."""
        if image.shape != (camera.height, camera.width, 3):
            raise FieldError(
                f"an image of shape {image.shape} for a camera of {camera.width} x {camera.height}"
            )
        return cls(camera, encode_png(image))

    @classmethod
    def resized(cls, camera: Camera, image: NDArray[np.floating[Any]], longest: int) -> HeldOut:
        """As `of`, with means over pixels if the image's longer side has more than `longest`."""
        share = longest / max(camera.width, camera.height)
        if share >= 1:
            return cls.of(camera, image)
        width, height = (max(1, round(share * each)) for each in (camera.width, camera.height))
        return cls.of(camera.scaled(width, height), shrink(image, width, height))

    def image(self) -> Array:
        """(height, width, 3) float32, 0 .. 1. Needs pillow."""
        image = decode_image(self.png)
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise FieldError(
                f"a held-out image is {image.shape[1]} x {image.shape[0]} pixels; its camera has"
                f" {self.camera.width} x {self.camera.height}"
            )
        return image


@dataclass(frozen=True)
class Facts:
    """About a scene. origin: of its images. command: that trained it. version: of oleaster.

    psnr, float_psnr: dB against each held-out view, of this field and of the one before pruning
    and quantisation. density_share, color_share: of planes' elements that were not 0, those pruned.
    """

    name: str
    origin: str
    licence: str
    command: str
    version: str
    psnr: tuple[float, ...]
    float_psnr: tuple[float, ...]
    density_share: float
    color_share: float


@dataclass(frozen=True, eq=False)
class Scene:
    """field: what `encoded` decodes to, with mask and networks. views: in the order of facts."""

    field: Field
    encoded: dict[str, Encoded]
    views: tuple[HeldOut, ...]
    facts: Facts


def view_psnr(views: Sequence[HeldOut]) -> Callable[[Field], float]:
    """What `prune` asks: the mean over the views of a field's PSNR in dB, on float images."""
    images = [(view.camera, view.image()) for view in views]

    def mean(field: Field) -> float:
        found = [psnr(render(field, camera).image, image) for camera, image in images]
        return float(np.mean(found))

    return mean


def make_scene(
    before: Field,
    pruned: Pruned,
    views: Sequence[HeldOut],
    *,
    name: str,
    origin: str,
    licence: str,
    command: str,
    version: str,
) -> Scene:
    """A scene of what `prune` made of the field `before`; renders each view with both."""

    def each(field: Field) -> tuple[float, ...]:
        return tuple(round(view_psnr([view])(field), 3) for view in views)

    facts = Facts(
        name, origin, licence, command, version, each(pruned.field), each(before),
        pruned.density_share, pruned.color_share,
    )  # fmt: skip
    return Scene(pruned.field, pruned.encoded, tuple(views), facts)


def save_scene(path: Path, scene: Scene) -> None:
    """Write a scene, whole or not at all. FieldError if the file cannot be written, or read."""
    check_field(scene.field)
    _check_facts(asdict(scene.facts), len(scene.views))
    field = scene.field
    out = {
        "format": np.array(_FORMAT),
        "encoding": np.frombuffer(write_blob(scene.encoded), np.uint8),
        "box": field.box,
        "basis": _halved(field.basis),
        "settings": _text({key: getattr(field, key) for key in _SETTINGS}),
        "facts": _text(asdict(scene.facts)),
        "cameras": np.array(
            [(v.camera.width, v.camera.height, v.camera.focal) for v in scene.views]
        ).reshape(-1, 3),
        "poses": np.array([v.camera.pose for v in scene.views], np.float32).reshape(-1, 3, 4),
        "png_bytes": np.array([len(v.png) for v in scene.views], np.int64),
        "png": np.frombuffer(b"".join(v.png for v in scene.views), np.uint8),
    }
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        out[f"weight{i}"], out[f"bias{i}"] = _halved(weight), _halved(bias)
    if field.mask is not None:
        out["mask"] = np.packbits(field.mask.bits, bitorder="little")
        out["mask_shape"] = np.array(field.mask.bits.shape, np.int64)
        out["mask_box"] = field.mask.box
    data = io.BytesIO()
    np.savez_compressed(data, **out)  # type: ignore[arg-type]
    with write_aside(path) as aside:
        aside.write_bytes(data.getvalue())


def scene_names() -> list[str]:
    """Of the scenes that are installed with oleaster."""
    names = (entry.name for entry in resources.files("oleaster.scenes").iterdir())
    return sorted(name.removesuffix(".npz") for name in names if name.endswith(".npz"))


def load_scene(name_or_path: str | Path) -> Scene:
    """A scene by name (`scene_names`) or from a file; FieldError says what is wrong with it."""
    if str(name_or_path) in scene_names():
        data = resources.files("oleaster.scenes").joinpath(f"{name_or_path}.npz").read_bytes()
        return _read(data, str(name_or_path))
    path = Path(name_or_path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise FieldError(f"{path}: is {kind}; expected a scene's file")
    if not path.is_file():
        raise FieldError(
            f"{path}: neither a file nor one of the scenes {', '.join(scene_names()) or '(none)'}"
        )
    try:
        return _read(path.read_bytes(), str(path))
    except OSError as error:
        raise FieldError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(data: bytes, where: str) -> Scene:
    try:
        arrays = read_arrays(io.BytesIO(data), _NAMES)
        found = str(arrays.get("format", "no format"))
        if found != _FORMAT:
            if found == "oleaster field":
                raise FieldError("is a field, not a scene; `oleaster nerf encode` makes one of it")
            raise FieldError(f'it says "{found}", not "{_FORMAT}"')
        return _scene(arrays)
    except FieldError as error:
        raise FieldError(f"{where}: {error}") from error
    except KeyError as error:
        raise FieldError(f"{where}: is not a whole scene: {error.args[0]} is missing") from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for a damaged file
        raise FieldError(f"{where}: is not a scene, or a damaged one ({error})") from error


def _scene(arrays: dict[str, NDArray[Any]]) -> Scene:
    encoded = read_blob(_bytes(arrays, "encoding"))
    mask = None
    if "mask" in arrays:
        shape = arrays["mask_shape"]
        if shape.shape != (3,) or shape.dtype.kind not in "iu":
            raise FieldError("its mask_shape is not three numbers of points")
        nz, ny, nx = map(int, shape)
        bits = unpack_mask(arrays["mask"], (nx, ny, nz), "little")
        mask = Mask(bits, _single(arrays, "mask_box"))
    a, b, c = (_single(arrays, f"weight{i}") for i in range(3))
    d, e, f = (_single(arrays, f"bias{i}") for i in range(3))
    field = Field(
        box=_single(arrays, "box"),
        **tensor_parts(decode_all(encoded)),
        basis=_single(arrays, "basis"),
        weights=(a, b, c),
        biases=(d, e, f),
        mask=mask,
        **_settings(json.loads(_bytes(arrays, "settings"))),
    )
    check_field(field)
    views = _views(arrays)
    facts = json.loads(_bytes(arrays, "facts"))
    _check_facts(facts, len(views))
    for key in ("psnr", "float_psnr"):
        facts[key] = tuple(map(float, facts[key]))
    return Scene(field, encoded, views, Facts(**facts))


def _settings(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or set(found) != set(_SETTINGS):
        raise FieldError(f"its settings are {sorted(found)}; they must be {sorted(_SETTINGS)}")
    for key, kind in _SETTINGS.items():
        value = found[key]
        right = _is_number(value) and math.isfinite(value) if kind == "float" else (
            type(value).__name__ == kind
        )  # fmt: skip
        if not right:
            raise FieldError(f"its setting {key} is {value!r}; it must be a finite {kind}")
    return found


def _check_facts(facts: Any, views: int) -> None:
    """FieldError unless they are what `Facts` declares, of so many views, of which there are."""
    if not isinstance(facts, dict) or set(facts) != {each.name for each in fields(Facts)}:
        raise FieldError(f"its facts are {sorted(facts)}")
    if not views:
        raise FieldError("it has no held-out views")
    for key in ("name", "origin", "licence", "command", "version"):
        if not isinstance(facts[key], str):
            raise FieldError(f"its {key} is {facts[key]!r}; it must be text")
    for key in ("density_share", "color_share"):
        if not _is_number(facts[key]) or not 0 <= facts[key] <= 1:
            raise FieldError(f"its {key} is {facts[key]!r}; it must be a number 0 .. 1")
    for key in ("psnr", "float_psnr"):
        values = facts[key]
        if not isinstance(values, list | tuple) or not all(map(_is_number, values)):
            raise FieldError(f"its {key} is {values!r}; it must be a list of numbers")
        if len(values) != views or any(map(math.isnan, values)):
            raise FieldError(f"its {key} is {values!r}; it must be a number for each view")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _views(arrays: dict[str, NDArray[Any]]) -> tuple[HeldOut, ...]:
    sizes = arrays["png_bytes"]
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 0).any():
        raise FieldError("its png_bytes are not the lengths of images")
    cameras, poses = _floats(arrays, "cameras"), _single(arrays, "poses")
    if cameras.shape != (len(sizes), 3) or poses.shape != (len(sizes), 3, 4):
        raise FieldError(
            f"it has {len(sizes)} images, cameras {cameras.shape} and poses {poses.shape}"
        )
    lengths = list(map(int, sizes))
    png = _bytes(arrays, "png")
    if sum(lengths) != len(png):
        raise FieldError(f"its images have {len(png)} bytes; png_bytes says {sum(lengths)}")
    found, first = [], 0
    for (width, height, focal), pose, length in zip(cameras, poses, lengths, strict=True):
        camera = Camera(int(width), int(height), float(focal), pose)
        found.append(HeldOut(camera, png[first : first + length]))
        first += length
    return tuple(found)


def _bytes(arrays: dict[str, NDArray[Any]], key: str) -> bytes:
    array = arrays[key]
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FieldError(f"its {key} is {array.ndim} axes of {array.dtype}; it must be bytes")
    return array.tobytes()


def _floats(arrays: dict[str, NDArray[Any]], key: str) -> NDArray[np.floating[Any]]:
    if arrays[key].dtype.kind != "f":
        raise FieldError(f"its {key} is {arrays[key].dtype}; it must be float")
    return arrays[key]


def _single(arrays: dict[str, NDArray[Any]], key: str) -> Array:
    return _floats(arrays, key).astype(np.float32)


def _halved(array: Array) -> NDArray[np.floating[Any]]:
    """As float16 if that loses nothing."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def _text(values: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)
