"""What each idea buys: a frame without it, in cycles, bytes and energy.

Values stay: pixels are the same in all of them. Without an order of cubes a pixel's samples come in
any order, so that none can be known to be dark: such a renderer does all that one without early
stop does, and keeps every sample of a tile until they are sorted (`Ablation.kept_bytes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.encoding import Encoded, decode
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT
from oleaster.models.nerf.layout import (
    BITMAP,
    COORDINATES,
    DENSE,
    ENTRY_BITS,
    PLAIN,
    Layout,
    layouts,
    mode_sizes,
)
from oleaster.models.nerf.lookup import LARGEST_ELEMENT
from oleaster.models.nerf.scene import Scene
from oleaster.sim.nerf.renderer.design import FrameFigures, frame_figures
from oleaster.sim.nerf.renderer.image import scene_image
from oleaster.sim.nerf.renderer.model import (
    FrameCycles,
    Look,
    Sampler,
    cut_looks,
    frame_looks,
    render_cycles,
)
from oleaster.sim.nerf.renderer.product import RendererDesign
from oleaster.sim.performance.energy import load_energy

__all__ = ["BASE", "IDEAS", "Ablation", "Idea", "ablate", "tensor_bytes"]

BASE = "all ideas"
_ALL_MODES = DENSE, BITMAP, COORDINATES


class Idea(NamedTuple):
    """What a frame is rendered without, and what is there instead.

    modes: of chunks, those that a decoder knows; None: tensors are plain. sorts: samples are kept
    for that.
    """

    what: str
    terminate: bool = True
    sampler: Sampler = "slabs"
    blocks: bool = True
    modes: tuple[int, ...] | None = _ALL_MODES
    sorts: bool = False


IDEAS: dict[str, Idea] = {
    BASE: Idea("the renderer as the RTL has it"),
    "uniform sampling": Idea(
        "every sample of every ray reads its cube's bit, one in a cycle", sampler="uniform"
    ),
    "ball instead of slab": Idea(
        "rays are cut with the balls through cubes' corners", sampler="balls"
    ),
    "no block cull": Idea("every cube is projected for every tile", blocks=False),
    "no early stop": Idea("samples of dark pixels are computed, too", terminate=False),
    "no order": Idea(
        "cubes come in any order: no early stop, and samples are kept to be sorted",
        terminate=False,
        sorts=True,
    ),
    "dense": Idea("tensors are stored whole", modes=None),
    "pure bitmap": Idea("every chunk as a bitmap", modes=(BITMAP,)),
    "pure coordinate": Idea("every chunk as coordinates", modes=(COORDINATES,)),
    "no bitmap unit": Idea("chunks are dense or coordinates", modes=(DENSE, COORDINATES)),
    "no search tree": Idea("chunks are dense or bitmaps", modes=(DENSE, BITMAP)),
}
"""By name."""


@dataclass(frozen=True, eq=False)
class Ablation:
    """A frame without an idea. kept_bytes: of samples that wait for others, in the fullest tile."""

    name: str
    idea: Idea
    figures: FrameFigures
    kept_bytes: int


def ablate(
    scene: Scene,
    fixed: FixedScene,
    camera: Camera,
    design: RendererDesign,
    names: Iterable[str] = tuple(IDEAS),
    *,
    every: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Ablation]:
    """The frame without each idea in turn, BASE being with all of them. fixed: of the scene.
    every: of each row of tiles only each so-many-th, for what all of them would take a while.

    FieldError if the scene does not fit the design.
    """
    table = load_energy(design.energy)
    parts = scene_image(scene, fixed, design.config)
    own = sum(each.size_bits for each in parts.encoded.values()) // 8
    frames: dict[tuple[object, ...], FrameCycles] = {}
    for name in names:
        idea = IDEAS[name]
        look, size = frame_looks(parts.encoded), own
        if idea.modes != _ALL_MODES:
            look, size = _cut(parts.encoded, idea.modes, design.config.least_group)
        key = idea.terminate, idea.sampler, idea.blocks, idea.modes
        if key not in frames:
            frames[key] = render_cycles(
                fixed,
                look,
                camera,
                design.config,
                terminate=idea.terminate,
                sampler=idea.sampler,
                blocks=idea.blocks,
                image=False,
                every=every,
                report=report,
            )
        figures = frame_figures(design, frames[key], parts.bytes - own + size, table)
        kept = 0
        if idea.sorts:
            kept = int(frames[key].samples.max()) * -(-_sample_bits(design) // 8)
        yield Ablation(name, idea, figures, kept)


def tensor_bytes(
    encoded: Encoded, modes: tuple[int, ...] | None, least_group: int = 1
) -> tuple[int, Layout]:
    """Directory and payload if chunks are in the smallest of the modes, in the best layout whose
    elements have so many components or more."""
    codes = decode(encoded)
    if modes is None:
        return -(-codes.codes.size * codes.bits // 8), PLAIN
    least = min(least_group, encoded.components)

    def fits(group: int) -> bool:
        return group >= least and group * codes.bits <= LARGEST_ELEMENT

    best = None
    for layout in layouts(encoded.components):
        if layout == PLAIN or not fits(layout.group):
            continue
        sizes = mode_sizes(codes, layout)[:, list(modes)].min(axis=1)
        size = int(sizes.sum()) + ENTRY_BITS // 8 * len(sizes)
        if best is None or size < best[0]:
            best = size, layout
    assert best is not None  # a decoder's elements have room for least_group components
    return best


def _cut(
    encoded: Mapping[str, Encoded], modes: tuple[int, ...] | None, least_group: int
) -> tuple[Look, int]:
    found = {name: tensor_bytes(each, modes, least_group) for name, each in encoded.items()}
    cuts = {name: (encoded[name].components, layout) for name, (_, layout) in found.items()}
    return cut_looks(cuts), sum(size for size, _ in found.values())


def _sample_bits(design: RendererDesign) -> int:
    """Of a sample that waits: pixel, k, alpha, and its cells and weights for its colour."""
    config = design.config
    place = 3 * (config.cell_bits + config.fixed.weight_bits + 1)
    k = (LARGEST_COUNT - 1).bit_length()
    return 2 * config.tile_bits + k + config.fixed.transmittance_bits + 1 + place
