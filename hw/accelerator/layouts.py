"""Packed words inside the accelerator and on its bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from amaranth.lib import data

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS, FIELDS, Field

__all__ = [
    "AddressWord",
    "Bus",
    "ChannelLayout",
    "DescriptorLayout",
    "GemmPlan",
    "ReadBeat",
    "WriteBeat",
]


def _layout(fields: Sequence[Field]) -> dict[str, int]:
    return {field.name: field.bits for field in fields}


class DescriptorLayout(data.StructLayout):
    """A descriptor as it lies in memory."""

    def __init__(self) -> None:
        super().__init__(_layout(FIELDS))


class ChannelLayout(data.StructLayout):
    """A channel word as it lies in memory; `bias` is signed."""

    def __init__(self) -> None:
        super().__init__(_layout(CHANNEL_FIELDS))


class Bus(Protocol):
    """A configuration with a bus: widths of its data and of an address."""

    @property
    def data_bits(self) -> int: ...

    @property
    def address_bits(self) -> int: ...


class AddressWord(data.StructLayout):
    """A burst: `address` of its first beat, a multiple of the beat's bytes; `length`, beats - 1."""

    def __init__(self, config: Bus) -> None:
        super().__init__({"address": config.address_bits, "length": 8})


class ReadBeat(data.StructLayout):
    """`data`; `error`, the response was SLVERR or DECERR; `last` of its burst."""

    def __init__(self, config: Bus) -> None:
        super().__init__({"data": config.data_bits, "error": 1, "last": 1})


class WriteBeat(data.StructLayout):
    """`data`; `strobe`, a bit for each byte that is written; `last` of its burst."""

    def __init__(self, config: Bus) -> None:
        super().__init__({"data": config.data_bits, "strobe": config.data_bits // 8, "last": 1})


class GemmPlan(data.StructLayout):
    """A descriptor that was found good, as the units read it while it runs.

    m, n: rows of A and B; words: operand words of a row, ceil(K / 2). chunk_words: as many as fit
    half a scratchpad lane. For A and B, besides address and stride: `select`, the decoder in the
    array's lanes; `wide`, elements take two lanes; `spare`, rows do not all begin with a beat, so
    that they take a beat more.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        fields: dict[str, object] = {"m": 24, "words": 24, "n": 24, "chunk_words": 24}
        for side, lane in (("a", config.lane_a), ("b", config.lane_b)):
            fields |= {
                f"{side}_address": config.address_bits,
                f"{side}_stride": 32,
                f"{side}_select": max(1, lane.select_bits),
                f"{side}_wide": 1,
                f"{side}_spare": 1,
            }
        fields |= {
            "c_address": config.address_bits,
            "c_stride": 32,
            "c_format": 8,
            "raw": 1,
            "relu": 1,
            "channels_address": config.address_bits,
        }
        super().__init__(fields)
