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
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oleaster.config import DesignError
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.sim.nerf.renderer.design import Published, RendererDesign

__all__ = ["load_renderer", "renderer_keys", "renderer_names"]

_Size = Annotated[int, Field(ge=1, le=1 << 24)]
_Rate = Annotated[float, Field(ge=1e-3, le=1e9, allow_inf_nan=False)]
_KEYS = ("clock_mhz", "renderers", "dram_gb_s")
_WHOLE = ("renderers",)


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
    clock_mhz: _Rate
    renderers: Annotated[int, Field(ge=1, le=4096)]
    dram_gb_s: _Rate
    energy: str
    config: dict[str, _Size] = {}
    published: dict[str, _Figure] = {}


def renderer_names() -> list[str]:
    """Names of the designs that come with oleaster, sorted."""
    folder = files("oleaster.configs") / "renderers"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def renderer_keys() -> tuple[str, ...]:
    """Keys that `load_renderer` may override."""
    sizes = (each.name for each in fields(RendererConfig) if isinstance(each.default, int))
    return (*_KEYS, *sizes)


def load_renderer(
    source: str, overrides: Mapping[str, int | float | str] | None = None
) -> RendererDesign:
    """The design `source`: one of `renderer_names()`, or a path ending in .toml.

    overrides: values that win over the file's, of its top level or of [config] (`renderer_keys`).
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
    values = found.model_dump(include=set(_KEYS))
    config: dict[str, int | float] = dict(found.config)
    for key, value in (overrides or {}).items():
        number = _number(key, value)
        if key in _KEYS:
            values[key] = number
        else:
            config[key] = number
    name = Path(source).stem if source.endswith(".toml") else source
    try:
        checked = _File.model_validate({**found.model_dump(), **values, "config": config})
        sizes = replace(RendererConfig(), **_known_sizes(checked.config))
    except ValidationError as error:
        raise DesignError(f"{source}: {_first_wrong(error)}") from None
    except ValueError as error:
        raise DesignError(f"{source}: [config]: {error}") from None
    published = {key: Published(**vars(each)) for key, each in checked.published.items()}
    return RendererDesign(
        name,
        checked.title,
        checked.source,
        checked.clock_mhz,
        checked.renderers,
        checked.dram_gb_s,
        _energy(source, checked.energy),
        sizes,
        published,
    )


def _known_sizes(config: Mapping[str, int]) -> dict[str, Any]:
    known = renderer_keys()[len(_KEYS) :]
    for key, value in config.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
            raise ValueError(f"no size {key!r}{hint}")
        if key == "color_rows" and (value < 4 or value % 2):
            raise ValueError(f"color_rows is {value}; it must be even and at least 4")
        if key == "color_cols" and (value < 8 or value & (value - 1)):
            raise ValueError(f"color_cols is {value}; it must be a power of two, at least 8")
        if key == "color_encoders":
            most = config.get("color_cols", RendererConfig.color_cols) // 4
            if value > most or value & (value - 1):
                raise ValueError(
                    f"color_encoders is {value}; it must be a power of two, at most color_cols / 4"
                    f" = {most}"
                )
        if key == "tile_bits" and not 3 <= value <= 7:
            raise ValueError(f"tile_bits is {value}; it must be 3 .. 7")
    return dict(config)


def _number(key: str, value: int | float | str) -> int | float:
    """What is no text is checked as a file's value is."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if key in _WHOLE or key not in _KEYS else float(value)
    except ValueError:
        raise DesignError(f"--set {key}={value}: the value must be a number") from None


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
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {key} is missing"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}"
    return f"{key} is {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
