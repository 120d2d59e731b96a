# amaranth: UnusedElaboratable=no
"""Cube walker: from a mask and a camera to the samples of a tile, front to back."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.finder import CubeFinder, FindWord
from oleaster.hw.nerf.projector import Projector, ViewWord
from oleaster.hw.nerf.samples import LimitsWord, SampleGenerator, SampleWord, StepRay
from oleaster.hw.nerf.slabs import SlabRay, SlabUnit
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.renderer.config import block_word

__all__ = ["CubeWalker"]


class CubeWalker(Unit):
    """Cube finder, projector, slab unit and sample generator, one after the other.

    `FixedWalk` of `models/nerf/fixed/walk.py` is the reference: every sample of the tile that is in
    a non-zero cube, once, a ray's samples in order. Fewer pixels and points may be tested than
    there, where blocks are passed over. `sim/nerf/walker.py` is the cycle model. The store of rays
    is outside; it is read by two units, of which each needs a part.

    Parameters
    ----------
    config: FixedConfig
        position_bits, inverse_bits and inverse_address_bits count.
    axis_bits, word, depth, block_depth: int
        Of the memories of cubes and blocks, as in CubeFinder.
    cell_bits: int
        The field's last point is below 2**cell_bits.
    tile_bits: int
        A tile has 2**tile_bits pixels on a side.

    Members
    -------
    view, block_view, limits: In
        Constants of the frame, and the tile; stable in a walk.
    i: stream of FindWord, In
    o: stream of SampleWord, Out
        The tile's samples, then a word with `end`.
    cube_write_enable, cube_write_address, cube_write_data: In
    block_write_enable, block_write_address, block_write_data: In
        The memories of cubes and of blocks, not in a walk.
    slab_address, step_address: Out
        Pixels whose rays are wanted.
    slab_ray, dark, step_ray: In
        One cycle later.
    cube_found, pixel_tested, sample_tested, sample_dropped: Out(1)
        Events, for counters. cube_found: the projector is handed a cube.
    """

    def __init__(
        self,
        config: FixedConfig,
        axis_bits: int,
        word: int,
        depth: int,
        block_depth: int,
        cell_bits: int,
        tile_bits: int,
    ) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.word = word
        self.depth = depth
        self.block_depth = block_depth
        self.cell_bits = cell_bits
        self.tile_bits = tile_bits
        super().__init__(
            {
                "view": In(ViewWord()),
                "block_view": In(ViewWord()),
                "limits": In(LimitsWord(axis_bits, cell_bits)),
                "i": In(stream.Signature(FindWord(axis_bits))),
                "o": Out(stream.Signature(SampleWord(config, cell_bits, tile_bits))),
                "cube_write_enable": In(1),
                "cube_write_address": In(range(depth)),
                "cube_write_data": In(word),
                "block_write_enable": In(1),
                "block_write_address": In(range(block_depth)),
                "block_write_data": In(block_word(axis_bits)),
                "slab_address": Out(2 * tile_bits),
                "slab_ray": In(SlabRay(config)),
                "dark": In(1),
                "step_address": Out(2 * tile_bits),
                "step_ray": In(StepRay(config)),
                "cube_found": Out(1),
                "pixel_tested": Out(1),
                "sample_tested": Out(1),
                "sample_dropped": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"cube_walker_{'_'.join(map(str, self.parameters.values()))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "position_bits": self.config.position_bits,
            "inverse_bits": self.config.inverse_bits,
            "inverse_address_bits": self.config.inverse_address_bits,
            "axis_bits": self.axis_bits,
            "word": self.word,
            "depth": self.depth,
            "block_depth": self.block_depth,
            "cell_bits": self.cell_bits,
            "tile_bits": self.tile_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, axis_bits, tile_bits = self.config, self.axis_bits, self.tile_bits
        finder = CubeFinder(config, axis_bits, self.word, self.depth, self.block_depth, tile_bits)
        projector = Projector(config, axis_bits, tile_bits)
        slabs = SlabUnit(config, axis_bits, tile_bits)
        samples = SampleGenerator(config, axis_bits, self.cell_bits, tile_bits)
        place(
            m,
            "finder",
            finder,
            platform,
            block_view=self.block_view,
            cube_write_enable=self.cube_write_enable,
            cube_write_address=self.cube_write_address,
            cube_write_data=self.cube_write_data,
            block_write_enable=self.block_write_enable,
            block_write_address=self.block_write_address,
            block_write_data=self.block_write_data,
        )
        place(m, "projector", projector, platform, view=self.view)
        last_k = self.limits.last_k
        place(m, "slabs", slabs, platform, last_k=last_k, ray=self.slab_ray, dark=self.dark)
        place(m, "samples", samples, platform, limits=self.limits, ray=self.step_ray)
        links = [
            (self.i, finder.i),
            (finder.o, projector.i),
            (projector.o, slabs.i),
            (slabs.o, samples.i),
            (samples.o, self.o),
        ]
        for source, sink in links:
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        m.d.comb += [
            self.slab_address.eq(slabs.read_address),
            self.step_address.eq(samples.read_address),
            self.cube_found.eq(finder.o.valid & finder.o.ready & ~finder.o.payload.end),
            self.pixel_tested.eq(slabs.tested),
            self.sample_tested.eq(samples.tested),
            self.sample_dropped.eq(samples.dropped),
        ]
        return m
