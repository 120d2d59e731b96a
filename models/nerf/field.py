"""A radiance field in TensoRF's vector-matrix form, evaluated in numpy (Chen et al., ECCV 2022).

Axes x, y, z are 0, 1, 2. Pair m of plane and line has its plane over the axes `PLANE_AXES[m]` and
its line along `LINE_AXES[m]`; its value at a point is, for each component, plane times line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINE_AXES", "PLANE_AXES", "Array", "Field", "FieldError", "Mask", "check_field"]

Array = NDArray[np.float32]

PLANE_AXES = ((0, 1), (0, 2), (1, 2))
LINE_AXES = (2, 1, 0)


class FieldError(ValueError):
    """A field, scene or camera that cannot be read or rendered; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Occupancy on a lattice whose outermost points lie on the box's faces.

    bits: (nz, ny, nx) bool. box: (2, 3) float32, lower and upper corner.
    """

    bits: NDArray[np.bool_]
    box: Array

    @property
    def size(self) -> tuple[int, int, int]:
        """Lattice points along x, y, z."""
        nz, ny, nx = self.bits.shape
        return nx, ny, nz

    @cached_property
    def cubes(self) -> NDArray[np.bool_]:
        """(nz - 1, ny - 1, nx - 1): cells of which one of the eight corners is set.

        A sample passes the mask's trilinear test "> 0" only in such a cell, faces included.
        """
        b = self.bits
        along = b[:-1] | b[1:]
        along = along[:, :-1] | along[:, 1:]
        return along[:, :, :-1] | along[:, :, 1:]


@dataclass(frozen=True, eq=False)
class Field:
    """A trained field. R components of density, Q of colour, in each of three pairs; float32.

    box: (2, 3), lower and upper corner. *_planes: 3 of (R or Q, size of second axis, of first).
    *_lines: 3 of (R or Q, size). basis: (F, 3 Q). weights, biases: of three linear layers, (out,
    in) and (out,). *_frequencies: of the sines and cosines that are put beside features and
    direction. near, far: distances between which rays are sampled. mask: where there is anything;
    None is everywhere. softplus: density is softplus(s + density_shift), else relu(s).
    """

    box: Array
    density_planes: tuple[Array, Array, Array]
    density_lines: tuple[Array, Array, Array]
    color_planes: tuple[Array, Array, Array]
    color_lines: tuple[Array, Array, Array]
    basis: Array
    weights: tuple[Array, Array, Array]
    biases: tuple[Array, Array, Array]
    mask: Mask | None = None
    feature_frequencies: int = 2
    direction_frequencies: int = 2
    near: float = 2.0
    far: float = 6.0
    density_shift: float = -10.0
    distance_scale: float = 25.0
    step_ratio: float = 0.5
    weight_threshold: float = 1e-4
    softplus: bool = True
    white_background: bool = True

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """Lattice points along x, y, z."""
        ny, nx = self.density_planes[0].shape[1:]
        return nx, ny, self.density_lines[0].shape[1]

    @cached_property
    def step(self) -> np.float32:
        """Distance between samples: `step_ratio` of a mean voxel's edge."""
        edges = (self.box[1] - self.box[0]) / (np.array(self.size, np.float32) - 1)
        return np.float32(edges.mean() * np.float32(self.step_ratio))

    @cached_property
    def samples(self) -> int:
        """Samples on every ray, those outside the box included."""
        diagonal = np.sqrt(np.square(self.box[1] - self.box[0]).sum())
        return int(diagonal / self.step) + 1

    def lattice(self, points: Array) -> Array:
        """(n, 3) positions to lattice coordinates, 0 .. size - 1 inside the box."""
        span = (np.array(self.size, np.float32) - 1) / (self.box[1] - self.box[0])
        return (points - self.box[0]) * span

    def density(self, points: Array) -> Array:
        """(n, 3) positions inside the box -> (n,) densities per unit of length."""
        at = self.lattice(points)
        total = np.zeros(len(points), np.float32)
        for products in _products(at, self.size, self._density_cells):
            total += products.sum(axis=1)
        if not self.softplus:
            return np.maximum(total, np.float32(0))
        return np.logaddexp(total + np.float32(self.density_shift), np.float32(0))

    def features(self, points: Array) -> Array:
        """(n, 3) positions inside the box -> (n, F)."""
        at = self.lattice(points)
        products = _products(at, self.size, self._color_cells)
        return np.concatenate(products, axis=1) @ self.basis.T

    def colors(self, points: Array, directions: Array) -> Array:
        """(n, 3) positions inside the box and unit directions -> (n, 3) colours, 0 .. 1."""
        x = self.network_input(self.features(points), directions)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T + bias
            if i < 2:
                np.maximum(x, 0, out=x)
        return 1 / (1 + np.exp(-x))

    def network_input(self, features: Array, directions: Array) -> Array:
        """Features, direction, and the sines and cosines of both: (n, inputs of the network)."""
        parts = [features, directions]
        for values, frequencies in (
            (features, self.feature_frequencies),
            (directions, self.direction_frequencies),
        ):
            if frequencies:
                scales = np.float32(2) ** np.arange(frequencies, dtype=np.float32)
                angles = (values[:, :, None] * scales).reshape(len(values), -1)
                parts += [np.sin(angles), np.cos(angles)]
        return np.concatenate(parts, axis=1)

    def occupied(self, points: Array) -> NDArray[np.bool_]:
        """(n, 3) positions -> (n,): whether the mask's trilinear value is above 0.

        Points outside the mask's box are not occupied.
        """
        if self.mask is None:
            return np.ones(len(points), bool)
        size = np.array(self.mask.size, np.float32)
        at = (points - self.mask.box[0]) * ((size - 1) / (self.mask.box[1] - self.mask.box[0]))
        inside = ((at >= 0) & (at <= size - 1)).all(axis=1)
        found = np.zeros(len(points), bool)
        low = np.minimum(at[inside].astype(np.int32), np.array(self.mask.size) - 2)
        # A corner counts if its weight is not 0: the far one of an axis only past the near one.
        beyond = at[inside] > low
        on = np.zeros(len(low), bool)
        for corner in np.ndindex(2, 2, 2):
            offset = np.array(corner)
            x, y, z = (low + offset).T
            reaches = ((offset == 0) & (at[inside] < low + 1) | (offset == 1) & beyond).all(axis=1)
            on |= self.mask.bits[z, y, x] & reaches
        found[inside] = on
        return found

    @cached_property
    def _density_cells(self) -> list[tuple[Array, Array]]:
        return _cells(self.density_planes, self.density_lines)

    @cached_property
    def _color_cells(self) -> list[tuple[Array, Array]]:
        return _cells(self.color_planes, self.color_lines)


def _cells(planes: tuple[Array, ...], lines: tuple[Array, ...]) -> list[tuple[Array, Array]]:
    """For each pair (cells, components) of the plane, row by row, and of the line."""
    return [
        (np.ascontiguousarray(plane.reshape(len(plane), -1).T), np.ascontiguousarray(line.T))
        for plane, line in zip(planes, lines, strict=True)
    ]


def _products(
    at: Array, size: tuple[int, int, int], cells: list[tuple[Array, Array]]
) -> list[Array]:
    """For each pair (n, components): bilinear plane times linear line."""
    low = np.clip(at.astype(np.int32), 0, np.array(size) - 2)
    f = at - low.astype(np.float32)
    found = []
    for m, (plane, line) in enumerate(cells):
        (u, v), w = PLANE_AXES[m], LINE_AXES[m]
        first = low[:, v] * size[u] + low[:, u]
        fu, fv, fw = f[:, u, None], f[:, v, None], f[:, w, None]
        top = plane[first] * (1 - fu) + plane[first + 1] * fu
        bottom = plane[first + size[u]] * (1 - fu) + plane[first + size[u] + 1] * fu
        along = line[low[:, w]] * (1 - fw) + line[low[:, w] + 1] * fw
        found.append((top * (1 - fv) + bottom * fv) * along)
    return found


def check_field(field: Field) -> None:
    """Raise FieldError unless shapes fit each other and every value is finite."""
    nx, ny, nz = field.size
    sizes = (nx, ny, nz)
    _expect("box", field.box, (2, 3))
    if not (field.box[1] > field.box[0]).all():
        raise FieldError(f"box is {field.box.tolist()}; its upper corner must lie above the lower")
    if min(sizes) < 2:
        raise FieldError(f"the field has {nx} x {ny} x {nz} points; each axis needs at least 2")
    for kind, planes, lines in (
        ("density", field.density_planes, field.density_lines),
        ("color", field.color_planes, field.color_lines),
    ):
        for m in range(3):
            u, v = PLANE_AXES[m]
            components = planes[m].shape[0]
            _expect(f"{kind}_planes[{m}]", planes[m], (components, sizes[v], sizes[u]))
            _expect(f"{kind}_lines[{m}]", lines[m], (components, sizes[LINE_AXES[m]]))
    features = field.basis.shape[0]
    _expect("basis", field.basis, (features, sum(plane.shape[0] for plane in field.color_planes)))
    width = features * (1 + 2 * field.feature_frequencies)
    width += 3 * (1 + 2 * field.direction_frequencies)
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        out = 3 if i == 2 else weight.shape[0]
        _expect(f"weights[{i}]", weight, (out, width))
        _expect(f"biases[{i}]", bias, (out,))
        width = out
    if field.mask is not None:
        if min(field.mask.size) < 2:
            raise FieldError(f"the mask has {field.mask.size} points; each axis needs at least 2")
        _expect("mask.box", field.mask.box, (2, 3))
        if not (field.mask.box[1] > field.mask.box[0]).all():
            raise FieldError("mask.box: its upper corner must lie above the lower")
    for name, low in (("near", 0.0), ("far", field.near), ("step_ratio", 0.0)):
        if not getattr(field, name) > low or not np.isfinite(getattr(field, name)):
            raise FieldError(f"{name} is {getattr(field, name)}; it must be above {low}")


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise FieldError(f"{name} is {array.shape}; it must be {shape}")
    if not np.isfinite(array).all():
        raise FieldError(f"{name} holds NaN or infinity")
