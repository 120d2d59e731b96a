"""What a study varies: parameters with choices or ranges, and the grid of all their values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from oleaster.explore.error import StudyError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

__all__ = ["Parameter", "Space", "read_parameter"]

_KEYS = ("min", "max", "step", "log")
_MOST_FACTORS = 1000
_LARGEST = 1 << 53  # stores keep numbers as float64


@dataclass(frozen=True)
class Parameter:
    """choices: its values; None for a range.

    low, high, step, log: a range, both ends inside; a step of None is any number between. What is
    stepped by factors is choices.
    """

    name: str
    choices: tuple[Any, ...] | None = None
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @property
    def size(self) -> int | None:
        """Number of values; None for any number between two."""
        if self.choices is not None:
            return len(self.choices)
        if self.step is None:
            return None
        return int((_exact(self.high) - _exact(self.low)) / _exact(self.step)) + 1

    def value(self, index: int) -> Any:
        """That of the values, from 0."""
        if self.choices is not None:
            return self.choices[index]
        assert self.step is not None
        value = _exact(self.low) + index * _exact(self.step)
        return int(value) if self.is_whole else float(value)

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that say whether all can be: all choices, or both ends."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def distribution(self) -> BaseDistribution:
        """Optuna's."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices is not None:
            return CategoricalDistribution([label(value) for value in self.choices])
        if self.is_whole:
            low, high = int(self.low), int(self.high)
            return IntDistribution(low, high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: Trial) -> Any:
        """As Optuna's sampler wants, and knows it."""
        if self.choices is not None:
            return trial.suggest_categorical(self.name, [label(value) for value in self.choices])
        if self.is_whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.name, low, high, step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def meant(self, stored: Any) -> Any:
        """The value that Optuna knows as `stored`."""
        if self.choices is None:
            return stored
        return next(value for value in self.choices if label(value) == stored)


@dataclass(frozen=True)
class Space:
    """All parameters; a grid's points count the last one fastest."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """Points of the grid; StudyError for a range without steps."""
        size = 1
        for each in self.parameters:
            if each.size is None:
                how = "a factor, as step = 2" if each.log else "a step"
                raise StudyError(
                    f"parameters.{each.name} has no step; a grid needs choices or {how} "
                    "(samplers that do without: random, tpe, nsga2)"
                )
            size *= each.size
        return size

    def point(self, index: int) -> dict[str, Any]:
        """Values of a grid's point, 0 .. size - 1."""
        values = {}
        for each in reversed(self.parameters):
            assert each.size is not None
            index, at = divmod(index, each.size)
            values[each.name] = each.value(at)
        return dict(reversed(values.items()))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's, by name."""
        return {each.name: each.distribution() for each in self.parameters}

    def stored(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point as Optuna knows it."""
        return {
            each.name: label(point[each.name]) if each.choices is not None else point[each.name]
            for each in self.parameters
        }

    def meant(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The point that Optuna knows as `stored`."""
        return {each.name: each.meant(stored[each.name]) for each in self.parameters}


def label(value: Any) -> Any:
    """A choice as Optuna may keep it: lists and tables as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def read_parameter(name: str, given: object) -> Parameter:
    """A list of choices, or a table of min, max and perhaps step and log; StudyError if neither."""
    where = f"parameters.{name}"
    if isinstance(given, list):
        return Parameter(name, _choices(where, given))
    if not isinstance(given, dict):
        raise StudyError(
            f"{where} is {given!r}; expected a list of choices, or a range as "
            "{min = 8, max = 64, step = 8}"
        )
    for key in given:
        if key not in _KEYS:
            raise StudyError(f"{where}.{key} is no key of a range (known: {', '.join(_KEYS)})")
    for key in ("min", "max"):
        if key not in given:
            raise StudyError(f"the key {where}.{key} is missing")
    low, high, step = (
        _number(f"{where}.{key}", given[key]) if key in given else None
        for key in ("min", "max", "step")
    )
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise StudyError(f"{where}.log is {log!r}; it must be true or false")
    assert low is not None
    assert high is not None
    if low > high:
        raise StudyError(f"{where} is an empty range: min is {low} and max {high}")
    if log and low <= 0:
        raise StudyError(f"{where}.min is {low}; a range with log begins above 0")
    if log and step is not None:
        return Parameter(name, _factors(where, low, high, step))
    if step is not None and step <= 0:
        raise StudyError(f"{where}.step is {step}; it must be above 0")
    whole = all(isinstance(each, int) for each in (low, high, step or 0))
    if not whole:
        low, high = float(low), float(high)
    if step is None:
        return Parameter(name, None, low, high, 1 if whole and not log else None, log)
    steps = int((_exact(high) - _exact(low)) / _exact(step))
    last = _exact(low) + steps * _exact(step)
    return Parameter(name, None, low, int(last) if whole else float(last), step)


def _choices(where: str, given: list[Any]) -> tuple[Any, ...]:
    if not given:
        raise StudyError(f"{where} has no choices; give at least one")
    for at, value in enumerate(given):
        if isinstance(value, int | float) and not isinstance(value, bool):
            _number(f"{where}[{at}]", value)
        elif not isinstance(value, bool | str | list | dict):
            raise StudyError(f"{where}[{at}] is {value!r}; expected a number or a string")
        if value in given[:at]:
            raise StudyError(f"{where} has {value!r} twice")
    return tuple(given)


def _factors(where: str, low: float, high: float, factor: float) -> tuple[float, ...]:
    if factor <= 1:
        raise StudyError(f"{where}.step is {factor}; with log it is a factor, above 1")
    count = int(math.log(high / low) / math.log(factor) + 1e-9) + 1
    if count > _MOST_FACTORS:
        raise StudyError(f"{where} has {count:,} values; by factors at most {_MOST_FACTORS:,}")
    values = tuple(low * factor**each for each in range(count + 1))
    return tuple(value for value in values if value <= high * (1 + 1e-12))


def _number(where: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"{where} is {value!r}; it must be a number")
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise StudyError(f"{where} is {value}; it must be finite, and at most 2^53 in size")
    return value


def _exact(value: float) -> Decimal:
    """As it is written, so that 0.1 + 2 * 0.1 is 0.3."""
    return Decimal(str(value))
