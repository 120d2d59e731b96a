"""A study, from a TOML file or by name: docs/explore.md lists every key.

design = "olive-64x64"

[workload]
network = "bert-base"

[parameters]
rows = [16, 32, 64]
clock_mhz = {min = 250, max = 1000, step = 250}

[objectives]
time_us = "min"

[constraints]
energy_uj = {max = 10_000}
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oleaster.config import load_design, nearest
from oleaster.explore.check import check_metrics, check_parameter, check_workload
from oleaster.explore.error import StudyError, first_wrong
from oleaster.explore.space import Parameter, Space, read_parameter
from oleaster.explore.workload import NetworkWorkload, SceneWorkload
from oleaster.sim.performance.design import Design

if TYPE_CHECKING:
    from oleaster.sim.nerf.renderer.product import RendererDesign

__all__ = ["MAX_POINTS", "Sampler", "Study", "load_study", "study_names"]

Sampler = Literal["grid", "random", "tpe", "nsga2"]
Goal = Literal["min", "max"]

MAX_POINTS = 250_000
"""Of a study: a grid's, or trials."""

_TRIALS = 100


class _Bounds(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    min: Annotated[float | None, Field(allow_inf_nan=False)] = None
    max: Annotated[float | None, Field(allow_inf_nan=False)] = None


class _File(BaseModel):
    """A study as its file has it; parameters and workload are read on their own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    title: str = ""
    design: str | None = None
    sampler: Sampler = "grid"
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    trials: Annotated[int | None, Field(ge=1, le=MAX_POINTS)] = None
    workload: dict[str, Any]
    parameters: dict[str, Any]
    objectives: Annotated[dict[str, Goal], Field(min_length=1)]
    constraints: dict[str, _Bounds] = {}


@dataclass(frozen=True)
class Study:
    """A study, checked.

    source: its name or its file. folder: what paths in it are relative to. design: None if it is
    a parameter. given: parameters as the file has them. trials: points to evaluate; all of a grid.
    """

    source: str
    folder: Path
    name: str
    title: str
    design: str | None
    sampler: Sampler
    seed: int
    trials: int
    workload: NetworkWorkload | SceneWorkload
    given: Mapping[str, Any]
    space: Space
    objectives: Mapping[str, Goal]
    constraints: Mapping[str, Mapping[str, float]]

    @cached_property
    def designs(self) -> tuple[str, ...]:
        """All that points begin with."""
        return _designs(self.design, self.space.parameters)

    @property
    def asked(self) -> tuple[str, ...]:
        """Metrics that objectives or constraints name."""
        return tuple(dict.fromkeys((*self.objectives, *self.constraints)))

    def path(self, source: str) -> str:
        """A name, or a file relative to the study's."""
        is_file = source.endswith((".csv", ".onnx", ".toml", ".npz"))
        return str(self.folder / source) if is_file else source

    def design_of(
        self,
        workload: NetworkWorkload | SceneWorkload,
        design: str,
        changes: Mapping[str, Any],
    ) -> Design | RendererDesign:
        """One of the designs with other values; DesignError as the loaders of both kinds."""
        if isinstance(workload, NetworkWorkload):
            return load_design(self.path(design), changes)
        from oleaster.renderers import load_renderer

        return load_renderer(self.path(design), changes)

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether a point's metrics meet all constraints."""
        return all(excess <= 0 for excess in self.excesses(values).values())

    def excesses(self, values: Mapping[str, float]) -> dict[str, float]:
        """By how much a point breaks each constraint; at most 0 where it does not."""
        found = {}
        for name, bounds in self.constraints.items():
            if "max" in bounds:
                found[f"{name} max"] = values[name] - bounds["max"]
            if "min" in bounds:
                found[f"{name} min"] = bounds["min"] - values[name]
        return found


def study_names() -> list[str]:
    """Names of the studies that come with oleaster, sorted."""
    folder = files("oleaster.configs") / "studies"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def load_study(source: str) -> Study:
    """The study `source`: one of `study_names()`, or a path ending in .toml.

    StudyError: no such study or file, no TOML, a key or a value that cannot be, a metric that the
    workload does not produce. DesignError, NetworkError, FieldError: no such design, network or
    scene.
    """
    text, folder = _text(source)
    try:
        file = _File.model_validate(tomllib.loads(text))
        workload = _workload(file.workload)
    except ValidationError as error:
        raise StudyError(f"{source}: {first_wrong(error, '', _File.model_fields)}") from None
    except RecursionError:
        raise StudyError(f"{source}: is nested too deeply for a study") from None
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise StudyError(f"{source}: is not TOML: {error}") from error
    try:
        return _checked(source, folder, file, workload)
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None


def _checked(
    source: str, folder: Path, file: _File, workload: NetworkWorkload | SceneWorkload
) -> Study:
    given = _flat(file.parameters)
    if not given:
        raise StudyError("[parameters] has none; give at least one")
    space = Space(tuple(read_parameter(name, value) for name, value in given.items()))
    if file.sampler == "grid" and file.trials is not None:
        raise StudyError("trials is for random, tpe and nsga2; a grid has all its points")
    trials = space.size if file.sampler == "grid" else file.trials or _TRIALS
    if trials > MAX_POINTS:
        raise StudyError(
            f"the grid has {trials:,} points, and at most {MAX_POINTS:,} are run; give fewer "
            "choices, or sampler = 'random', 'tpe' or 'nsga2' with trials"
        )
    bounds = {name: each.model_dump(exclude_none=True) for name, each in file.constraints.items()}
    for name, each in bounds.items():
        if not each:
            raise StudyError(f"constraints.{name} has neither min nor max")
        if len(each) == 2 and each["min"] > each["max"]:
            raise StudyError(f"constraints.{name} cannot hold: min is above max")
    stem = Path(source).stem if source.endswith(".toml") else source
    study = Study(
        source,
        folder,
        file.name or stem,
        file.title or stem,
        file.design,
        file.sampler,
        file.seed,
        trials,
        workload,
        given,
        space,
        file.objectives,
        bounds,
    )
    check_metrics(study)
    for parameter in space.parameters:
        check_parameter(study, parameter)
    if "workload.network" not in given:
        check_workload(study, workload)
    return study


def _designs(design: str | None, parameters: tuple[Parameter, ...]) -> tuple[str, ...]:
    varied = next((each for each in parameters if each.name == "design"), None)
    if varied is None and design is None:
        raise StudyError("the key design is missing, or a parameter design with choices")
    if varied is None:
        assert design is not None
        return (design,)
    if design is not None:
        raise StudyError("design is said twice, as a key and as a parameter; leave one out")
    if varied.choices is None or not all(isinstance(each, str) for each in varied.choices):
        raise StudyError("parameters.design: expected a list of designs' names")
    return varied.choices


def _workload(table: dict[str, Any]) -> NetworkWorkload | SceneWorkload:
    if ("network" in table) == ("scene" in table):
        raise StudyError("[workload] has a key network or a key scene, one of them")
    kind: type[NetworkWorkload] | type[SceneWorkload]
    kind = NetworkWorkload if "network" in table else SceneWorkload
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise StudyError(first_wrong(error, "workload.", kind.model_fields)) from None


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """TOML reads workload.batch without quotes as a table in a table."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "workload" and isinstance(value, dict):
            flat |= {f"workload.{key}": each for key, each in value.items()}
        else:
            flat[name] = value
    return flat


def _text(source: str) -> tuple[str, Path]:
    if not source.endswith(".toml"):
        names = study_names()
        if source not in names:
            raise StudyError(
                f"unknown study {source!r}{nearest(source, names)}; a file's name ends in .toml"
            )
        folder = files("oleaster.configs") / "studies"
        return (folder / f"{source}.toml").read_text(encoding="utf-8"), Path()
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), path.parent
    except FileNotFoundError:
        raise StudyError(f"{source}: no such file") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{source}: is not UTF-8: {error.reason}") from None
    except OSError as error:
        raise StudyError(f"{source}: cannot be read: {error.strerror or error}") from error
