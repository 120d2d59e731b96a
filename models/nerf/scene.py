"""A scene in one file: an encoded field, views held out from its training, and where it is from."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.blob import read_blob, write_blob
from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.encoding import Encoded, decode_all
from oleaster.models.nerf.field import Array, Field, FieldError, Mask, check_field
from oleaster.models.nerf.image import decode_image, encode_png, shrink
from oleaster.models.nerf.prune import Pruned
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.tensors import tensor_parts

__all__ = [
    "Facts",
    "HeldOut",
    "Scene",
    "drift_psnr",
    "load_scene",
    "make_scene",
    "save_scene",
    "scene_names",
    "view_psnr",
]

_FORMAT = "oleaster scene 1"
_LARGEST_FILE = 1 << 30  # bytes, unpacked: more than any field of 512^3 needs
_SETTINGS = tuple(
    each.name for each in fields(Field) if each.type in ("int", "float", "bool")
)  # of a field, beside its arrays


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


def drift_psnr(
    field: Field, cameras: Sequence[Camera], float_psnr: float
) -> Callable[[Field], float]:
    """A cheaper measure for `prune` than `view_psnr`: what small images drift by, in dB.

    float_psnr: of the field against its held-out views. The mean square difference between images
    of a field and of this one is added to the error that this one has, as if the two were
    independent; `make_scene` measures what is true.
    """
    own = 10 ** (-float_psnr / 10)
    images = [render(field, camera).image for camera in cameras]

    def measure(other: Field) -> float:
        errors = [
            float(np.mean(np.square(render(other, camera).image - image)))
            for camera, image in zip(cameras, images, strict=True)
        ]
        return float(-10 * np.log10(own + np.mean(errors)))

    return measure


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
    """Write a scene, whole or not at all. FieldError if the file cannot be written."""
    check_field(scene.field)
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
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(data.getvalue())
        aside.replace(path)
    except OSError as error:
        raise FieldError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


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
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > _LARGEST_FILE:
            raise FieldError(f"it unpacks to {size} bytes; a scene has at most {_LARGEST_FILE}")
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            if "format" not in loaded or str(loaded["format"]) != _FORMAT:
                found = str(loaded["format"]) if "format" in loaded else "no format"
                raise FieldError(f'it says "{found}", not "{_FORMAT}"')
            return _scene({key: loaded[key] for key in loaded})
    except FieldError as error:
        raise FieldError(f"{where}: {error}") from error
    except KeyError as error:
        raise FieldError(f"{where}: is not a whole scene: {error.args[0]} is missing") from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for a damaged file
        raise FieldError(f"{where}: is not a scene, or a damaged one ({error})") from error


def _scene(arrays: dict[str, NDArray[Any]]) -> Scene:
    encoded = read_blob(arrays["encoding"].astype(np.uint8).tobytes())
    mask = None
    if "mask" in arrays:
        shape = tuple(map(int, arrays["mask_shape"]))
        bits = np.unpackbits(arrays["mask"], bitorder="little", count=int(np.prod(shape)))
        mask = Mask(bits.astype(bool).reshape(shape), _single(arrays["mask_box"]))
    settings = json.loads(arrays["settings"].tobytes())
    if set(settings) != set(_SETTINGS):
        raise FieldError(f"its settings are {sorted(settings)}; they must be {sorted(_SETTINGS)}")
    for key, value in settings.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise FieldError(f"its setting {key} is {value!r}; it must be a finite number")
    a, b, c = (_single(arrays[f"weight{i}"]) for i in range(3))
    d, e, f = (_single(arrays[f"bias{i}"]) for i in range(3))
    field = Field(
        box=_single(arrays["box"]),
        **tensor_parts(decode_all(encoded)),
        basis=_single(arrays["basis"]),
        weights=(a, b, c),
        biases=(d, e, f),
        mask=mask,
        **settings,
    )
    check_field(field)
    facts = json.loads(arrays["facts"].tobytes())
    if set(facts) != {each.name for each in fields(Facts)}:
        raise FieldError(f"its facts are {sorted(facts)}")
    for key in ("psnr", "float_psnr"):
        facts[key] = tuple(map(float, facts[key]))
    return Scene(field, encoded, _views(arrays), Facts(**facts))


def _views(arrays: dict[str, NDArray[Any]]) -> tuple[HeldOut, ...]:
    ends = np.cumsum(arrays["png_bytes"])
    png = arrays["png"].astype(np.uint8).tobytes()
    found = []
    for (width, height, focal), pose, end, size in zip(
        arrays["cameras"], arrays["poses"], ends, arrays["png_bytes"], strict=True
    ):
        camera = Camera(int(width), int(height), float(focal), _single(pose))
        found.append(HeldOut(camera, png[end - size : end]))
    return tuple(found)


def _single(array: NDArray[Any]) -> Array:
    return array.astype(np.float32)


def _halved(array: Array) -> NDArray[np.floating[Any]]:
    """As float16 if that loses nothing."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def _text(values: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)
