"""Packed words inside the accelerator and on its bus."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.lib import data

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS, FIELDS, Field

__all__ = ["AddressWord", "ChannelLayout", "DescriptorLayout", "ReadBeat", "WriteBeat"]


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


class AddressWord(data.StructLayout):
    """A burst: `address` of its first beat, a multiple of the beat's bytes; `length`, beats - 1."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__({"address": config.address_bits, "length": 8})


class ReadBeat(data.StructLayout):
    """`data`; `error`, the response was SLVERR or DECERR; `last` of its burst."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__({"data": config.data_bits, "error": 1, "last": 1})


class WriteBeat(data.StructLayout):
    """`data`; `strobe`, a bit for each byte that is written; `last` of its burst."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__({"data": config.data_bits, "strobe": config.beat_bytes, "last": 1})
