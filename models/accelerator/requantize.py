"""What the output stage computes: sums to requantised integers, to codes, to bytes of C.

    q = saturate(round_half_even((sum + bias[n]) * multiplier[n] / 2^shift[n]))

for column n, then max(q, 0) with ReLU, then the nearest code. All of this is ours; the codes are
those of `Format.encode`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.accelerator.descriptor import (
    CHANNEL_BYTES,
    CHANNEL_FIELDS,
    FORMAT_CODES,
    row_bytes,
)
from oleaster.models.formats import get_format

__all__ = [
    "OUTPUT_FORMATS",
    "SATURATION",
    "ChannelWords",
    "channel_table",
    "encode_output",
    "multiplier_of",
    "read_channel_table",
    "requantize",
]

SATURATION = (1 << 15) - 1
"""Largest magnitude of a requantised value. It encodes as the largest outlier of ovp8, 2^15; two
outliers that both saturated count as equal."""

OUTPUT_FORMATS = tuple(name for name in FORMAT_CODES if name != "fp4-e2m1")
"""Formats that C may have."""

_BITS = {field.name: field.bits for field in CHANNEL_FIELDS}
_BIAS_END = 1 << (_BITS["bias"] - 1)
_MULTIPLIER_END = 1 << _BITS["multiplier"]
_SHIFT_END = 1 << _BITS["shift"]
_WORD = np.dtype([("bias", "<i4"), ("multiplier", "<u2"), ("shift", "u1"), ("reserved", "u1")])


class ChannelWords(NamedTuple):
    """Columns' channel words, int64 (N,) each: bias signed 32 bits, multiplier 0 .. 65535,
    shift 0 .. 63."""

    bias: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


def requantize(
    sums: ArrayLike, bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, relu: bool = False
) -> NDArray[np.int64]:
    """Sums (M, N), signed 32 bits, to integers (M, N) of -SATURATION .. SATURATION; exact.

    bias, multiplier, shift: (N,) as in `ChannelWords`. Raises ValueError for a value out of
    range or shapes that do not fit.
    """
    exact = _integers("a sum", sums, -(1 << 31), 1 << 31)
    words = _channel_words(bias, multiplier, shift)
    if exact.ndim != 2 or exact.shape[1:] != words.bias.shape:
        raise ValueError(f"sums {exact.shape} do not have {words.bias.size} columns")
    product = (exact + words.bias) * words.multiplier
    quotient = product >> words.shift
    remainder = product - (quotient << words.shift)
    half = np.where(words.shift, np.int64(1) << np.maximum(words.shift - 1, 0), 1)
    up = (remainder > half) | (remainder == half) & (quotient & 1 == 1)
    return np.clip(quotient + up, 0 if relu else -SATURATION, SATURATION)


def encode_output(values: ArrayLike, name: str) -> NDArray[np.uint8]:
    """Integers (M, N) to the rows of C in format `name`, (M, row_bytes(name, N)).

    int32: little-endian. Else the nearest codes as `Format.encode` and `Format.pack` give them,
    pairs along N, an odd row padded with the value 0.
    Raises ValueError for a format that C cannot have, or int32 values beyond 32 bits.
    """
    if name not in OUTPUT_FORMATS:
        raise ValueError(f"C's format is {name!r}; it must be one of {', '.join(OUTPUT_FORMATS)}")
    if name == "int32":
        exact = _integers("a value", values, -(1 << 31), 1 << 31)
        raw = np.ascontiguousarray(exact, "<i4").view(np.uint8)
        return raw.reshape(len(exact), row_bytes(name, exact.shape[1]))
    exact = np.asarray(values)
    fmt = get_format(name)
    return fmt.pack(fmt.encode(np.pad(exact, ((0, 0), (0, exact.shape[1] % 2)))))


def channel_table(bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.uint8]:
    """The channel words of N columns as they lie in memory, (N, CHANNEL_BYTES).

    bias, multiplier, shift: (N,) as in `ChannelWords`; ValueError for a value out of range.
    """
    given = _channel_words(bias, multiplier, shift)
    table = np.zeros(given.bias.size, _WORD)
    for name, values in given._asdict().items():
        table[name] = values
    return table.view(np.uint8).reshape(-1, CHANNEL_BYTES)


def read_channel_table(table: ArrayLike) -> ChannelWords:
    """The inverse of `channel_table`: uint8 of any shape, 8 bytes a column; reserved bits are
    ignored. Raises ValueError for a broken word."""
    raw = np.ascontiguousarray(table)
    if raw.dtype != np.uint8 or raw.size % CHANNEL_BYTES:
        raise ValueError(
            f"channel words are {CHANNEL_BYTES} uint8 each, not {raw.dtype} {raw.size}"
        )
    words = raw.reshape(-1).view(_WORD)
    fields = {name: words[name].astype(np.int64) for name in ChannelWords._fields}
    fields["shift"] &= _SHIFT_END - 1
    return ChannelWords(**fields)


def multiplier_of(scale: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The (multiplier, shift) with multiplier / 2^shift nearest to `scale`, of its shape.

    The multiplier has its top bit set (2^15 .. 2^16 - 1), so the relative error is at most 2^-16.
    Raises ValueError for a scale that is not finite, above 65535, or below 2^-48.
    """
    exact = np.asarray(scale, np.float64)
    low, high = float(_MULTIPLIER_END >> 1) / 2.0 ** (_SHIFT_END - 1), _MULTIPLIER_END - 1
    # Written so that NaN is wrong, too.
    wrong = exact[~((exact >= low) & (exact <= high))]
    if wrong.size:
        raise ValueError(
            f"a scale is {wrong[0]}; a multiplier of 16 bits and a shift of 0 .. 63 "
            f"say 2^-48 to {high}"
        )
    mantissa, exponent = np.frexp(exact)
    multiplier = np.rint(mantissa * _MULTIPLIER_END).astype(np.int64)
    carries = multiplier == _MULTIPLIER_END
    shift = _BITS["multiplier"] - exponent.astype(np.int64) - carries
    return np.where(carries, _MULTIPLIER_END >> 1, multiplier), shift


def _channel_words(bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> ChannelWords:
    words = ChannelWords(
        _integers("a bias", bias, -_BIAS_END, _BIAS_END),
        _integers("a multiplier", multiplier, 0, _MULTIPLIER_END),
        _integers("a shift", shift, 0, _SHIFT_END),
    )
    shapes = {array.shape for array in words}
    if len(shapes) > 1 or words.bias.ndim != 1:
        raise ValueError(f"bias, multiplier and shift are (N,) each, not {sorted(shapes)}")
    return words


def _integers(what: str, values: Any, low: int, end: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{what} is an integer, not {array.dtype}")
    if array.size and not (low <= int(array.min()) and int(array.max()) < end):
        bad = int(array.min()) if int(array.min()) < low else int(array.max())
        raise ValueError(f"{what} is {bad}; it must be {low} to {end - 1}")
    return array.astype(np.int64)
