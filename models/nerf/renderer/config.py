"""Sizes of a renderer, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = ["BLOCK", "BLOCK_BITS", "CODE_BITS", "RendererConfig", "block_word"]

BLOCK_BITS = 3
BLOCK = 1 << BLOCK_BITS
"""Cubes along each side of a block, which is culled as a whole."""

CODE_BITS = 5
"""Of the width of a tensor's codes, as a renderer is told it."""


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
