"""Planes and lines of a field as sparse chunks: dense, bitmap or coordinates, the smallest of them.

A tensor has rows of cells, and in each cell components. `group` components of a cell are an
*element*; an element is stored unless all its codes are 0. A *chunk* is `chunk` consecutive
elements of a row, of one group of components. docs/nerf-encoding.md gives every bit.

The hybrid of bitmap and coordinates is RT-NeRF's (Li et al., ICCAD 2022, abstract); chunks,
fields and the rule of choice are our reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.bits import Bits, field_at, get_fields, pack, put_fields, unpack
from oleaster.models.nerf.field import Array, FieldError
from oleaster.models.nerf.layout import (
    BASE_AT,
    BASE_BITS,
    BITMAP,
    COORDINATES,
    COUNT_AT,
    COUNT_BITS,
    DENSE,
    ENTRY_BITS,
    PLAIN,
    TOO_LARGE,
    Codes,
    Layout,
    base_unit,
    chunk_counts,
    hybrid_bits,
    in_units,
    index_bits,
    mode_sizes,
    whole_bytes,
)

__all__ = [
    "Encoded",
    "coordinates",
    "decode",
    "decode_all",
    "encode",
    "plain_codes",
    "stored_codes",
    "stored_elements",
    "values_at",
]


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded tensor.

    bits, scale: as in `Codes`. unit: bases count 2^unit bytes. directory: (rows * chunks in a row *
    groups,) uint32, empty if plain. payload: what the bases point into.
    """

    rows: int
    cells: int
    components: int
    bits: int
    scale: np.float32
    layout: Layout
    unit: int
    directory: NDArray[np.uint32]
    payload: bytes

    @property
    def groups(self) -> int:
        """Elements of a cell; 0 if plain."""
        return self.components // self.layout.group if self.layout.group else 0

    @property
    def chunks(self) -> int:
        """Chunks along a row; 0 if plain."""
        return -(-self.cells // self.layout.chunk) if self.layout.chunk else 0

    @property
    def size_bits(self) -> int:
        """Directory and payload."""
        return ENTRY_BITS * self.directory.size + 8 * len(self.payload)

    @cached_property
    def modes(self) -> NDArray[np.int64]:
        """(rows, chunks in a row, groups): DENSE, BITMAP or COORDINATES."""
        return self._entries(0, COUNT_AT)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(rows, chunks in a row, groups): elements stored."""
        return self._entries(COUNT_AT, COUNT_BITS)

    @cached_property
    def bases(self) -> NDArray[np.int64]:
        """(rows, chunks in a row, groups): first byte in the payload."""
        return self._entries(BASE_AT, BASE_BITS) << self.unit

    def _entries(self, at: int, width: int) -> NDArray[np.int64]:
        shape = (self.rows, self.chunks, self.groups)
        found = self.directory.astype(np.int64) >> at & ((1 << width) - 1)
        return found.reshape(shape)

    def cell(self, v: int, u: int) -> NDArray[np.int16]:
        """(components,) codes of cell u of row v, read as hardware does: nothing else is decoded.

        IndexError outside the tensor.
        """
        if not (0 <= v < self.rows and 0 <= u < self.cells):
            raise IndexError(f"cell ({v}, {u}) of {self.rows} rows of {self.cells} cells")
        if self.layout == PLAIN:
            first = (v * self.cells + u) * self.components * self.bits
            return self._values(first, self.components)
        found = [self._element(v, u, group) for group in range(self.groups)]
        return np.concatenate(found)

    def _element(self, v: int, u: int, group: int) -> NDArray[np.int16]:
        n, width = self.layout.chunk, self.layout.group * self.bits
        chunk, i = divmod(u, n)
        entry = int(self.directory[(v * self.chunks + chunk) * self.groups + group])
        mode = entry & ((1 << COUNT_AT) - 1)
        count = entry >> COUNT_AT & ((1 << COUNT_BITS) - 1)
        base = (entry >> BASE_AT) << (self.unit + 3)
        if mode == DENSE:
            return self._values(base + i * width, self.layout.group)
        if mode == BITMAP:
            bitmap = field_at(self.payload, base, n)
            rank = (bitmap & ((1 << i) - 1)).bit_count()
            if not bitmap >> i & 1:
                return np.zeros(self.layout.group, np.int16)
            return self._values(base + n + rank * width, self.layout.group)
        at_bits = index_bits(n)
        low, high = 0, count  # the first coordinate not below i
        while low < high:
            middle = (low + high) // 2
            if field_at(self.payload, base + middle * at_bits, at_bits) < i:
                low = middle + 1
            else:
                high = middle
        if low == count or field_at(self.payload, base + low * at_bits, at_bits) != i:
            return np.zeros(self.layout.group, np.int16)
        values = base + 8 * whole_bytes(count * at_bits)
        return self._values(values + low * width, self.layout.group)

    def _values(self, position: int, count: int) -> NDArray[np.int16]:
        fields = [field_at(self.payload, position + i * self.bits, self.bits) for i in range(count)]
        return _signed(np.array(fields, np.int32), self.bits)


def encode(codes: Codes, allowed: Sequence[Layout]) -> Encoded:
    """The smallest encoding among the `allowed` layouts, the first if equal.

    In each chunk the smallest of dense, bitmap and coordinates is taken, the first if equal. A
    layout whose bases would not fit the directory, 2^22 of at most 8 bytes, is not considered.
    FieldError if none is left.
    """
    best = min(allowed, key=lambda layout: hybrid_bits(codes, layout))
    if hybrid_bits(codes, best) == TOO_LARGE:
        raise FieldError(
            f"a tensor of {codes.codes.size} values of {codes.bits} bits is too large for the"
            " directory of a chunked layout; use the plain one"
        )
    return _plain(codes) if best == PLAIN else _chunked(codes, best)


def decode(encoded: Encoded) -> Codes:
    """All codes of a tensor: exactly those that were encoded."""
    bits, width = unpack(encoded.payload), encoded.bits
    shape = (encoded.rows, encoded.cells, encoded.components)
    if encoded.layout == PLAIN:
        return Codes(plain_codes(encoded, bits).reshape(shape), width, encoded.scale)
    stored = stored_elements(encoded, bits)
    group = encoded.layout.group
    elements = np.zeros((*stored.shape, group), np.int16)
    _, elements[stored] = stored_codes(encoded, bits)
    # (rows, chunks, groups, n, group) -> (rows, chunks, n, groups, group)
    whole = elements.reshape(shape[0], encoded.chunks, encoded.groups, -1, group).swapaxes(2, 3)
    padded = whole.reshape(shape[0], -1, shape[2])
    return Codes(np.ascontiguousarray(padded[:, : shape[1]]), width, encoded.scale)


def decode_all(encoded: Mapping[str, Encoded]) -> dict[str, Array]:
    """Values of several tensors, by name."""
    return {name: decode(each).values() for name, each in encoded.items()}


def stored_elements(encoded: Encoded, bits: Bits) -> NDArray[np.bool_]:
    """(chunks of the tensor, elements of a chunk): which are stored. bits: the payload's."""
    n = encoded.layout.chunk
    modes, counts = encoded.modes.ravel(), encoded.counts.ravel()
    first = 8 * encoded.bases.ravel()
    stored = np.zeros((len(modes), n), bool)
    dense = np.flatnonzero(modes == DENSE)
    stored[dense] = np.arange(n) < counts[dense, None]
    maps = np.flatnonzero(modes == BITMAP)
    stored[maps] = bits[first[maps, None] + np.arange(n)]
    lists, at = coordinates(encoded, bits)
    stored[lists, at] = True
    return stored


def plain_codes(encoded: Encoded, bits: Bits) -> NDArray[np.int16]:
    """(values of a plain tensor,) codes. bits: the payload's."""
    values = encoded.rows * encoded.cells * encoded.components
    positions = np.arange(values, dtype=np.int64) * encoded.bits
    return _signed(get_fields(bits, positions, encoded.bits), encoded.bits)


def stored_codes(encoded: Encoded, bits: Bits) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """(m,) chunk numbers and (m, group) codes of all elements stored, in the payload's order."""
    group, width = encoded.layout.group, encoded.bits
    chunk, i = _each(encoded.counts.ravel())
    positions = values_at(encoded)[chunk] + i * (group * width)
    fields = get_fields(bits, positions[:, None] + np.arange(group) * width, width)
    return chunk, _signed(fields, width)


def coordinates(encoded: Encoded, bits: Bits) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(m,) chunk numbers and (m,) indices in them, in the order of coordinate chunks' payload."""
    lists = np.flatnonzero(encoded.modes.ravel() == COORDINATES)
    chunk, i = _each(encoded.counts.ravel()[lists])
    width = index_bits(encoded.layout.chunk)
    first = 8 * encoded.bases.ravel()[lists]
    return lists[chunk], get_fields(bits, first[chunk] + i * width, width)


def values_at(encoded: Encoded) -> NDArray[np.int64]:
    """(chunks of the tensor,): the bit of the payload where a chunk's values begin."""
    n, counts = encoded.layout.chunk, encoded.counts.ravel()
    heads = np.stack([0 * counts, 0 * counts + n // 8, whole_bytes(counts * index_bits(n))])
    return 8 * (encoded.bases.ravel() + np.choose(encoded.modes.ravel(), heads))


def _plain(codes: Codes) -> Encoded:
    rows, cells, components = codes.codes.shape
    bits = np.zeros(hybrid_bits(codes, PLAIN), np.uint8)
    positions = np.arange(codes.codes.size, dtype=np.int64) * codes.bits
    put_fields(bits, positions, codes.codes.ravel(), codes.bits)
    directory = np.zeros(0, np.uint32)
    scale = codes.scale
    return Encoded(rows, cells, components, codes.bits, scale, PLAIN, 0, directory, pack(bits))


def _chunked(codes: Codes, layout: Layout) -> Encoded:
    rows, cells, components = codes.codes.shape
    n, group = layout.chunk, layout.group
    all_sizes = mode_sizes(codes, layout)
    modes, sizes = all_sizes.argmin(axis=1), all_sizes.min(axis=1)
    counts = chunk_counts(codes, layout).ravel()
    # Nothing stored is no coordinates at all, never a map of zeros: it is the smallest.
    lengths = np.minimum(n, cells - np.arange(0, cells, n))
    dense_counts = np.broadcast_to(lengths[:, None], (rows, len(lengths), components // group))
    counts = np.where(modes == DENSE, dense_counts.ravel(), counts)
    unit = base_unit(sizes)
    spans = in_units(sizes, unit)
    ends = np.cumsum(spans)
    bases = np.where(spans > 0, ends - spans, 0)
    entries = modes | counts << COUNT_AT | bases << BASE_AT
    encoded = Encoded(
        rows, cells, components, codes.bits, codes.scale, layout, unit,
        entries.astype(np.uint32), b"",
    )  # fmt: skip
    bits = np.zeros((8 << unit) * int(ends[-1]), np.uint8)
    _write(codes, encoded, bits)
    return replace(encoded, payload=pack(bits))


def _write(codes: Codes, encoded: Encoded, bits: Bits) -> None:
    """Maps, coordinates and values of all chunks of a directory."""
    n, group, width = encoded.layout.chunk, encoded.layout.group, encoded.bits
    padding = ((0, 0), (0, -encoded.cells % n), (0, 0))
    padded = np.pad(codes.codes, padding).reshape(encoded.rows, -1, n, encoded.groups, group)
    elements = padded.swapaxes(2, 3).reshape(-1, n, group)
    modes, counts = encoded.modes.ravel(), encoded.counts.ravel()
    first = 8 * encoded.bases.ravel()
    stored = np.asarray(elements.any(axis=2))
    maps = np.flatnonzero(modes == BITMAP)
    bits[first[maps, None] + np.arange(n)] = stored[maps]
    lists = np.flatnonzero(modes == COORDINATES)
    chunk, at = np.nonzero(stored[lists])
    _, i = _each(counts[lists])
    at_bits = index_bits(n)
    put_fields(bits, first[lists][chunk] + i * at_bits, at, at_bits)
    stored[modes == DENSE] = np.arange(n) < counts[modes == DENSE, None]
    chunk, i = _each(counts)
    positions = values_at(encoded)[chunk] + i * (group * width)
    positions = positions[:, None] + np.arange(group) * width
    put_fields(bits, positions, elements[stored], width)


def _each(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For 0 .. count - 1 of every chunk: the chunk, and the number in it."""
    chunk = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    return chunk, np.arange(len(chunk)) - (ends - counts)[chunk]


def _signed(fields: NDArray[np.int32], bits: int) -> NDArray[np.int16]:
    return (fields - ((fields >> (bits - 1)) << bits)).astype(np.int16)
