"""Designs, by name or from a TOML file: which unit with which parameters, checked and built.

unit = "systolic"

[parameters]
rows = 64
cols = 64
"""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from oleaster.hw.emit import Unit


class DesignError(ValueError):
    """A design that cannot be built; the message names the key, its value and what is right."""


class _Design(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    unit: str
    parameters: dict[str, int | str | list[str]] = {}


def load_unit(source: str, overrides: Mapping[str, int | str]) -> tuple[str, "Unit"]:
    """The name and the circuit of the design `source`: a unit's name or a path ending in .toml.

    overrides: parameters that win over those of the file.
    Raises DesignError: no such unit or file, no TOML, an unknown key, a wrong or missing value.
    """
    if not source.endswith(".toml"):
        return source, _build(source, overrides, "")
    design = _read(Path(source))
    where = f"{source}: unit {design.unit!r}, [parameters]: "
    parameters = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in design.parameters.items()
    }
    return design.unit, _build(design.unit, {**parameters, **overrides}, where)


def _read(path: Path) -> _Design:
    try:
        return _Design.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DesignError(f"{path}: no such file") from None
    except OSError as error:
        raise DesignError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise DesignError(f"{path}: {_first_wrong(error)}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise DesignError(f"{path}: is not TOML: {error}") from error


def _build(name: str, parameters: Mapping[str, int | str], where: str) -> "Unit":
    # Imported late: Amaranth is slow to import, and most verbs do without it.
    from oleaster.hw.library import build_unit

    try:
        return build_unit(name, **parameters)
    except ValueError as error:
        raise DesignError(f"{where}{error}") from error


def _first_wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{path} is no key of a design{_known(path, _Design.model_fields)}"
    if first["type"] == "missing":
        return f"the key {path} is missing"
    message = first["msg"]
    return f"{path} is {first['input']!r}; {message[0].lower()}{message[1:]}"


def _known(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (known: {', '.join(names)})"
