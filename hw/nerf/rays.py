"""The ray generator: from a pixel to its ray on the lattices of field and mask."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib.wiring import In

from oleaster.hw.emit import place
from oleaster.hw.nerf.inverse import InverseRootStages, ReciprocalStages, registered
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
# What all three axes share is known when z is there, and kept until the next ray's is: x is by then
# two stages further, and is so again when it gets to use the register behind it.
_USE_ROOT = _ROOT + _AXES
_DIRECTION = _USE_ROOT + 2
_DELTA = _DIRECTION + 2
_SIZE = _DELTA + 1
_INVERSE = _SIZE + ReciprocalStages.latency
_AXIS_ENTRY = _INVERSE + 3
_ENTRY = _AXIS_ENTRY + 2
_USE_ENTRY = _ENTRY + _AXES
_BASE = _USE_ENTRY + 2


class _Part:
    """A value of one axis, stage by stage; the axis behind it is a stage behind.

    stage: in which `value` is there; the registers after it are made when `at` asks for them.
    """

    def __init__(self, m: Module, name: str, value: Any, stage: int) -> None:
        self._m, self._name, self._first = m, name, stage
        self._values = [value]

    def at(self, stage: int) -> Any:
        while len(self._values) <= stage - self._first:
            name = f"{self._name}_{self._first + len(self._values)}"
            self._values.append(registered(self._m, name, self._values[-1]))
        return self._values[stage - self._first]


class RayGenerator(Pipe):
    """`cast_fixed` of `models/nerf/fixed/rays.py`, a pixel every three cycles (ours).

    The axes x, y and z follow each other through one circuit: rays are needed once for each tile,
    and have forty products each. Widths follow from what `make_frame` guarantees
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
        pixel = Signal(PixelLayout(), reset_less=True)
        number = Signal(range(_AXES + 1), name="axis", reset_less=True)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pixel.eq(word), number.eq(0)]
        with m.Elif(number != _AXES):
            m.d.sync += number.eq(number + 1)
        axis = _Part(m, "axis", number, 1)

        vector = self._vector(m, pixel, axis)
        root, exponent = self._root(m, platform, vector, axis)
        direction = self._direction(m, vector, root, exponent)
        frame = self.frame
        found = {"direction": direction}
        for name, step in (("field", frame.field_step), ("mask", frame.mask_step)):
            found[f"{name}_delta"] = self._delta(m, name, direction, axis, step)
        delta = found["mask_delta"]
        found["inverse"], found["exponent"] = self._inverse(m, platform, delta)
        along = self._axis_entry(m, delta, found["inverse"], found["exponent"], axis)
        entry = self._entry(m, along, axis)
        for name, origin in (("field", frame.field_origin), ("mask", frame.mask_origin)):
            found[f"{name}_base"] = self._base(m, name, entry, found[f"{name}_delta"], axis, origin)

        answer = Signal(self.o.payload.shape())
        for name, part in found.items():
            for i in range(_AXES):
                m.d.comb += answer[name][i].eq(part.at(_BASE + _AXES - 1 - i))
        return answer

    def _vector(self, m: Module, pixel: Any, axis: _Part) -> _Part:
        """Through the pixel, before it has unit length; ray_bits of fraction."""
        frame = self.frame
        kept = direction_fields(self.config)[0].bits
        bits = kept + PIXEL_BITS
        across = pixel.column * _of(axis.at(1), frame.across)
        down = pixel.row * _of(axis.at(1), frame.down)
        away = registered(m, "across", across[:bits]) + registered(m, "down", down[:bits])
        away = registered(m, "away", away[:bits])
        total = rounded(_of(axis.at(3), frame.first) + away, PIXEL_BITS)[:kept].as_signed()
        return _Part(m, "vector", registered(m, "vector", total), _VECTOR)

    def _root(self, m: Module, platform: object, vector: _Part, axis: _Part) -> tuple[Any, Any]:
        """The vector's inverse length; kept for all three axes."""
        config = self.config
        bits = direction_fields(config)[1].bits
        v = vector.at(_VECTOR)
        square = _Part(m, "square", registered(m, "square", (v * v).as_unsigned()), _VECTOR + 1)
        # An addition each; x is a stage further when y and z have been added.
        first = registered(m, "square_y_z", square.at(_VECTOR + 1) + square.at(_VECTOR + 2))
        total = registered(m, "square_sum", first + square.at(_VECTOR + 4))
        stages = InverseRootStages(
            bits, config.ray_bits, config.inverse_bits, config.inverse_address_bits
        )
        x = rounded(total, config.ray_bits)[:bits]
        place(m, "root", stages, platform, x=x)
        root = Signal(stages.y.shape(), reset_less=True)
        exponent = Signal(stages.e.shape(), name="root_exponent", reset_less=True)
        with m.If(axis.at(_ROOT) == _AXES - 1):
            m.d.sync += [root.eq(stages.y), exponent.eq(stages.e)]
        return root, exponent

    def _direction(self, m: Module, vector: _Part, root: Any, exponent: Any) -> _Part:
        """Of unit length."""
        config = self.config
        product = registered(m, "scaled", vector.at(_USE_ROOT) * root)
        # A square is 1 to WIDEST^2, give or take a pose's own error: its root's exponent is one of
        # four.
        least = config.inverse_bits - 1
        extra = registered(m, "scaled_exponent", (exponent - least)[:2])
        right = least + config.ray_bits - config.direction_bits
        halves = product.shift_right(right - 1) >> extra
        unit = rounded(halves, 1)[: self._direction_bits].as_signed()
        return _Part(m, "direction", registered(m, "direction", unit), _DIRECTION)

    def _delta(self, m: Module, name: str, direction: _Part, axis: _Part, step: Any) -> _Part:
        """From a sample to the next."""
        product = direction.at(_DIRECTION) * _of(axis.at(_DIRECTION), step)
        product = registered(m, f"{name}_product", product)
        shift = self.config.direction_bits + STEP_GUARD
        delta = rounded(product, shift)[: self._delta_bits].as_signed()
        return _Part(m, f"{name}_delta", registered(m, f"{name}_delta", delta), _DELTA)

    def _inverse(self, m: Module, platform: object, part: _Part) -> tuple[_Part, _Part]:
        """1 / |delta|, of 1 where it is 0."""
        config, delta = self.config, part.at(_DELTA)
        size = Signal(unsigned(self._delta_bits - 1), reset_less=True)
        m.d.sync += size.eq(Mux(delta == 0, 1, Mux(delta < 0, -delta, delta)))
        stages = ReciprocalStages(len(size), config.inverse_bits, config.inverse_address_bits)
        place(m, "reciprocal", stages, platform, x=size)
        inverse = _Part(m, "inverse", stages.y, _INVERSE)
        return inverse, _Part(m, "exponent", stages.e, _INVERSE)

    def _axis_entry(
        self, m: Module, delta: _Part, inverse: _Part, exponent: _Part, axis: _Part
    ) -> _Part:
        """Steps to the box's lower face along an axis, lower in the sense of the ray; 0 if it is
        behind, since near is not below 0."""
        config, frame = self.config, self.frame
        # The inverse is positive and rounding keeps order: the model's lesser one of two products
        # is that of the lesser face.
        turned = _Part(m, "turned", delta.at(_DELTA) < 0, _DELTA).at(_INVERSE - 1)
        at = axis.at(_INVERSE - 1)
        origin = _of(at, frame.mask_origin)
        ahead = _of(at, frame.face[0]) - origin
        behind = origin - _of(at, frame.face[1])
        face = registered(m, "face", Mux(turned, behind, ahead))
        product = registered(m, "face_product", face * inverse.at(_INVERSE))
        # An exponent is inverse_bits at least.
        extra = (exponent.at(_INVERSE + 1) - config.inverse_bits)[: len(exponent.at(_INVERSE))]
        halves = product.shift_right(config.inverse_bits - ENTRY_BITS - 1)[:-1] >> extra
        halves = registered(m, "face_halves", Mux(product < 0, 0, halves))
        steps = rounded(halves, 1)
        bits = len(frame.near)
        entry = Mux(steps[bits:].any(), (1 << bits) - 1, steps[:bits])
        return _Part(m, "axis_entry", registered(m, "axis_entry", entry), _AXIS_ENTRY)

    def _entry(self, m: Module, along: _Part, axis: _Part) -> Any:
        """Into the box: the last of three faces, not before near and not beyond far; kept."""
        near, far = self.frame.near, self.frame.far
        # When z is there, y is a stage further and x another.
        y_z = _larger(along.at(_AXIS_ENTRY), along.at(_AXIS_ENTRY + 1))
        y_z = registered(m, "entry_y_z", y_z)
        x = registered(m, "entry_x", _larger(along.at(_AXIS_ENTRY + 2), near))
        last = registered(m, "entry_last", _larger(y_z, x))
        entry = Signal(len(near), reset_less=True)
        with m.If(axis.at(_ENTRY) == _AXES - 1):
            m.d.sync += entry.eq(Mux(last > far, far, last))
        return entry

    def _base(
        self, m: Module, name: str, entry: Any, delta: _Part, axis: _Part, origin: Any
    ) -> _Part:
        """origin + entry * delta."""
        bits = self._base_bits
        way = (entry * delta.at(_USE_ENTRY))[: bits + ENTRY_BITS]
        way = registered(m, f"{name}_way", way)
        total = way + (_of(axis.at(_USE_ENTRY + 1), origin) << ENTRY_BITS)
        base = rounded(total, ENTRY_BITS)[:bits].as_signed()
        return _Part(m, f"{name}_base", registered(m, f"{name}_base", base), _BASE)


def _of(axis: Any, values: Any) -> Any:
    """One of three values."""
    return Mux(axis == 0, values[0], Mux(axis == 1, values[1], values[2]))


def _larger(a: Any, b: Any) -> Any:
    return Mux(a > b, a, b)
