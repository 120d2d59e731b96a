"""The parameters of an accelerator, shared by circuit, cycle model and driver."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from oleaster.models.accelerator.descriptor import (
    CHANNEL_BYTES,
    DESCRIPTOR_BYTES,
    FORMAT_CODES,
    element_bits,
)
from oleaster.models.formats import get_format
from oleaster.models.lane import FORMAT_SETS, Lane, lanes_name

__all__ = [
    "BOUNDARY",
    "CHANNEL_SLOTS",
    "CHUNK_SLOTS",
    "DATA_BITS",
    "OUTPUT_SLOTS",
    "AcceleratorConfig",
    "word_bytes",
]

OUTPUT_SLOTS = 2
"""Tiles of sums that wait for, or are in, the output stage."""

CHUNK_SLOTS = 8
"""Chunks of an operand that are kept, or on their way, at most."""

CHANNEL_SLOTS = 8
"""Tiles whose channel words are kept."""

DATA_BITS = (64, 128, 256, 512)
"""Widths that the data bus may have."""

BOUNDARY = 4096
"""Bytes: no burst crosses a multiple of so many (AMBA AXI4, A3.4.1)."""

_OLIVE = FORMAT_SETS["olive"]


@dataclass(frozen=True)
class AcceleratorConfig:
    """What an accelerator is generated from.

    rows, cols: PEs of the array, up to 256; rows even, cols a multiple of 4 and of data_bits / 32,
    or of data_bits / 16 if B may have a format of two lanes.
    data_bits: of the AXI4 data bus, 64, 128, 256 or 512. address_bits: 32 to 48.
    scratchpad_beats: beats that each lane's scratchpad holds, a power of two from 8 to 65536; half
    of them are a chunk, the other half is filled meanwhile.
    outstanding: read bursts, and write bursts, in flight, a power of two from 2 to 256.
    burst_beats: longest burst, a power of two from a descriptor's beats, 512 / data_bits, to 256.
    formats_a, formats_b: those of `FORMAT_CODES` that fit lanes of 4 bits.

    Raises ValueError for anything else.
    """

    rows: int = 16
    cols: int = 16
    data_bits: int = 128
    address_bits: int = 40
    scratchpad_beats: int = 128
    outstanding: int = 64
    burst_beats: int = 64
    formats_a: tuple[str, ...] = _OLIVE
    formats_b: tuple[str, ...] = _OLIVE

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not name.startswith("formats") and type(value) is not int:
                raise ValueError(f"{name} is {value!r}; it must be an integer")
        for side, formats in (("a", self.formats_a), ("b", self.formats_b)):
            if not isinstance(formats, tuple) or not formats:
                raise ValueError(f"formats_{side} is {formats!r}; it must be a tuple of names")
            for name in formats:
                if name not in FORMAT_CODES or name == "int32":
                    known = ", ".join(list(FORMAT_CODES)[1:])
                    raise ValueError(f"formats_{side} has {name}; the accelerator reads {known}")
        if self.data_bits not in DATA_BITS:
            known = ", ".join(map(str, DATA_BITS))
            raise ValueError(f"data_bits is {self.data_bits}; it must be one of {known}")
        _between("address_bits", self.address_bits, 32, 48)
        for name, low, high in (
            ("scratchpad_beats", 8, 1 << 16),
            ("outstanding", 2, 256),
            ("burst_beats", DESCRIPTOR_BYTES // self.beat_bytes, 256),
        ):
            value = getattr(self, name)
            _between(name, value, low, high)
            if value & (value - 1):
                raise ValueError(f"{name} is {value}; it must be a power of two")
        for name, step, why in (
            ("rows", 2, ""),
            ("cols", max(4, self.lane_b.group * self.out_lanes), self._why_cols()),
        ):
            value = getattr(self, name)
            if not step <= value <= 256 or value % step:
                raise ValueError(
                    f"{name} is {value}; it must be a multiple of {step} up to 256{why}"
                )

    def _why_cols(self) -> str:
        lanes = " and formats of B that take two lanes" if self.lane_b.group == 2 else ""
        return f" with {self.data_bits} data bits{lanes}"

    @property
    def name(self) -> str:
        """For module names: equal for equal parameters only, and short for the usual ones."""
        name = f"{self.rows}x{self.cols}_{lanes_name(self.lane_a, self.lane_b)}_d{self.data_bits}"
        for letter, field in (
            ("a", "address_bits"),
            ("s", "scratchpad_beats"),
            ("o", "outstanding"),
            ("b", "burst_beats"),
        ):
            # A default is the class's attribute.
            if getattr(self, field) != getattr(AcceleratorConfig, field):
                name += f"_{letter}{getattr(self, field)}"
        return name

    @property
    def parameters(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @property
    def lane_a(self) -> Lane:
        return Lane(self.formats_a)

    @property
    def lane_b(self) -> Lane:
        return Lane(self.formats_b)

    @property
    def is_fusing(self) -> bool:
        """Some format takes two lanes, so sums leave a cycle later."""
        return max(self.lane_a.group, self.lane_b.group) == 2

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_bits // 8

    @property
    def out_lanes(self) -> int:
        """Sums that the output stage takes in a cycle: as many int32 as a beat holds."""
        return self.data_bits // 32

    @property
    def write_queue_beats(self) -> int:
        """Beats that wait for the bus to take them; a power of two.

        A tile's row goes out when its last beat is on its way, so three of the longest rows keep
        the bus busy.
        """
        return max(64, 1 << (3 * self.row_beats + 16 - 1).bit_length())

    @property
    def row_beats(self) -> int:
        """The most beats that a tile's row of C touches."""
        return 4 * self.cols // self.beat_bytes + 1

    @property
    def channel_beats(self) -> int:
        """Beats of a tile's channel words, at most."""
        return self.cols * CHANNEL_BYTES // self.beat_bytes

    @property
    def formats_mask(self) -> int:
        """As register FORMATS has it."""
        a, b = (
            sum(1 << FORMAT_CODES[name] for name in formats)
            for formats in (self.formats_a, self.formats_b)
        )
        return a | b << 16

    def tile_rows(self, a_format: str) -> int:
        """Rows of A in a tile."""
        return self.rows // get_format(a_format).lanes

    def tile_cols(self, b_format: str) -> int:
        """Rows of B, columns of C, in a tile."""
        return self.cols // get_format(b_format).lanes


def word_bytes(name: str) -> int:
    """Bytes of a row that one operand word, two K elements, takes."""
    return 2 * element_bits(name) // 8


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must be {low} to {high}")
