"""RT-NeRF's evaluation (ICCAD 2022), as far as it is known, beside our renderer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from oleaster.reproduce.rtnerf_baselines import Baseline, baselines
from oleaster.reproduce.rtnerf_published import RtnerfPublished, published

__all__ = ["DESIGNS", "DesignRow", "IdeaRow", "RtnerfEvaluation", "SceneRow", "evaluation_of"]

DESIGNS = {"rtnerf-edge": "RT-NeRF Edge", "rtnerf-cloud": "RT-NeRF Cloud"}
"""Ours -> the published work of that size."""


@dataclass(frozen=True)
class DesignRow:
    """cores: copies of the renderer. macs: 8-bit multiplications a cycle of all their arrays."""

    name: str
    title: str
    clock_mhz: float
    cores: int
    macs: int
    energy_table: str


@dataclass(frozen=True)
class SceneRow:
    """A frame of a scene on a design.

    cycles: on all cores. busy: of the stage that moves on most, the share of the cycles in which it
    does. density, colored: samples whose density, whose colour is computed. network_macs: of the
    colour network, for all of these.
    """

    design: str
    scene: str
    cycles: int
    fps: float
    energy_mj: float
    dram_bytes: int
    bottleneck: str
    busy: float
    density: int
    colored: int
    network_macs: int
    psnr_db: float | None


@dataclass(frozen=True)
class IdeaRow:
    """A scene without one of the ideas: cycles, bytes and energy over those with all of them."""

    scene: str
    idea: str
    cycles: float
    bytes: float
    energy: float


@dataclass(frozen=True)
class RtnerfEvaluation:
    """All that the page shows. size: pixels of a frame, width and height."""

    size: tuple[int, int]
    designs: list[DesignRow]
    rows: list[SceneRow]
    ideas: list[IdeaRow]
    baselines: list[Baseline]
    published: RtnerfPublished

    def of(self, design: str) -> list[SceneRow]:
        """A design's rows, in the order of scenes."""
        return [row for row in self.rows if row.design == design]

    def mean_fps(self, design: str) -> float:
        """Frames over time, one of each scene."""
        rows = self.of(design)
        return len(rows) / sum(1 / row.fps for row in rows)

    def mean_mj(self, design: str) -> float:
        """Energy of a frame, mean over the scenes."""
        rows = self.of(design)
        return sum(row.energy_mj for row in rows) / len(rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: docs/cli.md has the keys."""
        return {
            "width": self.size[0],
            "height": self.size[1],
            "designs": [
                {
                    **asdict(design),
                    "fps": self.mean_fps(design.name),
                    "energy_mj": self.mean_mj(design.name),
                    "frames": [asdict(row) for row in self.of(design.name)],
                }
                for design in self.designs
            ],
            "ideas": [asdict(row) for row in self.ideas],
            "baselines": [{**each._asdict(), "mean_fps": each.mean_fps} for each in self.baselines],
            "published": {
                "works": [
                    {
                        "name": work.name,
                        "venue": work.venue,
                        **{key: figure._asdict() for key, figure in work.figures.items()},
                    }
                    for work in self.published.works
                ],
                "ranges": [each._asdict() for each in self.published.ranges],
                "ratios": [each._asdict() for each in self.published.ratios],
            },
        }


def evaluation_of(
    size: tuple[int, int],
    designs: Sequence[DesignRow],
    rows: Sequence[SceneRow],
    ideas: Sequence[IdeaRow],
) -> RtnerfEvaluation:
    """With the published figures and the recorded baselines."""
    return RtnerfEvaluation(size, list(designs), list(rows), list(ideas), baselines(), published())
