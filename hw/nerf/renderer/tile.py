# amaranth: UnusedElaboratable=no
"""A tile's pipeline: from its place in the image to its pixels."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from oleaster.hw.emit import Unit, named, place
from oleaster.hw.nerf.compositor import Compositor
from oleaster.hw.nerf.features import SampleAddress
from oleaster.hw.nerf.layouts import RayLayout
from oleaster.hw.nerf.projector import ViewWord
from oleaster.hw.nerf.rays import RayGenerator
from oleaster.hw.nerf.renderer.alpha import AlphaUnit
from oleaster.hw.nerf.renderer.color_bank import ColorBank
from oleaster.hw.nerf.renderer.color_features import ColorFeatures
from oleaster.hw.nerf.renderer.layouts import ConstantsWord, EventsWord, TileWord, WriteWord
from oleaster.hw.nerf.renderer.taps import TapReader
from oleaster.hw.nerf.shader import Shader
from oleaster.hw.nerf.walker import CubeWalker
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS, Target

__all__ = ["TileRenderer"]


class TileRenderer(Unit):
    """Renders one tile after the other (DESIGN section 4; ours).

    `FixedScene.render` of `models/nerf/fixed/render.py` is the reference, for a tile of an image;
    `sim/nerf/renderer/model.py` has the cycles. A tile's rays are made and stored first; then the
    cubes that it may see are walked, front to back, and their samples pass density, light and
    colour one behind the other; its pixels are handed out when the last one has.

    Parameters
    ----------
    config: RendererConfig

    Members
    -------
    constants: ConstantsWord, In
        Of the frame; stable while a tile is rendered.
    tile: stream of TileWord, In
        Taken when the tile before has handed out its last pixel.
    pixel: stream of 3 bytes, Out
        Red, green and blue of the tile's pixels, row by row, those beyond the image included.
    write: WriteWord, In; write_valid: In
        An item for a memory, while no tile is rendered.
    faults: Out
        Of the decoders, as `Fault`, those of density first; sticky. clear: In
    events: EventsWord, Out
    """

    def __init__(self, config: RendererConfig) -> None:
        self.config = config
        super().__init__(
            {
                "constants": In(ConstantsWord(config)),
                "tile": In(stream.Signature(TileWord())),
                "pixel": Out(stream.Signature(data.ArrayLayout(8, 3))),
                "write": In(WriteWord()),
                "write_valid": In(1),
                "faults": Out(2 * PAIRS * len(Fault)),
                "clear": In(1),
                "events": Out(EventsWord()),
            }
        )

    @property
    def module_name(self) -> str:
        return f"tile_renderer_{self.config.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return self.config.parameters

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, fixed, constants = self.config, self.config.fixed, self.constants
        tile = Signal(TileWord(), reset_less=True)
        rays = RayGenerator(fixed)
        walker = CubeWalker(
            fixed,
            config.axis_bits,
            config.cube_word,
            config.cube_depth,
            config.block_depth,
            config.cell_bits,
            config.tile_bits,
        )
        address = SampleAddress(
            config.cell_bits, fixed.position_bits, fixed.weight_bits, 2 * config.tile_bits + 2
        )
        sample_tag, color_tag = _sample_tag(config), _color_tag(config)
        density = TapReader(
            config, config.density_components, config.density_words, sample_tag.size
        )
        alpha = AlphaUnit(config, sample_tag.size)
        shader = Shader(config.pixels, fixed.transmittance_bits, _cells(config).size)
        color = TapReader(config, config.color_components, config.color_words, color_tag.size)
        features = ColorFeatures(config, color_tag.size)
        network = ColorBank(config, color_tag.size)
        compositor = Compositor(config.pixels, fixed.transmittance_bits, fixed.color_bits)

        place(m, "rays", rays, platform, frame=constants.frame)
        place(
            m,
            "walker",
            walker,
            platform,
            view=self._view(m, "cubes", tile),
            block_view=self._view(m, "blocks", tile),
            limits=constants.limits,
            dark=shader.is_dark,
            **self._writes("cube_write", Target.CUBES, walker),
            **self._writes("block_write", Target.BLOCKS, walker),
        )
        place(m, "address", address, platform, last=constants.limits.field_last)
        for name, unit, blob, row in (
            ("density", density, Target.DENSITY_BLOB, Target.DENSITY_ROW),
            ("color", color, Target.COLOR_BLOB, Target.COLOR_ROW),
        ):
            place(
                m,
                name,
                unit,
                platform,
                pairs=getattr(constants, name),
                blob_write=Cat(self._writing(blob + pair) for pair in range(PAIRS)),
                row_write=Cat(self._writing(row + pair) for pair in range(PAIRS)),
                write_address=self.write.address[: len(unit.write_address)],
                write_data=self.write.data,
                clear=self.clear,
            )
        place(
            m,
            "alpha",
            alpha,
            platform,
            scale=constants.scale,
            lowest=constants.alpha_lowest,
            shift=constants.alpha_shift,
            **self._writes("write", Target.ALPHA, alpha),
        )
        place(
            m,
            "shader",
            shader,
            platform,
            dark=constants.dark,
            threshold=constants.threshold,
            look=walker.slab_address,
        )
        place(m, "features", features, platform)
        place(m, "network", network, platform, **self._writes("write", Target.COLOR, network))
        place(m, "compositor", compositor, platform, white=constants.white)

        connect(m, density.o, alpha.i)
        connect(m, color.o, features.i)
        connect(m, features.o, network.i)
        connect(m, shader.light, compositor.light)
        connect(m, compositor.o, flipped(self.pixel))
        self._to_density(m, walker, address, density)
        self._to_color(m, alpha, shader, color)
        self._to_pixels(m, network, compositor)
        self._store(m, rays, walker, features)
        self._control(m, tile, rays, walker)
        m.d.comb += self.faults.eq(Cat(density.faults, color.faults))
        self._events(m, walker, density, color, features)
        return m

    def _view(self, m: Module, lattice: str, tile: Any) -> Any:
        """Where cubes or blocks are seen, and the tile."""
        constants, side = self.constants, 1 << self.config.tile_bits
        view = Signal(ViewWord(), name=f"view_of_{lattice}")
        projection = getattr(constants, lattice)
        right = Signal(PIXEL_BITS + 1, name=f"right_of_{lattice}")
        bottom = Signal(PIXEL_BITS + 1, name=f"bottom_of_{lattice}")
        m.d.comb += [
            right.eq(tile.left + side),
            bottom.eq(tile.top + side),
            view.steps.eq(projection.steps),
            view.corners.eq(projection.corners),
            view.width.eq(constants.width),
            view.height.eq(constants.height),
            view.left.eq(tile.left),
            view.top.eq(tile.top),
            view.right.eq(Mux(right > constants.width, constants.width, right)),
            view.bottom.eq(Mux(bottom > constants.height, constants.height, bottom)),
        ]
        return view

    def _writing(self, target: int) -> Value:
        return self.write_valid & (self.write.target == target)

    def _writes(self, prefix: str, target: Target, unit: Any) -> dict[str, Value]:
        """A unit's write port, for one target."""
        address, word = getattr(unit, f"{prefix}_address"), getattr(unit, f"{prefix}_data")
        bits = Value.cast(word).shape().width
        found = self.write.data[:bits]
        if not isinstance(word, Value):
            found = data.View(word.shape(), found)
        return {
            f"{prefix}_enable": self._writing(target),
            f"{prefix}_address": self.write.address[: len(address)],
            f"{prefix}_data": found,
        }

    def _to_density(
        self, m: Module, walker: CubeWalker, address: SampleAddress, density: TapReader
    ) -> None:
        word = walker.o.payload
        tag = data.View(_sample_tag(self.config), density.i.payload.tag)
        m.d.comb += [
            address.i.payload.at.eq(word.at),
            address.i.payload.tag.eq(Cat(word.pixel, word.final, word.end)),
            address.i.valid.eq(walker.o.valid),
            walker.o.ready.eq(address.i.ready),
        ]
        found = address.o.payload
        m.d.comb += [
            Cat(tag.pixel, tag.final, density.i.payload.end).eq(found.tag),
            tag.cells.cell.eq(found.cell),
            tag.cells.weight.eq(found.weight),
            density.i.payload.cell.eq(found.cell),
            density.i.payload.weight.eq(found.weight),
            density.i.valid.eq(address.o.valid),
            address.o.ready.eq(density.i.ready),
        ]

    def _to_color(self, m: Module, alpha: AlphaUnit, shader: Shader, color: TapReader) -> None:
        found, seen = alpha.o.payload, shader.o.payload
        tag = data.View(_sample_tag(self.config), found.tag)
        m.d.comb += [
            shader.i.payload.pixel.eq(tag.pixel),
            shader.i.payload.alpha.eq(found.alpha),
            shader.i.payload.last.eq(tag.final),
            shader.i.payload.end.eq(found.end),
            shader.i.payload.tag.eq(tag.cells),
            shader.i.valid.eq(alpha.o.valid),
            alpha.o.ready.eq(shader.i.ready),
        ]
        cells = data.View(_cells(self.config), seen.tag)
        color_tag = data.View(_color_tag(self.config), color.i.payload.tag)
        m.d.comb += [
            color.i.payload.cell.eq(cells.cell),
            color.i.payload.weight.eq(cells.weight),
            color.i.payload.end.eq(seen.end),
            color_tag.pixel.eq(seen.pixel),
            color_tag.share.eq(seen.weight),
            color.i.valid.eq(shader.o.valid),
            shader.o.ready.eq(color.i.ready),
        ]

    def _to_pixels(self, m: Module, network: ColorBank, compositor: Compositor) -> None:
        word = network.o.payload
        tag = data.View(_color_tag(self.config), word.tag)
        m.d.comb += [
            compositor.i.payload.pixel.eq(tag.pixel),
            compositor.i.payload.weight.eq(tag.share),
            compositor.i.payload.color.eq(word.color),
            compositor.i.payload.end.eq(word.end),
            compositor.i.valid.eq(network.o.valid),
            network.o.ready.eq(compositor.i.ready),
        ]

    def _store(
        self, m: Module, rays: RayGenerator, walker: CubeWalker, features: ColorFeatures
    ) -> None:
        """The tile's rays: of each reader what it needs."""
        layout, pixels = RayLayout(self.config.fixed), self.config.pixels
        m.submodules.ray_store = store = Memory(shape=layout, depth=pixels, init=[])
        write = named(store.write_port(), "write")
        stored = Signal(range(pixels))
        m.d.comb += [
            rays.o.ready.eq(1),
            write.addr.eq(stored),
            write.data.eq(rays.o.payload),
            write.en.eq(rays.o.valid),
        ]
        with m.If(rays.o.valid):
            m.d.sync += stored.eq(stored + 1)
        for name, address, word in (
            ("slab", walker.slab_address, walker.slab_ray),
            ("step", walker.step_address, walker.step_ray),
            ("direction", features.read_address, None),
        ):
            read = named(store.read_port(), f"read_{name}")
            m.d.comb += [read.addr.eq(address), read.en.eq(1)]
            if word is None:
                m.d.comb += features.direction.eq(read.data.direction)
            else:
                for part in word.shape().members:
                    m.d.comb += getattr(word, part).eq(getattr(read.data, part))

    def _control(self, m: Module, tile: Any, rays: RayGenerator, walker: CubeWalker) -> None:
        """Rays, then the walk, then the pixels."""
        bits, pixels = self.config.tile_bits, self.config.pixels
        asked = Signal(range(pixels))
        stored = Signal(range(pixels), name="rays_stored")
        given = Signal(range(pixels))
        m.d.comb += [
            rays.i.payload.row.eq(tile.top + asked[bits:]),
            rays.i.payload.column.eq(tile.left + asked[:bits]),
            walker.i.payload.size.eq(self.constants.size),
            walker.i.payload.home.eq(self.constants.home),
        ]
        with m.If(rays.i.valid & rays.i.ready):
            m.d.sync += asked.eq(asked + 1)
        with m.If(rays.o.valid):
            m.d.sync += stored.eq(stored + 1)
        with m.If(self.pixel.valid & self.pixel.ready):
            m.d.sync += given.eq(given + 1)
        asking = Signal()
        m.d.comb += rays.i.valid.eq(asking)
        with m.If(rays.i.ready & (asked == pixels - 1)):
            m.d.sync += asking.eq(0)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.tile.ready.eq(1)
                with m.If(self.tile.valid):
                    m.d.sync += [tile.eq(self.tile.payload), asking.eq(1)]
                    m.next = "rays"
            with m.State("rays"), m.If(rays.o.valid & (stored == pixels - 1)):
                m.next = "walk"
            with m.State("walk"):
                m.d.comb += walker.i.valid.eq(1)
                with m.If(walker.i.ready):
                    m.next = "pixels"
            with (
                m.State("pixels"),
                m.If(self.pixel.valid & self.pixel.ready & (given == pixels - 1)),
            ):
                m.next = "idle"

    def _events(
        self,
        m: Module,
        walker: CubeWalker,
        density: TapReader,
        color: TapReader,
        features: ColorFeatures,
    ) -> None:
        happened = {
            "pixel_tested": walker.pixel_tested,
            "sample_tested": walker.sample_tested,
            "sample_dropped": walker.sample_dropped,
            "sample": density.i.valid & density.i.ready & ~density.i.payload.end,
            "density_read": density.read,
            "color_sample": color.i.valid & color.i.ready & ~color.i.payload.end,
            "color_read": color.read,
            "color_waits": features.o.valid & ~features.o.ready,
        }
        m.d.comb += [self.events[name].eq(bit) for name, bit in happened.items()]


def _cells(config: RendererConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "cell": data.ArrayLayout(config.cell_bits, 3),
            "weight": data.ArrayLayout(config.fixed.weight_bits + 1, 3),
        }
    )


def _sample_tag(config: RendererConfig) -> data.StructLayout:
    """final: the last sample of any ray. cells: for its colour."""
    return data.StructLayout({"pixel": 2 * config.tile_bits, "final": 1, "cells": _cells(config)})


def _color_tag(config: RendererConfig) -> data.StructLayout:
    """share: the sample's weight."""
    share = config.fixed.transmittance_bits + 1
    return data.StructLayout({"pixel": 2 * config.tile_bits, "share": share})
