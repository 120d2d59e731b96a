"""How a tensor of a field can be cut in chunks, and how large each way is. See `encoding`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, FieldError

__all__ = [
    "BASE_AT",
    "BASE_BITS",
    "BITMAP",
    "CHUNKS",
    "COORDINATES",
    "COUNT_AT",
    "COUNT_BITS",
    "DENSE",
    "ENTRY_BITS",
    "LARGEST_UNIT",
    "PLAIN",
    "TOO_LARGE",
    "Codes",
    "Layout",
    "base_unit",
    "chunk_counts",
    "hybrid_bits",
    "in_units",
    "index_bits",
    "layouts",
    "mode_sizes",
    "pure_bits",
    "quantize",
    "whole_bytes",
]

CHUNKS = (32, 64, 128)
DENSE, BITMAP, COORDINATES = 0, 1, 2

ENTRY_BITS = 32  # of the directory: mode, count, base
COUNT_AT, COUNT_BITS = 2, 8
BASE_AT, BASE_BITS = 10, 22
LARGEST_UNIT = 3

_SHARES = tuple(1 - i / 20 for i in range(14))  # 1 down to 0.35, past the best at 5 bits and more


@dataclass(frozen=True, eq=False)
class Codes:
    """A tensor in fixed point: code * scale is the value.

    codes: (rows, cells, components) int16, each within +-(2^(bits - 1) - 1). bits: 2 .. 16.
    scale: float32, above 0.
    """

    codes: NDArray[np.int16]
    bits: int
    scale: np.float32

    def values(self) -> Array:
        """(rows, cells, components) float32."""
        return self.codes.astype(np.float32) * self.scale


def quantize(values: NDArray[np.floating[Any]], bits: int) -> Codes:
    """Round (rows, cells, components) to the nearest of 2^bits - 1 codes; ties to even.

    The largest code stands for a share of the largest magnitude, whichever of `_SHARES` leaves the
    least squared error (the first if equal); what lies beyond becomes that code. FieldError if bits
    is not 2 .. 16 or a value is not finite.
    """
    if not 2 <= bits <= 16:
        raise FieldError(f"values of {bits} bits; 2 .. 16 can be encoded")
    if not np.isfinite(values).all():
        raise FieldError("a tensor to encode holds NaN or infinity")
    limit = (1 << (bits - 1)) - 1
    largest = np.abs(values).max(initial=0) / limit
    if not np.float32(largest * _SHARES[-1]) > 0:  # nothing there, or too little to divide by
        return Codes(np.zeros(values.shape, np.int16), bits, np.float32(1))
    best, least = None, np.inf
    for share in _SHARES:
        scale = np.float32(largest * share)
        rounded = np.clip(np.rint(values / scale), -limit, limit)
        error = float(np.square(rounded * scale - values, dtype=np.float64).sum())
        if error < least:
            best, least = Codes(rounded.astype(np.int16), bits, scale), error
    assert best is not None  # errors of finite values are finite
    return best


@dataclass(frozen=True)
class Layout:
    """How a tensor is cut. chunk: elements of a chunk, 32, 64 or 128. group: of components.

    chunk 0 is *plain*: every value, cell after cell, and no directory; group is then 0.
    """

    chunk: int
    group: int


PLAIN = Layout(0, 0)
TOO_LARGE = 1 << 62  # the size of what no directory can point into


def layouts(components: int, groups: Sequence[int] | None = None) -> list[Layout]:
    """Every way of cutting a tensor: plain, and chunks of every size, with the `groups` that divide
    the components (every divisor if None; larger groups first, since they need fewer look-ups).
    """
    found = [g for g in range(components, 0, -1) if components % g == 0]
    kept = [g for g in found if groups is None or g in groups]
    return [PLAIN, *(Layout(n, g) for g in kept for n in CHUNKS)]


def hybrid_bits(codes: Codes, layout: Layout) -> int:
    """Bits of directory and payload in a layout, each chunk in its smallest mode.

    TOO_LARGE if bases do not fit.
    """
    if layout == PLAIN:
        return 8 * int(whole_bytes(codes.codes.size * codes.bits))
    return _total_bits(mode_sizes(codes, layout).min(axis=1))


def pure_bits(codes: Codes, layout: Layout, mode: int) -> int:
    """As `hybrid_bits` with every chunk in one mode; dense is plain, which needs no directory."""
    if layout == PLAIN or mode == DENSE:
        return hybrid_bits(codes, PLAIN)
    return _total_bits(mode_sizes(codes, layout)[:, mode])


def chunk_counts(codes: Codes, layout: Layout) -> NDArray[np.int64]:
    """(rows, chunks in a row, groups): elements that are not all 0."""
    rows, cells, components = codes.codes.shape
    grouped = codes.codes.reshape(rows, cells, components // layout.group, layout.group)
    first = np.arange(0, cells, layout.chunk)
    return np.add.reduceat(grouped.any(axis=3), first, axis=1, dtype=np.int64)


def mode_sizes(codes: Codes, layout: Layout) -> NDArray[np.int64]:
    """(chunks of the tensor, 3): payload bytes as dense, as bitmap, as coordinates."""
    n, element = layout.chunk, layout.group * codes.bits
    counts = chunk_counts(codes, layout)
    lengths = np.minimum(n, codes.codes.shape[1] - np.arange(0, codes.codes.shape[1], n))
    dense = np.broadcast_to(whole_bytes(lengths * element)[:, None], counts.shape)
    values = whole_bytes(counts * element)
    sizes = (dense, n // 8 + values, whole_bytes(counts * index_bits(n)) + values)
    return np.stack(sizes, axis=-1).reshape(-1, 3)


def base_unit(sizes: NDArray[np.int64]) -> int:
    """The smallest unit in which bases of chunks of so many bytes fit; else one above all."""
    for unit in range(LARGEST_UNIT + 1):
        if in_units(sizes, unit).sum() <= 1 << BASE_BITS:
            return unit
    return LARGEST_UNIT + 1


def _total_bits(sizes: NDArray[np.int64]) -> int:
    unit = base_unit(sizes)
    if unit > LARGEST_UNIT:
        return TOO_LARGE
    return ENTRY_BITS * len(sizes) + (8 << unit) * int(in_units(sizes, unit).sum())


def index_bits(chunk: int) -> int:
    """Bits of a coordinate: log2 of the elements of a chunk."""
    return chunk.bit_length() - 1


def whole_bytes(bits: Any) -> Any:
    """Bytes that hold so many bits; of an integer or an array."""
    return -(-bits // 8)


def in_units(sizes: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """Bytes to units of 2^unit bytes, rounded up."""
    return -(-sizes >> unit)
