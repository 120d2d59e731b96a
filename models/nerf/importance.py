"""How much each value of a field's planes matters to images: first-order, from rendered rays. Ours.

A change d of a plane's value moves a sample's density logit or colour component by d times the
tap's weight times the line's value. What that does to the pixel is the sample's compositing
weight for colour, and for density the light that passes it times the slope of its opacity.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field
from oleaster.models.nerf.samples import Samples, cast_rays
from oleaster.models.nerf.tensors import field_tensors
from oleaster.models.nerf.uniform import uniform_samples

__all__ = ["plane_importance"]


def plane_importance(field: Field, cameras: Iterable[Camera]) -> dict[str, Array]:
    """Plane's name -> (rows, cells, components): mean square effect on pixels of a change of 1.

    Relative among planes of density, and among those of colour, whose network counts as linear. A
    thousandth of the mean is added, so that values that no ray of the cameras reads still count a
    little.
    """
    tensors = field_tensors(field)
    found = {
        name: np.zeros(tensor.shape, np.float32)
        for name, tensor in tensors.items()
        if "planes" in name
    }
    for camera in cameras:
        rays = cast_rays(field, camera)
        samples, _ = uniform_samples(field, rays)
        if not len(samples.ray):
            continue
        points = rays.points(samples)
        length = rays.lengths(samples) * np.float32(field.distance_scale)
        density = field.density(points)
        optical = density * length
        before = _sum_before(optical, samples)
        # The slope of softplus is 1 - exp(-softplus), that of relu 1 where it is not 0.
        slope = -np.expm1(-density) if field.softplus else (density > 0).astype(np.float32)
        through = np.exp(-before - optical) * length * slope
        weight = np.exp(-before) * -np.expm1(-optical)
        at = field.lattice(points)
        for kind, effect in (("density", through), ("color", weight)):
            seen = np.flatnonzero(effect > field.weight_threshold)
            _add(found, tensors, field, kind, at[seen], effect[seen])
    for values in found.values():
        values += np.float32(1e-3) * values.mean() + np.finfo(np.float32).tiny
    return found


def _add(
    found: dict[str, Array],
    tensors: dict[str, Array],
    field: Field,
    kind: str,
    at: Array,
    effect: Array,
) -> None:
    low = np.clip(at.astype(np.int64), 0, np.array(field.size) - 2)
    f = at - low
    for m, ((u, v), w) in enumerate(zip(PLANE_AXES, LINE_AXES, strict=True)):
        plane, line = found[f"{kind}_planes[{m}]"], tensors[f"{kind}_lines[{m}]"][0]
        along = line[low[:, w]] * (1 - f[:, w, None]) + line[low[:, w] + 1] * f[:, w, None]
        squares = np.square(along * effect[:, None])
        rows, cells, _ = plane.shape
        for dv in (0, 1):
            for du in (0, 1):
                tap = np.abs(1 - dv - f[:, v]) * np.abs(1 - du - f[:, u])
                cell = (low[:, v] + dv) * cells + low[:, u] + du
                for r in range(plane.shape[2]):
                    sums = np.bincount(cell, squares[:, r] * np.square(tap), rows * cells)
                    plane[:, :, r] += sums.reshape(rows, cells).astype(np.float32)


def _sum_before(values: Array, samples: Samples) -> NDArray[np.float64]:
    """(n,) sum of the values of earlier samples of the same ray."""
    before = np.cumsum(values, dtype=np.float64) - values
    first = np.flatnonzero(np.diff(samples.ray, prepend=np.int32(-1)))
    return before - np.repeat(before[first], np.diff(first, append=len(values)))
