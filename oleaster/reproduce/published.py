"""The published figures, from published.toml."""

import tomllib
from functools import cache
from importlib import resources
from typing import NamedTuple

__all__ = ["Area", "Claim", "Means", "Pairs", "Published", "Workload", "published"]


class Workload(NamedTuple):
    """A network of the public simulator; published.toml says what the lists are."""

    title: str
    network: str
    cycles: dict[str, float]
    ant_8bit: list[int]
    bitfusion_4bit: list[int]
    olaccel_8bit: list[int]


class Means(NamedTuple):
    """Over the public simulator's networks, of AdaptivFloat's: cycles, and energy by component."""

    cycles: float
    static: float
    dram: float
    buffer: float
    core: float


class Claim(NamedTuple):
    """OliVe against a rival: so many times faster, so many times less energy."""

    platform: str
    rival: str
    design: str
    speed: float
    energy: float


class Area(NamedTuple):
    """um2: of one. share: of the array, per cent."""

    unit: str
    um2: float
    count: int  # type: ignore[assignment]  # a column, not the method of tuples
    share: float


class Pairs(NamedTuple):
    """Shares of a model's pairs of weights, per cent."""

    model: str
    normal_normal: float
    outlier_normal: float
    outlier_outlier: float


class Published(NamedTuple):
    """means: by design."""

    workloads: list[Workload]
    means: dict[str, Means]
    claims: list[Claim]
    areas: list[Area]
    pairs: list[Pairs]


@cache
def published() -> Published:
    """All of published.toml."""
    text = (resources.files("oleaster.reproduce") / "published.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return Published(
        [Workload(**row) for row in data["simulator"]],
        {name: Means(**row) for name, row in data["simulator_means"].items()},
        [Claim(**row) for row in data["olive"]],
        [Area(**row) for row in data["area"]],
        [Pairs(**row) for row in data["pairs"]],
    )
