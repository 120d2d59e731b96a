"""Small radiance fields and cameras that tests share."""

from __future__ import annotations

import math

import numpy as np

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.field import PLANE_AXES, Field, Mask


def random_field(
    seed: int = 0,
    *,
    size: tuple[int, int, int] = (9, 8, 7),
    mask_size: tuple[int, int, int] | None = (6, 7, 5),
    fill: float = 0.15,
    density: float = 1.0,
    components: tuple[int, int] = (2, 3),
    **settings,
) -> Field:
    """A field of random values about the origin; of the mask's points, `fill` are set."""
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    r, q = components
    features, width = 4, 8
    box = np.array([[-1.0, -1.1, -0.9], [1.2, 1.0, 0.8]], np.float32)
    mask = None
    if mask_size is not None:
        nx, ny, nz = mask_size
        mask = Mask(rng.random((nz, ny, nx)) < fill, box.copy())
    inputs = features * 5 + 15
    field = Field(
        box=box,
        density_planes=tuple(
            normal(r, size[v], size[u], scale=math.sqrt(density)) for u, v in PLANE_AXES
        ),
        density_lines=tuple(
            np.abs(normal(r, size[axis], scale=math.sqrt(density))) for axis in (2, 1, 0)
        ),
        color_planes=tuple(normal(q, size[v], size[u]) for u, v in PLANE_AXES),
        color_lines=tuple(normal(q, size[axis]) for axis in (2, 1, 0)),
        basis=normal(features, 3 * q),
        weights=(
            normal(width, inputs, scale=0.3),
            normal(width, width, scale=0.5),
            normal(3, width, scale=0.5),
        ),
        biases=(normal(width), normal(width), normal(3)),
        mask=mask,
        **{"near": 0.05, "density_shift": 0.0, **settings},
    )
    return field


def blob_field(
    size: int = 48, mask_size: int = 32, *, components: tuple[int, int] = (4, 6)
) -> Field:
    """Three opaque balls, coloured; most of the box is empty, and the mask says where."""
    r = components[0]
    base = random_field(1, size=(size,) * 3, mask_size=None, components=components)
    box = np.array([[-1.5] * 3, [1.5] * 3], np.float32)
    axis = np.linspace(-1.5, 1.5, size, dtype=np.float32)
    centres = np.array([[-0.5, 0.2, 0.1], [0.5, -0.3, 0.0], [0.1, 0.5, -0.6]], np.float32)
    widths = np.array([0.22, 0.16, 0.12], np.float32)

    def bump(i, along):
        return np.exp(-0.5 * ((axis - centres[i, along]) / widths[i]) ** 2)

    planes, lines = [], []
    for m, (u, v) in enumerate(PLANE_AXES):
        plane, line = np.zeros((r, size, size), np.float32), np.zeros((r, size), np.float32)
        for i in range(min(r, 3)):
            plane[i] = 22 * bump(i, v)[:, None] * bump(i, u)
            line[i] = bump(i, (2, 1, 0)[m])
        planes.append(plane)
        lines.append(line)
    settings = {name: getattr(base, name) for name in ("basis", "weights", "biases")}
    colors = {name: getattr(base, name) for name in ("color_planes", "color_lines")}
    field = Field(
        box=box,
        density_planes=tuple(planes),
        density_lines=tuple(lines),
        **settings,
        **colors,
        near=2.0,
        far=6.0,
    )
    at = np.linspace(-1.5, 1.5, mask_size, dtype=np.float32)
    z, y, x = np.meshgrid(at, at, at, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    alpha = 1 - np.exp(-field.density(points) * field.step)
    solid = np.pad((alpha > 1e-4).reshape(z.shape), 1)
    grown = np.zeros_like(z, bool)
    for dz, dy, dx in np.ndindex(3, 3, 3):
        grown |= solid[dz : dz + mask_size, dy : dy + mask_size, dx : dx + mask_size]
    return with_mask(field, Mask(grown, box.copy()))


def with_mask(field: Field, mask: Mask | None) -> Field:
    values = {name: getattr(field, name) for name in field.__dataclass_fields__}
    return Field(**{**values, "mask": mask})


def orbit_camera(
    angle: float = 0.6, *, width: int = 40, height: int = 30, distance: float = 4.0
) -> Camera:
    origin = distance * np.array([math.cos(angle) * 0.9, math.sin(angle) * 0.9, 0.436])
    return look_at(origin, np.zeros(3), width=width, height=height, focal=1.4 * width)
