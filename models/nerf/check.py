"""What a field must be before anything is computed with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field, FieldError

__all__ = ["MOST_MASK_POINTS", "check_field"]

MOST_MASK_POINTS = 1 << 28
"""Twice those of the largest lattice that training makes, 512^3."""

_MOST_SAMPLES = 1 << 16  # on a ray; a field of 512^3 has about 1800


def check_field(field: Field) -> None:
    """Raise FieldError unless shapes fit each other and every value is finite and in range.

    A mask in which nothing is set is refused too: there would be nothing to render.
    """
    for kind, planes, lines in (
        ("density", field.density_planes, field.density_lines),
        ("color", field.color_planes, field.color_lines),
    ):
        for m in range(3):
            _check_axes(f"{kind}_planes[{m}]", planes[m], 3)
            _check_axes(f"{kind}_lines[{m}]", lines[m], 2)
    sizes = nx, ny, nz = field.size
    if min(sizes) < 2:
        raise FieldError(f"the field has {nx} x {ny} x {nz} points; each axis needs at least 2")
    _check_box("box", field.box, sizes)
    for kind, planes, lines in (
        ("density", field.density_planes, field.density_lines),
        ("color", field.color_planes, field.color_lines),
    ):
        for m in range(3):
            u, v = PLANE_AXES[m]
            components = len(planes[m])
            _expect(f"{kind}_planes[{m}]", planes[m], (components, sizes[v], sizes[u]))
            _expect(f"{kind}_lines[{m}]", lines[m], (components, sizes[LINE_AXES[m]]))
    _check_axes("basis", field.basis, 2)
    features = len(field.basis)
    _expect("basis", field.basis, (features, sum(len(plane) for plane in field.color_planes)))
    for name in ("feature_frequencies", "direction_frequencies"):
        if not 0 <= getattr(field, name) <= 16:
            raise FieldError(f"{name} is {getattr(field, name)}; it must be 0 .. 16")
    width = features * (1 + 2 * field.feature_frequencies)
    width += 3 * (1 + 2 * field.direction_frequencies)
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        _check_axes(f"weights[{i}]", weight, 2)
        out = 3 if i == 2 else len(weight)
        _expect(f"weights[{i}]", weight, (out, width))
        _expect(f"biases[{i}]", bias, (out,))
        width = out
    if field.mask is not None:
        _check_axes("mask.bits", field.mask.bits, 3)
        if field.mask.bits.dtype != bool:
            raise FieldError(f"mask.bits is {field.mask.bits.dtype}; it must be bool")
        if min(field.mask.size) < 2:
            raise FieldError(f"the mask has {field.mask.size} points; each axis needs at least 2")
        if field.mask.bits.size > MOST_MASK_POINTS:
            raise FieldError(f"the mask has {field.mask.size} points, above {MOST_MASK_POINTS}")
        _check_box("mask.box", field.mask.box, field.mask.size)
        if not field.mask.bits.any():
            raise FieldError("the mask has no point set: the field is empty, nothing to render")
    for name, low in (
        ("near", 0.0),
        ("far", field.near),
        ("step_ratio", 0.0),
        ("distance_scale", 0.0),
    ):
        value = getattr(field, name)
        if not value > low or not _is_finite(value):
            raise FieldError(f"{name} is {value}; it must be above {low}, and finite in float32")
    if not _is_finite(field.density_shift):
        raise FieldError(f"density_shift is {field.density_shift}; it must be finite in float32")
    if not 0 <= field.weight_threshold < 1:
        raise FieldError(f"weight_threshold is {field.weight_threshold}; it must be 0 .. 1")
    with np.errstate(all="ignore"):
        step, steps = field.step, field.step_count
    if not (step > 0 and np.isfinite(step)):
        raise FieldError(f"samples are {step} apart (step_ratio is {field.step_ratio}); that must"
                         " be a finite number above 0")  # fmt: skip
    if not steps < _MOST_SAMPLES:
        raise FieldError(
            f"a ray has {steps} samples (step_ratio is {field.step_ratio}); {_MOST_SAMPLES} are"
            " the most"
        )


def _is_finite(value: float) -> bool:
    """Whether arithmetic in float32 sees a finite number."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.float32(value)))


def _check_box(name: str, box: Array, size: tuple[int, int, int]) -> None:
    _expect(name, box, (2, 3))
    if not (box[1] > box[0]).all():
        raise FieldError(f"{name} is {box.tolist()}; its upper corner must lie above the lower")
    with np.errstate(over="ignore"):
        edges = box[1] - box[0]
        spans = (np.array(size, np.float32) - 1) / edges
    if not (np.isfinite(edges).all() and np.isfinite(spans).all()):
        raise FieldError(f"{name} is {box.tolist()}: too large or too flat for float32")


def _check_axes(name: str, array: NDArray[Any], axes: int) -> None:
    if array.ndim != axes or 0 in array.shape:
        raise FieldError(f"{name} is {array.shape}; it must have {axes} axes, none of them empty")


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise FieldError(f"{name} is {array.shape}; it must be {shape}")
    if array.dtype != np.float32:
        raise FieldError(f"{name} is {array.dtype}; it must be float32")
    if not np.isfinite(array).all():
        raise FieldError(f"{name} holds NaN or infinity")
