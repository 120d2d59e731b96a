"""Zeros for the encoding: cells that no sample reads, values that hardly show, and fixed point.

What RT-NeRF prunes, and how, is in no source that we could read: all of this is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.encoding import Encoded, decode_all, encode
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field, FieldError, Mask
from oleaster.models.nerf.importance import plane_importance
from oleaster.models.nerf.layout import Codes, layouts, quantize
from oleaster.models.nerf.tensors import TENSORS, field_tensors, with_tensors

__all__ = [
    "MOST_MEASURES",
    "Pruned",
    "balance",
    "drop_unseen",
    "encode_field",
    "prune",
    "seen_cells",
]

_MARGIN = 1e-3  # of a cell: what rounding may move a sample by on the way to lattice coordinates
_STEPS = 7  # of bisection: the share of elements pruned is found to 1/128
_VALUE_BITS = 6, 7, 8, 10, 12
_LINE_BITS = 2  # that lines have beyond planes: their share of the bytes is 1 %, of the error more


MOST_MEASURES = len(_VALUE_BITS) + 2 * _STEPS + 2
"""`prune` asks for so many PSNRs, at most."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What `prune` found.

    field: what decoding `encoded` gives, networks rounded to float16. value_bits: of planes.
    density_share, color_share: of planes' elements that were not 0, those pruned.
    psnr: in dB, before and after.
    """

    field: Field
    encoded: dict[str, Encoded]
    value_bits: int
    group: int | None
    density_share: float
    color_share: float
    psnr_before: float
    psnr: float


def prune(
    field: Field,
    psnr: Callable[[Field], float],
    cameras: Iterable[Camera],
    budget: float = 0.25,
    *,
    value_bits: Sequence[int] = _VALUE_BITS,
    group: int | None = None,
) -> Pruned:
    """Prune and encode a field so that psnr(field), in dB, falls by at most `budget`.

    The smallest of `value_bits` is taken that costs at most 0.8 of the budget. Two fifths of the
    rest go to the density, what remains to the colour. There groups of planes' values become 0,
    those first of which `cameras`, a dozen small ones all round, see least (`plane_importance`);
    each share is the largest that bisection finds. group: components that become 0 together (or
    the largest divisor of a tensor's below that); None is whole cells, which was smallest where we
    compared. The encoding follows finer zeros where that is smaller. FieldError if even the widest
    values cost more than the budget.
    """
    if not budget > 0:
        raise FieldError(f"a budget of {budget} dB; it must be above 0")
    before = psnr(field)
    start = _half_networks(drop_unseen(balance(field)))
    effects = _effects(start, plane_importance(start, cameras), group)

    def after(bits: int, density: float, color: float) -> float:
        cut = _without_small(start, effects, density, color)
        codes = _quantize_all(cut, bits)
        return psnr(with_tensors(cut, {name: each.values() for name, each in codes.items()}))

    for bits in sorted(value_bits):
        quantized = after(bits, 0, 0)
        if before - quantized <= 0.8 * budget:
            break
    left = budget - (before - quantized)
    if not left >= 0:
        raise FieldError(
            f"values of {bits} bits alone cost {before - quantized:.2f} dB, more than the"
            f" budget of {budget} dB; give wider values or a larger budget"
        )
    density = _largest(lambda share: after(bits, share, 0) >= quantized - 0.4 * left)
    color = _largest(lambda share: after(bits, density, share) >= before - budget)
    cut, encoded = encode_field(_without_small(start, effects, density, color), bits)
    return Pruned(cut, encoded, bits, group, density, color, before, psnr(cut))


def encode_field(
    field: Field, value_bits: int, group: int | None = 1
) -> tuple[Field, dict[str, Encoded]]:
    """Quantise and encode: the field that decoding gives, and its tensors.

    Elements have at least `group` components, or the largest divisor of a tensor's below that; all
    of a cell's if None.
    """
    encoded = {}
    for name, codes in _quantize_all(field, value_bits).items():
        components = codes.codes.shape[2]
        groups = range(_divisor(components, group), components + 1)
        encoded[name] = encode(codes, layouts(components, groups))
    return with_tensors(field, decode_all(encoded)), encoded


def balance(field: Field) -> Field:
    """The same function, bit for bit, with components on one scale.

    A component's plane, line and basis column are multiplied by powers of two whose product is 1,
    so that the line's root mean square and the column's length are about 1. What is small in a
    plane is then small in the sum, and a tensor's one scale serves all of its components.
    """
    tensors = field_tensors(field)
    basis = field.basis.copy()
    first = 0
    for kind in ("density", "color"):
        for m in range(3):
            plane, line = f"{kind}_planes[{m}]", f"{kind}_lines[{m}]"
            shift = _exponent(np.square(tensors[line]).mean(axis=(0, 1)))
            tensors[line] = np.ldexp(tensors[line], -shift)
            if kind == "color":
                columns = slice(first, first + len(shift))
                first += len(shift)
                length = _exponent(np.square(basis[:, columns]).sum(axis=0))
                basis[:, columns] = np.ldexp(basis[:, columns], -length)
                shift = shift + length
            tensors[plane] = np.ldexp(tensors[plane], shift)
    return with_tensors(replace(field, basis=basis), tensors)


def seen_cells(field: Field) -> dict[str, NDArray[np.bool_]]:
    """Tensor's name -> (rows, cells): what the interpolation of samples in non-zero cubes can read.

    All of them without a mask.
    """
    if field.mask is None:
        tensors = field_tensors(field)
        return {name: np.ones(tensor.shape[:2], bool) for name, tensor in tensors.items()}
    cubes = field.mask.cubes
    reads = [_reads(field, field.mask, axis) for axis in range(3)]
    found = {}
    for kind in ("density", "color"):
        for m, ((u, v), w) in enumerate(zip(PLANE_AXES, LINE_AXES, strict=True)):
            # The mask's axes are z, y, x, so a shadow on a plane is already (v, u).
            shadow = cubes.any(axis=2 - w)
            found[f"{kind}_planes[{m}]"] = reads[v].T @ shadow @ reads[u]
            span = np.asarray(cubes.any(axis=(2 - u, 2 - v)))
            found[f"{kind}_lines[{m}]"] = span[None] @ reads[w]
    return found


def drop_unseen(field: Field) -> Field:
    """Zeros in all cells that no sample in a non-zero cube reads: no image changes."""
    seen = seen_cells(field)
    tensors = field_tensors(field)
    kept = {name: np.where(seen[name][:, :, None], tensors[name], 0) for name in TENSORS}
    return with_tensors(field, kept)


def _reads(field: Field, mask: Mask, axis: int) -> NDArray[np.bool_]:
    """(cubes along the axis, the field's cells along it): which a sample in the cube can read."""
    size, count = field.size[axis], mask.size[axis] - 1
    low, high = mask.box[:, axis].astype(np.float64)
    faces = low + (high - low) * np.arange(count + 1) / count
    low, high = field.box[:, axis].astype(np.float64)
    at = (faces - low) * (size - 1) / (high - low)
    first = np.clip(np.floor(at[:-1] - _MARGIN), 0, size - 2)
    last = np.clip(np.floor(at[1:] + _MARGIN), 0, size - 2) + 1
    cells = np.arange(size)
    outside = (at[1:] < -_MARGIN) | (at[:-1] > size - 1 + _MARGIN)
    return (cells >= first[:, None]) & (cells <= last[:, None]) & ~outside[:, None]


def _exponent(squares: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """The power of two nearest to the root; 0 for 0."""
    nearest = np.rint(np.log2(np.sqrt(squares, where=squares > 0, out=np.ones_like(squares))))
    # Far from overflow, so that scaling is exact.
    return np.clip(nearest, -40, 40).astype(np.int32)


def _half_networks(field: Field) -> Field:
    """Basis, weights and biases rounded to float16, which is how a scene stores them."""

    def half(array: Array) -> Array:
        return array.astype(np.float16).astype(np.float32)

    a, b, c = field.weights
    d, e, f = field.biases
    return replace(
        field,
        basis=half(field.basis),
        weights=(half(a), half(b), half(c)),
        biases=(half(d), half(e), half(f)),
    )


def _quantize_all(field: Field, value_bits: int) -> dict[str, Codes]:
    found = {}
    for name, tensor in field_tensors(field).items():
        bits = value_bits if "planes" in name else min(16, value_bits + _LINE_BITS)
        found[name] = quantize(tensor, bits)
    return found


def _effects(field: Field, importance: dict[str, Array], group: int | None) -> dict[str, Array]:
    """Plane's name -> (rows, cells, groups): the mean square effect of making an element 0."""
    tensors = field_tensors(field)
    found = {}
    for name, weights in importance.items():
        rows, cells, components = weights.shape
        width = _divisor(components, group)
        squares = np.square(tensors[name]) * weights
        found[name] = squares.reshape(rows, cells, -1, width).mean(axis=3)
    return found


def _without_small(field: Field, effects: dict[str, Array], density: float, color: float) -> Field:
    """Zeros in the given shares of planes' elements that are not 0, the least effect first."""
    tensors = field_tensors(field)
    for kind, share in (("density", density), ("color", color)):
        some = {name: effects[name] for name in effects if name.startswith(kind)}
        there = np.concatenate([effect[effect > 0] for effect in some.values()])
        if share == 0 or not there.size:
            continue
        border = np.quantile(there, share)
        for name, effect in some.items():
            width = tensors[name].shape[2] // effect.shape[2]
            kept = np.repeat(effect > border, width, axis=2)
            tensors[name] = np.where(kept, tensors[name], 0)
    return with_tensors(field, tensors)


def _divisor(components: int, group: int | None) -> int:
    """The largest divisor of the components that is at most `group`; all of them if None."""
    if group is None:
        return components
    return max(g for g in range(1, group + 1) if components % g == 0)


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest share, to 2^-_STEPS, for which it holds; 0 is taken to."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
