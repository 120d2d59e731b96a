"""The ray generator: from a pixel to its ray on the lattices of field and mask."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib.wiring import In

from oleaster.hw.emit import place
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.inverse import InverseRootStages, ReciprocalStages
from oleaster.hw.nerf.layouts import FrameLayout, PixelLayout, RayLayout
from oleaster.hw.nerf.pipe import Pipe
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.rays import ENTRY_BITS, STEP_GUARD
from oleaster.models.nerf.fixed.widths import PIXEL_BITS, FixedConfig
from oleaster.models.nerf.fixed.words import direction_fields, ray_fields

__all__ = ["RayGenerator"]

_AXES = 3

# The stage in which a part of a ray has each value.
_VECTOR = 4
_SQUARE_SUM = _VECTOR + 3
_ROOT = _SQUARE_SUM + InverseRootStages.latency
# What all three axes share is there with z, and kept from the next stage on. By then x is two
# stages ahead, and the first to use it.
_USE_ROOT = _ROOT + _AXES
_DIRECTION = _USE_ROOT + 2
_DELTA = _DIRECTION + 2
_SIZE = _DELTA + 1
_INVERSE = _SIZE + ReciprocalStages.latency
_AXIS_ENTRY = _INVERSE + 3
_ENTRY = _AXIS_ENTRY + 2
_USE_ENTRY = _ENTRY + _AXES
_BASE = _USE_ENTRY + 2


class RayGenerator(Pipe):
    """`cast_fixed` of `models/nerf/fixed/rays.py`, a pixel every three cycles (ours).

    The axes x, y and z follow each other through one circuit: rays are needed once for each tile,
    and have 36 products each. Widths follow from what `make_frame` guarantees
    (`models/nerf/fixed/words.py`); sums of numbers whose result has a known range are taken modulo
    that range.

    Parameters
    ----------
    config: FixedConfig
        Its position_bits, ray_bits, direction_bits, inverse_bits and inverse_address_bits count.

    Members
    -------
    i: stream of PixelLayout, In
        A pixel of the frame's image; of others the ray means nothing.
    o: stream of RayLayout, Out
    frame: In(FrameLayout)
        Stable from the cycle in which the first pixel is taken until the last ray is given.
    """

    def __init__(self, config: FixedConfig) -> None:
        self.config = config
        fields = ray_fields(config)
        self._base_bits = fields["mask_base"].bits
        self._delta_bits = fields["mask_delta"].bits
        self._direction_bits = fields["direction"].bits
        super().__init__(
            PixelLayout(),
            RayLayout(config),
            latency=_BASE + _AXES - 1,
            members={"frame": In(FrameLayout(config))},
            interval=_AXES,
        )

    @property
    def module_name(self) -> str:
        return f"ray_generator_{'_'.join(map(str, self.parameters.values()))}"

    @property
    def parameters(self) -> dict[str, Any]:
        c = self.config
        return {
            "position_bits": c.position_bits,
            "ray_bits": c.ray_bits,
            "direction_bits": c.direction_bits,
            "inverse_bits": c.inverse_bits,
            "inverse_address_bits": c.inverse_address_bits,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        frame, flow = self.frame, Flow(m)
        pixel = Signal(PixelLayout(), reset_less=True)
        axis = Signal(range(_AXES + 1), reset_less=True)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pixel.eq(word), axis.eq(0)]
        with m.Elif(axis != _AXES):
            m.d.sync += axis.eq(axis + 1)
        flow.add("axis", axis, 1)

        self._vector(flow, pixel)
        self._direction(flow, *self._root(m, flow, platform))
        for lattice, step in (("field", frame.field_step), ("mask", frame.mask_step)):
            self._delta(flow, lattice, step)
        self._inverse(m, flow, platform)
        self._axis_entry(flow)
        entry = self._entry(m, flow)
        for lattice, origin in (("field", frame.field_origin), ("mask", frame.mask_origin)):
            self._base(flow, lattice, entry, origin)

        answer = Signal(self.o.payload.shape())
        for name in ray_fields(self.config):
            for i in range(_AXES):
                m.d.comb += answer[name][i].eq(flow.at(name, _BASE + _AXES - 1 - i))
        return answer

    def _vector(self, flow: Flow, pixel: Any) -> None:
        """Through the pixel, before it has unit length; ray_bits of fraction."""
        frame = self.frame
        kept = direction_fields(self.config)[0].bits
        bits = kept + PIXEL_BITS
        across = pixel.column * _of(flow.at("axis", 1), frame.across)
        down = pixel.row * _of(flow.at("axis", 1), frame.down)
        across, down = flow.step("across", across[:bits], 2), flow.step("down", down[:bits], 2)
        away = flow.step("away", (across + down)[:bits], 3)
        total = rounded(_of(flow.at("axis", 3), frame.first) + away, PIXEL_BITS)
        flow.step("vector", total[:kept].as_signed(), _VECTOR)

    def _root(self, m: Module, flow: Flow, platform: object) -> tuple[Any, Any]:
        """The vector's inverse length, y / 2^e; kept for all three axes."""
        config = self.config
        bits = direction_fields(config)[1].bits
        v = flow.at("vector", _VECTOR)
        at = _VECTOR + 1
        flow.step("square", (v * v).as_unsigned(), at)
        # An addition each; x is a stage further when y and z have been added.
        y_z = flow.at("square", at) + flow.at("square", at + 1)
        y_z = flow.step("square_y_z", y_z, at + 1)
        total = flow.step("square_sum", y_z + flow.at("square", at + 3), _SQUARE_SUM)
        stages = InverseRootStages(
            bits, config.ray_bits, config.inverse_bits, config.inverse_address_bits
        )
        place(m, "inverse_root", stages, platform, x=rounded(total, config.ray_bits)[:bits])
        root = Signal(stages.y.shape(), reset_less=True)
        exponent = Signal(stages.e.shape(), name="root_exponent", reset_less=True)
        with m.If(flow.at("axis", _ROOT) == _AXES - 1):
            m.d.sync += [root.eq(stages.y), exponent.eq(stages.e)]
        return root, exponent

    def _direction(self, flow: Flow, root: Any, exponent: Any) -> None:
        """Of unit length."""
        config, at = self.config, _USE_ROOT + 1
        product = flow.step("scaled", flow.at("vector", _USE_ROOT) * root, at)
        # A square is 1 to WIDEST^2, give or take a pose's own error: its root's exponent is one of
        # four.
        least = config.inverse_bits - 1
        extra = flow.step("scaled_exponent", (exponent - least)[:2], at)
        right = least + config.ray_bits - config.direction_bits
        unit = rounded(product.shift_right(right - 1) >> extra, 1)
        flow.step("direction", unit[: self._direction_bits].as_signed(), _DIRECTION)

    def _delta(self, flow: Flow, lattice: str, step: Any) -> None:
        """From a sample to the next."""
        product = flow.at("direction", _DIRECTION) * _of(flow.at("axis", _DIRECTION), step)
        product = flow.step(f"{lattice}_product", product, _DELTA - 1)
        delta = rounded(product, self.config.direction_bits + STEP_GUARD)
        flow.step(f"{lattice}_delta", delta[: self._delta_bits].as_signed(), _DELTA)

    def _inverse(self, m: Module, flow: Flow, platform: object) -> None:
        """1 / |mask_delta|, of 1 where it is 0."""
        config, delta = self.config, flow.at("mask_delta", _DELTA)
        size = Mux(delta == 0, 1, Mux(delta < 0, -delta, delta))[: self._delta_bits - 1]
        size = flow.step("size", size, _SIZE)
        stages = ReciprocalStages(len(size), config.inverse_bits, config.inverse_address_bits)
        place(m, "reciprocal", stages, platform, x=size)
        flow.add("inverse", stages.y, _INVERSE)
        flow.add("exponent", stages.e, _INVERSE)

    def _axis_entry(self, flow: Flow) -> None:
        """Steps to the box's lower face along an axis, lower in the sense of the ray; 0 if it is
        behind, since near is not below 0."""
        config, frame = self.config, self.frame
        # The inverse is positive and rounding keeps order: the model's lesser one of two products
        # is that of the lesser face.
        flow.add("turned", flow.at("mask_delta", _DELTA) < 0, _DELTA)
        axis = flow.at("axis", _INVERSE - 1)
        origin = _of(axis, frame.mask_origin)
        ahead = _of(axis, frame.face[0]) - origin
        behind = origin - _of(axis, frame.face[1])
        face = flow.step("face", Mux(flow.at("turned", _INVERSE - 1), behind, ahead), _INVERSE)
        product = face * flow.at("inverse", _INVERSE)
        product = flow.step("face_product", product, _INVERSE + 1)
        # An exponent is inverse_bits at least.
        exponent = flow.at("exponent", _INVERSE + 1)
        extra = (exponent - config.inverse_bits)[: len(exponent)]
        halves = product.shift_right(config.inverse_bits - ENTRY_BITS - 1)[:-1] >> extra
        halves = flow.step("face_halves", Mux(product < 0, 0, halves), _INVERSE + 2)
        steps, bits = rounded(halves, 1), len(frame.near)
        entry = Mux(steps[bits:].any(), (1 << bits) - 1, steps[:bits])
        flow.step("axis_entry", entry, _AXIS_ENTRY)

    def _entry(self, m: Module, flow: Flow) -> Any:
        """Into the box: the last of three faces, not before near and not beyond far; kept."""
        near, far, at = self.frame.near, self.frame.far, _AXIS_ENTRY
        # When z is there, y is a stage further and x another.
        y_z = _larger(flow.at("axis_entry", at), flow.at("axis_entry", at + 1))
        x = _larger(flow.at("axis_entry", at + 2), near)
        y_z, x = flow.step("entry_y_z", y_z, at + 1), flow.step("entry_x", x, at + 1)
        last = flow.step("entry_last", _larger(y_z, x), _ENTRY)
        entry = Signal(len(near), reset_less=True)
        with m.If(flow.at("axis", _ENTRY) == _AXES - 1):
            m.d.sync += entry.eq(Mux(last > far, far, last))
        return entry

    def _base(self, flow: Flow, lattice: str, entry: Any, origin: Any) -> None:
        """origin + entry * delta."""
        bits = self._base_bits
        way = (entry * flow.at(f"{lattice}_delta", _USE_ENTRY))[: bits + ENTRY_BITS]
        way = flow.step(f"{lattice}_way", way, _BASE - 1)
        start = _of(flow.at("axis", _BASE - 1), origin)
        base = rounded(way + (start << ENTRY_BITS), ENTRY_BITS)
        flow.step(f"{lattice}_base", base[:bits].as_signed(), _BASE)


def _of(axis: Any, values: Any) -> Any:
    """One of three values."""
    return Mux(axis == 0, values[0], Mux(axis == 1, values[1], values[2]))


def _larger(a: Any, b: Any) -> Any:
    return Mux(a > b, a, b)
