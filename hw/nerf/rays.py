"""The ray generator: from a pixel to its ray on the lattices of field and mask."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib.wiring import In

from oleaster.hw.emit import place
from oleaster.hw.nerf.inverse import InverseRootStages, ReciprocalStages, registered
from oleaster.hw.nerf.layouts import FrameLayout, PixelLayout, RayLayout
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.rays import ENTRY_BITS, STEP_GUARD
from oleaster.models.nerf.fixed.widths import PIXEL_BITS, FixedConfig
from oleaster.models.nerf.fixed.words import direction_fields, ray_fields

__all__ = ["RayGenerator"]

_AXES = "xyz"

# Registers of each part, one after the other.
_TO_VECTOR = 3
_TO_SQUARE = 3
_TO_DIRECTION = 2
_TO_DELTA = 2
_TO_SIZE = 1
_TO_ENTRY = 6
_TO_BASE = 2


class RayGenerator(Pipe):
    """`cast_fixed` of `models/nerf/fixed/rays.py`, a pixel every cycle (ours).

    Widths follow from what `make_frame` guarantees (`models/nerf/fixed/words.py`); sums of numbers
    whose result has a known range are taken modulo that range.

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
        self._delta_bits = ray_fields(config)["mask_delta"].bits
        super().__init__(
            PixelLayout(),
            RayLayout(config),
            latency=_TO_VECTOR
            + _TO_SQUARE
            + InverseRootStages.latency
            + _TO_DIRECTION
            + _TO_DELTA
            + _TO_SIZE
            + ReciprocalStages.latency
            + _TO_ENTRY
            + _TO_BASE,
            members={"frame": In(FrameLayout(config))},
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
        config, frame = self.config, self.frame
        vector = self._vectors(m, word)
        direction = self._directions(m, platform, vector)
        shift = config.direction_bits + STEP_GUARD
        delta: dict[str, list[Any]] = {}
        for name, step in (("field", frame.field_step), ("mask", frame.mask_step)):
            delta[name] = []
            for axis, letter in enumerate(_AXES):
                product = registered(m, f"{name}_step_{letter}", direction[axis] * step[axis])
                found = rounded(product, shift)[: self._delta_bits].as_signed()
                delta[name].append(registered(m, f"{name}_delta_{letter}", found))
        inverse, exponent, entries = [], [], []
        for axis in range(3):
            y, e, entry = self._entry_along(m, platform, axis, delta["mask"][axis])
            inverse.append(y)
            exponent.append(e)
            entries.append(entry)
        entry = self._entry(m, entries)

        answer = Signal(self.o.payload.shape())
        to_entry = _TO_SIZE + ReciprocalStages.latency + _TO_ENTRY
        for axis, letter in enumerate(_AXES):
            for name, origin in (("field", frame.field_origin), ("mask", frame.mask_origin)):
                waiting = delayed(m, delta[name][axis], to_entry, f"{name}_delta_{letter}")
                base = self._base(m, f"{name}_base_{letter}", entry, waiting, origin[axis])
                kept = delayed(m, waiting, _TO_BASE, f"{name}_delta_{letter}_beside_base")
                m.d.comb += [
                    answer[f"{name}_base"][axis].eq(base),
                    answer[f"{name}_delta"][axis].eq(kept),
                ]
            beside = _TO_ENTRY + _TO_BASE
            along = delayed(
                m, direction[axis], _TO_DELTA + to_entry + _TO_BASE, f"direction_{letter}"
            )
            m.d.comb += [
                answer.inverse[axis].eq(delayed(m, inverse[axis], beside, f"inverse_{letter}")),
                answer.exponent[axis].eq(delayed(m, exponent[axis], beside, f"exponent_{letter}")),
                answer.direction[axis].eq(along),
            ]
        return answer

    def _vectors(self, m: Module, word: Any) -> list[Any]:
        """Through the pixel, before it has unit length; ray_bits of fraction."""
        frame = self.frame
        bits = direction_fields(self.config)[0].bits + PIXEL_BITS
        found = []
        for axis, letter in enumerate(_AXES):
            across = registered(m, f"across_{letter}", (word.column * frame.across[axis])[:bits])
            down = registered(m, f"down_{letter}", (word.row * frame.down[axis])[:bits])
            away = registered(m, f"away_{letter}", (across + down)[:bits])
            total = rounded(frame.first[axis] + away, PIXEL_BITS)[: bits - PIXEL_BITS].as_signed()
            found.append(registered(m, f"vector_{letter}", total))
        return found

    def _directions(self, m: Module, platform: object, vector: list[Any]) -> list[Any]:
        """Of unit length."""
        config = self.config
        square_bits = direction_fields(config)[1].bits
        squares = [
            registered(m, f"square_{letter}", (v * v).as_unsigned())
            for v, letter in zip(vector, _AXES, strict=True)
        ]
        # An addition each.
        first = registered(m, "square_x_y", squares[0] + squares[1])
        total = registered(m, "square_sum", first + delayed(m, squares[2], 1, "square_z"))
        square = rounded(total, config.ray_bits)[:square_bits]
        root = InverseRootStages(
            square_bits, config.ray_bits, config.inverse_bits, config.inverse_address_bits
        )
        place(m, "root", root, platform, x=square)
        # The square is 1 to WIDEST^2, give or take a pose's own error: its root's exponent is one
        # of four.
        least = config.inverse_bits - 1
        extra = (root.e - least)[:2]
        right = least + config.ray_bits - config.direction_bits
        found = []
        for v, letter in zip(vector, _AXES, strict=True):
            waiting = delayed(m, v, _TO_SQUARE + root.latency, f"vector_{letter}")
            product = registered(m, f"scaled_{letter}", waiting * root.y)
            halves = product.shift_right(right - 1) >> registered(m, f"extra_{letter}", extra)
            bits = ray_fields(config)["direction"].bits
            found.append(
                registered(m, f"direction_{letter}", rounded(halves, 1)[:bits].as_signed())
            )
        return found

    def _entry_along(
        self, m: Module, platform: object, axis: int, delta: Any
    ) -> tuple[Any, Any, Any]:
        """1 / |delta|, and the steps to the box's nearer face; below 0 counts as 0, which near is
        not below."""
        config, frame, letter = self.config, self.frame, _AXES[axis]
        negative = delta < 0
        size = Signal(unsigned(self._delta_bits - 1), name=f"size_{letter}", reset_less=True)
        m.d.sync += size.eq(Mux(delta == 0, 1, Mux(negative, -delta, delta)))
        reciprocal = ReciprocalStages(len(size), config.inverse_bits, config.inverse_address_bits)
        place(m, f"reciprocal_{letter}", reciprocal, platform, x=size)

        # Of the two faces that one is nearer towards which the ray runs: the reciprocal is positive
        # and rounding keeps order, so that one product is enough.
        ahead = frame.face[0][axis] - frame.mask_origin[axis]
        behind = frame.mask_origin[axis] - frame.face[1][axis]
        turned = delayed(m, negative, _TO_SIZE + reciprocal.latency - 1, f"turned_{letter}")
        face = registered(m, f"face_{letter}", Mux(turned, behind, ahead))
        product = registered(m, f"face_steps_{letter}", face * reciprocal.y)
        # The exponent is inverse_bits at least.
        extra = (registered(m, f"face_exponent_{letter}", reciprocal.e) - config.inverse_bits)[
            : len(reciprocal.e)
        ]
        halves = product.shift_right(config.inverse_bits - ENTRY_BITS - 1)[:-1] >> extra
        above = Mux(product < 0, 0, halves)
        steps = rounded(registered(m, f"halves_{letter}", above), 1)
        bits = len(frame.near)
        entry = Mux(steps[bits:].any(), (1 << bits) - 1, steps[:bits])
        return reciprocal.y, reciprocal.e, registered(m, f"entry_{letter}", entry)

    def _entry(self, m: Module, entries: list[Any]) -> Any:
        """Into the box: the last of the three faces, not before near and not beyond far."""
        near, far = self.frame.near, self.frame.far
        first = registered(m, "entry_x_y", _larger(entries[0], entries[1]))
        second = registered(m, "entry_z_near", _larger(entries[2], near))
        last = registered(m, "entry_all", _larger(first, second))
        return registered(m, "entry", Mux(last > far, far, last))

    def _base(self, m: Module, name: str, entry: Any, delta: Any, origin: Any) -> Any:
        """origin + entry * delta."""
        bits = ray_fields(self.config)["mask_base"].bits
        way = registered(m, f"{name}_way", (entry * delta)[: bits + ENTRY_BITS])
        total = rounded(way + (origin << ENTRY_BITS), ENTRY_BITS)
        return registered(m, name, total[:bits].as_signed())


def _larger(a: Any, b: Any) -> Any:
    return Mux(a > b, a, b)
