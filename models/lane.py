"""Operand lanes of an array: which formats they read, and how wide that makes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from oleaster.models.formats import LANE_INTEGER_BITS, Format, get_format
from oleaster.models.microscaling import MAX_WINDOW

__all__ = ["FORMAT_SETS", "Lane", "lane_peak", "lanes_name", "required_acc_bits"]

FORMAT_SETS = {
    "olive": ("int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8"),
    "olive4": ("int4", "flint4", "ovp4-int", "ovp4-flint"),
}
"""Sets of formats with a name: OliVe's, and those of 4 bits alone."""


_LONGEST_NAME = 60  # of a lane: file names hold two


@dataclass(frozen=True)
class Lane:
    """An operand lane of an array, as wide as the formats that it shall read need.

    A format with `lanes` = 2 takes two neighbouring lanes, so lanes then come in groups of two.

    formats: names; FormatError for an unknown one, ValueError if there is none or one twice.
    """

    formats: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.formats or len(set(self.formats)) < len(self.formats):
            listed = ", ".join(self.formats) or "none"
            raise ValueError(f"the formats of a lane are {listed}; at least one, each once")
        for name in self.formats:
            get_format(name)

    @staticmethod
    def named(text: str) -> Lane:
        """From the name of a set, or from names of formats with commas between."""
        names = tuple(name.strip() for name in text.split(","))
        for name in names:
            if name in FORMAT_SETS and len(names) > 1:
                raise ValueError(f"{name} is a set of formats; it stands alone, not in a list")
        return Lane(FORMAT_SETS.get(text.strip(), names))

    @property
    def name(self) -> str:
        """For module names: equal for equal lanes only."""
        for name, formats in FORMAT_SETS.items():
            if self.formats == formats:
                return name
        joined = "_".join(name.replace("-", "") for name in self.formats)
        if len(joined) <= _LONGEST_NAME:
            return joined
        return f"{len(self.formats)}formats_{hashlib.sha256(joined.encode()).hexdigest()[:8]}"

    @cached_property
    def decoders(self) -> tuple[Format, ...]:
        """One format for each decoder that the lane has: formats with equal types share one."""
        first: dict[tuple[str, str], Format] = {}
        for name in self.formats:
            fmt = get_format(name)
            first.setdefault((fmt.normal.name, fmt.outlier.name if fmt.outlier else ""), fmt)
        return tuple(first.values())

    @cached_property
    def select(self) -> dict[str, int]:
        """By format, the value of a word's `format` field: the decoder's place."""
        types = [(fmt.normal, fmt.outlier) for fmt in self.decoders]
        return {
            name: types.index((get_format(name).normal, get_format(name).outlier))
            for name in self.formats
        }

    @property
    def select_bits(self) -> int:
        """Width of the `format` field; 0 if there is nothing to choose."""
        return (len(self.decoders) - 1).bit_length()

    @property
    def group(self) -> int:
        """Lanes that are decoded together."""
        return max(fmt.lanes for fmt in self.decoders)

    @property
    def code_bits(self) -> int:
        """Bits of a word for one lane and one K element."""
        return max(-(-fmt.code_bits // fmt.lanes) for fmt in self.decoders)

    @property
    def has_blocks(self) -> bool:
        """Whether words carry block exponents (MX formats)."""
        return any(get_format(name).block_size for name in self.formats)

    @property
    def has_codebook(self) -> bool:
        return "codebook" in self.formats

    def word_bits(self, lanes: int) -> int:
        """Bits of an operand word for so many lanes: codes, and with MX formats scales and base."""
        return 2 * self.code_bits * lanes + (8 * lanes + 8 if self.has_blocks else 0)

    @property
    def max_exponent(self) -> int:
        """The largest exponent of a pair, block exponents included."""
        exponents = [
            int(exponent)
            for fmt in self.decoders
            for exponent in (
                fmt.normal.exponents.max() + (4 if fmt.lanes == 2 else 0),
                *(fmt.outlier.exponents if fmt.outlier else ()),
            )
        ]
        return max(exponents) + (MAX_WINDOW if self.has_blocks else 0)

    @property
    def max_magnitude(self) -> int:
        """The largest magnitude that one lane holds, without block exponents."""
        return max(lane_peak(get_format(name)) for name in self.formats)

    @property
    def exponent_bits(self) -> int:
        return max(1, self.max_exponent.bit_length())

    @property
    def integer_bits(self) -> int:
        return max(min(fmt.integer_bits, LANE_INTEGER_BITS) for fmt in self.decoders)


def lane_peak(fmt: Format) -> int:
    """The largest magnitude that one lane holds of an element."""
    if fmt.lanes == 1:
        return fmt.max_magnitude
    return max(fmt.max_magnitude, (fmt.max_normal // 16 + 1) * 16)  # the high nibble of -127 is -8


def required_acc_bits(a: Format, b: Format, k: int) -> int:
    """Width of a signed accumulator that no K products of the two formats can overflow."""
    return (lane_peak(a) * lane_peak(b) * k).bit_length() + 1


def lanes_name(a: Lane, b: Lane) -> str:
    """For module names: the lanes of both operands."""
    return a.name if a == b else f"{a.name}_by_{b.name}"
