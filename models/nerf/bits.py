"""Fields of bits in a little-endian stream: bit i is bit i % 8 of byte i // 8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bits", "field_at", "get_fields", "pack", "put_fields", "unpack"]

Bits = NDArray[np.uint8]


def unpack(data: bytes) -> Bits:
    """Bytes -> one uint8, 0 or 1, for each bit."""
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def pack(bits: Bits) -> bytes:
    """One uint8 for each bit, in whole bytes -> bytes."""
    return np.packbits(bits, bitorder="little").tobytes()


def put_fields(bits: Bits, positions: NDArray[np.int64], values: NDArray[Any], width: int) -> None:
    """Write the low `width` bits of (n,) integers at (n,) bit positions; two's complement."""
    for i in range(width):
        bits[positions + i] = values >> i & 1


def get_fields(bits: Bits, positions: NDArray[np.int64], width: int) -> NDArray[np.int32]:
    """(n,) unsigned fields of `width` <= 30 bits at (n,) bit positions."""
    values = np.zeros(positions.shape, np.int32)
    for i in range(width):
        values |= bits[positions + i].astype(np.int32) << i
    return values


def field_at(data: bytes, position: int, width: int) -> int:
    """The unsigned field of `width` bits at a bit position."""
    first, last = position // 8, -(-(position + width) // 8)
    return int.from_bytes(data[first:last], "little") >> position % 8 & ((1 << width) - 1)
