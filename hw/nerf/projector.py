"""Projector: a cube to the window of a tile's pixels that may see it."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.cubes import CubeWord
from oleaster.hw.nerf.inverse import ReciprocalStages
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.slabs import WindowWord
from oleaster.models.nerf.fixed.walk import (
    DEPTH_BITS,
    NEAREST_DEPTH,
    WINDOW_BITS,
    WINDOW_MARGIN,
)
from oleaster.models.nerf.fixed.widths import PIXEL_BITS, FixedConfig
from oleaster.models.nerf.fixed.words import corner_fields

__all__ = ["CornerLayout", "Projector", "ViewWord"]

_CORNERS = 8
# Of a coordinate clipped to half an image and 2 pixels, times its depth's mantissa, and its sign.
_SCALED_WIDTH = DEPTH_BITS + 1 + ((1 << PIXEL_BITS >> 1) + 2).bit_length() + 1
_ROWS = tuple(corner_fields())
_SIDES = (("right", "width", "left", "right"), ("down", "height", "top", "bottom"))


class CornerLayout(data.StructLayout):
    """A corner in the camera's coordinates, as `Projection` has them."""

    def __init__(self) -> None:
        super().__init__({name: signed(number.bits) for name, number in corner_fields().items()})


class ViewWord(data.StructLayout):
    """Where cubes are seen: constants of a frame, and the tile.

    `steps` along x, y, z, and `corners`: of `Projection`, a row each. `width`, `height`: the
    image's pixels. `left`, `top`: the tile's first column and row; `right`, `bottom`: one past its
    last in the image.
    """

    def __init__(self) -> None:
        corner = CornerLayout()
        super().__init__(
            {
                "steps": data.ArrayLayout(corner, 3),
                "corners": data.ArrayLayout(corner, _CORNERS),
                "width": PIXEL_BITS + 1,
                "height": PIXEL_BITS + 1,
                "left": PIXEL_BITS,
                "top": PIXEL_BITS,
                "right": PIXEL_BITS + 1,
                "bottom": PIXEL_BITS + 1,
            }
        )


class Projector(Unit):
    """Finds the windows of cubes, one every 8 cycles: its corners in turn share one reciprocal.

    `FixedWalk.windows` of `models/nerf/fixed/walk.py`, clipped to the tile, is the reference,
    `sim/nerf/projector.py` the cycle model. Cubes without a window in the tile are dropped.

    Parameters
    ----------
    config: FixedConfig
        inverse_bits and inverse_address_bits count.
    axis_bits: int
        The mask's lattice has up to 2**axis_bits cubes along an axis.
    tile_bits: int
        A tile has 2**tile_bits pixels on a side.

    Members
    -------
    view: ViewWord, In
        Stable in a walk.
    i: stream of CubeWord, In
    o: stream of WindowWord, Out
    """

    def __init__(self, config: FixedConfig, axis_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.tile_bits = tile_bits
        super().__init__(
            {
                "view": In(ViewWord()),
                "i": In(stream.Signature(CubeWord(axis_bits))),
                "o": Out(stream.Signature(WindowWord(axis_bits, tile_bits))),
            }
        )

    @property
    def module_name(self) -> str:
        return f"projector_{_suffix(self)}"

    @property
    def parameters(self) -> dict[str, Any]:
        return _parameters(self)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spans = CornerSpans(self.config, self.axis_bits, self.tile_bits)
        place(m, "spans", spans, platform, view=self.view)
        self._send_corners(m, spans)
        self._gather(m, spans.o)
        return m

    def _send_corners(self, m: Module, spans: CornerSpans) -> None:
        """A cube's eight corners in turn, while the first corner of the next one is found."""
        cube = Signal(self.i.payload.shape(), reset_less=True)
        phase = Signal(range(6))
        first = Signal(CornerLayout(), reset_less=True)
        sent = Signal(spans.i.payload.shape(), reset_less=True)
        sending = Signal()
        hands_over = Signal()
        m.d.comb += [
            self.i.ready.eq(phase == 0),
            spans.i.valid.eq(sending),
            spans.i.payload.eq(sent),
            hands_over.eq((phase == 5) & (~sending | (spans.i.ready & sent.final))),
        ]
        with m.If(phase == 0):
            m.d.sync += [cube.eq(self.i.payload), phase.eq(self.i.valid)]
        with m.Elif((phase != 5) | hands_over):
            m.d.sync += phase.eq(Mux(phase == 5, 0, phase + 1))
        # One axis after the other: a product, and in the next cycle its sum.
        axis = (phase - 1)[:2]
        cell = Array(cube.cell[i] for i in range(3))[axis]
        step = CornerLayout()(_chosen(self.view.steps, axis))
        for name in _ROWS:
            width = len(first[name])
            way = Signal(signed(width), name=f"way_{name}", reset_less=True)
            m.d.sync += way.eq(step[name] * cell)
            with m.If(phase == 2):
                m.d.sync += first[name].eq(way)
            with m.Elif(phase != 5):
                m.d.sync += first[name].eq(first[name] + way)
        with m.If(hands_over):
            m.d.sync += [
                sending.eq(1),
                sent.cell.eq(cube.cell),
                sent.first.eq(first),
                sent.corner.eq(0),
                sent.final.eq(cube.end),
                sent.end.eq(cube.end),
            ]
        with m.Elif(sending & spans.i.ready):
            m.d.sync += [
                sending.eq(~sent.final),
                sent.corner.eq(sent.corner + 1),
                sent.final.eq(sent.corner == _CORNERS - 2),
            ]

    def _gather(self, m: Module, spans: Any) -> None:
        """The bounds of eight corners, and what lies beyond the same edge for all of them."""
        word = spans.payload
        begun = Signal()
        sides = [(low, high) for _, _, low, high in _SIDES]
        bounds = {name: word[name] for pair in sides for name in pair}
        hidden = word.hidden
        for name, value in bounds.items():
            so_far = Signal(len(value), name=f"{name}_so_far", reset_less=True)
            bound = Signal(len(value), name=name)
            closer = so_far < value if name in ("left", "top") else so_far > value
            m.d.comb += bound.eq(Mux(begun & closer, so_far, value))
            with m.If(spans.valid & spans.ready):
                m.d.sync += so_far.eq(bound)
            bounds[name] = bound
        hidden_so_far = Signal(len(hidden), reset_less=True)
        all_hidden = Signal(len(hidden))
        kept = Signal()
        sees = [bounds[low] < bounds[high] for low, high in sides]
        m.d.comb += [
            all_hidden.eq(hidden & (hidden_so_far | ~begun.replicate(len(hidden)))),
            kept.eq(word.final & (word.end | (~all_hidden.any() & sees[0] & sees[1]))),
            self.o.valid.eq(spans.valid & kept),
            spans.ready.eq(self.o.ready | ~kept),
            self.o.payload.cell.eq(word.cell),
            self.o.payload.left.eq(bounds["left"]),
            self.o.payload.top.eq(bounds["top"]),
            self.o.payload.right.eq(bounds["right"] - 1),
            self.o.payload.bottom.eq(bounds["bottom"] - 1),
            self.o.payload.end.eq(word.end),
        ]
        with m.If(spans.valid & spans.ready):
            m.d.sync += [begun.eq(~word.final), hidden_so_far.eq(all_hidden)]


class CornerSpans(Pipe):
    """A corner to the least window around it in the tile, and the edges that it lies beyond.

    Least and greatest of eight such bounds are those of the cube: rounding and clipping keep order.

    Members
    -------
    view:
        As in Projector.
    i: stream of (first: CornerLayout, cell, corner: 3 bits, final, end), In
        first: corner 0 without the frame's constants. final: the last word of its cube.
    o: stream of (left, right, top, bottom, hidden: 5 bits, cell, final, end), Out
        right, bottom: one past the last. hidden: behind the camera, or beyond the image's right,
        left, lower or upper edge.
    """

    def __init__(self, config: FixedConfig, axis_bits: int, tile_bits: int) -> None:
        self.config = config
        self.axis_bits = axis_bits
        self.tile_bits = tile_bits
        rest = {"cell": data.ArrayLayout(axis_bits, 3), "final": 1, "end": 1}
        bound = range((1 << tile_bits) + 1)
        sides = ("left", "right", "top", "bottom")
        super().__init__(
            data.StructLayout({"first": CornerLayout(), "corner": range(_CORNERS), **rest}),
            data.StructLayout({**dict.fromkeys(sides, bound), "hidden": 5, **rest}),
            latency=16,
            members={"view": In(ViewWord())},
        )

    @property
    def module_name(self) -> str:
        return f"corner_spans_{_suffix(self)}"

    @property
    def parameters(self) -> dict[str, Any]:
        return _parameters(self)

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        # Numbers behind names: registers since the word came in.
        first_1 = delayed(m, word.first, 1, "first")
        offset_1 = Signal(CornerLayout(), reset_less=True)
        corner_2 = Signal(CornerLayout(), reset_less=True)
        m.d.sync += Value.cast(offset_1).eq(_chosen(self.view.corners, word.corner))
        for name in _ROWS:
            m.d.sync += corner_2[name].eq(first_1[name] + offset_1[name])

        depth_2 = corner_2.depth
        near_2 = depth_2 < NEAREST_DEPTH
        behind_3 = _register(m, "behind", depth_2 <= 0)
        safe_3 = _register(m, "safe", Mux(near_2, NEAREST_DEPTH, depth_2)[: len(depth_2)])
        # Nothing nearer than NEAREST_DEPTH has its leading one further to the right.
        shift_4 = Signal(range(len(depth_2) - DEPTH_BITS), reset_less=True)
        for i in range(DEPTH_BITS + 1, len(depth_2)):
            with m.If(safe_3[i]):
                m.d.sync += shift_4.eq(i - DEPTH_BITS)
        safe_4 = delayed(m, safe_3, 1, "safe")
        mantissa_5 = _register(m, "mantissa", (safe_4 >> shift_4)[: DEPTH_BITS + 1])
        inverse = ReciprocalStages(
            DEPTH_BITS + 1, self.config.inverse_bits, self.config.inverse_address_bits
        )
        place(m, "reciprocal", inverse, platform, x=mantissa_5)
        inverse_12 = inverse.y

        hidden_4 = [delayed(m, behind_3, 1, "behind")]
        near_15 = delayed(m, near_2, 13, "near")
        answer = Signal(self.o.payload.shape())
        for row, size, start, end in _SIDES:
            limited_5, beyond_4 = self._limited(m, row, corner_2, self.view[size])
            hidden_4 += beyond_4
            shift_5 = delayed(m, shift_4, 1, f"{row}_shift")
            scaled_6 = _register(m, f"{row}_scaled", (limited_5 >> shift_5)[:_SCALED_WIDTH])
            scaled_12 = delayed(m, scaled_6, 6, f"{row}_scaled").as_signed()
            product_13 = _register(m, f"{row}_product", scaled_12 * inverse_12)
            # Rounded, and from the image's middle to its first pixel's.
            back = DEPTH_BITS + self.config.inverse_bits - WINDOW_BITS
            middle = ((self.view[size] - 1) << (back + WINDOW_BITS - 1)) + (1 << (back - 1))
            pixel_14 = _register(m, f"{row}_pixel", (product_13 + middle) >> back)
            first = self.view[start] << WINDOW_BITS
            up = (1 << WINDOW_BITS) - 1
            low_15 = _register(
                m, f"{row}_low", (pixel_14 + (up - WINDOW_MARGIN - first)) >> WINDOW_BITS
            )
            high_15 = _register(
                m, f"{row}_high", (pixel_14 + (up + 1 + WINDOW_MARGIN - first)) >> WINDOW_BITS
            )
            most = (self.view[end] - self.view[start])[: self.tile_bits + 1]
            m.d.comb += [
                answer[start].eq(_register(m, start, Mux(near_15, 0, _clipped(low_15, most)))),
                answer[end].eq(_register(m, end, Mux(near_15, most, _clipped(high_15, most)))),
            ]
        rest = data.StructLayout({"cell": word.cell.shape(), "final": 1, "end": 1})
        rest_0 = Signal(rest)
        rest_16 = delayed(m, rest_0, self.latency, "rest")
        m.d.comb += [
            rest_0.cell.eq(word.cell),
            rest_0.final.eq(word.final),
            rest_0.end.eq(word.end),
            answer.hidden.eq(delayed(m, Cat(*hidden_4), self.latency - 4, "hidden")),
            answer.cell.eq(rest_16.cell),
            answer.final.eq(rest_16.final),
            answer.end.eq(rest_16.end),
        ]
        return answer

    def _limited(self, m: Module, row: str, corner_2: Any, size: Any) -> tuple[Any, list[Any]]:
        """A coordinate, clipped to a little more than the image; whether it is beyond, each way."""
        half = (size >> 1) + 2
        reach_3 = _register(m, f"{row}_reach", half * corner_2.depth)
        at_3 = delayed(m, corner_2[row], 1, f"{row}_at")
        above_4 = _register(m, f"{row}_above", at_3 > reach_3)
        below_4 = _register(m, f"{row}_below", at_3 + reach_3 < 0)
        at_4 = delayed(m, at_3, 1, f"{row}_late_at")
        reach_4 = delayed(m, reach_3, 1, f"{row}_reach")
        inside = Mux(above_4, reach_4, Mux(below_4, -reach_4, at_4))
        limited_5 = _register(m, f"{row}_limited", Mux(reach_4 < 0, 0, inside))
        return limited_5, [above_4, below_4]


def _register(m: Module, name: str, value: Any) -> Any:
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _clipped(value: Any, most: Any) -> Any:
    """0 .. most."""
    return Mux(value < 0, 0, Mux(value > most, most, value))[: len(most)]


def _chosen(corners: Any, index: Any) -> Any:
    """The bits of one of the corners."""
    return Array(Value.cast(corners[i]) for i in range(len(corners)))[index]


def _suffix(unit: Projector | CornerSpans) -> str:
    return "_".join(map(str, _parameters(unit).values()))


def _parameters(unit: Projector | CornerSpans) -> dict[str, Any]:
    return {
        "inverse_bits": unit.config.inverse_bits,
        "inverse_address_bits": unit.config.inverse_address_bits,
        "axis_bits": unit.axis_bits,
        "tile_bits": unit.tile_bits,
    }
