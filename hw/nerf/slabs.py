"""Slab unit: a cube and its window of pixels to the ranges of samples that may lie in the cube."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.layouts import RayLayout
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.samples import K_SHAPE, RangeWord
from oleaster.models.nerf.fixed.walk import RANGE_BITS, RANGE_MARGIN
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, FixedConfig

__all__ = ["SlabRay", "SlabUnit", "WindowWord"]

# Of k where a ray meets a face: twice what any k has, with its sign, so that ends may saturate.
_FACE_BITS = RANGE_BITS + LARGEST_COUNT.bit_length() + 1


class WindowWord(data.StructLayout):
    """Pixels that may see a cube: columns left .. right and rows top .. bottom of the tile.

    `cell`: x, y, z of the cube. Both ends belong to the window, which is not empty. `end`: nothing
    follows in this walk, and the rest means nothing.
    """

    def __init__(self, axis_bits: int, tile_bits: int) -> None:
        super().__init__(
            {
                "cell": data.ArrayLayout(axis_bits, 3),
                "left": tile_bits,
                "top": tile_bits,
                "right": tile_bits,
                "bottom": tile_bits,
                "end": 1,
            }
        )


class SlabRay(data.StructLayout):
    """What is needed of a ray to cut it with a cube: four members of a RayLayout, in its order."""

    def __init__(self, config: FixedConfig) -> None:
        ray = RayLayout(config).members
        names = ("mask_base", "mask_delta", "inverse", "exponent")
        super().__init__({name: ray[name] for name in names})


class SlabUnit(Unit):
    """Cuts the rays of a window's pixels with the cube, one ray in every cycle.

    `FixedWalk.ranges` of `models/nerf/fixed/walk.py` is the reference, `sim/nerf/slabs.py` the
    cycle model. Pixels go row by row; those that are dark and those whose ray misses the cube are
    dropped. The next window follows without a gap.

    Parameters
    ----------
    config: FixedConfig
        position_bits, inverse_bits and direction_bits count.
    axis_bits: int
        The mask's lattice has up to 2**axis_bits cubes along an axis.
    tile_bits: int
        A tile has 2**tile_bits pixels on a side.

    Members
    -------
    last_k: In
        Samples on a ray, less 1; stable in a walk.
    i: stream of WindowWord, In
    o: stream of RangeWord, Out
    read_address: Out
        Pixel of the tile whose ray is wanted: its row above its column.
    ray: SlabRay, In
        One cycle after its address.
    dark: In(1)
        With `ray`: the pixel takes no more samples.
    tested: Out(1)
        A pixel is tested in this cycle.
    """

    def __init__(self, config: FixedConfig, axis_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.tile_bits = tile_bits
        super().__init__(
            {
                "last_k": In(K_SHAPE),
                "i": In(stream.Signature(WindowWord(axis_bits, tile_bits))),
                "o": Out(stream.Signature(RangeWord(axis_bits, tile_bits))),
                "read_address": Out(2 * tile_bits),
                "ray": In(SlabRay(config)),
                "dark": In(1),
                "tested": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"slab_unit_{_suffix(self)}"

    @property
    def parameters(self) -> dict[str, Any]:
        return _parameters(self)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cut = SlabCut(self.config, self.axis_bits, self.tile_bits)
        place(m, "cut", cut, platform, last_k=self.last_k, ray=self.ray, dark=self.dark)
        window = self.i.payload
        # The window stays at the input until its last pixel is taken.
        next_column = Signal(self.tile_bits, reset_less=True)
        next_row = Signal(self.tile_bits, reset_less=True)
        begun = Signal()
        steps = Signal()
        column = Signal(self.tile_bits)
        row = Signal(self.tile_bits)
        row_ends = Signal()
        m.d.comb += [
            column.eq(Mux(begun, next_column, window.left)),
            row.eq(Mux(begun, next_row, window.top)),
            row_ends.eq(column == window.right),
            cut.i.valid.eq(self.i.valid),
            cut.i.payload.cell.eq(window.cell),
            cut.i.payload.pixel.eq(Cat(column, row)),
            cut.i.payload.end.eq(window.end),
            self.i.ready.eq(cut.i.ready & (window.end | (row_ends & (row == window.bottom)))),
            steps.eq(cut.i.valid & cut.i.ready),
            self.read_address.eq(cut.i.payload.pixel),
            self.tested.eq(steps & ~window.end),
            self.o.valid.eq(cut.o.valid & cut.o.payload.kept),
            self.o.payload.eq(cut.o.payload.range),
            cut.o.ready.eq(self.o.ready | ~cut.o.payload.kept),
        ]
        with m.If(steps):
            m.d.sync += [
                begun.eq(~self.i.ready),
                next_column.eq(Mux(row_ends, window.left, column + 1)),
                next_row.eq(row + row_ends),
            ]
        return m


class SlabCut(Pipe):
    """A ray and a cube to a range of k, and whether there is one.

    Members
    -------
    last_k, ray, dark:
        As in SlabUnit; `ray` and `dark` belong to the word that was accepted a cycle before.
    i: stream of (cell, pixel, end), In
    o: stream of (range: RangeWord, kept), Out
    """

    def __init__(self, config: FixedConfig, axis_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.tile_bits = tile_bits
        super().__init__(
            data.StructLayout(
                {"cell": data.ArrayLayout(axis_bits, 3), "pixel": 2 * tile_bits, "end": 1}
            ),
            data.StructLayout({"range": RangeWord(axis_bits, tile_bits), "kept": 1}),
            latency=9,
            members={"last_k": In(K_SHAPE), "ray": In(SlabRay(config)), "dark": In(1)},
        )

    @property
    def module_name(self) -> str:
        return f"slab_cut_{_suffix(self)}"

    @property
    def parameters(self) -> dict[str, Any]:
        return _parameters(self)

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        word = delayed(m, word, 1, "word")
        faces = [self._faces(m, word.cell[axis], axis) for axis in range(3)]
        near = Signal(signed(_FACE_BITS), reset_less=True)
        far = Signal(signed(_FACE_BITS), reset_less=True)
        m.d.sync += [
            near.eq(_select(m, "near", [near for near, _ in faces], lambda a, b: a > b)),
            far.eq(_select(m, "far", [far for _, far in faces], lambda a, b: a < b)),
        ]
        first = (near + ((1 << RANGE_BITS) - 1 - RANGE_MARGIN)) >> RANGE_BITS
        last = (far + RANGE_MARGIN) >> RANGE_BITS
        start = Signal((Mux(first < 0, 0, first)).shape(), reset_less=True)
        end = Signal((Mux(last > self.last_k, self.last_k, last)).shape(), reset_less=True)
        m.d.sync += [
            start.eq(Mux(first < 0, 0, first)),
            end.eq(Mux(last > self.last_k, self.last_k, last)),
        ]
        late = delayed(m, word, self.latency - 2, "late")
        dark = delayed(m, self.dark, self.latency - 2, "dark")
        answer = Signal(self.o.payload.shape(), reset_less=True)
        m.d.sync += [
            answer.range.cell.eq(late.cell),
            answer.range.pixel.eq(late.pixel),
            answer.range.first.eq(start),
            answer.range.last.eq(end),
            answer.range.end.eq(late.end),
            answer.kept.eq(late.end | (~dark & (start <= end))),
        ]
        return answer

    def _faces(self, m: Module, cell: Any, axis: int) -> tuple[Any, Any]:
        """k at the nearer and the farther face of a cube along an axis, 5 cycles after its cell."""
        name = "xyz"[axis]
        position = self.config.position_bits
        base, delta = self.ray.mask_base[axis], self.ray.mask_delta[axis]
        inverse, exponent = self.ray.inverse[axis], self.ray.exponent[axis]

        def register(kind: str, value: Any) -> Any:
            found = Signal(value.shape(), name=f"{name}_{kind}", reset_less=True)
            m.d.sync += found.eq(value)
            return found

        low = register("low", (cell << position) - base)
        slope = register("slope", Mux(delta < 0, -inverse, inverse))
        # One bit less than asked for, which then rounds.
        shift = register("shift", (exponent - (RANGE_BITS + 1))[: len(exponent)])
        flat = delayed(m, register("flat", delta == 0), 3, f"{name}_flat")
        back = delayed(m, register("back", delta < 0), 3, f"{name}_back")

        low_face = register("low_product", low * slope)
        across = delayed(m, slope, 1, f"{name}_slope")
        shift = delayed(m, shift, 2, f"{name}_shift")
        high_face = register("high_face", low_face + (across << position))
        low_face = register("low_face", low_face)
        low_k = register("low_k", _saturated(low_face >> shift, _FACE_BITS))
        high_k = register("high_k", _saturated(high_face >> shift, _FACE_BITS))
        low_k, high_k = ((k + 1) >> 1 for k in (low_k, high_k))
        # Across an axis, also along a face, only the samples' own test can tell.
        least, most = -(1 << _FACE_BITS >> 1), (1 << _FACE_BITS >> 1) - 1
        near = Mux(flat, least, Mux(back, high_k, low_k))
        far = Mux(flat, most, Mux(back, low_k, high_k))
        return (
            register("near", near)[:_FACE_BITS].as_signed(),
            register("far", far)[:_FACE_BITS].as_signed(),
        )


def _select(m: Module, name: str, values: list[Any], better: Any) -> Any:
    """The best of three."""
    best = values[0]
    for i, value in enumerate(values[1:]):
        found = Signal(value.shape(), name=f"{name}_{i}")
        m.d.comb += found.eq(Mux(better(value, best), value, best))
        best = found
    return best


def _saturated(value: Any, bits: int) -> Any:
    """A signed value in so many bits, or the end of their range that is next to it."""
    above = value[bits - 1 :]
    fits = ~above.any() | above.all()
    least, most = -(1 << bits >> 1), (1 << bits >> 1) - 1
    return Mux(fits, value[:bits].as_signed(), Mux(value[-1], least, most))


def _suffix(unit: SlabUnit | SlabCut) -> str:
    return "_".join(map(str, _parameters(unit).values()))


def _parameters(unit: SlabUnit | SlabCut) -> dict[str, Any]:
    return {
        "position_bits": unit.config.position_bits,
        "inverse_bits": unit.config.inverse_bits,
        "axis_bits": unit.axis_bits,
        "tile_bits": unit.tile_bits,
    }
