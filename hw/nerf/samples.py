"""Sample generator: a range of k on a ray to the samples in the cube, with their coordinates."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.layouts import RayLayout
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, FixedConfig

__all__ = ["K_SHAPE", "LimitsWord", "RangeWord", "SampleGenerator", "SampleWord", "StepRay"]

K_SHAPE = range(LARGEST_COUNT)


class RangeWord(data.StructLayout):
    """Samples of a ray that may lie in a cube.

    `cell`: x, y, z of the cube. `pixel`: row and column in the tile, the column below. `first`,
    `last`: the range of k, not empty. `end`: nothing follows in this walk, and the rest means
    nothing.
    """

    def __init__(self, axis_bits: int, tile_bits: int) -> None:
        super().__init__(
            {
                "cell": data.ArrayLayout(axis_bits, 3),
                "pixel": 2 * tile_bits,
                "first": K_SHAPE,
                "last": K_SHAPE,
                "end": 1,
            }
        )


class SampleWord(data.StructLayout):
    """A sample in a non-zero cube.

    `pixel`, `k`: which. `final`: the last k of any ray. `at`: x, y, z on the field's lattice,
    unsigned, position_bits of fraction. `end`: nothing follows in this walk, and the rest means
    nothing.
    """

    def __init__(self, config: FixedConfig, cell_bits: int, tile_bits: int) -> None:
        super().__init__(
            {
                "pixel": 2 * tile_bits,
                "k": K_SHAPE,
                "final": 1,
                "at": data.ArrayLayout(cell_bits + config.position_bits, 3),
                "end": 1,
            }
        )


class LimitsWord(data.StructLayout):
    """`field_last`, `mask_last`: last points of both lattices. `last_k`: of the last sample."""

    def __init__(self, axis_bits: int, cell_bits: int) -> None:
        super().__init__(
            {
                "field_last": data.ArrayLayout(cell_bits, 3),
                "mask_last": data.ArrayLayout(axis_bits + 1, 3),
                "last_k": K_SHAPE,
            }
        )


class StepRay(data.StructLayout):
    """What is needed of a ray to find its samples: the first four members of a RayLayout."""

    def __init__(self, config: FixedConfig) -> None:
        ray = RayLayout(config).members
        names = ("field_base", "field_delta", "mask_base", "mask_delta")
        super().__init__({name: ray[name] for name in names})


class SampleGenerator(Unit):
    """Tests each k of a range, one in every cycle, and streams those whose cell is the cube.

    `FixedWalk.inside` of `models/nerf/fixed/walk.py` is the reference, `sim/nerf/samples.py` the
    cycle model. The next range follows without a gap.

    Parameters
    ----------
    config: FixedConfig
        position_bits counts.
    axis_bits, cell_bits: int
        The mask's lattice has up to 2**axis_bits cubes along an axis, the field's last point is
        below 2**cell_bits.
    tile_bits: int
        A tile has 2**tile_bits pixels on a side.

    Members
    -------
    limits: LimitsWord, In
        Stable in a walk.
    i: stream of RangeWord, In
    o: stream of SampleWord, Out
    read_address: Out
        Pixel whose ray is wanted.
    ray: StepRay, In
        One cycle after its address.
    tested, dropped: Out(1)
        A k is tested in this cycle; one is found not to lie in the cube.
    """

    def __init__(self, config: FixedConfig, axis_bits: int, cell_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.cell_bits = cell_bits
        self.tile_bits = tile_bits
        super().__init__(
            {
                "limits": In(LimitsWord(axis_bits, cell_bits)),
                "i": In(stream.Signature(RangeWord(axis_bits, tile_bits))),
                "o": Out(stream.Signature(SampleWord(config, cell_bits, tile_bits))),
                "read_address": Out(2 * tile_bits),
                "ray": In(StepRay(config)),
                "tested": Out(1),
                "dropped": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        widths = self.config.position_bits, self.axis_bits, self.cell_bits, self.tile_bits
        return f"sample_generator_{'_'.join(map(str, widths))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "position_bits": self.config.position_bits,
            "axis_bits": self.axis_bits,
            "cell_bits": self.cell_bits,
            "tile_bits": self.tile_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        test = SampleTest(self.config, self.axis_bits, self.cell_bits, self.tile_bits)
        place(m, "test", test, platform, limits=self.limits, ray=self.ray)
        word = self.i.payload
        # The range stays at the input until its last sample is under test.
        next_k = Signal(K_SHAPE, reset_less=True)
        begun = Signal()
        steps = Signal()
        m.d.comb += [
            steps.eq(test.i.valid & test.i.ready),
            test.i.valid.eq(self.i.valid),
            test.i.payload.cell.eq(word.cell),
            test.i.payload.pixel.eq(word.pixel),
            test.i.payload.k.eq(Mux(begun, next_k, word.first)),
            test.i.payload.end.eq(word.end),
            self.i.ready.eq(test.i.ready & (word.end | (test.i.payload.k == word.last))),
            self.read_address.eq(word.pixel),
            self.tested.eq(steps & ~word.end),
            self.dropped.eq(test.o.valid & ~test.o.payload.kept),
            self.o.valid.eq(test.o.valid & test.o.payload.kept),
            self.o.payload.eq(test.o.payload.sample),
            test.o.ready.eq(self.o.ready | ~test.o.payload.kept),
        ]
        with m.If(steps):
            m.d.sync += [next_k.eq(test.i.payload.k + 1), begun.eq(~self.i.ready)]
        return m


class SampleTest(Pipe):
    """Samples' coordinates on both lattices, and whether they lie in the box and in the cube.

    Members
    -------
    limits, ray:
        As in SampleGenerator; `ray` belongs to the word that was accepted a cycle before.
    i: stream of (cell, pixel, k, end), In
    o: stream of (sample: SampleWord, kept), Out
    """

    def __init__(self, config: FixedConfig, axis_bits: int, cell_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.cell_bits = cell_bits
        self.tile_bits = tile_bits
        super().__init__(
            data.StructLayout(
                {
                    "cell": data.ArrayLayout(axis_bits, 3),
                    "pixel": 2 * tile_bits,
                    "k": K_SHAPE,
                    "end": 1,
                }
            ),
            data.StructLayout({"sample": SampleWord(config, cell_bits, tile_bits), "kept": 1}),
            latency=4,
            members={
                "limits": In(LimitsWord(axis_bits, cell_bits)),
                "ray": In(StepRay(config)),
            },
        )

    @property
    def module_name(self) -> str:
        widths = self.config.position_bits, self.axis_bits, self.cell_bits, self.tile_bits
        return f"sample_test_{'_'.join(map(str, widths))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "position_bits": self.config.position_bits,
            "axis_bits": self.axis_bits,
            "cell_bits": self.cell_bits,
            "tile_bits": self.tile_bits,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        word = delayed(m, word, 1, "word")
        late = delayed(m, word, 2, "late")
        answer = Signal(self.o.payload.shape(), reset_less=True)
        sample = answer.sample
        kept = late.end
        inside = []
        for axis in range(3):
            for lattice in ("field", "mask"):
                at = self._at(m, word.k, lattice, axis)
                whole = at >> self.config.position_bits
                on_point = at[: self.config.position_bits] == 0
                last = self.limits[f"{lattice}_last"][axis]
                inside.append((at >= 0) & ((whole < last) | ((whole == last) & on_point)))
                if lattice == "field":
                    m.d.sync += sample.at[axis].eq(at)
                else:
                    # The last cube has its upper face, too.
                    in_cube = Signal(name=f"in_cube_{axis}")
                    m.d.comb += in_cube.eq(Mux(whole < last, whole, last - 1) == late.cell[axis])
                    inside.append(in_cube)
        for each in inside[1:]:
            inside[0] = inside[0] & each
        m.d.sync += [
            sample.pixel.eq(late.pixel),
            sample.k.eq(late.k),
            sample.final.eq(late.k == self.limits.last_k),
            sample.end.eq(late.end),
            answer.kept.eq(kept | inside[0]),
        ]
        return answer

    def _at(self, m: Module, k: Any, lattice: str, axis: int) -> Any:
        """A coordinate, two cycles after its k."""
        base, delta = self.ray[f"{lattice}_base"][axis], self.ray[f"{lattice}_delta"][axis]
        name = f"{lattice}_{'xyz'[axis]}"
        way = Signal((k * delta).shape(), name=f"{name}_way", reset_less=True)
        start = delayed(m, base, 1, f"{name}_start")
        at = Signal((start + way).shape(), name=name, reset_less=True)
        m.d.sync += [way.eq(k * delta), at.eq(start + way)]
        return at
