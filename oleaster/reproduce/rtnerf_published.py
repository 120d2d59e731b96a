"""Published figures of RT-NeRF and of what came after it, from rtnerf.toml."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

__all__ = ["FIGURES", "Figure", "Range", "Ratio", "RtnerfPublished", "Tag", "Work", "published"]

Tag = Literal["abstract", "source", "recalled", "weak", "derived"]

FIGURES = {
    "fps": "FPS",
    "power_w": "W",
    "mj_per_frame": "mJ a frame",
    "fps_per_w": "FPS/W",
    "area_mm2": "mm2",
    "fps_per_mm2": "FPS/mm2",
    "sram_mb": "SRAM, MB",
    "dram_gb_s": "DRAM, GB/s",
    "clock_mhz": "MHz",
    "node_nm": "nm",
}
"""Of a work, and what a table calls them."""


class Figure(NamedTuple):
    """tag: how sure it is. source: where it was stated, if anywhere."""

    value: float
    tag: Tag
    source: str


class Range(NamedTuple):
    """A claim from `least` to `most`."""

    work: str
    what: str
    least: float
    most: float
    tag: Tag


class Ratio(NamedTuple):
    """One work against another: times faster, times more frames a joule."""

    of: str
    over: str
    speed: float
    energy_efficiency: float
    tag: Tag
    source: str


class Work(NamedTuple):
    """figures: those of `FIGURES` that are known."""

    name: str
    venue: str
    what: str
    figures: dict[str, Figure]


class RtnerfPublished(NamedTuple):
    """works: RT-NeRF Edge first."""

    works: list[Work]
    ranges: list[Range]
    ratios: list[Ratio]

    def work(self, name: str) -> Work:
        """By name; KeyError if there is none."""
        return {work.name: work for work in self.works}[name]


@cache
def published() -> RtnerfPublished:
    """All of rtnerf.toml."""
    text = (resources.files("oleaster.reproduce") / "rtnerf.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return RtnerfPublished(
        [_work(row) for row in data["work"]],
        [Range(**row) for row in data["range"]],
        [Ratio(**_sourced(row)) for row in data["ratio"]],
    )


def _work(row: dict[str, Any]) -> Work:
    figures = {key: Figure(**{"source": "", **_sourced(row[key])}) for key in FIGURES if key in row}
    return Work(row["name"], row["venue"], row["what"], figures)


def _sourced(row: dict[str, Any]) -> dict[str, Any]:
    """With the key `from`, a word of Python's, renamed."""
    return {"source" if key == "from" else key: value for key, value in row.items()}
