"""A renderer as a product: how many there are, their clock and memory, and what a frame takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oleaster.models.nerf.lookup import WORD_BYTES
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.frame_buffer import frame_bytes
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS
from oleaster.sim.nerf.renderer.energy import FrameEnergy, frame_energy, pe_macs
from oleaster.sim.nerf.renderer.model import FrameCycles
from oleaster.sim.performance.energy import EnergyTable

__all__ = ["FrameFigures", "Published", "RendererDesign", "frame_figures"]


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


@dataclass(frozen=True)
class FrameFigures:
    """What a frame takes on a design.

    compute_cycles: until the last tile is done; cycles: or the memory has moved the frame's bytes,
    if that is later. scene_bytes: what a renderer is loaded with, once for all frames if it stays
    (`dram_bytes`), or for each (`dram_bytes_reloaded`, as if all were loaded at once). busy: of
    each stage, the share of all renderers' cycles in which it moves on. network_macs: products of
    8 bits that the colours need; array_macs: that the arrays could have done while they moved.
    """

    design: RendererDesign
    frame: FrameCycles
    compute_cycles: int
    cycles: int
    scene_bytes: int
    dram_bytes: int
    dram_bytes_reloaded: int
    busy: Mapping[str, float]
    network_macs: int
    array_macs: int
    energy: FrameEnergy
    energy_reloaded: FrameEnergy

    @property
    def fps(self) -> float:
        return 1e6 * self.design.clock_mhz / self.cycles

    @property
    def power_w(self) -> float:
        """At that rate."""
        return self.energy.total * 1e-12 * self.fps


def frame_figures(
    design: RendererDesign, frame: FrameCycles, scene_bytes: int, table: EnergyTable
) -> FrameFigures:
    """frame: on one renderer of the design's configuration. scene_bytes: of its memories."""
    compute = frame.on(design.renderers)
    written = frame_bytes(frame.camera.width, frame.camera.height, frame.config.tile_bits)
    bytes_per_cycle = 1e3 * design.dram_gb_s / design.clock_mhz
    cycles = max(compute, round(written / bytes_per_cycle))
    all_cycles = design.renderers * cycles
    useful, possible = pe_macs(frame)

    def energy(read: int) -> FrameEnergy:
        return frame_energy(frame, cycles, design.renderers, design.clock_mhz, read, written, table)

    return FrameFigures(
        design,
        frame,
        compute,
        cycles,
        scene_bytes,
        written,
        written + scene_bytes,
        {stage: busy / all_cycles for stage, busy in frame.stages.items()},
        useful,
        possible,
        energy(0),
        energy(scene_bytes),
    )
