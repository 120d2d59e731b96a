"""What the library says of a unit: its parameters, and how to build it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oleaster.hw.emit import Unit

__all__ = ["LARGEST_SIDE", "Formats", "Parameter", "UnitSpec"]

LARGEST_SIDE = 256
"""Rows or columns of an array: four times the paper's 64."""


@dataclass(frozen=True)
class Parameter:
    """An integer from `minimum` to `maximum`; `choices`, if any, are its only values."""

    default: int
    minimum: int
    maximum: int
    description: str
    choices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Formats:
    """The formats that an operand's lanes read: names with commas between, or the name of a set."""

    default: str
    description: str


@dataclass(frozen=True)
class UnitSpec:
    """A unit of the library: what it is, its parameters by name, and how to build it."""

    description: str
    parameters: dict[str, Parameter | Formats]
    build: Callable[..., Unit]
