"""A renderer as a product: how many there are, and their clock and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oleaster.models.nerf.lookup import WORD_BYTES
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS

__all__ = ["Published", "RendererDesign"]


@dataclass(frozen=True)
class Published:
    """A figure of somebody else's design. tag: how sure, as in docs/rtnerf."""

    value: float
    unit: str
    tag: str
    source: str


@dataclass(frozen=True)
class RendererDesign:
    """So many renderers of one configuration, which share a clock and a memory.

    Tiles go, in order, to the next renderer that is idle. One renderer is what the RTL has; that
    several share a frame buffer and a scene's transfer is modelled only. energy: a table's name.
    """

    name: str
    title: str
    source: str
    clock_mhz: float
    renderers: int
    dram_gb_s: float
    energy: str
    config: RendererConfig
    published: Mapping[str, Published]

    @property
    def sram_bytes(self) -> int:
        """Of all renderers' memories of a scene: embeddings, cubes and the networks' tables."""
        config = self.config
        embeddings = PAIRS * WORD_BYTES * (config.density_words + config.color_words)
        cubes = config.cube_depth * config.cube_word + config.block_depth * config.block_word
        regions = config.network.regions(
            config.color_cols // 2, config.fixed, config.color_encoders
        )
        tables = ITEM_BITS[1] * sum(region.size for region in regions.values())
        return self.renderers * (embeddings + (cubes + config.networks * tables) // 8)

    @property
    def macs_per_cycle(self) -> int:
        """Of 8 bits, at most: four PEs each."""
        pes = self.config.color_rows * self.config.color_cols
        return self.renderers * self.config.networks * pes // 4
