"""The instruction `mmaovp`: what its text says, and the word that the tensor core takes.

    mmaovp.s32.ovpi4.ovpf4.s32.s4 r8, r0, r1, r8

D = A B + C on 8 x 8 sums. In order: type of D, of A, of B, of C, width of the multiplication; then
the registers of D, A, B, C. D and C are pairs of registers and named by the even one.

OliVe prints this one opcode and does not explain its last field. That it is the width of the
multiplication, `s4` when both operands have 4 bits and otherwise `s8`, is our reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from oleaster.models.formats import Format, get_format

__all__ = ["TYPES", "Instruction", "Opcode"]

# Type in the text -> format.
TYPES = {
    "s4": "int4",
    "f4": "flint4",
    "s8": "int8",
    "ovpi4": "ovp4-int",
    "ovpf4": "ovp4-flint",
    "ovpi8": "ovp8",
}
_TEXT = {name: text for text, name in TYPES.items()}
_SHAPE = "mmaovp.s32.A.B.s32.WIDTH"
_WIDTHS = {4: "s4", 8: "s8"}


@dataclass(frozen=True)
class Opcode:
    """Which formats are multiplied: names as in `oleaster.models.formats.FORMATS`.

    Raises ValueError for a format that `mmaovp` has no type for.
    """

    format_a: str
    format_b: str

    def __post_init__(self) -> None:
        for operand, name in (("A", self.format_a), ("B", self.format_b)):
            if name not in _TEXT:
                raise ValueError(
                    f"mmaovp has no type for format {name!r} of {operand}; "
                    f"it takes {', '.join(_TEXT)}"
                )

    @property
    def formats(self) -> tuple[Format, Format]:
        """Of A and of B."""
        return get_format(self.format_a), get_format(self.format_b)

    @property
    def width(self) -> int:
        """4 when both operands have 4 bits, otherwise 8."""
        return max(fmt.code_bits for fmt in self.formats)

    def __str__(self) -> str:
        a, b = _TEXT[self.format_a], _TEXT[self.format_b]
        return f"mmaovp.s32.{a}.{b}.s32.{_WIDTHS[self.width]}"

    @staticmethod
    def parse(text: str) -> Opcode:
        """The inverse of `str`. Raises ValueError that says what is wrong and what was expected."""
        parts = text.split(".")
        if len(parts) != 6:
            raise ValueError(f"{text!r} is no opcode; expected {_SHAPE}")
        expected = (
            ("name", ("mmaovp",)),
            ("type of D", ("s32",)),
            ("type of A", tuple(TYPES)),
            ("type of B", tuple(TYPES)),
            ("type of C", ("s32",)),
            ("width", tuple(_WIDTHS.values())),
        )
        for part, (name, known) in zip(parts, expected, strict=True):
            if part not in known:
                raise ValueError(f"{text!r}: {name} is {part!r}; expected {' or '.join(known)}")
        opcode = Opcode(TYPES[parts[2]], TYPES[parts[3]])
        width = _WIDTHS[opcode.width]
        if parts[5] != width:
            raise ValueError(
                f"{text!r}: width is {parts[5]!r}; expected {width} for {parts[2]} and {parts[3]}"
            )
        return opcode

    def encode(self) -> int:
        """The low 4 bits of the instruction word: {b wide, b flint, a wide, a flint}.

        Plain and OVP formats of one normal type have one code: the decoder reads both.
        """
        bits = 0
        for position, fmt in enumerate(self.formats):
            wide = fmt.code_bits == 8
            bits |= (int(wide) << 1 | int("flint" in fmt.name)) << 2 * position
        return bits


@dataclass(frozen=True)
class Instruction:
    """An opcode and its register numbers; D is (d, d + 1), C is (c, c + 1).

    Raises ValueError for a negative number, or one of a pair that is odd.
    """

    opcode: Opcode
    d: int
    a: int
    b: int
    c: int

    def __post_init__(self) -> None:
        for name in "dabc":
            number = getattr(self, name)
            if number < 0:
                raise ValueError(f"register {name} is {number}; it must be at least 0")
            if name in "dc" and number % 2:
                raise ValueError(f"register {name} is {number}; a pair begins at an even number")

    def __str__(self) -> str:
        return f"{self.opcode} r{self.d}, r{self.a}, r{self.b}, r{self.c}"

    @staticmethod
    def parse(text: str) -> Instruction:
        """The inverse of `str`. Raises ValueError that says what is wrong and what was expected."""
        opcode, _, operands = text.strip().partition(" ")
        found = re.fullmatch(r"\s*r(\d+)\s*,\s*r(\d+)\s*,\s*r(\d+)\s*,\s*r(\d+)\s*", operands)
        if found is None:
            raise ValueError(
                f"{text!r}: registers are {operands.strip()!r}; expected four, as in r8, r0, r1, r8"
            )
        return Instruction(Opcode.parse(opcode), *map(int, found.groups()))

    def encode(self, address_bits: int) -> int:
        """The word of the tensor core's stream `instruction`: from the lowest bit the opcode, a, b
        (`address_bits` each), c / 2, d / 2 (one bit less each).

        Raises ValueError for a register beyond 2**address_bits.
        """
        for name in "dabc":
            if getattr(self, name) >> address_bits:
                raise ValueError(
                    f"register {name} is {getattr(self, name)}; "
                    f"the highest is {(1 << address_bits) - 1}"
                )
        word = self.opcode.encode()
        at = 4
        for value, bits in (
            (self.a, address_bits),
            (self.b, address_bits),
            (self.c >> 1, address_bits - 1),
            (self.d >> 1, address_bits - 1),
        ):
            word |= value << at
            at += bits
        return word
