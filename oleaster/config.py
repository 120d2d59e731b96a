"""Designs, by name or from a TOML file: what can be built, what can be simulated, or both.

unit = "systolic"        # builds: a unit of the library with its parameters

[parameters]
rows = 64
cols = 64

[simulation]             # simulates: the fields of a class of oleaster.sim.performance.design
kind = "array"
clock_mhz = 500
...

docs/performance.md lists every key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.lane import Lane
from oleaster.models.nerf.renderer.config import SIZES
from oleaster.schema import KINDS
from oleaster.sim.performance.design import AcceleratorDesign, ArrayDesign, Design, GpuDesign

if TYPE_CHECKING:
    from oleaster.hw.emit import Unit

__all__ = [
    "DesignError",
    "DesignFile",
    "design_facts",
    "design_keys",
    "design_names",
    "load_design",
    "load_unit",
    "nearest",
    "read_design",
]

_DATAFLOWS = {"systolic": "os", "weight-stationary": "ws"}
# Units whose kind of simulation takes keys from them, and which.
_SAID_BY_UNIT = {
    "systolic": ("array", ("rows", "cols", "dataflow")),
    "weight-stationary": ("array", ("rows", "cols", "dataflow")),
    "accelerator": ("accelerator", ("config",)),
}
_BRANCHES = ("int", "str", "list[str]")  # of a parameter's type, as pydantic names them
_OPERANDS = ("formats", "weights", "activations")


class DesignError(ValueError):
    """A design that cannot be read or built; the message names the key, its value and the fix."""


class DesignFile(BaseModel):
    """A design as its file has it.

    title, source: a line each, what it is and where its numbers are from.
    unit, parameters: a unit of the library, if the design can be built.
    simulation: what the performance models take, if it can be simulated; checked by `load_design`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = ""
    source: str = ""
    unit: str | None = None
    parameters: dict[str, int | str | list[str]] = {}
    simulation: dict[str, Any] | None = None


def design_names() -> list[str]:
    """Names of the designs that come with oleaster, sorted."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("oleaster.configs").iterdir()
        if entry.name.endswith(".toml")
    )


def design_facts(design: Design) -> dict[str, Any]:
    """A design's kind, as its file has it, and all its parameters, of types that JSON has."""
    facts = {"kind": _kind(design), **asdict(design)}
    if isinstance(design, GpuDesign):
        facts["macs_per_cycle"] = {str(bits): macs for bits, macs in design.macs_per_cycle}
    if isinstance(design, AcceleratorDesign):
        facts["pe_bits"] = design.pe_bits
    return facts


def read_design(source: str) -> DesignFile:
    """The file of the design `source`: one of `design_names()`, or a path ending in .toml.

    Raises DesignError: no such design or file, no TOML, an unknown key, a value of a wrong type.
    """
    try:
        design = DesignFile.model_validate(tomllib.loads(_text(source)))
    except ValidationError as error:
        _refuse_renderer(source)
        raise DesignError(f"{source}: {_first_wrong(error, DesignFile)}") from None
    except RecursionError:
        raise DesignError(f"{source}: is nested too deeply for a design") from None
    except ValueError as error:  # not TOML, or not UTF-8
        if isinstance(error, DesignError):
            raise
        raise DesignError(f"{source}: is not TOML: {error}") from error
    if design.unit is None and design.simulation is None:
        raise DesignError(f"{source}: the key unit is missing, or a table [simulation], or both")
    if design.unit is None and design.parameters:
        raise DesignError(
            f"{source}: [parameters] are those of a unit, but the key unit is missing"
        )
    return design


def design_keys(source: str) -> tuple[str, ...]:
    """Keys that `load_design` may override; raises DesignError as it does."""
    load_design(source)
    return tuple(_places(read_design(source)))


def load_design(source: str, overrides: Mapping[str, Any] | None = None) -> Design:
    """The design `source` (see `read_design`) as the performance models take it.

    What a file's unit says (rows, cols and dataflow, or an accelerator's configuration) it does not
    say again in [simulation].

    overrides: values that win over the file's, by key, wherever the file says it (`design_keys`):
    of [simulation], or of [parameters] for what the unit says; "dataflow" changes the unit.
    "weights" and "activations" are formats for all layers, "formats" is W:A or one for both.

    Raises DesignError as `read_design`; and for a design that cannot be simulated, and a value
    that is missing, unknown, of a wrong type or out of range.
    """
    design = read_design(source)
    if design.simulation is None:
        able = ", ".join(name for name in design_names() if read_design(name).simulation)
        raise DesignError(
            f"{source}: has no table [simulation], so it can be built but not simulated "
            f"(designs that can: {able})"
        )
    if overrides:
        design = _overridden(source, design, overrides)
    assert design.simulation is not None
    values = dict(design.simulation)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        near = f"{nearest(str(kind), KINDS)}" if kind is not None else f" ({' or '.join(KINDS)})"
        what = f"is {kind!r}, which is no kind of design" if kind is not None else "is missing"
        raise DesignError(f"{source}: simulation.kind {what}{near}")
    schema = KINDS[kind]
    values.update(_from_unit(source, design, kind))
    path = Path(source) if source.endswith(".toml") else None
    name = path.stem if path else source
    try:
        return schema.model_validate(values).build(
            name, design.title or name, path.parent if path else None
        )
    except ValidationError as error:
        places = dict.fromkeys(("rows", "cols"), "parameters") if design.unit else {}
        wrong = _first_wrong(error, schema, "simulation", places)
        raise DesignError(f"{source}: {wrong}") from None


def load_unit(source: str, overrides: Mapping[str, int | str]) -> tuple[str, Unit]:
    """The name and the circuit of `source`: a unit's name, a design's name, or a path to .toml.

    overrides: parameters that win over those of the file. Of a renderer's design, one of its
    renderers.
    Raises DesignError: no such unit or file, no TOML, an unknown key, a wrong or missing value.
    """
    from oleaster.renderers import is_renderer, load_renderer  # which itself imports this module

    if is_renderer(source):
        config = load_renderer(source).config
        sizes = {name: getattr(config, name) for name in SIZES}
        return "nerf-renderer", _build("nerf-renderer", {**sizes, **overrides}, f"{source}: ")
    if not source.endswith(".toml") and source not in design_names():
        return source, _build(source, overrides, "")
    design = read_design(source)
    if design.unit is None:
        raise DesignError(
            f"{source}: the key unit is missing, so it can be simulated but not built "
            "(`oleaster units` lists the units)"
        )
    where = f"{source}: unit {design.unit!r}, [parameters]: "
    parameters = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in design.parameters.items()
    }
    return design.unit, _build(design.unit, {**parameters, **overrides}, where)


def _refuse_renderer(source: str) -> None:
    """DesignError for a renderer's design, which is no design of this kind."""
    from oleaster.renderers import is_renderer

    if is_renderer(source):
        raise DesignError(
            f"{source}: is a renderer of scenes, which `oleaster nerf simulate` takes"
        )


def _text(source: str) -> str:
    if not source.endswith(".toml"):
        names = design_names()
        if source not in names:
            _refuse_renderer(source)
            raise DesignError(
                f"unknown design {source!r}{nearest(source, names)}; a file's name ends in .toml"
            )
        return (files("oleaster.configs") / f"{source}.toml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DesignError(f"{source}: no such file") from None
    except OSError as error:
        raise DesignError(f"{source}: cannot be read: {error.strerror or error}") from error


def _places(design: DesignFile) -> dict[str, str]:
    """Where each key that may be overridden is said."""
    simulation = design.simulation or {}
    kind = str(simulation.get("kind"))
    keys = KINDS[kind].model_fields if kind in KINDS else ()
    places = {key: "simulation" for key in keys if key not in ("precision", "config")}
    if kind == "accelerator":
        places |= {field.name: "parameters" for field in fields(AcceleratorConfig)}
    elif design.unit is not None:
        places |= {"rows": "parameters", "cols": "parameters", "dataflow": "unit"}
    return places | dict.fromkeys(_OPERANDS, "precision")


def _overridden(source: str, design: DesignFile, overrides: Mapping[str, Any]) -> DesignFile:
    """The file as if it said so itself; what is said is checked where a file's is."""
    places = _places(design)
    file = design.model_dump()
    for key, value in overrides.items():
        if key not in places:
            raise DesignError(f"{source}: a design has no key {key!r} here{nearest(key, places)}")
        if places[key] == "precision":
            _set_formats(file["simulation"].get("precision"), key, value)
        elif places[key] == "unit":
            units = {flow: unit for unit, flow in _DATAFLOWS.items()}
            if value not in units:
                raise DesignError(f"{source}: dataflow is {value!r}; it must be 'os' or 'ws'")
            file["unit"] = units[value]
        else:
            file[places[key]][key] = value
    try:
        return DesignFile.model_validate(file)
    except ValidationError as error:
        raise DesignError(f"{source}: {_first_wrong(error, DesignFile)}") from None


def _set_formats(precision: Any, key: str, value: Any) -> None:
    both = str(value).partition(":") if key == "formats" else ()
    for row in precision if isinstance(precision, list) else ():
        if not isinstance(row, dict):
            continue
        if both:
            row["weights"] = {"format": both[0]}
            row["activations"] = {"format": both[2] if both[1] else both[0]}
        else:
            row[key] = {"format": value}


def _from_unit(source: str, design: DesignFile, kind: str) -> dict[str, Any]:
    """What [simulation] takes from the unit, said once."""
    able = [unit for unit, (unit_kind, _) in _SAID_BY_UNIT.items() if unit_kind == kind]
    # Only an array may be no unit of ours.
    if design.unit not in (able if kind == "accelerator" else [*able, None]):
        units = " or ".join(map(repr, able))
        expected = f"with unit {units}" if able else "without a unit"
        unit = f"unit is {design.unit!r}" if design.unit else "there is no unit"
        raise DesignError(
            f"{source}: simulation.kind is {kind!r} and {unit}; expected that kind {expected}"
        )
    if design.unit is None:
        return {}
    for key in _SAID_BY_UNIT[design.unit][1]:
        if key in (design.simulation or {}):
            raise DesignError(
                f"{source}: simulation.{key} is said by unit {design.unit!r} and its "
                "[parameters]; leave it out of [simulation]"
            )
    if kind == "accelerator":
        return {"config": _accelerator(source, design.parameters)}
    said: dict[str, Any] = {
        key: design.parameters[key] for key in ("rows", "cols") if key in design.parameters
    }
    return {**said, "dataflow": _DATAFLOWS[design.unit]}


def _accelerator(source: str, parameters: Mapping[str, Any]) -> AcceleratorConfig:
    """The configuration that unit "accelerator" makes of its parameters."""
    known = [field.name for field in fields(AcceleratorConfig)]
    values = dict(parameters)
    try:
        for key, value in parameters.items():
            if key not in known:
                raise ValueError(f"accelerator has no parameter {key!r}{nearest(key, known)}")
            if key.startswith("formats_"):
                names = ",".join(value) if isinstance(value, list) else str(value)
                values[key] = Lane.named(names).formats
        return AcceleratorConfig(**values)
    except ValueError as error:
        raise DesignError(f"{source}: unit 'accelerator', [parameters]: {error}") from error


def _kind(design: Design) -> str:
    if isinstance(design, AcceleratorDesign):
        return "accelerator"
    return "array" if isinstance(design, ArrayDesign) else "gpu"


def _build(name: str, parameters: Mapping[str, int | str], where: str) -> Unit:
    # Imported late: Amaranth is slow to import, and most verbs do without it.
    from oleaster.hw.library import build_unit

    try:
        return build_unit(name, **parameters)
    except ValueError as error:
        raise DesignError(f"{where}{error}") from error


def _first_wrong(
    error: ValidationError,
    schema: type[BaseModel],
    table: str = "",
    places: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The first thing wrong. table: where the schema's keys are, but for those in `places`."""
    first = error.errors()[0]
    loc = tuple(part for part in first["loc"] if part not in _BRANCHES)
    table = places.get(str(loc[0]), table)
    path = ".".join(map(str, (table, *loc) if table else loc))
    if first["type"] == "extra_forbidden":
        known = nearest(str(loc[-1]), schema.model_fields) if len(loc) == 1 else ""
        return f"{path} is no key of a design{known}"
    if first["type"] == "missing":
        return f"the key {path} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{path} is {first['input']!r}; {message[0].lower()}{message[1:]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What else could have been meant, as the end of a sentence."""
    names = list(known)
    near = get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"{hint} (known: {', '.join(names)})"
