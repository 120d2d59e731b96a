"""Images of a field in fixed point: the reference that hardware equals bit for bit (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.encoding import decode
from oleaster.models.nerf.field import Array, Field, Mask
from oleaster.models.nerf.fixed.features import FixedField, fix_field
from oleaster.models.nerf.fixed.network import fix_network, float_network
from oleaster.models.nerf.fixed.rays import cast_fixed, make_frame
from oleaster.models.nerf.fixed.shade import Colors, FixedPixels, shade_fixed
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.walk import plan_fixed
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.render import Counters, Rendering
from oleaster.models.nerf.scene import Scene
from oleaster.models.nerf.shade import Shaded
from oleaster.models.nerf.traffic import Visits

__all__ = ["FixedScene", "MlpFormat", "fix_scene", "render_fixed"]

MlpFormat = Literal["float", "int8", "ovp8", "ovp4-flint"]

_RAYS_AT_ONCE = 1 << 16
_SOLID_CELLS = 16
_CALIBRATION_SIDE = 32  # pixels
_CALIBRATION_VIEWS = 4
_CALIBRATION_SAMPLES = 4096


@dataclass(frozen=True, eq=False)
class FixedScene:
    """Everything that does not change from image to image. field: with a mask; its mask, box and
    settings count, not its tensors. tensors: these. colors: the network.
    """

    field: Field
    mask: Mask
    tensors: FixedField
    colors: Colors

    def render(
        self,
        camera: Camera,
        *,
        terminate: bool = True,
        visits: Visits | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Rendering:
        """As `render.render`, with its counters; the image has 8 bits, 0 .. 255, over 255."""
        return _trace(
            self.field, self.mask, self.tensors, self.colors, camera, terminate, visits, report
        )


def fix_scene(
    source: Scene | Field, config: FixedConfig | None = None, mlp: MlpFormat = "ovp8"
) -> FixedScene:
    """Quantise a scene once. A scene's encoded values are taken as they are, a field's tensors are
    rounded to config.value_bits. FieldError if something is out of range.
    """
    config = config or FixedConfig()
    field = source if isinstance(source, Field) else source.field
    codes = None
    if isinstance(source, Scene):
        codes = {name: decode(each) for name, each in source.encoded.items()}
    tensors = fix_field(field, config, codes)
    mask = field.mask or Mask(np.ones((_SOLID_CELLS + 1,) * 3, bool), field.box)
    scales = tensors.color_scales
    if mlp == "float":
        return FixedScene(field, mask, tensors, float_network(field, scales, config))
    products, directions = _calibrate(field, mask, tensors)
    network = fix_network(field, scales, products, directions, mlp, config)
    return FixedScene(field, mask, tensors, network)


def render_fixed(
    source: Scene | Field,
    camera: Camera,
    config: FixedConfig | None = None,
    mlp: MlpFormat = "ovp8",
    *,
    terminate: bool = True,
) -> Rendering:
    """One image; for more of one scene, `fix_scene` once and render with what it returns."""
    return fix_scene(source, config, mlp).render(camera, terminate=terminate)


def _calibrate(field: Field, mask: Mask, tensors: FixedField) -> tuple[Longs, Longs]:
    """Colour products and directions of samples that are seen from around the box."""
    found: list[tuple[Longs, Longs]] = []

    def record(products: Longs, directions: Longs) -> Longs:
        found.append((products, directions))
        return np.zeros((len(products), 3), np.int64)

    box = field.box.astype(np.float64)
    distance = field.near + float(np.linalg.norm(box[1] - box[0])) / 2
    for i in range(_CALIBRATION_VIEWS):
        around, up = 2 * math.pi * i / _CALIBRATION_VIEWS, math.radians(15 + 15 * (i % 3))
        away = [math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up)]
        middle = box.mean(axis=0)
        camera = look_at(
            middle + distance * np.array(away),
            middle,
            width=_CALIBRATION_SIDE,
            height=_CALIBRATION_SIDE,
            # The ball around the box fills the image.
            focal=_CALIBRATION_SIDE * distance / float(np.linalg.norm(box[1] - box[0])),
        )
        _trace(field, mask, tensors, record, camera, True, None, lambda done, total: None)
    if not found:
        return np.zeros((0, len(tensors.color_scales)), np.int64), np.zeros((0, 3), np.int64)
    products, directions = (np.concatenate(each) for each in zip(*found, strict=True))
    step = max(1, len(products) // _CALIBRATION_SAMPLES)
    return products[::step], directions[::step]


def _trace(
    field: Field,
    mask: Mask,
    tensors: FixedField,
    colors: Colors,
    camera: Camera,
    terminate: bool,
    visits: Visits | None,
    report: Callable[[int, int], None],
) -> Rendering:
    config = tensors.config
    frame = make_frame(field, mask, camera, config)
    walk = plan_fixed(frame, mask)
    rows = max(1, _RAYS_AT_ONCE // camera.width)
    shaded, walked = Shaded(), CubeCounts()
    images, lights = [], []
    for top in range(0, camera.height, rows):
        bottom = min(top + rows, camera.height)
        rays = cast_fixed(frame, top, bottom)
        pixels = FixedPixels.clear(len(rays), config.transmittance_bits)
        for samples in walk.batches(rays, top, bottom, walked):
            shade_fixed(
                tensors, rays, samples, pixels, shaded, colors, field.weight_threshold,
                terminate=terminate, visits=visits,
            )  # fmt: skip
        bits = config.transmittance_bits
        images.append(pixels.finish(field.white_background, bits, config.color_bits))
        lights.append(pixels.light)
        report(bottom * camera.width, camera.height * camera.width)
    shape = camera.height, camera.width
    image: Array = np.concatenate(images).reshape(*shape, 3).astype(np.float32) / np.float32(255)
    light = np.ldexp(np.concatenate(lights).reshape(shape), -config.transmittance_bits)
    density = sum(each.line.shape[1] for each in tensors.density)
    color = sum(each.line.shape[1] for each in tensors.color)
    return Rendering(
        image,
        (1 - light).astype(np.float32),
        Counters(
            rays=camera.height * camera.width,
            lattice=camera.height * camera.width * frame.count,
            candidates=len(walk),
            cubes=len(walk),
            **vars(walked),
            **vars(shaded),
            dense_bytes=2 * 6 * (density * shaded.density + color * shaded.colored),
        ),
    )
