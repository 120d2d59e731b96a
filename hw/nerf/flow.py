"""Values that go along with the words of a pipeline whose registers never wait."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal

__all__ = ["Flow"]


class Flow:
    """Values by name and stage; a value's register in stage 7 is `<name>_7`.

    Registers are made where `at` asks for a value later than it is there, once.
    """

    def __init__(self, m: Module) -> None:
        self._m = m
        self._first: dict[str, int] = {}
        self._values: dict[str, list[Any]] = {}
        self._reset_less: dict[str, bool] = {}

    def add(self, name: str, value: Any, stage: int, *, reset_less: bool = True) -> None:
        """`value` is there in `stage`."""
        if name in self._first:
            raise ValueError(f"{name} is there already, in stage {self._first[name]}")
        self._first[name] = stage
        self._values[name] = [value]
        self._reset_less[name] = reset_less

    def step(self, name: str, value: Any, stage: int) -> Any:
        """A register in `stage` for a value that is there in the stage before."""
        self.add(name, value, stage - 1)
        return self.at(name, stage)

    def at(self, name: str, stage: int) -> Any:
        """The value in `stage`, which must not be before it is there."""
        first, values = self._first[name], self._values[name]
        if stage < first:
            raise ValueError(f"{name} is there in stage {first}, not yet in {stage}")
        while first + len(values) <= stage:
            register = Signal(
                values[-1].shape(),
                name=f"{name}_{first + len(values)}",
                reset_less=self._reset_less[name],
            )
            self._m.d.sync += register.eq(values[-1])
            values.append(register)
        return values[stage - first]
