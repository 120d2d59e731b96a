"""Whether a study's parameters are those of its designs, and its metrics its workload's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from oleaster.config import DesignError, design_keys, nearest, read_design
from oleaster.explore.error import StudyError
from oleaster.explore.space import Parameter
from oleaster.explore.workload import (
    ENCODERS,
    NetworkWorkload,
    SceneWorkload,
    overridable,
    with_changes,
)
from oleaster.sim.performance.energy import load_energy

if TYPE_CHECKING:
    from oleaster.explore.study import Study

__all__ = ["METRICS", "check_metrics", "check_parameter", "check_workload"]

_OF_NETWORKS = (
    *("cycles", "time_us", "energy_uj", "dram_mb", "utilization_pct", "tera_ops", "edp"),
    *("gate_equivalents", "sram_bits", "area_error_pct"),
)
_OF_ACCURACY = ("accuracy_cosine", "accuracy_spearman")
_OF_SCENES = (
    *("cycles", "fps", "energy_mj", "power_w", "fps_per_w", "dram_bytes", "sram_bytes"),
    "psnr_db",
)
METRICS = tuple(dict.fromkeys((*_OF_NETWORKS, *_OF_ACCURACY, *_OF_SCENES)))
"""Everything that some workload produces."""

_WHY_NOT = {name: f"scenes do ({', '.join(_OF_SCENES)})" for name in _OF_SCENES}
_WHY_NOT |= {name: "networks do" for name in _OF_NETWORKS if name not in _OF_SCENES}
_WHY_NOT |= {
    name: f"networks {' and '.join(ENCODERS[:1])} do, others with "
    f"workload.accuracy = {' or '.join(map(repr, ENCODERS))}"
    for name in _OF_ACCURACY
}


def check_metrics(study: Study) -> None:
    """StudyError for an objective or a constraint that the workload does not produce."""
    produced = _metrics(study.workload)
    for table, names in (("objectives", study.objectives), ("constraints", study.constraints)):
        for name in names:
            _check_metric(table, name, produced)


def check_workload(study: Study, workload: NetworkWorkload | SceneWorkload) -> None:
    """Whether there is such a network, or such a view of a scene."""
    if isinstance(workload, NetworkWorkload):
        if workload.energy is not None:
            load_energy(study.path(workload.energy))
        workload.load(study.folder)
        return
    # Imported late: numba is slow to import.
    from oleaster.sim.nerf.renderer.jit import CompilerMissingError

    try:
        import_module("oleaster.sim.nerf.renderer.simulate")
    except CompilerMissingError as error:
        raise StudyError(str(error)) from error
    workload.held_out(study.folder)


def check_parameter(study: Study, parameter: Parameter) -> None:
    """Whether designs or the workload have it, and its values one by one."""
    name = parameter.name
    if name == "design":
        return
    if name.startswith("workload."):
        key = name.removeprefix("workload.")
        known = overridable(study.workload)
        if key not in known:
            raise StudyError(f"unknown parameter {name!r}{nearest(key, known)}")
        for value in parameter.ends:
            changed = with_changes(study.workload, {key: value})
            # What else a network takes depends on which one it is.
            if key == "network" or "workload.network" not in study.given:
                check_workload(study, changed)
        return
    for design in study.designs:
        keys = _keys(study, design)
        if name not in keys:
            raise StudyError(
                f"unknown parameter {name!r} of design {design}"
                f"{nearest(name, ('design', *keys, 'workload.KEY'))}"
            )
        wrong = []
        for value in parameter.ends:
            try:
                study.design_of(study.workload, design, {name: value})
            except DesignError as error:
                wrong.append(StudyError(f"parameters.{name}: {error}"))
        # What an accelerator's value may be depends on others, which may be parameters, too.
        if wrong and (len(wrong) == len(parameter.ends) or not _depends(study, design)):
            raise wrong[0]


def _depends(study: Study, design: str) -> bool:
    return (
        isinstance(study.workload, NetworkWorkload)
        and read_design(study.path(design)).unit == "accelerator"
    )


def _keys(study: Study, design: str) -> tuple[str, ...]:
    """Of a design, that a parameter may set; DesignError if it cannot be loaded as it is."""
    study.design_of(study.workload, design, {})
    if isinstance(study.workload, NetworkWorkload):
        return design_keys(study.path(design))
    from oleaster.renderers import renderer_keys

    return renderer_keys()


def _metrics(workload: NetworkWorkload | SceneWorkload) -> tuple[str, ...]:
    if isinstance(workload, SceneWorkload):
        return _OF_SCENES
    return (*_OF_NETWORKS, *(_OF_ACCURACY if workload.encoder else ()))


def _check_metric(table: str, name: str, produced: tuple[str, ...]) -> None:
    if name in produced:
        return
    if name in _WHY_NOT:
        raise StudyError(
            f"{table}.{name}: this workload does not produce {name}, {_WHY_NOT[name]}; "
            f"it produces {', '.join(produced)}"
        )
    raise StudyError(f"{table}.{name} is no metric{nearest(name, produced)}")
