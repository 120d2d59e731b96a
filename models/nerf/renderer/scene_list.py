"""Lists of what is written into the renderer's memories, as they lie in memory (ours).

A list is descriptors of 32 bytes side by side; one of no items ends it. Each says which memory
(`Target`) takes how many items, from which item on, and where they lie. An item takes 32 bytes, or
8 for targets from CUBES on. `hw/nerf/renderer/loader.py` reads such lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oleaster.models.accelerator.descriptor import ADDRESS_BITS, Field
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS, Target

__all__ = [
    "FIELDS",
    "LIST_ENTRY_BYTES",
    "MOST_ENTRIES",
    "ListEntry",
    "capacities",
    "list_bytes",
    "target_name",
]

LIST_ENTRY_BYTES = 32
MOST_ENTRIES = 64
"""Descriptors of a list, the one that ends it included."""

FIELDS: tuple[Field, ...] = (
    Field("target", 32, "Which memory takes the items"),
    Field("address", 32, "The first item's number in it"),
    Field("items", 32, "How many; 0 ends the list, and the rest is not looked at"),
    Field("reserved0", 32, "0"),
    Field("source", ADDRESS_BITS, "Byte address of the items, a multiple of 512"),
    Field("reserved1", 64 - ADDRESS_BITS, "0"),
    Field("reserved2", 64, "0"),
)

_ROWS = 2  # of a decoder's table: its plane and its line


@dataclass(frozen=True)
class ListEntry:
    """A descriptor; `FIELDS` has its members."""

    target: int
    address: int
    items: int
    source: int

    def pack(self) -> bytes:
        """The 32 bytes. ValueError for a value that does not fit its field."""
        word, at = 0, 0
        for field in FIELDS:
            value = getattr(self, field.name, 0)
            if not 0 <= value < 1 << field.bits:
                raise ValueError(f"{field.name} is {value}; it has {field.bits} bits")
            word |= value << at
            at += field.bits
        return word.to_bytes(LIST_ENTRY_BYTES, "little")


def list_bytes(entries: Iterable[ListEntry]) -> bytes:
    """A list and its end. ValueError if there are more than fit, or as `ListEntry.pack`."""
    packed = [entry.pack() for entry in entries]
    if len(packed) >= MOST_ENTRIES:
        raise ValueError(f"a list of {len(packed)} descriptors; {MOST_ENTRIES - 1} is the most")
    return b"".join(packed) + bytes(LIST_ENTRY_BYTES)


def capacities(config: RendererConfig) -> dict[int, int]:
    """Target -> items of its memory, of all but CONSTANTS."""
    columns = config.color_cols // 2  # of elements: each takes two of PEs
    regions = config.network.regions(columns, config.fixed, config.color_encoders)
    words = ITEM_BITS[0] // 32
    found = {
        int(Target.CUBES): config.cube_depth,
        int(Target.BLOCKS): config.block_depth,
        int(Target.ALPHA): 1 << config.fixed.alpha_address_bits,
        int(Target.COLOR): sum(region.size for region in regions.values()),
    }
    for pair in range(PAIRS):
        found |= {
            Target.DENSITY_BLOB + pair: config.density_words // words,
            Target.COLOR_BLOB + pair: config.color_words // words,
            Target.DENSITY_ROW + pair: _ROWS,
            Target.COLOR_ROW + pair: _ROWS,
        }
    return found


def target_name(target: int) -> str:
    """As `DENSITY_BLOB[1]`; ValueError for an unknown number."""
    for first in (Target.DENSITY_BLOB, Target.COLOR_BLOB, Target.DENSITY_ROW, Target.COLOR_ROW):
        if first <= target < first + PAIRS:
            return f"{first.name}[{target - first}]"
    return Target(target).name
