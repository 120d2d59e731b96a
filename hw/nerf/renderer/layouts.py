"""Packed words of the renderer as a whole."""

from __future__ import annotations

from amaranth import Shape, signed
from amaranth.lib import data

from oleaster.hw.nerf.cubes import WalkWord
from oleaster.hw.nerf.density import ScaleLayout
from oleaster.hw.nerf.layouts import FrameLayout
from oleaster.hw.nerf.projector import ViewWord
from oleaster.hw.nerf.samples import LimitsWord
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.lookup import ELEMENT_BITS, GROUP_BITS
from oleaster.models.nerf.renderer.config import CODE_BITS, RendererConfig
from oleaster.models.nerf.renderer.events import EVENTS
from oleaster.models.nerf.renderer.targets import (
    ITEM_BITS,
    PAIRS,
    TARGET_BITS,
    WRITE_ADDRESS_BITS,
)

__all__ = [
    "ConstantsWord",
    "EventsWord",
    "PairWord",
    "ProjectionWord",
    "TileWord",
    "WriteWord",
]


class WriteWord(data.StructLayout):
    """An item for one of the memories (`Target`); `data` of 64 bits are the lowest ones."""

    def __init__(self) -> None:
        super().__init__(
            {"target": TARGET_BITS, "address": WRITE_ADDRESS_BITS, "data": ITEM_BITS[0]}
        )


class TileWord(data.StructLayout):
    """The first column and row of a tile."""

    def __init__(self) -> None:
        super().__init__({"left": PIXEL_BITS, "top": PIXEL_BITS})


class EventsWord(data.StructLayout):
    """A bit for each of `EVENTS`."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(EVENTS, 1))


class PairWord(data.StructLayout):
    """How a pair's plane and line are cut: groups of a cell, bits of an element, bits of a code."""

    def __init__(self) -> None:
        tensor = data.StructLayout(
            {"groups": GROUP_BITS, "element": ELEMENT_BITS, "bits": CODE_BITS}
        )
        super().__init__({"plane": tensor, "line": tensor})


class ProjectionWord(data.StructLayout):
    """`Projection`: the first two members of a ViewWord."""

    def __init__(self) -> None:
        view = ViewWord().members
        super().__init__({name: view[name] for name in ("steps", "corners")})


class ConstantsWord(data.StructLayout):
    """What is constant while a frame is rendered.

    `cubes`, `blocks`: projections of both lattices. `size`, `home`: of the walk through cubes.
    `scale`: of each pair's density. `alpha_lowest`, `alpha_shift`: of the table of alpha. `dark`,
    `threshold`, `white`: of the shader and of the compositor.
    """

    def __init__(self, config: RendererConfig) -> None:
        walk = WalkWord(config.axis_bits).members
        share = config.fixed.transmittance_bits + 1
        super().__init__(
            {
                "frame": FrameLayout(config.fixed),
                "cubes": ProjectionWord(),
                "blocks": ProjectionWord(),
                "width": PIXEL_BITS + 1,
                "height": PIXEL_BITS + 1,
                "size": walk["size"],
                "home": walk["home"],
                "limits": LimitsWord(config.axis_bits, config.cell_bits),
                "density": data.ArrayLayout(PairWord(), PAIRS),
                "color": data.ArrayLayout(PairWord(), PAIRS),
                "scale": data.ArrayLayout(ScaleLayout(), PAIRS),
                "alpha_lowest": signed(config.alpha_sum_bits),
                "alpha_shift": Shape.cast(range(config.alpha_largest_shift + 1)),
                "dark": share,
                "threshold": share,
                "white": 1,
            }
        )
