# amaranth: UnusedElaboratable=no
"""Cube finder: the cubes that a tile may see, front to back, by way of blocks of cubes."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.cubes import CubeStreamer, CubeWord
from oleaster.hw.nerf.projector import Projector, ViewWord
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.renderer.config import BLOCK, BLOCK_BITS, block_word

__all__ = ["CubeFinder", "FindWord"]


class FindWord(data.StructLayout):
    """A walk through all of a lattice: `size` and `home` of a WalkWord."""

    def __init__(self, axis_bits: int) -> None:
        super().__init__(
            {
                "size": data.ArrayLayout(axis_bits + 1, 3),
                "home": data.ArrayLayout(signed(axis_bits + 2), 3),
            }
        )


class CubeFinder(Unit):
    """Streams the non-zero cubes of those blocks of 8 x 8 x 8 cubes that the tile may see (ours).

    Blocks are walked and projected like cubes, on a lattice of their own; each whose window meets
    the tile is a walk of the streamer of cubes. `models/nerf/fixed/blocks.py` is the reference,
    `sim/nerf/finder.py` the cycle model.

    No ray goes back: along each axis its cell only moves away from the camera's, so does its block
    from the camera's block, and both levels walk outwards from there.

    No sample is lost: a sample in a cube is less than SLACK / 2 from the exact ray of its pixel
    (`make_frame`), which therefore meets the cube's block, widened by SLACK / 2. The window holds
    all pixels whose exact rays meet the block widened by SLACK; the other SLACK / 2 is for the
    rounding of its corners. So the pixel is in the block's window, and a tile that has the pixel
    sees the block. A cube of a block that is not seen may have a window in the tile, by the same
    margins; no sample of it is in the tile.

    Parameters
    ----------
    config: FixedConfig
        inverse_bits and inverse_address_bits count.
    axis_bits: int
        The lattice has up to 2**axis_bits cubes along an axis; at least 5.
    word, depth: int
        Of the memory of cubes, as in CubeStreamer.
    block_depth: int
        Words of the memory of blocks, of `block_word` bits.
    tile_bits: int
        A tile has 2**tile_bits pixels on a side.

    Members
    -------
    block_view: ViewWord, In
        That of blocks (`project_blocks`), and the tile; stable in a walk.
    i: stream of FindWord, In
        A walk; taken when the one before has ended.
    o: stream of CubeWord, Out
        Its cubes, then a word with `end`.
    cube_write_enable, cube_write_address, cube_write_data: In
        The memory of cubes, as in CubeStreamer.
    block_write_enable, block_write_address, block_write_data: In
        That of blocks, laid out alike: a block's bit is set if one of its cubes' is.
    """

    def __init__(
        self,
        config: FixedConfig,
        axis_bits: int,
        word: int,
        depth: int,
        block_depth: int,
        tile_bits: int,
    ) -> None:
        if axis_bits < BLOCK_BITS + 2:
            raise ValueError(f"axis_bits is {axis_bits}; blocks need {BLOCK_BITS + 2} at least")
        self.config = config
        self.axis_bits = axis_bits
        self.word = word
        self.depth = depth
        self.block_depth = block_depth
        self.tile_bits = tile_bits
        super().__init__(
            {
                "block_view": In(ViewWord()),
                "i": In(stream.Signature(FindWord(axis_bits))),
                "o": Out(stream.Signature(CubeWord(axis_bits))),
                "cube_write_enable": In(1),
                "cube_write_address": In(range(depth)),
                "cube_write_data": In(word),
                "block_write_enable": In(1),
                "block_write_address": In(range(block_depth)),
                "block_write_data": In(block_word(axis_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"cube_finder_{'_'.join(map(str, self.parameters.values()))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "inverse_bits": self.config.inverse_bits,
            "inverse_address_bits": self.config.inverse_address_bits,
            "axis_bits": self.axis_bits,
            "word": self.word,
            "depth": self.depth,
            "block_depth": self.block_depth,
            "tile_bits": self.tile_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        block_bits = self.axis_bits - BLOCK_BITS
        blocks = CubeStreamer(block_bits, block_word(self.axis_bits), self.block_depth)
        projector = Projector(self.config, block_bits, self.tile_bits)
        cubes = CubeStreamer(self.axis_bits, self.word, self.depth)
        for name, streamer in (("block", blocks), ("cube", cubes)):
            writes = {
                f"write_{port}": getattr(self, f"{name}_write_{port}")
                for port in ("enable", "address", "data")
            }
            place(m, f"{name}_streamer", streamer, platform, **writes)
        place(m, "projector", projector, platform, view=self.block_view)
        m.d.comb += [
            projector.i.payload.eq(blocks.o.payload),
            projector.i.valid.eq(blocks.o.valid),
            blocks.o.ready.eq(projector.i.ready),
        ]
        lattice = Signal(self.i.payload.shape(), reset_less=True)
        finding = Signal()
        self._walk_blocks(m, blocks, lattice, finding)
        self._walk_cubes(m, projector, cubes, lattice, finding)
        return m

    def _walk_blocks(self, m: Module, blocks: CubeStreamer, lattice: Any, finding: Signal) -> None:
        whole, walk = self.i.payload, blocks.i.payload
        m.d.comb += [
            blocks.i.valid.eq(self.i.valid & ~finding),
            self.i.ready.eq(blocks.i.ready & ~finding),
            walk.octants.eq(0),
        ]
        for axis in range(3):
            m.d.comb += [
                walk.size[axis].eq((whole.size[axis] + (BLOCK - 1)) >> BLOCK_BITS),
                walk.home[axis].eq(whole.home[axis] >> BLOCK_BITS),
                walk.low[axis].eq(0),
                walk.high[axis].eq(((whole.size[axis] - 1) >> BLOCK_BITS)[: len(walk.high[axis])]),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [lattice.eq(whole), finding.eq(1)]

    def _walk_cubes(
        self,
        m: Module,
        projector: Projector,
        cubes: CubeStreamer,
        lattice: Any,
        finding: Signal,
    ) -> None:
        """A walk for each block's window; their ends are swallowed, but for the blocks' own."""
        window, walk, cube = projector.o.payload, cubes.i.payload, cubes.o.payload
        ends = Signal()
        m.d.comb += [
            # The streamer is idle: it has handed over its last cube.
            ends.eq(projector.o.valid & window.end & cubes.i.ready),
            cubes.i.valid.eq(projector.o.valid & ~window.end),
            projector.o.ready.eq(cubes.i.ready & (self.o.ready | ~window.end)),
            walk.size.eq(lattice.size),
            walk.home.eq(lattice.home),
            walk.octants.eq(0),
            self.o.valid.eq((cubes.o.valid & ~cube.end) | ends),
            cubes.o.ready.eq(self.o.ready | cube.end),
            self.o.payload.cell.eq(cube.cell),
            self.o.payload.end.eq(ends),
        ]
        for axis in range(3):
            first = Signal(self.axis_bits, name=f"first_{'xyz'[axis]}")
            last = Signal(self.axis_bits, name=f"last_{'xyz'[axis]}")
            most = Signal(self.axis_bits, name=f"most_{'xyz'[axis]}")
            m.d.comb += [
                first.eq(window.cell[axis] << BLOCK_BITS),
                last.eq(first | (BLOCK - 1)),
                most.eq((lattice.size[axis] - 1)[: self.axis_bits]),
                walk.low[axis].eq(first),
                walk.high[axis].eq(Mux(last > most, most, last)),
            ]
        with m.If(ends & self.o.ready):
            m.d.sync += finding.eq(0)
