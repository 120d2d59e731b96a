"""From a camera's constants to rays on two lattices, the field's and the mask's, in integers.

A sample (ray, k) lies at base + k * delta, on both lattices. The constants of a frame are computed
once, on the host; everything else is what a circuit does for each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.fixed.tables import (
    Longs,
    inverse_root,
    reciprocal,
    rounded,
    to_fixed,
)
from oleaster.models.nerf.fixed.widths import (
    LARGEST_CAMERA_CELLS,
    LARGEST_COUNT,
    PIXEL_BITS,
    FixedConfig,
)
from oleaster.models.nerf.samples import Ints

__all__ = [
    "ENTRY_BITS",
    "FURTHEST_ENTRY",
    "LARGEST_ENTRY",
    "LARGEST_STEP",
    "SLACK",
    "STEP_GUARD",
    "WIDEST",
    "FixedRays",
    "Frame",
    "cast_fixed",
    "make_frame",
]

SLACK = 1 / 32
"""Mask cells. Samples stray by half of it at most from their pixel's exact ray: `make_frame` sees
to it. The other half is for the rounding of a cube's corners."""

STEP_GUARD = 4
"""Bits that a frame's steps have beyond positions."""

ENTRY_BITS = 12
"""Fraction of a ray's entry, in steps."""

LARGEST_ENTRY = 1 << 17
"""Steps from the camera to a ray's first sample, at most."""

LARGEST_STEP = 1 << 10
"""Lattice cells between two samples, along any axis; not quite reached, since a unit direction may
be a little longer than 1."""

WIDEST = 8
"""Length of any pixel's direction, that of the image's middle being 1; not quite reached."""

FURTHEST_ENTRY = 2
"""Times the distance of the box's furthest corner from the camera: no ray's samples begin later, so
that positions have a bound. A ray that begins there meets nothing anyway."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Constants of one image, on host and in registers.

    first, across, down: (3,) direction through the first pixel, and its differences from column to
    column and from row to row; ray_bits + PIXEL_BITS of fraction, in the world's axes.
    For the lattices of field and mask: *_origin: (3,) the camera, *_step: (3,) a step in cells.
    face: (2, 3) the field's box on the mask's lattice. near, far: in steps.
    count: samples on a ray. *_last: (3,) the lattice's last coordinate, in whole cells.
    """

    camera: Camera
    config: FixedConfig
    first: Longs
    across: Longs
    down: Longs
    field_origin: Longs
    field_step: Longs
    field_last: Longs
    mask_origin: Longs
    mask_step: Longs
    mask_last: Longs
    face: Longs
    near: int
    far: int
    count: int


def make_frame(field: Field, mask: Mask, camera: Camera, config: FixedConfig) -> Frame:
    """Quantise what is constant in an image; FieldError if some of it is out of range."""
    pose = camera.pose.astype(np.float64)
    turn, origin = pose[:, :3], pose[:, 3]
    corner = np.array([0.5 - camera.width / 2, camera.height / 2 - 0.5]) / camera.focal
    widest = float(np.sqrt(1 + np.square(corner).sum()))
    if widest >= 0.99 * WIDEST:
        raise FieldError(
            f"the image's corners are {np.degrees(np.arccos(1 / widest)):.0f} degrees off its"
            f" middle; fixed point sees {np.degrees(np.arccos(1 / WIDEST)):.0f} at most"
        )
    if field.samples > LARGEST_COUNT:
        raise FieldError(
            f"a ray has {field.samples} samples; fixed point takes {LARGEST_COUNT} at most"
        )
    ray_bits, position_bits = config.ray_bits + PIXEL_BITS, config.position_bits
    step, box = float(field.step), field.box.astype(np.float64)
    field_cells = (np.array(field.size) - 1) / (box[1] - box[0])
    mask_box = mask.box.astype(np.float64)
    mask_cells = (np.array(mask.size) - 1) / (mask_box[1] - mask_box[0])
    if max((step * field_cells).max(), (step * mask_cells).max()) >= 0.99 * LARGEST_STEP:
        raise FieldError(f"a step of {step} is {LARGEST_STEP} cells or more, or nearly")
    if field.near / step >= LARGEST_ENTRY:
        raise FieldError(f"near is {field.near}, {field.near / step:.0f} steps; too far")
    reach = _check_reach(origin, box, mask_box, step, field_cells, mask_cells, config)
    far = min(field.far, FURTHEST_ENTRY * reach) / step
    return Frame(
        camera=camera,
        config=config,
        first=to_fixed(turn @ np.array([*corner, -1.0]), ray_bits),
        # A single column or row has no next one, and a focal length that bounds nothing.
        across=to_fixed((camera.width > 1) * turn[:, 0] / camera.focal, ray_bits),
        down=to_fixed((camera.height > 1) * -turn[:, 1] / camera.focal, ray_bits),
        field_origin=to_fixed((origin - box[0]) * field_cells, position_bits),
        field_step=to_fixed(step * field_cells, position_bits + STEP_GUARD),
        field_last=np.array(field.size, np.int64) - 1,
        mask_origin=to_fixed((origin - mask_box[0]) * mask_cells, position_bits),
        mask_step=to_fixed(step * mask_cells, position_bits + STEP_GUARD),
        mask_last=np.array(mask.size, np.int64) - 1,
        face=to_fixed((box - mask_box[0]) * mask_cells, position_bits),
        near=int(to_fixed(field.near / step, ENTRY_BITS)),
        far=int(to_fixed(min(far, LARGEST_ENTRY), ENTRY_BITS)),
        count=field.samples,
    )


def _check_reach(
    origin: NDArray[np.float64],
    box: NDArray[np.float64],
    mask_box: NDArray[np.float64],
    step: float,
    field_cells: NDArray[np.float64],
    mask_cells: NDArray[np.float64],
    config: FixedConfig,
) -> float:
    """Distance to the furthest corner of both boxes.

    FieldError unless positions are in range, and stray by less than SLACK from exact rays.
    """
    reach = max(
        float(np.linalg.norm([each[i, axis] - origin[axis] for axis, i in enumerate(ends)]))
        for each in (box, mask_box)
        for ends in product((0, 1), repeat=3)
    )
    cells = reach * float(max(field_cells.max(), mask_cells.max()))
    unit = 0.5**config.position_bits
    # A step's rounding, and that of the direction it is made of, count once for each step; that of
    # the pixel's direction once for each cell.
    stray = (reach / step + 1) * (unit + step * mask_cells.max() * 0.5**config.direction_bits)
    stray += 2 * cells * 0.5**config.ray_bits + unit
    if cells >= LARGEST_CAMERA_CELLS or stray >= SLACK / 2:
        raise FieldError(
            f"the camera is {cells:.0f} cells from a corner of the box, where rays stray by"
            f" {stray:.2g} cells; fixed point allows {LARGEST_CAMERA_CELLS} and {SLACK / 2:.2g}"
        )
    return reach


@dataclass(frozen=True, eq=False)
class FixedRays:
    """Rays of some rows of an image. Arrays are (3, n), along x, y, z.

    *_base, *_delta: lattice coordinates of sample 0, and from each sample to the next;
    position_bits of fraction. inverse, exponent: 1 / |mask_delta| = inverse / 2^exponent; of 1
    where mask_delta is 0. direction: unit, direction_bits of fraction.
    """

    frame: Frame
    field_base: Longs
    field_delta: Longs
    mask_base: Longs
    mask_delta: Longs
    inverse: Longs
    exponent: Longs
    direction: Longs

    def __len__(self) -> int:
        return self.direction.shape[1]

    def field_at(self, axis: int, ray: Ints, k: Ints) -> Longs:
        """(n,) coordinate on the field's lattice."""
        found: Longs = self.field_base[axis][ray] + k * self.field_delta[axis][ray]
        return found

    def mask_at(self, axis: int, ray: Ints, k: Ints) -> Longs:
        """(n,) coordinate on the mask's lattice."""
        found: Longs = self.mask_base[axis][ray] + k * self.mask_delta[axis][ray]
        return found


def cast_fixed(frame: Frame, top: int, bottom: int) -> FixedRays:
    """Rays through the pixels of rows top .. bottom - 1."""
    config = frame.config
    direction = _directions(frame, top, bottom)
    shift = config.direction_bits + STEP_GUARD
    field_delta = rounded(direction * frame.field_step[:, None], shift)
    mask_delta = rounded(direction * frame.mask_step[:, None], shift)
    size = np.maximum(np.abs(mask_delta), 1)
    inverse, exponent = reciprocal(size, config)
    entry = np.full(direction.shape[1], -(1 << 62))
    for axis in range(3):
        sign = np.where(mask_delta[axis] < 0, -1, 1)
        faces = (frame.face[:, axis] - frame.mask_origin[axis])[:, None]
        found = rounded(faces * sign * inverse[axis], exponent[axis] - ENTRY_BITS)
        np.maximum(entry, found.min(axis=0), out=entry)
    np.clip(entry, frame.near, frame.far, out=entry)
    return FixedRays(
        frame,
        frame.field_origin[:, None] + rounded(entry * field_delta, ENTRY_BITS),
        field_delta,
        frame.mask_origin[:, None] + rounded(entry * mask_delta, ENTRY_BITS),
        mask_delta,
        inverse,
        exponent,
        direction,
    )


def _directions(frame: Frame, top: int, bottom: int) -> Longs:
    """(3, n) unit directions, direction_bits of fraction."""
    config, bits = frame.config, frame.config.ray_bits
    rows = frame.first[:, None] + np.arange(top, bottom) * frame.down[:, None]
    columns = np.arange(frame.camera.width) * frame.across[:, None]
    v = rounded(rows[:, :, None] + columns[:, None, :], PIXEL_BITS).reshape(3, -1)
    square = rounded((v * v).sum(axis=0), bits)
    root, exponent = inverse_root(square, bits, config)
    found: Longs = rounded(v * root, exponent + bits - config.direction_bits)
    return found
