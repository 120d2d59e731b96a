"""RT-NeRF's evaluation (ICCAD 2022), as far as it is known, beside our renderers'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.render import psnr
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.renderers import load_renderer
from oleaster.reproduce.rtnerf_baselines import Baseline, baselines
from oleaster.reproduce.rtnerf_published import RtnerfPublished, published

if TYPE_CHECKING:
    from oleaster.sim.nerf.renderer.design import FrameFigures
    from oleaster.sim.nerf.renderer.product import RendererDesign

__all__ = [
    "DESIGNS",
    "IDEAS_TILES",
    "DesignRow",
    "IdeaRow",
    "RtnerfEvaluation",
    "SceneRow",
    "evaluate_rtnerf",
    "evaluation_of",
]

DESIGNS = {"rtnerf-edge": "RT-NeRF Edge", "rtnerf-cloud": "RT-NeRF Cloud"}
"""Ours -> the published work of that size."""

SIZE = 800, 800
"""Pixels of a frame, width and height: those of the published figures and of the baselines."""

IDEAS_OF = "lego"
"""The scene that is rendered without each idea, too."""

IDEAS_TILES = 4
"""Of whose tiles one in so many is drawn for that."""


@dataclass(frozen=True)
class DesignRow:
    """renderers: copies. macs: 8-bit products a cycle of all their arrays, at most.

    networks: colour units, of all renderers. encode_cycles: of one of them, for each sample, in
    which its network's inputs are encoded and its array waits.
    """

    name: str
    title: str
    source: str
    clock_mhz: float
    renderers: int
    networks: int
    macs: int
    encode_cycles: int
    energy_table: str


@dataclass(frozen=True)
class SceneRow:
    """A frame of a scene on a design.

    cycles: until the last renderer is done. energy_mj: with the scene resident, which dram_bytes
    leave out, too; its parts are those of `FrameEnergy`. bottleneck: the stage that moves on most.
    busy: by stage, the share of all renderers' cycles in which it does. density, colored: samples
    whose density, whose colour is computed. network_macs: 8-bit products of all these colours.
    color_cycles: of a colour unit, for each of them in the mean. psnr_db: of the view in its own
    size, against the held-out image.
    """

    design: str
    scene: str
    cycles: int
    fps: float
    energy_mj: float
    energy_parts_mj: dict[str, float]
    dram_bytes: int
    bottleneck: str
    busy: dict[str, float]
    density: int
    colored: int
    network_macs: int
    color_cycles: float
    psnr_db: float


@dataclass(frozen=True)
class IdeaRow:
    """A scene on the first design without one of the ideas. instead: what is there for it.

    cycles, bytes (of the scene in memory), energy: over those of a frame with all ideas.
    """

    scene: str
    idea: str
    instead: str
    cycles: float
    bytes: float
    energy: float


@dataclass(frozen=True)
class RtnerfEvaluation:
    """All that the page shows."""

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
    designs: Sequence[DesignRow],
    rows: Sequence[SceneRow],
    ideas: Sequence[IdeaRow],
) -> RtnerfEvaluation:
    """With the published figures and the recorded baselines."""
    return RtnerfEvaluation(list(designs), list(rows), list(ideas), baselines(), published())


def evaluate_rtnerf(
    report: Callable[[int, int], None] = lambda done, total: None,
) -> RtnerfEvaluation:
    """The first held-out view of all scenes; takes a minute for each, and some for the ideas.

    report: called with what is done and all of it. Raises CompilerMissingError without numba.
    """
    designs = [load_renderer(name) for name in DESIGNS]
    rows: list[SceneRow] = []
    names = scene_names()
    for i, name in enumerate(names):
        rows += _scene(name, designs)
        report(i + 1, len(names) + 1)
    ideas = _ideas(IDEAS_OF, designs[0])
    report(len(names) + 1, len(names) + 1)
    return evaluation_of([_design(each) for each in designs], rows, ideas)


def _scene(name: str, designs: list[RendererDesign]) -> list[SceneRow]:
    from oleaster.sim.nerf.renderer.simulate import (
        simulate_designs,
    )  # imports numba, if it is there

    scene = load_scene(name)
    fixed, held = fix_scene(scene), scene.views[0]
    (small,) = simulate_designs(scene, fixed, held.camera, designs[:1])
    assert small.frame.image is not None
    decibel = psnr(small.frame.image / np.float32(255), held.image())
    camera = held.camera.scaled(*SIZE)
    return [
        SceneRow(
            figures.design.name,
            name,
            figures.cycles,
            figures.fps,
            figures.energy.total / 1e9,
            {part: value / 1e9 for part, value in vars(figures.energy).items()},
            figures.dram_bytes,
            figures.frame.bottleneck,
            dict(figures.busy),
            figures.frame.events["sample"],
            figures.frame.events["color_sample"],
            figures.network_macs,
            _color_cycles(figures),
            decibel,
        )
        for figures in simulate_designs(scene, fixed, camera, designs, image=False)
    ]


def _color_cycles(figures: FrameFigures) -> float:
    units = figures.design.renderers * figures.design.config.networks
    busy = figures.busy["colour networks"] * units * figures.cycles
    return busy / figures.frame.events["color_sample"]


def _ideas(name: str, design: RendererDesign) -> list[IdeaRow]:
    from oleaster.sim.nerf.renderer.ablations import ablate  # imports numba, if it is there

    scene = load_scene(name)
    camera = scene.views[0].camera.scaled(*SIZE)
    whole, *others = ablate(scene, fix_scene(scene), camera, design, every=IDEAS_TILES)
    base = whole.figures
    return [
        IdeaRow(
            name,
            each.name,
            each.idea.what,
            each.figures.cycles / base.cycles,
            each.figures.scene_bytes / base.scene_bytes,
            each.figures.energy.total / base.energy.total,
        )
        for each in others
    ]


def _design(design: RendererDesign) -> DesignRow:
    config = design.config
    return DesignRow(
        design.name,
        design.title,
        design.source,
        design.clock_mhz,
        design.renderers,
        design.renderers * config.networks,
        design.macs_per_cycle,
        config.network.steps(config.color_encoders)[1],
        design.energy,
    )
