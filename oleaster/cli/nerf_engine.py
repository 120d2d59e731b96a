"""Engines of `oleaster nerf render` beside the reference: the cycle model, and Verilog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oleaster.cli.output import CommandError
from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Field
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import Scene

__all__ = ["Engine", "HardwareFrame", "check_engine", "render_on"]

Engine = Literal["model", "cycle", "rtl"]

_PAGE = 4096


@dataclass(frozen=True, eq=False)
class HardwareFrame:
    """image: (height, width, 3) uint8. facts: what JSON has of it."""

    image: NDArray[np.uint8]
    facts: dict[str, Any]


def check_engine(engine: Engine, refused: Mapping[str, bool]) -> None:
    """CommandError if an option was given that only the reference has; refused: by its name."""
    if engine == "model":
        return
    for option, given in refused.items():
        if given:
            raise CommandError(f"{option} is for --engine model, not for {engine}")


def render_on(
    engine: Engine,
    source: Scene | Field,
    fixed: FixedScene,
    camera: Camera,
    terminate: bool,
    report: Callable[[int, int], None],
) -> HardwareFrame:
    """A frame on a renderer of the default configuration. FieldError if the scene does not fit."""
    # Imported here so that the reference starts faster.
    from oleaster.sim.nerf.renderer.image import scene_image

    if not isinstance(source, Scene):
        raise CommandError(
            f"--engine {engine} takes a scene, which is encoded; `oleaster nerf encode` makes one"
        )
    config = RendererConfig()
    parts = scene_image(source, fixed, config)
    if engine == "rtl":
        return _on_verilog(fixed, parts, camera, terminate, config, report)
    from oleaster.sim.nerf.renderer.model import frame_looks, render_cycles

    found = render_cycles(
        fixed, frame_looks(parts.encoded), camera, config, terminate=terminate, report=report
    )
    assert found.image is not None  # asked for
    facts = {"cycles": found.cycles, "tiles": found.tiles.size, "events": None}
    return HardwareFrame(found.image, {**facts, "load_cycles": None, "scene_bytes": parts.bytes})


def _on_verilog(
    fixed: FixedScene,
    parts: Any,
    camera: Camera,
    terminate: bool,
    config: RendererConfig,
    report: Callable[[int, int], None],
) -> HardwareFrame:
    from oleaster.designs import design_files
    from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
    from oleaster.models.nerf.renderer.frame_buffer import frame_bytes
    from oleaster.sim.nerf.renderer.constants import constants_word
    from oleaster.sim.nerf.renderer.driver import RendererDriver
    from oleaster.sim.rtl.accelerator_device import RtlDevice, build_device

    verilog, _ = design_files("nerf-renderer")
    executable = build_device(verilog, config.data_bits, BURST_BEATS, OUTSTANDING)
    size = 2 * parts.bytes + frame_bytes(camera.width, camera.height, config.tile_bits)
    with RtlDevice(executable, memory_bytes=-(-size // _PAGE) * _PAGE) as device:
        driver = RendererDriver(device)
        loaded = driver.load(parts.parts)
        word = constants_word(fixed, parts.encoded, camera, config, terminate=terminate)
        found = driver.render(word, camera.width, camera.height, report=report)
    facts = {
        "cycles": found.cycles,
        "tiles": found.tiles,
        "events": found.events,
        "load_cycles": loaded.cycles,
        "scene_bytes": parts.bytes,
    }
    return HardwareFrame(found.image, facts)
