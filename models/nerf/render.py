"""Images of a field: two ways to find its samples, one way to shade them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.cubes import CubeCounts, Order, plan_walk
from oleaster.models.nerf.field import Array, Field, FieldError, Mask
from oleaster.models.nerf.samples import cast_rays
from oleaster.models.nerf.shade import Pixels, Shaded, shade
from oleaster.models.nerf.traffic import Visits
from oleaster.models.nerf.uniform import uniform_samples

__all__ = ["Counters", "Order", "Pipeline", "Rendering", "psnr", "render"]

Pipeline = Literal["uniform", "cubes"]

_RAYS_AT_ONCE = 1 << 16
_SOLID_CELLS = 16


@dataclass(frozen=True)
class Counters:
    """What an image took.

    rays; lattice: samples on them, wherever they lie. candidates: reads of the occupancy: in the
    uniform sampler one for each sample in the box, in the other one for each non-zero cube.
    cubes, pixel_tests, points, outside: of the cube walk, else 0 (`cubes.py`). kept: samples that
    pass the mask = skipped (by early termination) + density (whose density was computed). colored:
    those whose colour was. dense_bytes: embeddings read for them in fp16 without any encoding or
    reuse: for each pair and component four values of a plane and two of a line, 2 bytes each.
    """

    rays: int
    lattice: int
    candidates: int
    cubes: int
    pixel_tests: int
    points: int
    outside: int
    kept: int
    skipped: int
    density: int
    colored: int
    dense_bytes: int


@dataclass(frozen=True, eq=False)
class Rendering:
    """image: (height, width, 3) float32, 0 .. 1. opacity: (height, width) float32."""

    image: Array
    opacity: Array
    counters: Counters


def render(
    field: Field,
    camera: Camera,
    pipeline: Pipeline = "cubes",
    *,
    order: Order = "exact",
    terminate: bool = True,
    ball: bool = False,
    visits: Visits | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Rendering:
    """The field as the camera sees it. order, ball: of the cube walk.

    terminate: rays take no more samples once their transmittance is below 1e-4; the uniform
    sampler still computes their densities, as TensoRF does. visits: told what embeddings are read.
    report: called with rays done and all.
    Without termination both pipelines give the same image to the last bit. Raises FieldError if
    the field's values are so large that the image is not finite.
    """
    if field.mask is None:
        field = replace(field, mask=_solid(field))
    rays = cast_rays(field, camera)
    walk = plan_walk(field, camera, order=order, ball=ball) if pipeline == "cubes" else None
    rows = max(1, _RAYS_AT_ONCE // camera.width)
    shaded, walked, candidates = Shaded(), CubeCounts(), 0 if walk is None else len(walk)
    images, opacities = [], []
    for top in range(0, camera.height, rows):
        bottom = min(top + rows, camera.height)
        part = rays.part(top * camera.width, bottom * camera.width)
        pixels = Pixels.clear(len(part))
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is seen below
            if walk is None:
                samples, tested = uniform_samples(field, part)
                candidates += tested
                shade(field, part, samples, pixels, shaded, terminate=terminate, visits=visits)
            else:
                batches = walk.batches(part, top, bottom, walked, whole=not terminate)
                for samples in batches:
                    shade(field, part, samples, pixels, shaded, terminate=terminate, visits=visits)
            image = pixels.finish(field.white_background)
        if not (np.isfinite(image).all() and np.isfinite(pixels.opacity).all()):
            raise FieldError(
                "the image is not finite: the field's values are too large for float32"
            )
        images.append(image)
        opacities.append(pixels.opacity)
        report(bottom * camera.width, len(rays))
    shape = camera.height, camera.width
    return Rendering(
        np.concatenate(images).reshape(*shape, 3),
        np.concatenate(opacities).reshape(shape),
        Counters(
            rays=len(rays),
            lattice=len(rays) * rays.count,
            candidates=candidates,
            cubes=0 if walk is None else len(walk),
            **vars(walked),
            **vars(shaded),
            dense_bytes=_dense_bytes(field, shaded),
        ),
    )


def psnr(image: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Peak signal to noise ratio in dB of images 0 .. 1; infinite if they are equal."""
    if image.shape != reference.shape:
        raise FieldError(f"images of {image.shape} and {reference.shape} cannot be compared")
    error = float(np.mean(np.square(image.astype(np.float64) - reference)))
    return -10 * math.log10(error) if error else math.inf


def _solid(field: Field) -> Mask:
    """A mask that lets all pass, a little larger than the box for what lies on its faces."""
    margin = (field.box[1] - field.box[0]) / 1024
    box = np.stack([field.box[0] - margin, field.box[1] + margin])
    return Mask(np.ones((_SOLID_CELLS + 1,) * 3, bool), box)


def _dense_bytes(field: Field, shaded: Shaded) -> int:
    density = sum(len(plane) for plane in field.density_planes)
    color = sum(len(plane) for plane in field.color_planes)
    return 2 * 6 * (density * shaded.density + color * shaded.colored)
