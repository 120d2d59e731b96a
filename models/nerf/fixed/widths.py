"""Every width of the fixed-point renderer. Which ones the paper has is not known: all are ours."""

from __future__ import annotations

from dataclasses import dataclass, fields

from oleaster.models.nerf.field import FieldError

__all__ = ["LARGEST_CAMERA_CELLS", "LARGEST_COUNT", "PIXEL_BITS", "RANGES", "FixedConfig"]

PIXEL_BITS = 14
"""Of a pixel's row or column, and the guard bits of a ray's differences from pixel to pixel: the
direction of any pixel is off by one unit at most."""

LARGEST_COUNT = 1 << 12
"""Samples on a ray: up to so many, errors of reciprocals cannot lose a sample (`walk.py`)."""

LARGEST_CAMERA_CELLS = 1 << 13
"""Lattice cells from the camera to any corner of the box, along any axis."""

RANGES = {
    "position_bits": (16, 22),
    "ray_bits": (16, 26),
    "direction_bits": (16, 24),
    "inverse_bits": (18, 22),
    "inverse_address_bits": (8, 10),
    "weight_bits": (3, 12),
    "guard_bits": (0, 6),
    "density_bits": (4, 14),
    "alpha_address_bits": (5, 12),
    "transmittance_bits": (10, 20),
    "feature_bits": (4, 12),
    "wave_address_bits": (5, 12),
    "wave_bits": (4, 14),
    "logit_bits": (4, 11),
    "sigmoid_address_bits": (4, 10),
    "color_bits": (6, 14),
    "value_bits": (4, 12),
}
"""Least and greatest of each width."""


@dataclass(frozen=True)
class FixedConfig:
    """Widths in bits; "fraction" is what lies behind the binary point. `RANGES` are allowed.

    position_bits: fraction of a sample's lattice coordinates, and of the step between two.
    ray_bits: fraction of a pixel's direction before it is made a unit's length.
    direction_bits: fraction of the unit direction. inverse_bits: fraction of the mantissas of
    reciprocals and inverse roots; inverse_address_bits: of their tables, per octave.
    weight_bits: fraction of interpolation weights. guard_bits: kept of an interpolated value, and
    of a product, below the unit of their codes. density_bits: fraction of the sum that becomes a
    density.
    alpha_address_bits: intervals of the table from that sum to alpha. transmittance_bits: fraction
    of alpha, light and weights (1 itself is a value, and takes one bit more).
    feature_bits: fraction of a colour feature, a signed number of 16 bits. wave_address_bits: of
    the sine's table, over the circle; wave_bits: fraction of its values.
    logit_bits: fraction of the network's results, signed numbers of 16 bits; sigmoid_address_bits:
    intervals of their table. color_bits: fraction of a sample's colour.
    value_bits: of the planes of a field that comes without an encoding; its lines have 2 more.
    """

    position_bits: int = 20
    ray_bits: int = 20
    direction_bits: int = 20
    inverse_bits: int = 18
    inverse_address_bits: int = 8
    weight_bits: int = 8
    guard_bits: int = 2
    density_bits: int = 6
    alpha_address_bits: int = 9
    transmittance_bits: int = 16
    feature_bits: int = 8
    wave_address_bits: int = 8
    wave_bits: int = 8
    logit_bits: int = 7
    sigmoid_address_bits: int = 6
    color_bits: int = 9
    value_bits: int = 8

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            low, high = RANGES[each.name]
            if not isinstance(value, int) or not low <= value <= high:
                raise FieldError(f"{each.name} is {value!r}; it must be {low} .. {high}")
