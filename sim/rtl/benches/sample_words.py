"""Configurations and samples for the benches of a tile's units. Not a bench itself."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from oleaster.models.nerf.fixed.features import FixedField
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.sim.rtl.benches.fixed_fields import random_field

__all__ = ["extreme_field", "random_coordinates", "read_config", "tags"]

SIZE = 7, 5, 3


def read_config(parameters: Mapping[str, Any]) -> RendererConfig:
    """From the parameters of a unit, its own among them."""
    names = RendererConfig.__dataclass_fields__
    found = {name: value for name, value in parameters.items() if name in names}
    found["fixed"] = FixedConfig(**found["fixed"])
    found["network"] = NetworkShape(**found["network"])
    return RendererConfig(**found)


def extreme_field(rng: np.random.Generator, config: RendererConfig, components: int) -> FixedField:
    """As `random_field`."""
    widths = {"plane_bits": config.plane_bits, "line_bits": config.line_bits}
    return random_field(rng, SIZE, components, {**asdict(config.fixed), **widths})


def random_coordinates(rng: np.random.Generator, field: FixedField, count: int) -> Longs:
    """(3, count), of which some are on a point, on a last face or just before a point."""
    one = 1 << field.config.position_bits
    last = np.array(field.size)[:, None] - 1
    at = rng.integers(0, last * one + 1, (3, count))
    kind = rng.integers(0, 8, (3, count))
    at = np.where(kind == 0, at // one * one, at)
    at = np.where(kind == 1, last * one, at)
    return np.where(kind == 2, np.maximum(at // one * one, 1) - 1, at)


def tags(rng: np.random.Generator, count: int, bits: int) -> list[int]:
    """Random ones."""
    return [int(each) for each in rng.integers(0, 1 << bits, count)]
