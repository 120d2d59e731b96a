"""From a sample's products to the sum that becomes its density."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from oleaster.hw.nerf.pipe import Pipe, delayed, total
from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS

__all__ = ["DensityUnit", "ScaleLayout"]

_PAIRS = 3
_AT_ONCE = 4  # components that are added in one stage


class ScaleLayout(data.StructLayout):
    """What a pair's sum is multiplied by: multiplier / 2^shift."""

    def __init__(self) -> None:
        bits = {field.name: field.bits for field in CHANNEL_FIELDS}
        super().__init__({name: bits[name] for name in ("multiplier", "shift")})


class DensityUnit(Pipe):
    """Products of all three pairs to a sample's sum, as the curve of alpha takes it.

    `FixedField.sums_of` is the reference, up to saturation: sums beyond sum_bits become the
    nearest number that fits, which changes no alpha if the curve's ends fit.

    Parameters
    ----------
    components: int
        Of each pair, up to 16.
    product_bits: int
        Of a product, signed.
    sum_bits: int
        Of the result, signed.
    tag_bits: int
        Of a tag that is handed through.

    Members
    -------
    scale: 3 of ScaleLayout, In
        Of each pair's sum; stable while words are on their way.
    i: stream of (product: 3 x `components` of signed product_bits, tag), In
    o: stream of (sum: signed sum_bits, tag), Out
    """

    def __init__(self, components: int, product_bits: int, sum_bits: int, tag_bits: int) -> None:
        self.components = components
        self.product_bits = product_bits
        self.sum_bits = sum_bits
        self.tag_bits = tag_bits
        pair = data.ArrayLayout(signed(product_bits), components)
        super().__init__(
            data.StructLayout({"product": data.ArrayLayout(pair, _PAIRS), "tag": tag_bits}),
            data.StructLayout({"sum": signed(sum_bits), "tag": tag_bits}),
            latency=7,
            members={"scale": In(data.ArrayLayout(ScaleLayout(), _PAIRS))},
        )

    @property
    def module_name(self) -> str:
        return (
            f"density_unit_{self.components}x{self.product_bits}_{self.sum_bits}_t{self.tag_bits}"
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "components": self.components,
            "product_bits": self.product_bits,
            "sum_bits": self.sum_bits,
            "tag_bits": self.tag_bits,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        pairs = [self._scaled(m, i, word.product[i]) for i in range(_PAIRS)]
        exact = total(pairs)
        summed = Signal(exact.shape(), reset_less=True)
        answer = Signal(self.o.payload.shape(), reset_less=True)
        m.d.sync += [
            summed.eq(exact),
            answer.tag.eq(delayed(m, word.tag, self.latency - 1, "tag")),
        ]
        end = 1 << (self.sum_bits - 1)
        with m.If(summed >= end):
            m.d.sync += answer.sum.eq(end - 1)
        with m.Elif(summed < -end):
            m.d.sync += answer.sum.eq(-end)
        with m.Else():
            m.d.sync += answer.sum.eq(summed)
        return answer

    def _scaled(self, m: Module, pair: int, products: Any) -> Signal:
        """A pair's sum times its scale, rounded: five cycles later."""
        parts = []
        for first in range(0, self.components, _AT_ONCE):
            some = [products[i] for i in range(first, min(first + _AT_ONCE, self.components))]
            part = Signal(
                signed(self.product_bits + ceil_log2(len(some))),
                name=f"part_{pair}_{first // _AT_ONCE}",
                reset_less=True,
            )
            m.d.sync += part.eq(total(some))
            parts.append(part)
        scale = self.scale[pair]
        summed = Signal(
            signed(self.product_bits + ceil_log2(self.components)),
            name=f"sum_{pair}",
            reset_less=True,
        )
        scaled = Signal(
            signed(len(summed) + len(scale.multiplier)), name=f"scaled_{pair}", reset_less=True
        )
        # One bit below the result's unit decides how it is rounded.
        shifted = Signal(signed(len(scaled) + 1), name=f"shifted_{pair}", reset_less=True)
        result = Signal(signed(len(scaled)), name=f"rounded_{pair}", reset_less=True)
        m.d.sync += [
            summed.eq(total(parts)),
            scaled.eq(summed * scale.multiplier),
            shifted.eq(scaled.shift_left(1) >> scale.shift),
            result.eq((shifted + 1).shift_right(1)),
        ]
        return result
