"""Look-ups of two neighbours in an encoded tensor, as the hybrid decoder makes them.

`hw/nerf/hybrid_decoder.py` is the circuit; ours. It knows a tensor by a row of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from oleaster.models.nerf.bits import field_at
from oleaster.models.nerf.blob import TENSOR_ENTRY, TENSOR_TABLE_AT
from oleaster.models.nerf.encoding import Encoded
from oleaster.models.nerf.layout import (
    BITMAP,
    COORDINATES,
    DENSE,
    LARGEST_UNIT,
    PLAIN,
    index_bits,
    whole_bytes,
)
from oleaster.models.nerf.search import Found, search_bitmap, search_coordinates
from oleaster.models.nerf.tensors import TENSORS

__all__ = [
    "CELL_BITS",
    "ELEMENT_BITS",
    "GROUP_BITS",
    "HEAD_BITS",
    "LANES",
    "LARGEST_ELEMENT",
    "LOG_BITS",
    "MOST_COORDINATES",
    "TENSOR_BITS",
    "UNIT_BITS",
    "WINDOW_WORDS",
    "WORD_BYTES",
    "Fault",
    "LookUp",
    "TensorRow",
    "fault_of",
    "look_up",
    "splits",
    "tensor_rows",
]

CELL_BITS = 14  # a lattice has 8,192 cells along an axis at the most: `fixed/rays.py`
GROUP_BITS = 7
LOG_BITS = 3  # of log2 of a chunk's elements
TENSOR_BITS = (len(TENSORS) - 1).bit_length()
UNIT_BITS = LARGEST_UNIT.bit_length()
ELEMENT_BITS = 7  # of an element's width
LANES = 2  # the rows of a plane that a sample lies between
WORD_BYTES = 4  # that addresses count: a directory entry
WINDOW_WORDS = 8  # read at once, from any on
LARGEST_ELEMENT = (8 * WORD_BYTES * (WINDOW_WORDS - 1) + 1) // 2
"""Bits: two elements from any bit of a word on are in the words that are read at once."""

HEAD_BITS = 128  # read in front of a chunk's values: the largest bitmap
MOST_COORDINATES = HEAD_BITS // 7
"""In a chunk of any size: with more, its bitmap is smaller."""


class TensorRow(NamedTuple):
    """What the decoder is told of a tensor.

    directory, payload: addresses, in words. payload_bytes: its size. stride: chunks of a row, or
    cells of one if the tensor is plain. groups: elements of a cell. element: bits of one, all of
    the cell's if plain. chunk_log: log2 of a chunk's elements, 0 if plain. unit: of bases.
    """

    directory: int
    payload: int
    payload_bytes: int
    stride: int
    groups: int
    element: int
    chunk_log: int
    unit: int


class LookUp(NamedTuple):
    """An element and the next of its row, whether they are stored, their codes as fields of bits.

    Code c of an element is at its bit c * `bits`, as in the payload; not stored is 0.
    """

    hit: bool
    next_hit: bool
    first: int
    second: int


class Fault(IntFlag):
    """What the decoder finds wrong with a chunk: unknown mode; too many elements, of the chunk or
    of `MOST_COORDINATES`; an end outside the payload; coordinates that do not rise.
    """

    MODE = 1
    COUNT = 2
    OUTSIDE = 4
    FALLING = 8


def tensor_rows(blob: bytes) -> list[TensorRow]:
    """Of the twelve tensors of a blob that `read_blob` accepts."""
    found = []
    for entry in np.frombuffer(blob, TENSOR_ENTRY, len(TENSORS), TENSOR_TABLE_AT):
        names = ("directory", "payload", "payload_bytes", "cells", "components", "group", "chunk")
        of = {name: int(entry[name]) for name in (*names, "bits", "unit")}
        plain = not of["chunk"]
        found.append(
            TensorRow(
                directory=of["directory"] // WORD_BYTES,
                payload=of["payload"] // WORD_BYTES,
                payload_bytes=of["payload_bytes"],
                stride=of["cells"] if plain else -(-of["cells"] // of["chunk"]),
                groups=1 if plain else of["components"] // of["group"],
                element=(of["components"] if plain else of["group"]) * of["bits"],
                chunk_log=0 if plain else index_bits(of["chunk"]),
                unit=of["unit"],
            )
        )
    return found


def splits(row: TensorRow, u: int) -> bool:
    """Whether cells u and u + 1 are in different chunks, and take two reads of each kind."""
    return row.chunk_log > 0 and (u + 1) % (1 << row.chunk_log) == 0


def look_up(encoded: Encoded, v: int, u: int, group: int) -> LookUp:
    """Cells u and u + 1 of row v, of one group of components; a plain tensor has only group 0.

    In a chunk with a fault (`fault_of`) nothing is stored. u + 1 must be inside the row.
    """
    (hit, first), (next_hit, second) = (_element(encoded, v, at, group) for at in (u, u + 1))
    return LookUp(hit, next_hit, first, second)


def fault_of(encoded: Encoded, v: int, u: int, group: int) -> Fault:
    """Of the chunk that cell u of row v is in; coordinates are judged where all else is right."""
    if encoded.layout == PLAIN:
        return Fault(0)
    n = encoded.layout.chunk
    chunk = _chunk(encoded, v, u, group)
    found = Fault(0)
    if chunk.mode > COORDINATES:
        found |= Fault.MODE
    if chunk.count > (min(n, MOST_COORDINATES) if chunk.mode == COORDINATES else n):
        found |= Fault.COUNT
    values = int(whole_bytes(chunk.count * encoded.layout.group * encoded.bits))
    if chunk.base + chunk.head + values > len(encoded.payload):
        found |= Fault.OUTSIDE
    if chunk.mode == COORDINATES and not found:
        places = _places(encoded, chunk)
        if any(a >= b for a, b in pairwise(places)):
            found |= Fault.FALLING
    return found


@dataclass(frozen=True)
class _Chunk:
    """base: of the chunk in the payload; head: what is in front of its values; both in bytes."""

    mode: int
    count: int
    base: int
    head: int


def _chunk(encoded: Encoded, v: int, u: int, group: int) -> _Chunk:
    n = encoded.layout.chunk
    at = v, u // n, group
    mode, count, base = (int(part[at]) for part in (encoded.modes, encoded.counts, encoded.bases))
    heads = {BITMAP: n // 8, COORDINATES: int(whole_bytes(count * index_bits(n)))}
    return _Chunk(mode, count, base, heads.get(mode, 0))


def _places(encoded: Encoded, chunk: _Chunk) -> list[int]:
    width = index_bits(encoded.layout.chunk)
    first = 8 * chunk.base
    return [field_at(encoded.payload, first + i * width, width) for i in range(chunk.count)]


def _element(encoded: Encoded, v: int, u: int, group: int) -> tuple[bool, int]:
    """Whether it is stored, and its bits."""
    if encoded.layout == PLAIN:
        width = encoded.components * encoded.bits
        return True, field_at(encoded.payload, (v * encoded.cells + u) * width, width)
    if fault_of(encoded, v, u, group):
        return False, 0
    n, width = encoded.layout.chunk, encoded.layout.group * encoded.bits
    chunk, i = _chunk(encoded, v, u, group), u % n
    if chunk.mode == DENSE:
        found = Found(True, True, i)
    elif chunk.mode == BITMAP:
        found = search_bitmap(field_at(encoded.payload, 8 * chunk.base, n), i)
    else:
        found = search_coordinates(_places(encoded, chunk), i)
    if not found.hit:
        return False, 0
    position = 8 * (chunk.base + chunk.head) + found.rank * width
    return True, field_at(encoded.payload, position, width)
