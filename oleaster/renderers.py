"""Renderer designs, by name or from a TOML file: docs/nerf-performance.md lists every key.

title = "..."
clock_mhz = 1000
renderers = 2            # of one configuration
dram_gb_s = 17.0
energy = "ant-28nm"      # a table of constants, as in designs of networks

[config]                 # what differs from RendererConfig's defaults
color_rows = 128
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from oleaster.config import DesignError
from oleaster.models.nerf.renderer.config import SIZES, RendererConfig, check_sizes
from oleaster.sim.nerf.renderer.product import Published, RendererDesign
from oleaster.sim.performance.energy import EnergyError, load_energy

__all__ = ["is_renderer", "load_renderer", "renderer_keys", "renderer_names"]

_RATE = 1e-3, 1e9
_RANGES: Mapping[str, tuple[float, float]] = {
    "renderers": (1, 4096),
    "clock_mhz": _RATE,
    "dram_gb_s": _RATE,
}
_WRONG_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "dict": "a table",
    "model": "a table",
}


class _Figure(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: float
    unit: str
    tag: str
    source: str


class _File(BaseModel):
    """A design as its file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    source: str = ""
    clock_mhz: float
    renderers: int
    dram_gb_s: float
    energy: str
    config: dict[str, int] = {}
    published: dict[str, _Figure] = {}


def renderer_names() -> list[str]:
    """Names of the designs that come with oleaster, sorted."""
    folder = files("oleaster.configs") / "renderers"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def is_renderer(source: str) -> bool:
    """Whether `source` names a renderer, or is a file of TOML that says how many there are."""
    if not source.endswith(".toml"):
        return source in renderer_names()
    try:
        return "renderers" in tomllib.loads(_text(source))
    except ValueError:  # whoever reads it as something else says what is wrong
        return False


def renderer_keys() -> tuple[str, ...]:
    """Keys that `load_renderer` may override."""
    return (*_RANGES, *SIZES)


def load_renderer(
    source: str, overrides: Mapping[str, int | float | str] | None = None
) -> RendererDesign:
    """The design `source`: one of `renderer_names()`, or a path ending in .toml.

    overrides: values that win over the file's, of its top level or of [config] (`renderer_keys`);
    they are the title then.
    DesignError: no such design or file, no TOML, a key or a value that cannot be.
    """
    try:
        found = _File.model_validate(tomllib.loads(_text(source)))
    except ValidationError as error:
        raise DesignError(f"{source}: {_first_wrong(error)}") from None
    except RecursionError:
        raise DesignError(f"{source}: is nested too deeply for a design") from None
    except ValueError as error:  # not TOML, or not UTF-8
        if isinstance(error, DesignError):
            raise
        raise DesignError(f"{source}: is not TOML: {error}") from error
    file = found.model_dump()
    for key in found.config:
        if key not in SIZES:
            raise DesignError(f"{source}: a renderer has no size {key!r}{_known(key, SIZES)}")
    for key, value in (overrides or {}).items():
        if key in _File.model_fields and key not in _RANGES:
            raise DesignError(f"{source}: {key} cannot be set; it is what the file says")
        if key not in renderer_keys():
            known = _known(key, renderer_keys())
            raise DesignError(f"{source}: a renderer has no key {key!r}{known}")
        (file if key in _RANGES else file["config"])[key] = _number(key, value)
    try:
        checked = _File.model_validate(file)
        _check_ranges(checked)
        config: dict[str, Any] = dict(checked.config)
        sizes = replace(RendererConfig(), **config)
        check_sizes(sizes)
        energy = _energy(source, checked.energy)
        load_energy(energy)
    except ValidationError as error:
        raise DesignError(f"{source}: {_first_wrong(error)}") from None
    except EnergyError as error:
        raise DesignError(f"{source}: energy: {error}") from None
    except ValueError as error:
        raise DesignError(f"{source}: {error}") from None
    changed = ", ".join(f"{key}={_number(key, value)}" for key, value in (overrides or {}).items())
    return RendererDesign(
        Path(source).stem if source.endswith(".toml") else source,
        f"with {changed}" if changed else checked.title,
        checked.source,
        checked.clock_mhz,
        checked.renderers,
        checked.dram_gb_s,
        energy,
        sizes,
        {key: Published(**vars(each)) for key, each in checked.published.items()},
    )


def _check_ranges(design: _File) -> None:
    for key, (least, most) in _RANGES.items():
        value = getattr(design, key)
        if not least <= value <= most:
            raise ValueError(f"{key} is {value}; it must be {least:.10g} .. {most:.10g}")


def _known(key: str, known: Collection[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"


def _number(key: str, value: int | float | str) -> int | float | str:
    """Of text, the number that it says, if any; what is none is refused with a file's values."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(value) if value.removeprefix("-").isdecimal() else number


def _energy(source: str, energy: str) -> str:
    """A path is relative to the design's file."""
    if energy.endswith(".toml") and source.endswith(".toml"):
        return str(Path(source).parent / energy)
    return energy


def _text(source: str) -> str:
    if not source.endswith(".toml"):
        names = renderer_names()
        if source not in names:
            near = get_close_matches(source, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(names)})"
            raise DesignError(f"unknown renderer {source!r}{hint}; a file's name ends in .toml")
        folder = files("oleaster.configs") / "renderers"
        return (folder / f"{source}.toml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DesignError(f"{source}: no such file") from None
    except OSError as error:
        raise DesignError(f"{source}: cannot be read: {error.strerror or error}") from error


def _first_wrong(error: ValidationError) -> str:
    """One sentence with the key and what is wrong with its value."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])).removeprefix("config.")
    if first["type"] == "missing":
        return f"the key {key} is missing"
    if first["type"] == "extra_forbidden":
        return f"a renderer has no key {key!r}{_known(key, tuple(_File.model_fields))}"
    expected = _WRONG_TYPES.get(first["type"].partition("_")[0], "something else")
    return f"{key} is {first['input']!r}; it must be {expected}"
