"""Sizes of a renderer, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = [
    "BLOCK",
    "BLOCK_BITS",
    "CODE_BITS",
    "SIZES",
    "RendererConfig",
    "Size",
    "block_word",
    "check_sizes",
]

BLOCK_BITS = 3
BLOCK = 1 << BLOCK_BITS
"""Cubes along each side of a block, which is culled as a whole."""

CODE_BITS = 5
"""Of the width of a tensor's codes, as a renderer is told it."""


_PRODUCT_BITS = 32  # of a colour's product, as the network takes it


class Size(NamedTuple):
    """Range of a size; powers: of two only; even: even numbers only."""

    least: int
    most: int
    powers: bool = False
    even: bool = False

    def __str__(self) -> str:
        kind = "a power of two, " if self.powers else "even, " if self.even else ""
        return f"{kind}{self.least} .. {self.most}"

    def has(self, value: int) -> bool:
        """Whether a renderer may have this value."""
        if not self.least <= value <= self.most:
            return False
        return not (self.powers and value & (value - 1)) and not (self.even and value % 2)


SIZES: Mapping[str, Size] = {
    "axis_bits": Size(5, 10),
    "cell_bits": Size(4, 12),
    "tile_bits": Size(3, 7),
    "cube_word": Size(4, 64, powers=True),
    "cube_depth": Size(64, 1 << 20),
    "block_depth": Size(16, 1 << 16),
    "density_components": Size(1, 16),
    "color_at_once": Size(1, 4, powers=True),
    "plane_bits": Size(2, 16),
    "line_bits": Size(2, 16),
    "least_group": Size(1, 12),
    "density_words": Size(1 << 8, 1 << 20, powers=True),
    "color_words": Size(1 << 8, 1 << 20, powers=True),
    "leaves": Size(32, 128, powers=True),
    "sum_bits": Size(8, 32),
    "alpha_sum_bits": Size(8, 40),
    "alpha_largest_shift": Size(1, 16),
    "color_rows": Size(4, 256, even=True),
    "color_cols": Size(8, 256, powers=True),
    "color_encoders": Size(1, 64, powers=True),
    "networks": Size(1, 64),
}
"""What a user may choose, of circuit and cycle model alike. Of the other sizes of RendererConfig,
color_components is said by the network, and the bus is that of the data sheet."""


def check_sizes(config: RendererConfig) -> None:
    """ValueError for a size that is not in `SIZES`, or does not go with another one."""
    for name, size in SIZES.items():
        value = getattr(config, name)
        if not size.has(value):
            raise ValueError(f"{name} is {value}; it must be {size}")
    sides = 1 << config.axis_bits
    if config.cube_word >= sides:
        raise ValueError(f"cube_word is {config.cube_word}; it must be below 2^axis_bits = {sides}")
    if config.color_encoders > config.color_cols // 4:
        raise ValueError(
            f"color_encoders is {config.color_encoders}; it must be a power of two, at most"
            f" color_cols / 4 = {config.color_cols // 4}"
        )
    codes = _PRODUCT_BITS + 1 - config.fixed.guard_bits
    if config.plane_bits + config.line_bits > codes:
        raise ValueError(
            f"plane_bits + line_bits is {config.plane_bits + config.line_bits}; it must be"
            f" {codes} at most"
        )


def block_word(axis_bits: int) -> int:
    """Bits of a word of the memory of blocks: half of the most blocks along an axis.

    axis_bits: as in RendererConfig.
    """
    return 1 << (axis_bits - BLOCK_BITS - 1)


@dataclass(frozen=True)
class RendererConfig:
    """fixed: widths of numbers. network: sizes of the colour network.

    axis_bits: the mask has up to 2^axis_bits cubes along an axis. cell_bits: the field's last point
    is below 2^cell_bits. tile_bits: a tile has 2^tile_bits pixels on a side.
    cube_word, cube_depth, block_depth: of the memories of cubes and of blocks.
    density_components, color_components: of each pair of plane and line, at most. color_at_once: of
    colour's, interpolated together; color_components is a multiple. plane_bits, line_bits: of a
    code, at most.
    least_group: components of an element in its memories, at least, as far as they fit: a scene
    that was encoded for size is encoded again, for fewer look-ups.
    density_words, color_words: of 32 bits, of each pair's memory. leaves, sum_bits: of a decoder's
    tree.
    alpha_sum_bits: of what the table of alpha is asked for. alpha_largest_shift: of its intervals.
    color_rows, color_cols: PEs of a colour network's array. color_encoders: pairs of its inputs
    that become codes in a cycle, a power of two, at most color_cols / 4. networks: side by side.
    data_bits, address_bits: of the bus.

    Defaults hold any of the scenes that come with oleaster.
    """

    fixed: FixedConfig = field(default_factory=FixedConfig)
    network: NetworkShape = field(default_factory=NetworkShape)
    axis_bits: int = 8
    cell_bits: int = 8
    tile_bits: int = 4
    cube_word: int = 64
    cube_depth: int = 1 << 16
    block_depth: int = 1 << 10
    density_components: int = 4
    color_components: int = 12
    color_at_once: int = 4
    plane_bits: int = 8
    line_bits: int = 10
    least_group: int = 1
    density_words: int = 1 << 14
    color_words: int = 1 << 16
    leaves: int = 32
    sum_bits: int = 16
    alpha_sum_bits: int = 27
    alpha_largest_shift: int = 5
    color_rows: int = 16
    color_cols: int = 16
    color_encoders: int = 1
    networks: int = 1
    data_bits: int = 256
    address_bits: int = 48

    @property
    def pixels(self) -> int:
        """Of a tile."""
        return 1 << 2 * self.tile_bits

    @property
    def block_axis_bits(self) -> int:
        """As axis_bits, of blocks."""
        return self.axis_bits - BLOCK_BITS

    @property
    def block_word(self) -> int:
        """Bits of a word of the memory of blocks."""
        return block_word(self.axis_bits)

    @property
    def name(self) -> str:
        """For names of modules: equal for equal parameters only."""
        name = f"{self.color_rows}x{self.color_cols}_t{self.tile_bits}"
        usual = replace(
            RendererConfig(),
            **{key: getattr(self, key) for key in ("color_rows", "color_cols", "tile_bits")},
        )
        if self != usual:
            name += f"_{sha256(repr(self).encode()).hexdigest()[:8]}"
        return name

    @property
    def parameters(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)
