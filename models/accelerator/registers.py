"""The register map of the accelerator, the only place where it is laid out. All of this is ours."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Self

__all__ = [
    "CAUSE_BITS",
    "ID",
    "REGISTERS",
    "VERSION",
    "Cause",
    "ControlBit",
    "Described",
    "InterruptBit",
    "Register",
    "Status",
    "register_offset",
]

VERSION = 1
ID = VERSION << 24 | int.from_bytes(b"OLV", "little")


class Register(NamedTuple):
    """A 32-bit register. access: "ro", "rw" or "wo"."""

    name: str
    offset: int
    access: str
    text: str


REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x00, "ro", f"0x{ID:08X}: version in bits 31:24, the letters OLV below"),
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
    Register("WAIT_DATA", 0x44, "ro", "Cycles in which the array waited for words"),
    Register("WAIT_OUTPUT", 0x48, "ro", "Cycles in which a tile could not end for want of room"),
    Register("READ_BEATS", 0x4C, "ro", "Beats read"),
    Register("WRITE_BEATS", 0x50, "ro", "Beats written"),
    Register("TILES", 0x54, "ro", "Tiles of sums that left the array"),
    Register(
        "BURSTS", 0x58, "ro", "Bursts in flight, reads and writes each, in 15:0; longest in 31:16"
    ),
)


class Described(IntEnum):
    """An integer with a sentence: what the data sheet and the driver say of it."""

    text: str

    def __new__(cls, value: int, text: str) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


class ControlBit(Described):
    """Bits of CONTROL."""

    DOORBELL = 0, "Start the list; refused while STATUS has ERROR, an error while it has BUSY"
    CLEAR = 1, "Clear DONE, ERROR, OVERFLOW, ILLEGAL and CAUSE; refused while STATUS has BUSY"


class InterruptBit(Described):
    """Bits of INTERRUPT_ENABLE."""

    DONE = 0, "The interrupt output is high while STATUS has DONE"
    ERROR = 1, "The interrupt output is high while STATUS has ERROR"


class Status(Described):
    """Bits of STATUS. All but BUSY and the interrupt stay until `clear` or the next doorbell."""

    BUSY = 0, "A list runs"
    DONE = 1, "The list came to its end"
    ERROR = 2, "The list stopped before its end; CAUSE says why. A doorbell then does nothing"
    OVERFLOW = 3, "Some sum wrapped"
    ILLEGAL = 4, "Some pair held two identifiers; it counted as 0"
    INTERRUPT = 5, "The interrupt output"


class Cause(Described):
    """Why a list stopped before its end."""

    NONE = 0, "No error"
    READ_RESPONSE = 1, "The bus answered a read with an error"
    WRITE_RESPONSE = 2, "The bus answered a write with an error"
    SIZE = 3, "M, K or N is 0 or beyond 2^24 - 1, or C's stride is below its row"
    FORMAT = 4, "A format is unknown, or not built in for this operand"
    ALIGNMENT = 5, "An address or stride is not the multiple that it must be"
    RESERVED = 6, "A reserved bit is set, or an address is wider than the bus's"
    LOOP = 7, "The list comes back to a descriptor that it has run"
    DOORBELL = 8, "A doorbell rang while a list ran"


CAUSE_BITS = 4


def register_offset(name: str) -> int:
    """Byte offset of a register; KeyError for an unknown name."""
    return {register.name: register.offset for register in REGISTERS}[name]
