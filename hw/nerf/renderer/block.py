"""What the units around a renderer have in common."""

from __future__ import annotations

from typing import Any

from oleaster.hw.emit import Unit
from oleaster.models.nerf.renderer.config import RendererConfig

__all__ = ["RendererBlock"]


class RendererBlock(Unit):
    """A unit that a renderer's configuration shapes: it gives name and parameters.

    kind: what the module's name begins with. members: as for `wiring.Component`.
    """

    def __init__(self, kind: str, config: RendererConfig, members: dict[str, Any]) -> None:
        self.config = config
        self._kind = kind
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"{self._kind}_{self.config.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return self.config.parameters
