"""The register map of the accelerator, the only place where it is laid out. All of this is ours."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = ["MAGIC", "REGISTERS", "VERSION", "Cause", "Register", "Status", "register_offset"]

MAGIC = 0x564C4F  # "OLV"
VERSION = 1


class Register(NamedTuple):
    """A 32-bit register. access: "ro", "rw" or "wo"."""

    name: str
    offset: int
    access: str
    text: str


REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x00, "ro", "0x01564C4F: version in bits 31:24, then the letters OLV"),
    Register("ARRAY", 0x04, "ro", "Rows in bits 15:0, columns in bits 31:16"),
    Register("BUS", 0x08, "ro", "Bits of the data bus in 15:0, of an address in 31:16"),
    Register("SCRATCHPAD", 0x0C, "ro", "Beats that a lane's scratchpad holds"),
    Register("FORMATS", 0x10, "ro", "Bit i: A reads format i; bit 16 + i: B reads format i"),
    Register("CONTROL", 0x14, "wo", "Bit 0: doorbell, start the list. Bit 1: clear, see STATUS"),
    Register("LIST_LOW", 0x18, "rw", "Address of the first descriptor, bits 31:0"),
    Register("LIST_HIGH", 0x1C, "rw", "Address of the first descriptor, bits 47:32"),
    Register("STATUS", 0x20, "ro", "See the status bits"),
    Register("CAUSE", 0x24, "ro", "Why a list stopped; see the causes"),
    Register("DESCRIPTOR_LOW", 0x28, "ro", "Address of the descriptor that runs or stopped, 31:0"),
    Register("DESCRIPTOR_HIGH", 0x2C, "ro", "The same, bits 47:32"),
    Register("COMPLETED", 0x30, "ro", "Descriptors that this list has completed"),
    Register("INTERRUPT_ENABLE", 0x34, "rw", "Bit 0: interrupt when done. Bit 1: on an error"),
    Register("CYCLES_LOW", 0x38, "ro", "Cycles of this list since its doorbell, bits 31:0"),
    Register("CYCLES_HIGH", 0x3C, "ro", "The same, bits 63:32"),
    Register("WORDS", 0x40, "ro", "Pairs of operand words that the array took"),
    Register(
        "WAIT_DATA", 0x44, "ro", "Cycles in which the array waited for words"
    ),
    Register("WAIT_OUTPUT", 0x48, "ro", "Cycles in which a tile could not end for want of room"),
    Register("READ_BEATS", 0x4C, "ro", "Beats read"),
    Register("WRITE_BEATS", 0x50, "ro", "Beats written"),
    Register("TILES", 0x54, "ro", "Tiles of sums that left the array"),
)


class Status(IntEnum):
    """Bits of STATUS. All but BUSY and the interrupt stay until `clear` or the next doorbell."""

    BUSY = 0  # a list runs
    DONE = 1  # the list came to its end
    ERROR = 2  # the list stopped before its end; CAUSE says why. A doorbell then does nothing
    OVERFLOW = 3  # some sum wrapped
    ILLEGAL = 4  # some pair held two identifiers; it counted as 0
    INTERRUPT = 5  # the interrupt output


class Cause(IntEnum):
    """Why a list stopped before its end."""

    NONE = 0
    READ_RESPONSE = 1  # the bus answered a read with an error
    WRITE_RESPONSE = 2  # the bus answered a write with an error
    SIZE = 3  # M, K or N is 0 or beyond 2^24 - 1, or C's stride is below its row
    FORMAT = 4  # the format is unknown, or not built in for this operand
    ALIGNMENT = 5  # an address or stride is not the multiple that it must be
    RESERVED = 6  # a reserved bit is set, or an address is wider than the bus's
    LOOP = 7  # the list comes back to a descriptor that it has run
    DOORBELL = 8  # a doorbell rang while a list ran


def register_offset(name: str) -> int:
    """Byte offset of a register; KeyError for an unknown name."""
    return {register.name: register.offset for register in REGISTERS}[name]
