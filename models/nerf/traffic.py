"""Bytes of encoded embeddings that an image reads, each look-up for itself (no cache: ours)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.bits import unpack
from oleaster.models.nerf.encoding import Encoded, stored_elements
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.layout import COORDINATES, DENSE, ENTRY_BITS, PLAIN, index_bits
from oleaster.models.nerf.tensors import TENSORS

__all__ = ["Visits", "encoded_bytes"]

Counts = NDArray[np.int64]


class Visits:
    """How often each cell of each tensor is read: four cells of a plane, two of a line a sample."""

    def __init__(self, size: tuple[int, int, int]) -> None:
        """size: the field's lattice points along x, y, z."""
        self._most = np.array(size) - 2
        self._first: dict[str, Counts] = {}  # by the least of the cells that a sample reads
        for name in TENSORS:
            _, part, m = _split(name)
            u, v = PLANE_AXES[m]
            shape = (size[v], size[u]) if part == "planes" else (1, size[LINE_AXES[m]])
            self._first[name] = np.zeros(shape, np.int64)

    def add(self, kind: str, lattice: NDArray[Any]) -> None:
        """Samples at (n, 3) lattice coordinates of which the "density" or the "color" is computed.

        Their whole parts count, so integers do.
        """
        low = np.clip(lattice.astype(np.int64), 0, self._most)
        for name, first in self._first.items():
            of, part, m = _split(name)
            if of != kind:
                continue
            if part == "planes":
                u, v = PLANE_AXES[m]
                cell = low[:, v] * first.shape[1] + low[:, u]
            else:
                cell = low[:, LINE_AXES[m]]
            first += np.bincount(cell, minlength=first.size).reshape(first.shape)

    def cells(self, name: str) -> Counts:
        """(rows, cells) of one of `TENSORS`: reads of each cell."""
        reads = self._first[name].copy()
        reads[:, 1:] += self._first[name][:, :-1]
        if len(reads) > 1:
            reads[1:] += reads[:-1].copy()
        return reads


def encoded_bytes(encoded: Mapping[str, Encoded], visits: Visits) -> int:
    """Bytes that the visits read: of every cell and group of components its chunk's directory entry
    and bitmap or coordinates, and the element's values if they are stored.
    """
    bits = sum(int((visits.cells(name) * _read_bits(each)).sum()) for name, each in encoded.items())
    return -(-bits // 8)


def _read_bits(encoded: Encoded) -> Counts:
    """(rows, cells): bits that a look-up of a cell reads, all its components."""
    if encoded.layout == PLAIN:
        return np.full((encoded.rows, encoded.cells), encoded.components * encoded.bits, np.int64)
    n, modes = encoded.layout.chunk, encoded.modes
    heads = np.where(modes == COORDINATES, encoded.counts * index_bits(n), n)
    heads = np.where(modes == DENSE, 0, heads) + ENTRY_BITS
    stored = stored_elements(encoded, unpack(encoded.payload)).reshape(*modes.shape, n)
    values = stored * (encoded.layout.group * encoded.bits)
    # (rows, chunks, groups, n), summed over a cell's groups
    read = (heads[..., None] + values).sum(axis=2, dtype=np.int64)
    return read.reshape(encoded.rows, -1)[:, : encoded.cells]


def _split(name: str) -> tuple[str, str, int]:
    """Of "density_planes[2]": "density", "planes", 2."""
    kind, _, part = name.partition("_")
    return kind, part[:-3], int(part[-2])
