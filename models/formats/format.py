"""A format: what its codes stand for, how they lie in bytes, how lanes of the array see them.

Elements 2i and 2i+1 of the last axis (the reduction axis K) are a pair. In an outlier-victim
format that is two normal codes; or one outlier code whose neighbour, the victim, holds the
identifier and reads as 0 (OliVe, section 3).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.formats.codec import Codec, FormatError
from oleaster.models.formats.normal import identifier

Rule = Literal["paper", "artifact"]
Role = Literal["normal", "outlier", "identifier", "disabled"]

MX_BLOCK = 32
"""Elements along K that share one E8M0 exponent (OCP Microscaling Formats 1.0, section 5.1)."""

LANE_INTEGER_BITS = 5
"""A lane's integer is a nibble, signed or unsigned: -16 .. 15 (OliVe, section 4.3)."""


class IllegalPairError(FormatError):
    """A pair of two outlier identifiers, which no encoder writes."""


class TableRow(NamedTuple):
    """One code of a format: value = integer << exponent."""

    code: int
    bits: str
    role: Role
    exponent: int
    integer: int
    value: int


@dataclass(frozen=True, eq=False)
class Format:
    """A number format over pairs along the last axis.

    A format with an outlier-victim sibling names the outlier type even if it has no outliers,
    because one hardware decoder serves both (`decode_pairs_lenient`); the others have none.
    block_size: elements along K that share an exponent, which is stored apart; 0 if none do.

    Codes are uint8 arrays of shape (..., K), one code an element, K even.
    """

    name: str
    normal: Codec
    outlier: Codec | None = None
    has_outliers: bool = False
    block_size: int = 0

    @property
    def code_bits(self) -> int:
        """Width of one code."""
        return self.normal.bits

    @property
    def bits_per_value(self) -> float:
        """Stored bits of one element, its share of a block's exponent included."""
        return self.code_bits + (8 / self.block_size if self.block_size else 0)

    @cached_property
    def lanes(self) -> int:
        """Neighbouring lanes of the array that one element takes: 2 if a nibble cannot hold it."""
        return 1 if self.integer_bits <= LANE_INTEGER_BITS else 2

    @property
    def max_normal(self) -> int:
        """The largest normal value."""
        return int(self.normal.values.max())

    @cached_property
    def max_magnitude(self) -> int:
        """The largest magnitude of any code."""
        return int(self.magnitudes[-1])

    @cached_property
    def outlier_border(self) -> float:
        """The magnitude from which on a value is an outlier, in units of the scale.

        Midway between the largest normal value and the smallest outlier: 9.5, 20 or 135.5.
        Infinite for a format without outliers.
        """
        if self.outlier is None or not self.has_outliers:
            return float("inf")
        return (self.max_normal + int(np.abs(self.outlier.grid[0]).min())) / 2

    @cached_property
    def exponent_bits(self) -> int:
        """Width of the unsigned exponent that fits every legal code; at least 1, to be a wire."""
        return max(1, int(self._legal(self._exponents).max()).bit_length())

    @cached_property
    def integer_bits(self) -> int:
        """Width of the two's complement integer that fits every legal code."""
        integers = self._legal(self._integers)
        return 1 + max(int(integers.max()).bit_length(), (-1 - int(integers.min())).bit_length())

    @cached_property
    def magnitudes(self) -> NDArray[np.integer[Any]]:
        """(G,) the representable magnitudes in rising order, from 0."""
        return np.unique(np.abs(self._encoder.values))

    def encode(self, values: ArrayLike, rule: Rule = "paper") -> NDArray[np.uint8]:
        """Codes of `values`, given in units of the scale (x / scale); shape (..., K), K even.

        Nearest value; a tie goes to the larger magnitude (ours; the paper leaves ties open), or,
        in the floats of the OCP, to the even code; beyond the largest value saturates. If both of
        a pair are outliers, the larger magnitude before rounding stays and a tie keeps the odd
        element (Algorithm 1 of the paper); rule "artifact" keeps the even element always, as the
        authors' code does.

        Raises FormatError for NaN or infinity, an odd last axis or an unknown rule.
        """
        if rule not in get_args(Rule):
            raise FormatError(f"unknown rule {rule!r} (known: {', '.join(get_args(Rule))})")
        return self._encoded(_numbers(values), rule)

    def decode(self, codes: ArrayLike) -> NDArray[np.integer[Any]]:
        """Values in units of the scale, shape of `codes`; a victim is 0.

        Raises IllegalPairError for two identifiers in a pair, FormatError for a code that stands
        for no number (the identifier in a format without outliers; NaN and infinity), a code that
        is too wide, or an odd last axis.
        """
        return self._values[self._checked_slots(codes)]

    def to_pairs(self, codes: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Exponents and integers, `integer << exponent == decode(codes)`; raises as `decode`."""
        slots = self._checked_slots(codes)
        return self._exponents[slots], self._integers[slots]

    def decode_pairs_lenient(self, codes: ArrayLike) -> NDArray[np.integer[Any]]:
        """Values as the hardware decoder gives them: what stands for no number is 0.

        That is both elements of an illegal pair, NaN and infinity. A format without outliers
        reads its reserved code as the identifier, as its OVP sibling.
        """
        return self._values[self._slots(self._codes(codes))]

    def lane_values(self, codes: ArrayLike) -> NDArray[np.integer[Any]]:
        """What each of an element's lanes holds: codes (..., K) to values (..., lanes, K).

        Two lanes add up to the value: a normal x is <4, h> + <0, l> with h = x >> 4 and an
        unsigned nibble l (OliVe, section 4.3). An outlier needs no second lane, since its integer
        fits a signed nibble: <0, 0> + <e, i> (ours). Reads codes as `decode_pairs_lenient`.
        """
        values = self.decode_pairs_lenient(codes)
        if self.lanes == 1:
            return values[..., None, :]
        high = np.where(np.abs(values) > self.max_normal, 0, values & ~15)
        return np.stack([high, values - high], axis=-2)

    def packed_bytes(self, k: int) -> int:
        """Bytes of a row of k codes, k even."""
        if self.code_bits == 6:
            return k // 2 + -(-k // 4)
        return k * self.code_bits // 8

    def pack(self, codes: ArrayLike) -> NDArray[np.uint8]:
        """Codes (..., K) to bytes (..., packed_bytes(K)), little-endian.

        4 bits: element 2i in the low nibble, 2i+1 in the high one. 8 bits: a byte each, in order.
        6 bits: first the low 4 bits of every code, as 4-bit codes are; then the high 2 bits, four
        to a byte, element 4i lowest (the 4+2 split of FP6-LLM, USENIX ATC 2024; order ours).
        Raises FormatError for a code that is too wide or an odd last axis.
        """
        checked = self._codes(codes)
        if self.code_bits == 8:
            return checked.copy()
        nibbles = checked & 15
        low = nibbles[..., 0::2] | np.left_shift(nibbles[..., 1::2], 4, dtype=np.uint8)
        if self.code_bits == 4:
            return low
        high = np.zeros((*checked.shape[:-1], -(-checked.shape[-1] // 4)), np.uint8)
        for place in range(4):
            part = checked[..., place::4] >> 4
            high[..., : part.shape[-1]] |= part << np.uint8(2 * place)
        return np.concatenate([low, high], axis=-1)

    def unpack(self, packed: ArrayLike) -> NDArray[np.uint8]:
        """Bytes (..., B) to codes (..., K), the inverse of `pack`."""
        data = np.asarray(packed)
        if data.dtype != np.uint8 or data.ndim == 0:
            raise FormatError(f"packed codes are a uint8 array, not {data.dtype} {data.shape}")
        if self.code_bits == 8:
            return self._codes(data).copy()
        k = 2 * data.shape[-1]
        if self.code_bits == 6:
            k = data.shape[-1] * 4 // 3 // 2 * 2
            if self.packed_bytes(k) != data.shape[-1]:
                raise FormatError(f"{data.shape[-1]} bytes are no whole row of 6-bit codes")
        low = data[..., : k // 2]
        codes = np.empty((*data.shape[:-1], k), np.uint8)
        codes[..., 0::2] = low & 15
        codes[..., 1::2] = low >> 4
        if self.code_bits == 6:
            for place in range(4):
                part = codes[..., place::4]
                high = data[..., k // 2 : k // 2 + part.shape[-1]]
                part |= (high >> np.uint8(2 * place) & 3) << np.uint8(4)
        return codes

    def table(self) -> list[TableRow]:
        """Every code in a normal slot, then every code in an outlier's slot, in code order."""
        rows = []
        width = self.normal.bits
        for slot in range(2 << width if self.has_outliers else 1 << width):
            code = slot % (1 << width)
            in_outlier_slot = slot != code
            role: Role = "disabled"
            if in_outlier_slot and self.outlier and self.outlier.usable[code]:
                role = "outlier"
            elif not in_outlier_slot and self.normal.usable[code]:
                role = "normal"
            elif self.has_outliers and not in_outlier_slot:
                role = "identifier"
            pair = int(self._exponents[slot]), int(self._integers[slot])
            bits = _bits(code, width)
            rows.append(TableRow(code, bits, role, *pair, int(self._values[slot])))
        return rows

    # The decoder's tables: by code, and then again by code for the neighbour of an identifier.

    @cached_property
    def _exponents(self) -> NDArray[np.uint8]:
        both = [self.normal.exponents, self.outlier.exponents] if self.outlier else []
        return np.concatenate(both) if both else self.normal.exponents

    @cached_property
    def _integers(self) -> NDArray[np.int8]:
        both = [self.normal.integers, self.outlier.integers] if self.outlier else []
        return np.concatenate(both) if both else self.normal.integers

    @cached_property
    def _values(self) -> NDArray[np.integer[Any]]:
        both = [self.normal.values, self.outlier.values] if self.outlier else []
        return np.concatenate(both) if both else self.normal.values

    @cached_property
    def _encoder(self) -> "_Encoder":
        return _Encoder.of(self.normal, self.outlier if self.has_outliers else None)

    def _encoded(self, numbers: NDArray[np.float64], rule: Rule) -> NDArray[np.uint8]:
        encoder = self._encoder
        level = np.searchsorted(encoder.thresholds, numbers, side="right")
        codes = encoder.codes[level]
        outlier = encoder.outlier[level]
        if not outlier.any():
            return codes
        even, odd = outlier[..., 0::2], outlier[..., 1::2]
        if rule == "paper":
            magnitude = np.abs(numbers)
            keeps_even = even & ~(odd & (magnitude[..., 1::2] >= magnitude[..., 0::2]))
        else:
            keeps_even = even
        codes[..., 1::2][keeps_even] = identifier(self.code_bits)
        codes[..., 0::2][odd & ~keeps_even] = identifier(self.code_bits)
        return codes

    def _legal(self, by_slot: NDArray[Any]) -> NDArray[Any]:
        return by_slot if self.has_outliers else by_slot[: 1 << self.normal.bits]

    def _codes(self, codes: ArrayLike) -> NDArray[np.uint8]:
        array = np.asarray(codes)
        if array.dtype.kind not in "iu":
            raise FormatError(f"codes are integers, not {array.dtype}")
        _require_pairs(array)
        top = (1 << self.code_bits) - 1
        if array.size and (array.max() > top or array.min() < 0):
            where = _first((array > top) | (array < 0))
            raise FormatError(f"{self.name}: {array[where]} at {_at(where)} is not 0..{top}")
        return array.astype(np.uint8, copy=False)

    def _slots(self, codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
        slots = codes.astype(np.uint16)
        if self.outlier is None:
            return slots
        is_identifier = codes == identifier(self.code_bits)
        slots[..., 0::2] |= is_identifier[..., 1::2].astype(np.uint16) << self.code_bits
        slots[..., 1::2] |= is_identifier[..., 0::2].astype(np.uint16) << self.code_bits
        return slots

    def _checked_slots(self, codes: ArrayLike) -> NDArray[np.uint16]:
        checked = self._codes(codes)
        if self.has_outliers:
            reserved = checked == identifier(self.code_bits)
            illegal = reserved[..., 0::2] & reserved[..., 1::2]
            if illegal.any():
                where = _first(illegal)
                bits = _bits(identifier(self.code_bits), self.code_bits)
                raise IllegalPairError(
                    f"{self.name}: pair {_at(where)} holds two identifiers ({bits})"
                )
        elif not self.normal.usable.all():
            reserved = ~self.normal.usable[checked]
            if reserved.any():
                where = _first(reserved)
                bits = _bits(int(checked[where]), self.code_bits)
                raise FormatError(f"{self.name} has no number {bits}, found at {_at(where)}")
        return self._slots(checked)


class _Encoder(NamedTuple):
    """All values on one line: level i is written for thresholds[i-1] <= x < thresholds[i]."""

    values: NDArray[np.integer[Any]]
    codes: NDArray[np.uint8]
    outlier: NDArray[np.bool_]
    thresholds: NDArray[np.float64]

    @classmethod
    def of(cls, normal: Codec, outlier: Codec | None) -> "_Encoder":
        values, codes = normal.grid
        is_outlier = np.zeros(len(values), bool)
        if outlier:
            values = np.concatenate([values, outlier.grid[0]])
            codes = np.concatenate([codes, outlier.grid[1]])
            is_outlier = np.arange(len(values)) >= len(is_outlier)
        order = np.argsort(values)
        values, codes = values[order], codes[order]
        middle = (values[1:] + values[:-1]) / 2
        # A tie belongs to the larger magnitude: below zero that is the lower level.
        tie_goes_down = codes[1:] % 2 == 1 if normal.even_ties else middle < 0
        thresholds = np.where(tie_goes_down, np.nextafter(middle, np.inf), middle)
        return cls(values, codes, is_outlier[order], thresholds)


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise FormatError(f"values are real numbers, not {array.dtype}")
    _require_pairs(array)
    numbers = array.astype(np.float64, copy=False)
    if not np.isfinite(numbers).all():
        where = _first(~np.isfinite(numbers))
        raise FormatError(f"{numbers[where]} at {_at(where)} cannot be encoded")
    return numbers


def _require_pairs(array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.shape[-1] % 2:
        raise FormatError(f"the last axis is pairs, so of even length; shape is {array.shape}")


def _first(where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(where), where.shape))


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _bits(code: int, width: int) -> str:
    """In groups of four from the right."""
    digits = f"{code:0{width}b}"
    first = (width - 1) % 4 + 1
    return "_".join([digits[:first], *(digits[i : i + 4] for i in range(first, width, 4))])
