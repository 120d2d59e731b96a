"""What the units of a whole device, accelerator or renderer, have in common."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from oleaster.hw.emit import Unit

__all__ = ["Block"]


class _Configuration(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> dict[str, Any]: ...


Config = TypeVar("Config", bound=_Configuration)


class Block(Unit, Generic[Config]):
    """A unit that a device's configuration shapes: it gives name and parameters.

    kind: what the module's name begins with. members: as for `wiring.Component`.
    """

    def __init__(self, kind: str, config: Config, members: dict[str, Any]) -> None:
        self.config = config
        self._kind = kind
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"{self._kind}_{self.config.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return self.config.parameters
