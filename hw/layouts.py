"""Packed words that travel between units, and the widths they follow from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from amaranth import signed, unsigned
from amaranth.lib import data

from oleaster.models.formats import FORMATS

__all__ = ["Lane", "OperandWord", "SumsWord"]


@cache
def _pair_range(code_bits: int) -> tuple[int, int]:
    """(largest exponent, bits of the integer) over all formats of that code width."""
    formats = [f for f in FORMATS.values() if f.code_bits == code_bits]
    rows = [row for f in formats for row in f.table()]
    return max(row.exponent for row in rows), max(f.integer_bits for f in formats)


@dataclass(frozen=True)
class Lane:
    """An operand lane: `code_bits` (4 or 8) is the width of one code.

    Every format of that width runs on the lane; the exponent-integer pair is wide enough for
    all of them.
    """

    code_bits: int

    def __post_init__(self) -> None:
        if self.code_bits not in (4, 8):
            raise ValueError(f"code_bits is {self.code_bits!r}; it must be 4 or 8")

    @property
    def max_exponent(self) -> int:
        return _pair_range(self.code_bits)[0]

    @property
    def max_magnitude(self) -> int:
        """The largest value of any format of this width."""
        return max(f.max_magnitude for f in FORMATS.values() if f.code_bits == self.code_bits)

    @property
    def exponent_bits(self) -> int:
        return self.max_exponent.bit_length()

    @property
    def integer_bits(self) -> int:
        return _pair_range(self.code_bits)[1]

    @property
    def pair(self) -> data.StructLayout:
        """Exponent-integer pair: `integer << exponent`."""
        return data.StructLayout(
            {"integer": signed(self.integer_bits), "exponent": unsigned(self.exponent_bits)}
        )

    @property
    def has_flint(self) -> bool:
        """Whether formats of this width differ in their normal type (int4 or flint4)."""
        return self.code_bits == 4


class OperandWord(data.StructLayout):
    """Two K elements for each lane.

    Fields: `codes`, for each lane two codes, element 2i in the low half (the byte layout of an
    outlier-victim pair); `flint`, the normal type (4-bit lanes only): 0 int4, 1 flint4; `last`,
    high on the last word of a tile.
    """

    def __init__(self, lane: Lane, lanes: int) -> None:
        fields: dict[str, object] = {"codes": data.ArrayLayout(2 * lane.code_bits, lanes)}
        if lane.has_flint:
            fields["flint"] = 1
        super().__init__({**fields, "last": 1})


class SumsWord(data.StructLayout):
    """One row of a finished tile.

    Fields: `sums`, signed, one for each column; `overflow`, a bit for each column, set when the
    accumulation of that sum wrapped; `last`, high on the last row of the tile.
    """

    def __init__(self, cols: int, acc_bits: int) -> None:
        super().__init__(
            {"sums": data.ArrayLayout(signed(acc_bits), cols), "overflow": cols, "last": 1}
        )
