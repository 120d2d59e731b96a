"""A scene's frame on several designs; those of one configuration share a run of the cycle model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import Scene
from oleaster.sim.nerf.renderer.design import FrameFigures, frame_figures
from oleaster.sim.nerf.renderer.image import scene_image
from oleaster.sim.nerf.renderer.model import FrameCycles, frame_looks, render_cycles
from oleaster.sim.nerf.renderer.product import RendererDesign
from oleaster.sim.performance.energy import load_energy

__all__ = ["simulate_designs"]


def simulate_designs(
    scene: Scene,
    fixed: FixedScene,
    camera: Camera,
    designs: Sequence[RendererDesign],
    *,
    image: bool = True,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[FrameFigures]:
    """fixed: of the scene, with the network in ovp8; image: whether colours are computed, too.

    FieldError if the scene does not fit a design, EnergyError if there is no such table.
    """
    tables = [load_energy(each.energy) for each in designs]
    frames: dict[RendererConfig, tuple[FrameCycles, int]] = {}
    for design in designs:
        if design.config not in frames:
            parts = scene_image(scene, fixed, design.config)
            looks = frame_looks(parts.encoded)
            frame = render_cycles(fixed, looks, camera, design.config, image=image, report=report)
            frames[design.config] = frame, parts.bytes
    return [
        frame_figures(design, *frames[design.config], table)
        for design, table in zip(designs, tables, strict=True)
    ]
