"""A scene's frame on several designs; those of one configuration share a run of the cycle model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import Scene
from oleaster.sim.nerf.renderer.design import FrameFigures, frame_figures
from oleaster.sim.nerf.renderer.image import SceneImage, scene_image
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
    name: str = "the scene",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[FrameFigures]:
    """fixed: of the scene, with the network in ovp8; image: whether colours are computed, too.
    name: of the scene, for messages.

    FieldError if the scene does not fit a design, EnergyError if there is no such table.
    """
    tables = [load_energy(each.energy) for each in designs]
    parts: dict[RendererConfig, SceneImage] = {}
    for design in designs:
        if design.config not in parts:
            try:
                parts[design.config] = scene_image(scene, fixed, design.config, name)
            except FieldError as error:
                raise FieldError(f"{design.name}: {error}") from None
    frames: dict[RendererConfig, tuple[FrameCycles, int]] = {}
    for config, made in parts.items():
        looks = frame_looks(made.encoded)
        frame = render_cycles(fixed, looks, camera, config, image=image, report=report)
        frames[config] = frame, made.bytes
    return [
        frame_figures(design, *frames[design.config], table)
        for design, table in zip(designs, tables, strict=True)
    ]
