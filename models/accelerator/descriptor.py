"""The descriptor: one GEMM in 64 bytes of memory, the only place where its bits are laid out.

`hw/accelerator` takes its `lib.data` layout from `FIELDS`, the driver packs with them and the
tables of the data sheet are printed from them. All of this is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import NamedTuple

__all__ = [
    "ADDRESS_BITS",
    "CHANNEL_BYTES",
    "CHANNEL_FIELDS",
    "DESCRIPTOR_BYTES",
    "FIELDS",
    "FORMAT_CODES",
    "MAX_SIZE",
    "Descriptor",
    "Field",
    "element_bits",
    "row_bytes",
]

DESCRIPTOR_BYTES = 64
CHANNEL_BYTES = 8
ADDRESS_BITS = 48
MAX_SIZE = (1 << 24) - 1
"""The largest M, N or K."""

FORMAT_CODES = {
    "int32": 0,
    "int4": 1,
    "flint4": 2,
    "ovp4-int": 3,
    "ovp4-flint": 4,
    "int8": 5,
    "ovp8": 6,
    "fp4-e2m1": 7,
}
"""Format numbers in descriptors; `int32`, raw sums, for C only, `fp4-e2m1` for A and B only."""


class Field(NamedTuple):
    """A field of a packed word, in order from bit 0."""

    name: str
    bits: int
    text: str


FIELDS: tuple[Field, ...] = (
    Field("next_address", ADDRESS_BITS, "Address of the next descriptor; 0 ends the list"),
    Field("reserved0", 16, "0"),
    Field("a_address", ADDRESS_BITS, "First byte of A, M rows of K codes; any address"),
    Field("a_format", 8, "Format of A"),
    Field("reserved1", 8, "0"),
    Field("b_address", ADDRESS_BITS, "First byte of B, N rows of K codes; any address"),
    Field("b_format", 8, "Format of B"),
    Field("reserved2", 8, "0"),
    Field(
        "c_address",
        ADDRESS_BITS,
        "First byte of C, M rows of N values; any address, for int32 a multiple of 4",
    ),
    Field("c_format", 8, "Format of C; int32 writes the sums as they are"),
    Field("reserved3", 8, "0"),
    Field(
        "channels_address",
        ADDRESS_BITS,
        "Table of N channel words, a multiple of the data bus's bytes; not read for int32",
    ),
    Field(
        "relu", 1, "1: negative results become 0 before they are encoded; without effect on int32"
    ),
    Field("reserved4", 15, "0"),
    Field("m", 32, "Rows of A and C, 1 .. 2^24 - 1"),
    Field("k", 32, "Elements of a row of A and of B, 1 .. 2^24 - 1"),
    Field("n", 32, "Rows of B, columns of C, 1 .. 2^24 - 1"),
    Field("a_stride", 32, "Bytes from one row of A to the next; 0 repeats a row"),
    Field("b_stride", 32, "Bytes from one row of B to the next; 0 repeats a row"),
    Field(
        "c_stride",
        32,
        "Bytes from one row of C to the next, at least a row's bytes; for int32 a multiple of 4",
    ),
)

CHANNEL_FIELDS: tuple[Field, ...] = (
    Field("bias", 32, "Signed; added to the sum"),
    Field("multiplier", 16, "Unsigned; what the biased sum is multiplied by"),
    Field("shift", 6, "The product is divided by 2^shift, rounded half to even"),
    Field("reserved", 10, "0"),
)
"""A channel word: what the output stage does to one column of C."""


@dataclass(frozen=True)
class Descriptor:
    """C = A B^T: A (M, K), B (N, K), C (M, N), each row-major with a stride in bytes.

    Members have the names, units and ranges of `FIELDS`; formats by name. C's scale, bias and
    rounding are those of the channel table (`requantize`). A row of A or B has its K codes packed
    as `Format.pack` does, an odd K padded with a zero code; a row of C likewise.
    """

    a_address: int
    b_address: int
    c_address: int
    m: int
    k: int
    n: int
    a_stride: int
    b_stride: int
    c_stride: int
    a_format: str = "ovp4-flint"
    b_format: str = "ovp4-flint"
    c_format: str = "int32"
    channels_address: int = 0
    relu: bool = False
    next_address: int = 0

    def pack(self) -> bytes:
        """The 64 bytes, little-endian. Raises ValueError for a member that does not fit."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("a_format", "b_format", "c_format"):
            if values[name] not in FORMAT_CODES:
                known = ", ".join(FORMAT_CODES)
                raise ValueError(f"{name} is {values[name]!r}; it must be one of {known}")
            values[name] = FORMAT_CODES[values[name]]
        return pack_fields(FIELDS, values)

    @staticmethod
    def unpack(data: bytes) -> Descriptor:
        """The inverse of `pack`; raises ValueError for what is no descriptor."""
        if len(data) != DESCRIPTOR_BYTES:
            raise ValueError(f"a descriptor has {DESCRIPTOR_BYTES} bytes, not {len(data)}")
        values: dict[str, object] = dict(unpack_fields(FIELDS, data))
        if any(values.pop(name) for name in list(values) if name.startswith("reserved")):
            raise ValueError("a reserved bit is set")
        names = {code: name for name, code in FORMAT_CODES.items()}
        for name in ("a_format", "b_format", "c_format"):
            if values[name] not in names:
                raise ValueError(f"{name} {values[name]} is unknown")
            values[name] = names[values[name]]  # type: ignore[index]
        return Descriptor(**{**values, "relu": bool(values["relu"])})  # type: ignore[arg-type]


def pack_fields(layout: Sequence[Field], values: dict[str, int]) -> bytes:
    """Little-endian bytes of a packed word; fields that are not given are 0."""
    word = offset = 0
    for field in layout:
        value = values.get(field.name, 0)
        if not isinstance(value, Integral) or not 0 <= value < 1 << field.bits:
            top = (1 << field.bits) - 1
            raise ValueError(f"{field.name} is {value!r}; it must be an integer from 0 to {top}")
        word |= int(value) << offset
        offset += field.bits
    return word.to_bytes(offset // 8, "little")


def unpack_fields(layout: Sequence[Field], data: bytes) -> dict[str, int]:
    """The fields of a packed word by name."""
    word = int.from_bytes(data, "little")
    values = {}
    for field in layout:
        values[field.name] = word & (1 << field.bits) - 1
        word >>= field.bits
    return values


def element_bits(name: str) -> int:
    """Bits of one element in memory."""
    return 32 if name == "int32" else 8 if name in ("int8", "ovp8") else 4


def row_bytes(name: str, elements: int) -> int:
    """Bytes of a row; an odd row of codes is padded to whole pairs, one of int32 is not."""
    if name == "int32":
        return 4 * elements
    return (elements + elements % 2) * element_bits(name) // 8
