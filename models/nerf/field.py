"""A radiance field in TensoRF's vector-matrix form, evaluated in numpy (Chen et al., ECCV 2022).

Axes x, y, z are 0, 1, 2. Pair m of plane and line has its plane over the axes `PLANE_AXES[m]` and
its line along `LINE_AXES[m]`; its value at a point is, for each component, plane times line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LINE_AXES",
    "PLANE_AXES",
    "Array",
    "Field",
    "FieldError",
    "Mask",
]

Array = NDArray[np.float32]

PLANE_AXES = ((0, 1), (0, 2), (1, 2))
LINE_AXES = (2, 1, 0)

_PART = 1024  # points at once: six arrays of 48 components and four bytes are 1.2 MB
_THREADS = min(8, os.cpu_count() or 1)


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
        return int(self.step_count) + 1

    @property
    def step_count(self) -> np.float32:
        """Length of the box's diagonal, in steps."""
        diagonal: np.float32 = np.sqrt(np.square(self.box[1] - self.box[0]).sum())
        return diagonal / self.step

    def lattice(self, points: Array) -> Array:
        """(n, 3) positions to lattice coordinates, 0 .. size - 1 inside the box."""
        span = (np.array(self.size, np.float32) - 1) / (self.box[1] - self.box[0])
        return (points - self.box[0]) * span

    def density(self, points: Array) -> Array:
        """(n, 3) positions inside the box -> (n,) densities per unit of length.

        A point's density does not depend on which other points are asked for with it.
        """
        found = np.zeros(len(points), np.float32)

        def evaluate(part: slice, scratch: _Scratch) -> None:
            for plane, line in self._factors(points[part], self._density_cells, scratch):
                found[part] += np.einsum("nr,nr->n", plane, line)

        _in_parts(evaluate, len(points))
        if not self.softplus:
            return np.maximum(found, np.float32(0))
        found += np.float32(self.density_shift)
        return np.maximum(found, 0) + np.log1p(np.exp(-np.abs(found)))

    def features(self, points: Array) -> Array:
        """(n, 3) positions inside the box -> (n, F)."""
        found = np.empty((len(points), len(self.basis)), np.float32)

        def evaluate(part: slice, scratch: _Scratch) -> None:
            found[part] = self._features(points[part], scratch)

        _in_parts(evaluate, len(points))
        return found

    def colors(self, points: Array, directions: Array) -> Array:
        """(n, 3) positions inside the box and unit directions -> (n, 3) colours, 0 .. 1."""
        found = np.empty((len(points), 3), np.float32)

        def evaluate(part: slice, scratch: _Scratch) -> None:
            features = self._features(points[part], scratch)
            x = self._network_input(features, directions[part], scratch)
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                x = np.matmul(x, weight.T, out=scratch(f"layer {i}", len(x), len(weight)))
                x += bias
                if i < 2:
                    np.maximum(x, 0, out=x)
            half = np.float32(0.5)
            found[part] = np.tanh(x * half) * half + half  # a sigmoid that cannot overflow

        _in_parts(evaluate, len(points))
        return found

    def network_input(self, features: Array, directions: Array) -> Array:
        """Features, direction, and the sines and cosines of both: (n, inputs of the network)."""
        return self._network_input(features, directions, _Scratch(len(features)))

    def occupied(self, points: Array) -> NDArray[np.bool_]:
        """(n, 3) positions -> (n,): whether the mask's trilinear value is above 0.

        Points outside the mask's box are not occupied, where TensoRF's zero padding lets the value
        fade over one more cell: there is no cube there to walk, and all samplers must agree.
        """
        found = np.ones(len(points), bool)
        if self.mask is not None:
            mask = self.mask

            def evaluate(part: slice, _: _Scratch) -> None:
                found[part] = _occupied(mask, points[part])

            _in_parts(evaluate, len(points))
        return found

    def _features(self, points: Array, scratch: _Scratch) -> Array:
        products = scratch("products", len(points), self.basis.shape[1])
        first = 0
        for plane, line in self._factors(points, self._color_cells, scratch):
            np.multiply(plane, line, out=products[:, first : first + plane.shape[1]])
            first += plane.shape[1]
        return np.matmul(products, self.basis.T, out=scratch("f", len(points), len(self.basis)))

    def _network_input(self, features: Array, directions: Array, scratch: _Scratch) -> Array:
        encoded = (
            (features, self.feature_frequencies),
            (directions, self.direction_frequencies),
        )
        width = sum(values.shape[1] * (1 + 2 * frequencies) for values, frequencies in encoded)
        found = scratch("input", len(features), width)
        first = features.shape[1] + directions.shape[1]
        np.concatenate([features, directions], axis=1, out=found[:, :first])
        for values, frequencies in encoded:
            angles = scratch("angles", len(values), values.shape[1] * frequencies)
            for i in range(frequencies):
                np.multiply(values, np.float32(2**i), out=angles[:, i::frequencies])
            for wave in (np.sin, np.cos):
                wave(angles, out=found[:, first : first + angles.shape[1]])
                first += angles.shape[1]
        return found

    def _factors(
        self, points: Array, cells: list[tuple[Array, Array]], scratch: _Scratch
    ) -> Iterator[tuple[Array, Array]]:
        """For each pair the plane and the line at the points: two arrays (n, components).

        They are overwritten when the next pair is asked for.
        """
        at = self.lattice(points)
        low = np.clip(at.astype(np.intp), 0, np.array(self.size) - 2)
        fractions = at - low.astype(np.float32)
        for m, (plane, line) in enumerate(cells):
            shape = len(at), plane.shape[1]
            # Repeated, because a product of whole arrays is faster than one with a column.
            f = [scratch(f"fraction {axis}", *shape) for axis in range(3)]
            if m == 0 or plane.shape[1] != cells[m - 1][0].shape[1]:
                for axis in range(3):
                    np.copyto(f[axis], fractions[:, axis, None])
            bottom, top, spare = (scratch(name, *shape) for name in ("bottom", "top", "spare"))
            (u, v), w = PLANE_AXES[m], LINE_AXES[m]
            first = low[:, v] * self.size[u] + low[:, u]
            _interpolate(plane, first, f[u], bottom, spare)
            _interpolate(plane, first + self.size[u], f[u], top, spare)
            _between(bottom, top, f[v])
            _interpolate(line, low[:, w], f[w], top, spare)
            yield bottom, top

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


def _interpolate(cells: Array, first: NDArray[np.intp], f: Array, out: Array, spare: Array) -> None:
    """out = between the cells `first` and those after them. f: (n, components), 0 .. 1."""
    np.take(cells, first, axis=0, out=out, mode="clip")  # "raise" would copy the output
    np.take(cells, first + 1, axis=0, out=spare, mode="clip")
    _between(out, spare, f)


def _between(low: Array, high: Array, f: Array) -> None:
    """low += (high - low) * f; `high` is overwritten."""
    high -= low
    high *= f
    low += high


def _occupied(mask: Mask, points: Array) -> NDArray[np.bool_]:
    """(n, 3) positions -> (n,), as `Field.occupied`."""
    inside = np.ones(len(points), bool)
    on_face = np.zeros(len(points), bool)
    cell = np.zeros(len(points), np.intp)
    at = np.empty((3, len(points)), np.float32)
    low = np.empty((3, len(points)), np.intp)
    for i in (2, 1, 0):
        last = mask.size[i] - 1
        span = np.float32(last) / (mask.box[1, i] - mask.box[0, i])
        at[i] = (points[:, i] - mask.box[0, i]) * span
        inside &= (at[i] >= 0) & (at[i] <= last)
        np.clip(at[i], 0, last - 1, out=low[i], casting="unsafe")
        on_face |= (at[i] == low[i]) | (at[i] == low[i] + 1)
        cell = cell * last + low[i]
    found = mask.cubes.ravel()[cell] & inside
    # A cube has a corner that is set, but on a face only that face's corners weigh more than 0.
    doubtful = np.flatnonzero(found & on_face)
    if len(doubtful):
        near, place = low[:, doubtful], at[:, doubtful]
        found[doubtful] = False
        for corner in np.ndindex(2, 2, 2):
            x, y, z = near + np.array(corner)[:, None]
            weighs = abs(place - (x, y, z)) < 1
            found[doubtful] |= mask.bits[z, y, x] & weighs.all(axis=0)
    return found


class _Scratch:
    """Arrays by name, kept from one part to the next: fresh memory costs more than the arithmetic.

    rows: the most that is asked for.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._arrays: dict[tuple[str, int], Array] = {}

    def __call__(self, name: str, rows: int, columns: int) -> Array:
        """(rows, columns) float32 that hold anything."""
        key = name, columns
        if key not in self._arrays:
            self._arrays[key] = np.empty((self._rows, columns), np.float32)
        return self._arrays[key][:rows]


def _in_parts(evaluate: Callable[[slice, _Scratch], None], points: int) -> None:
    """Call `evaluate` for slices of 0 .. points - 1 whose arrays stay in a core's cache.

    Many are shared among threads: numpy's loops do not hold Python's lock.
    """
    parts = [slice(first, min(first + _PART, points)) for first in range(0, points, _PART)]
    workers = min(_THREADS, (len(parts) + 3) // 4) or 1

    def work(worker: int) -> None:
        scratch = _Scratch(min(_PART, points))
        # A thread does not inherit this; `render` refuses an image of what overflowed.
        with np.errstate(over="ignore", invalid="ignore"):
            for part in parts[worker::workers]:
                evaluate(part, scratch)

    if workers == 1:
        work(0)
        return
    with ThreadPoolExecutor(workers) as threads:
        for _ in threads.map(work, range(workers)):
            pass
