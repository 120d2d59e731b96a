"""What a frame takes on a renderer as a product (`product.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oleaster.models.nerf.renderer.frame_buffer import frame_bytes
from oleaster.sim.nerf.renderer.energy import FrameEnergy, frame_energy, pe_macs
from oleaster.sim.nerf.renderer.model import FrameCycles
from oleaster.sim.nerf.renderer.product import RendererDesign
from oleaster.sim.performance.energy import EnergyTable

__all__ = ["FrameFigures", "frame_figures"]


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
