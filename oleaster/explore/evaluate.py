"""A point of a study: its metrics, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from oleaster.config import DesignError
from oleaster.explore.error import StudyError
from oleaster.explore.study import Study
from oleaster.explore.workload import NetworkWorkload, SceneWorkload, with_changes
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.render import FixedScene, fix_scene
from oleaster.models.nerf.render import psnr
from oleaster.sim.networks.layer import Network, NetworkError
from oleaster.sim.performance.design import Design, DesignFault
from oleaster.sim.performance.energy import EnergyError, load_energy
from oleaster.sim.performance.simulate import simulate
from oleaster.synth.area import AreaError, estimate_area

if TYPE_CHECKING:
    from oleaster.sim.nerf.renderer.model import FrameCycles
    from oleaster.sim.nerf.renderer.product import RendererDesign

__all__ = ["Outcome", "evaluate", "formats_of"]

_FAULTS = (
    AreaError,
    DesignError,
    DesignFault,
    EnergyError,
    FieldError,
    NetworkError,
    StudyError,
)


@dataclass(frozen=True)
class Outcome:
    """values: by metric. reason: why there are none."""

    values: Mapping[str, float]
    reason: str | None = None


def evaluate(study: Study, point: Mapping[str, Any]) -> Outcome:
    """All metrics but those of accuracy, which many points share."""
    try:
        workload, design = _parts(study, point)
        if isinstance(workload, NetworkWorkload):
            return Outcome(_on_network(study, workload, cast(Design, design)))
        return Outcome(_on_scene(study, workload, cast("RendererDesign", design)))
    except _FAULTS as error:
        return Outcome({}, " ".join(str(error).split()))


def formats_of(study: Study, point: Mapping[str, Any]) -> str:
    """W:A, the formats of a point's design; DesignFault if it has several."""
    design = cast(Design, _parts(study, point)[1])
    pairs = {f"{each.weights.format}:{each.activations.format}" for each in design.precisions}
    if len(pairs) > 1:
        raise DesignFault(
            f"{design.name}: accuracy is measured in one pair of formats for all layers, and it "
            f"has {', '.join(sorted(pairs))}"
        )
    return pairs.pop()


def _parts(
    study: Study, point: Mapping[str, Any]
) -> tuple[NetworkWorkload | SceneWorkload, Design | RendererDesign]:
    """What a point's values make of the study's workload and of one of its designs."""
    start = "workload."
    changes = {key[len(start) :]: v for key, v in point.items() if key.startswith(start)}
    fields = {
        key: value for key, value in point.items() if key != "design" and not key.startswith(start)
    }
    workload = with_changes(study.workload, changes) if changes else study.workload
    return workload, study.design_of(workload, point.get("design", study.design), fields)


def _on_network(study: Study, workload: NetworkWorkload, design: Design) -> dict[str, float]:
    table = None if workload.energy is None else load_energy(study.path(workload.energy))
    network = _network(study, workload)
    total = simulate(network, design, memory=workload.memory, energy=table).total
    moved = (
        total.dram_activation_read_bytes
        + total.dram_weight_read_bytes
        + total.dram_output_write_bytes
    )
    energy_uj = total.energy_pj / 1e6
    return {
        "cycles": total.cycles,
        "time_us": total.time_us,
        "energy_uj": energy_uj,
        "dram_mb": moved / 1e6,
        "utilization_pct": total.utilization_pct,
        "tera_ops": 2e-6 * total.macs / total.time_us,
        "edp": energy_uj * total.time_us,
        **_area(study, design),
    }


def _area(study: Study, design: Design) -> dict[str, float]:
    """Nothing for a design whose area is not known, unless it is asked for."""
    try:
        area = estimate_area(design)
    except AreaError:
        if set(study.asked) & {"gate_equivalents", "sram_bits", "area_error_pct"}:
            raise
        return {}
    return {
        "gate_equivalents": area.gate_equivalents,
        "sram_bits": area.sram_bits,
        "area_error_pct": area.loo_error_pct,
    }


def _on_scene(study: Study, workload: SceneWorkload, design: RendererDesign) -> dict[str, float]:
    from oleaster.sim.nerf.renderer.design import frame_figures

    held = workload.held_out(study.folder)
    width, height = held.camera.width, held.camera.height
    own_size = workload.model_copy(update={"width": width, "height": height})
    wants_image = "psnr_db" in study.asked
    frame, scene_bytes = _frame(study, workload, design, wants_image and workload == own_size)
    figures = frame_figures(design, frame, scene_bytes, load_energy(design.energy))
    values = {
        "cycles": figures.cycles,
        "fps": figures.fps,
        "energy_mj": figures.energy.total / 1e9,
        "power_w": figures.power_w,
        "fps_per_w": figures.fps / figures.power_w,
        "dram_bytes": figures.dram_bytes,
        "sram_bytes": design.sram_bytes,
    }
    if wants_image:
        drawn = _frame(study, own_size, design, True)[0].image
        assert drawn is not None
        values["psnr_db"] = psnr(drawn.astype(np.float32) / np.float32(255), held.image())
    return values


_NETWORKS: dict[str, Network] = {}
_FIXED: dict[str, FixedScene] = {}
_FRAMES: dict[tuple[object, ...], tuple[FrameCycles, int]] = {}
_MOST_NETWORKS, _MOST_FRAMES = 256, 16


def _network(study: Study, workload: NetworkWorkload) -> Network:
    """Points share networks: of each batch and the like there is one."""
    key = f"{study.folder} {workload.model_dump_json()}"
    if key not in _NETWORKS:
        _make_room(_NETWORKS, _MOST_NETWORKS)
        _NETWORKS[key] = workload.load(study.folder)
    return _NETWORKS[key]


def _frame(
    study: Study, workload: SceneWorkload, design: RendererDesign, image: bool
) -> tuple[FrameCycles, int]:
    """Points of one configuration, whose clocks or memories differ, share a run of the model."""
    from oleaster.sim.nerf.renderer.simulate import simulate_designs

    key = study.folder, workload, design.config, image
    if key not in _FRAMES:
        scene = workload.load(study.folder)
        if workload.scene not in _FIXED:
            _make_room(_FIXED, 2)
            _FIXED[workload.scene] = fix_scene(scene)
        camera = workload.held_out(study.folder).camera.scaled(workload.width, workload.height)
        (figures,) = simulate_designs(scene, _FIXED[workload.scene], camera, [design], image=image)
        _make_room(_FRAMES, _MOST_FRAMES)
        _FRAMES[key] = figures.frame, figures.scene_bytes
    return _FRAMES[key]


def _make_room(kept: dict[Any, Any], most: int) -> None:
    """The oldest goes."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
