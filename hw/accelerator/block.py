"""What the units of the accelerator have in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oleaster.hw.emit import Unit
from oleaster.models.accelerator.config import AcceleratorConfig

__all__ = ["Block"]


class Block(Unit):
    """A unit that an accelerator's configuration shapes: it gives name and parameters.

    kind: what the module's name begins with. members: as for `wiring.Component`.
    """

    def __init__(self, kind: str, config: AcceleratorConfig, members: dict[str, Any]) -> None:
        self.config = config
        self._kind = kind
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"{self._kind}_{self.config.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        given = asdict(self.config)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}
