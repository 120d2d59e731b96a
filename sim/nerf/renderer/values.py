"""What the circuits compute on the way to a sample's alpha, compiled: `models/nerf/fixed` anew.

Every function equals the one of that package which it names, bit for bit (tests hold it).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.fixed.features import Factors, FixedField
from oleaster.models.nerf.fixed.rays import FixedRays, Frame
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.walk import RANGE_BITS, RANGE_MARGIN
from oleaster.sim.nerf.renderer.jit import kernel

__all__ = ["Codes", "Curve", "Limits", "Rays", "alpha_of", "cut", "cut_ball", "inside", "products"]

_EVERY = 1 << 62
_BALL = 0.75 + 1 / 16  # square of a ball's radius, in cells, with room for strays of SLACK
_BALL_MARGIN = 1 / 8  # of a step, as RANGE_MARGIN
_AXES = np.array([[*PLANE_AXES[m], LINE_AXES[m]] for m in range(3)])


class Rays(NamedTuple):
    """Of some rows of an image: `FixedRays`, (3, n) each."""

    field_base: Longs
    field_delta: Longs
    mask_base: Longs
    mask_delta: Longs
    inverse: Longs
    exponent: Longs
    direction: Longs

    @classmethod
    def of(cls, rays: FixedRays) -> Rays:
        return cls(*(getattr(rays, name) for name in cls._fields))


class Limits(NamedTuple):
    """Of both lattices, (3,) each, and of k. field_last: with its fraction. ball: cut rays with
    balls around cubes in their place."""

    field_last: Longs
    mask_last: Longs
    last_k: int
    position_bits: int
    ball: bool

    @classmethod
    def of(cls, frame: Frame, ball: bool) -> Limits:
        bits = frame.config.position_bits
        return cls(frame.field_last << bits, frame.mask_last, frame.count - 1, bits, ball)


class Codes(NamedTuple):
    """Planes and lines of density or of colour.

    values: all codes, planes[0], lines[0], planes[1] ...; begin: (3, 2) where each begins.
    components, row: (3,) of a cell, and cells of a plane's row. last: (3,) the last cell that has a
    next one. multiplier, shift: (3,) of the pairs' sums; of density only.
    """

    values: NDArray[np.int16]
    begin: Longs
    components: Longs
    row: Longs
    last: Longs
    multiplier: Longs
    shift: Longs
    position_bits: int
    weight_bits: int
    guard_bits: int

    @classmethod
    def of(cls, field: FixedField, factors: tuple[Factors, ...]) -> Codes:
        parts = [part.astype(np.int16) for each in factors for part in (each.plane, each.line)]
        ends = np.cumsum([part.size for part in parts])
        config = field.config
        return cls(
            np.concatenate([part.ravel() for part in parts]),
            np.append(0, ends[:-1]).reshape(3, 2),
            np.array([each.line.shape[1] for each in factors]),
            np.array([each.row for each in factors]),
            np.array(field.size, np.int64) - 2,
            np.asarray(field.density_multiplier, np.int64),
            np.asarray(field.density_shift, np.int64),
            config.position_bits,
            config.weight_bits,
            config.guard_bits,
        )


class Curve(NamedTuple):
    """`tables.Curve`."""

    lowest: int
    shift: int
    values: Longs


@kernel
def _rounded(value: int, shift: int) -> int:
    return (value + ((1 << shift) >> 1)) >> shift


@kernel
def cut(rays: Rays, limits: Limits, ray: int, x: int, y: int, z: int) -> tuple[int, int]:
    """`FixedWalk.ranges`."""
    near, far = -_EVERY, _EVERY
    for axis in range(3):
        delta = rays.mask_delta[axis, ray]
        if delta == 0:
            continue
        cell = x if axis == 0 else (y if axis == 1 else z)
        low = (cell << limits.position_bits) - rays.mask_base[axis, ray]
        inverse = rays.inverse[axis, ray]
        if delta < 0:
            inverse = -inverse
        shift = rays.exponent[axis, ray] - RANGE_BITS
        a = _rounded(low * inverse, shift)
        b = _rounded((low + (1 << limits.position_bits)) * inverse, shift)
        near = max(near, min(a, b))
        far = min(far, max(a, b))
    first = max((near - RANGE_MARGIN + (1 << RANGE_BITS) - 1) >> RANGE_BITS, 0)
    return first, min((far + RANGE_MARGIN) >> RANGE_BITS, limits.last_k)


@kernel
def cut_ball(rays: Rays, limits: Limits, ray: int, x: int, y: int, z: int) -> tuple[int, int]:
    """As `cut`, for the ball through the cube's corners, in floats; RT-NeRF's test as we read it.

    Only counts are taken from it: whether a sample is in the cube is tested as ever.
    """
    unit = 0.5**limits.position_bits
    middle = square = apart = 0.0
    for axis in range(3):
        cell = x if axis == 0 else (y if axis == 1 else z)
        along = rays.mask_delta[axis, ray] * unit
        centre = cell + 0.5 - rays.mask_base[axis, ray] * unit
        middle += along * centre
        square += along * along
        apart += centre * centre
    root = middle * middle - square * (apart - _BALL)
    if root < 0:
        return 1, 0
    half = np.sqrt(root)
    first = max(int(np.ceil((middle - half) / square - _BALL_MARGIN)), 0)
    return first, min(int(np.floor((middle + half) / square + _BALL_MARGIN)), limits.last_k)


@kernel
def inside(rays: Rays, limits: Limits, ray: int, k: int, x: int, y: int, z: int) -> bool:
    """`FixedWalk.inside`."""
    bits = limits.position_bits
    for axis in range(3):
        at = rays.field_base[axis, ray] + k * rays.field_delta[axis, ray]
        if at < 0 or at > limits.field_last[axis]:
            return False
        at = rays.mask_base[axis, ray] + k * rays.mask_delta[axis, ray]
        last = limits.mask_last[axis]
        if at < 0 or at > last << bits:
            return False
        cell = x if axis == 0 else (y if axis == 1 else z)
        if min(at >> bits, last - 1) != cell:
            return False
    return True


@kernel
def cells(codes: Codes, at: Longs, cell: Longs, weight: Longs) -> None:
    """`FixedField.cells` of one sample; cell, weight: (3,) to write to."""
    for axis in range(3):
        low = min(max(at[axis] >> codes.position_bits, 0), codes.last[axis])
        cell[axis] = low
        share = at[axis] - (low << codes.position_bits)
        weight[axis] = share >> (codes.position_bits - codes.weight_bits)


@kernel
def products(codes: Codes, pair: int, cell: Longs, weight: Longs, found: Longs) -> int:
    """`FixedField.products` of one sample and pair; found: to write to. Returns how many."""
    u, v, w = _AXES[pair, 0], _AXES[pair, 1], _AXES[pair, 2]
    count, bits, guard = codes.components[pair], codes.weight_bits, codes.guard_bits
    values = codes.values
    first = codes.begin[pair, 0] + (cell[v] * codes.row[pair] + cell[u]) * count
    above = first + codes.row[pair] * count
    line_at = codes.begin[pair, 1] + cell[w] * count
    for i in range(count):
        low, high = int(values[first + i]), int(values[first + count + i])
        bottom = (low << bits) + (high - low) * weight[u]
        low, high = int(values[above + i]), int(values[above + count + i])
        top = (low << bits) + (high - low) * weight[u]
        low, high = int(values[line_at + i]), int(values[line_at + count + i])
        plane = _scaled((bottom << bits) + (top - bottom) * weight[v], 2 * bits - guard)
        line = _scaled((low << bits) + (high - low) * weight[w], bits - guard)
        found[i] = _scaled(plane * line, guard)
    return count


@kernel
def _scaled(value: int, shift: int) -> int:
    return _rounded(value, shift) if shift > 0 else value << -shift


@kernel
def alpha_of(codes: Codes, curve: Curve, cell: Longs, weight: Longs, found: Longs) -> int:
    """`FixedField.density_sums` and `FixedField.alpha` of one sample; found: room for products."""
    total = 0
    for pair in range(3):
        part = 0
        for i in range(products(codes, pair, cell, weight, found)):
            part += found[i]
        total += _rounded(part * codes.multiplier[pair], codes.shift[pair])
    at = min(max(total - curve.lowest, 0), (len(curve.values) - 1) << curve.shift)
    i = min(at >> curve.shift, len(curve.values) - 2)
    low = curve.values[i]
    rise = curve.values[i + 1] - low
    return int(low + _rounded(rise * (at - (i << curve.shift)), curve.shift))
