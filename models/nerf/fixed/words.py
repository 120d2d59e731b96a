"""Widths of a frame's constants and of a ray, from what `make_frame` guarantees (ours).

Circuit and driver pack both by these tables: field after field from bit 0, along x, y, z.
"""

from __future__ import annotations

from typing import NamedTuple

from oleaster.models.nerf.fixed.rays import (
    ENTRY_BITS,
    FURTHEST_ENTRY,
    LARGEST_ENTRY,
    LARGEST_STEP,
    STEP_GUARD,
    WIDEST,
)
from oleaster.models.nerf.fixed.walk import LARGEST_CORNER, PROJECTION_BITS
from oleaster.models.nerf.fixed.widths import LARGEST_CAMERA_CELLS, PIXEL_BITS, FixedConfig

__all__ = ["Number", "corner_fields", "direction_fields", "frame_fields", "ray_fields"]


class Number(NamedTuple):
    """bits: sign included. shape: of the array, outermost first; () is a single one."""

    bits: int
    signed: bool
    shape: tuple[int, ...] = (3,)


def _signed(bound: int, fraction: int) -> int:
    """Bits of numbers x with |x| < bound, a power of two, sign included."""
    return 1 + (bound - 1).bit_length() + fraction


def frame_fields(config: FixedConfig) -> dict[str, Number]:
    """Of `Frame`'s arrays, and near and far.

    first: no pixel's direction is WIDEST long. across, down: nor are those of the first and the
    last column, which one step of `across` at least lies between, so that it is below 2 WIDEST.
    *_origin: less than LARGEST_CAMERA_CELLS from the box's lower corner, which is 0. face: so far
    from the camera on the mask's lattice, and the camera so far from 0. *_step: below LARGEST_STEP,
    and a length. near, far: LARGEST_ENTRY itself is allowed.
    """
    ray, position = config.ray_bits + PIXEL_BITS, config.position_bits
    difference = Number(_signed(2 * WIDEST, ray), True)
    origin = Number(_signed(LARGEST_CAMERA_CELLS, position), True)
    step = Number((LARGEST_STEP - 1).bit_length() + position + STEP_GUARD, False)
    entry = Number(LARGEST_ENTRY.bit_length() + ENTRY_BITS, False, ())
    return {
        "first": Number(_signed(WIDEST, ray), True),
        "across": difference,
        "down": difference,
        "field_origin": origin,
        "field_step": step,
        "mask_origin": origin,
        "mask_step": step,
        "face": Number(_signed(2 * LARGEST_CAMERA_CELLS, position), True, (2, 3)),
        "near": entry,
        "far": entry,
    }


def ray_fields(config: FixedConfig) -> dict[str, Number]:
    """Of a ray's arrays in `FixedRays`.

    *_base: a camera is less than LARGEST_CAMERA_CELLS from 0, and a ray begins FURTHEST_ENTRY times
    that from it at most; the sum has room below the next power of two for roundings. *_delta: below
    LARGEST_STEP, which a frame's steps do not quite reach. inverse: 1 / mantissa, of 1 itself too.
    exponent: the position of the leading one of |mask_delta|, and inverse_bits. direction: 1, and
    2^-16 more with roundings.
    """
    position = config.position_bits
    cells = 1 << ((1 + FURTHEST_ENTRY) * LARGEST_CAMERA_CELLS).bit_length()
    base = Number(_signed(cells, position), True)
    delta = Number(_signed(LARGEST_STEP, position), True)
    return {
        "field_base": base,
        "field_delta": delta,
        "mask_base": base,
        "mask_delta": delta,
        "inverse": Number(config.inverse_bits + 1, False),
        "exponent": Number((delta.bits - 2 + config.inverse_bits).bit_length(), False),
        "direction": Number(_signed(2, config.direction_bits), True),
    }


def direction_fields(config: FixedConfig) -> tuple[Number, Number]:
    """Of a pixel's direction before it has unit length, and of its square; ray_bits of fraction."""
    direction = Number(_signed(WIDEST, config.ray_bits), True)
    return direction, Number((WIDEST**2 - 1).bit_length() + config.ray_bits, False, ())


def corner_fields() -> dict[str, Number]:
    """Of a cube's corner, and of a step from cube to cube, as `Projection` has them.

    depth: a frame allows no corner further from the camera than LARGEST_CAMERA_CELLS, and cubes and
    blocks reach beyond that by less than as much again; what wraps in a step or on the way to the
    sum does not count.
    """
    screen = Number(LARGEST_CORNER.bit_length(), True, ())
    depth = Number(_signed(2 * LARGEST_CAMERA_CELLS, PROJECTION_BITS), True, ())
    return {"right": screen, "down": screen, "depth": depth}
