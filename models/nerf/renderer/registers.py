"""The register map of the renderer, the only place where it is laid out. All of this is ours."""

from __future__ import annotations

from oleaster.models.accelerator.registers import Described, Register
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.renderer.events import EVENTS

__all__ = [
    "CAUSE_BITS",
    "ID",
    "LARGEST_SIDE",
    "REGISTERS",
    "VERSION",
    "Cause",
    "ControlBit",
    "InterruptBit",
    "Status",
    "event_register",
    "register_offset",
]

VERSION = 1
ID = VERSION << 24 | int.from_bytes(b"NRF", "little")
LARGEST_SIDE = 1 << PIXEL_BITS
"""Of an image, in pixels."""


def event_register(event: str) -> str:
    """The register that counts one of `EVENTS`."""
    return f"COUNT_{event.upper()}"


_FIRST_EVENT = 0x90

REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x00, "ro", f"0x{ID:08X}: version in bits 31:24, the letters NRF below"),
    Register("BUS", 0x04, "ro", "Bits of the data bus in 15:0, of an address in 31:16"),
    Register(
        "BURSTS", 0x08, "ro", "Bursts in flight, reads and writes each, in 15:0; longest in 31:16"
    ),
    Register("TILE", 0x0C, "ro", "Pixels on a side of a tile"),
    Register(
        "NETWORK",
        0x10,
        "ro",
        "Colour networks in 31:24; of each one log2 of its encoders in 23:20, of the PEs of its "
        "array columns in 19:10, rows in 9:0",
    ),
    Register(
        "LATTICE", 0x14, "ro", "log2 of the most cubes along an axis in 15:0, of cells in 31:16"
    ),
    Register("CUBES", 0x18, "ro", "Words of the memory of cubes in 23:0, their bits in 31:24"),
    Register("BLOCKS", 0x1C, "ro", "Words of the memory of blocks in 23:0, their bits in 31:24"),
    Register("DENSITY_WORDS", 0x20, "ro", "Words of 32 bits of each pair's density memory"),
    Register("COLOR_WORDS", 0x24, "ro", "The same, of colour"),
    Register(
        "COMPONENTS", 0x28, "ro", "Most components of a pair: of density in 15:0, colour in 31:16"
    ),
    Register("CONSTANTS", 0x2C, "ro", "Beats of a frame's constants"),
    Register("CONTROL", 0x30, "wo", "Commands; see the control bits"),
    Register("STATUS", 0x34, "ro", "See the status bits"),
    Register("CAUSE", 0x38, "ro", "Why a command stopped; see the causes"),
    Register("FAULTS", 0x3C, "ro", "4 bits for each decoder, density first; see the faults"),
    Register("INTERRUPT_ENABLE", 0x40, "rw", "Bit 0: interrupt when done. Bit 1: on an error"),
    Register("ENTRY", 0x44, "ro", "Number of the descriptor that is read, or stopped the command"),
    Register("SCENE_LOW", 0x48, "rw", "Address of the scene's list, a multiple of 32; bits 31:0"),
    Register("SCENE_HIGH", 0x4C, "rw", "The same, bits 47:32"),
    Register("FRAME_LOW", 0x50, "rw", "Address of the frame's list, a multiple of 32; bits 31:0"),
    Register("FRAME_HIGH", 0x54, "rw", "The same, bits 47:32"),
    Register("OUTPUT_LOW", 0x58, "rw", "Address of the frame buffer, a multiple of 512; bits 31:0"),
    Register("OUTPUT_HIGH", 0x5C, "rw", "The same, bits 47:32"),
    Register("WIDTH", 0x60, "rw", f"Of the image in pixels, 1 .. {LARGEST_SIDE}"),
    Register("HEIGHT", 0x64, "rw", "The same"),
    Register("CYCLES_LOW", 0x68, "ro", "Cycles of the command, bits 31:0"),
    Register("CYCLES_HIGH", 0x6C, "ro", "The same, bits 63:32"),
    Register("READ_BEATS", 0x70, "ro", "Beats read"),
    Register("WRITE_BEATS", 0x74, "ro", "Beats written"),
    Register("TILES", 0x78, "ro", "Tiles whose pixels are all there"),
    *(
        Register(event_register(event), _FIRST_EVENT + 4 * place, "ro", f"Cycles in which {text}")
        for place, (event, text) in enumerate(EVENTS.items())
    ),
)


class ControlBit(Described):
    """Bits of CONTROL. The lowest of those that are set counts."""

    LOAD = 0, "Read the scene's list; refused while STATUS has ERROR or BUSY"
    RENDER = 1, "Read the frame's list and render the image; refused likewise"
    CLEAR = 2, "Clear DONE, ERROR, CAUSE and FAULTS; refused while STATUS has BUSY"


class InterruptBit(Described):
    """Bits of INTERRUPT_ENABLE."""

    DONE = 0, "The interrupt output is high while STATUS has DONE"
    ERROR = 1, "The interrupt output is high while STATUS has ERROR"


class Status(Described):
    """Bits of STATUS. DONE and ERROR stay until `clear`, DONE until the next command."""

    BUSY = 0, "A command runs"
    DONE = 1, "The command came to its end"
    ERROR = 2, "The command stopped before its end; CAUSE says why. Further ones are refused"
    INTERRUPT = 3, "The interrupt output"
    LOADED = 4, "A scene is loaded: the last LOAD came to its end"


class Cause(Described):
    """Why a command stopped before its end."""

    NONE = 0, "No error"
    READ_RESPONSE = 1, "The bus answered a read with an error"
    WRITE_RESPONSE = 2, "The bus answered a write with an error"
    LIST = 3, "A list or one of its descriptors cannot be; ENTRY is its number"
    FAULT = 4, "A decoder found a damaged chunk; FAULTS says which, and what"
    SIZE = 5, "WIDTH or HEIGHT is out of range, or OUTPUT is no multiple of 512"
    SCENE = 6, "No scene is loaded"


CAUSE_BITS = 4


def register_offset(name: str) -> int:
    """Byte offset of a register; KeyError for an unknown name."""
    return {register.name: register.offset for register in REGISTERS}[name]
