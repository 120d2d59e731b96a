"""What a sum passes through behind an accumulator, before it is encoded."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS
from oleaster.models.accelerator.requantize import SATURATION

__all__ = ["Rescaler"]

_BITS = {field.name: field.bits for field in CHANNEL_FIELDS}


class Rescaler(Unit):
    """`requantize` of one sum in every cycle: bias, multiplier, shift, half to even, saturation.

    Its circuit is ours. Registers never wait and have no reset.

    Members
    -------
    sum: In(signed(32))
    bias: In(signed(32))
    multiplier: In(16)
    shift: In(6)
    rounded: Out(signed(49))
        (sum + bias) * multiplier / 2^shift, ROUNDED cycles after them.
    limit: In(15)
        Largest magnitude of what becomes of `rounded`, at most SATURATION.
    relu: In(1)
        What is negative in `rounded` becomes 0.
    value: Out(signed(16))
        `rounded` within limits, LATENCY cycles after the sum.
    """

    SUM_BITS = 32
    ROUNDED = 4
    LATENCY = 5

    def __init__(self) -> None:
        self.value_bits = SATURATION.bit_length() + 1
        super().__init__(
            {
                "sum": In(signed(self.SUM_BITS)),
                "bias": In(signed(_BITS["bias"])),
                "multiplier": In(_BITS["multiplier"]),
                "shift": In(_BITS["shift"]),
                "limit": In(range(SATURATION + 1)),
                "relu": In(1),
                "rounded": Out(signed(self.SUM_BITS + 1 + _BITS["multiplier"])),
                "value": Out(signed(self.value_bits)),
            }
        )

    @property
    def module_name(self) -> str:
        return "rescaler"

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        biased = Signal(signed(self.SUM_BITS + 1), reset_less=True)
        factor = Signal(_BITS["multiplier"], reset_less=True)
        shift_1 = Signal(_BITS["shift"], reset_less=True)
        shift_2 = Signal(_BITS["shift"], reset_less=True)
        product = Signal(self.rounded.shape(), reset_less=True)
        # One more bit below: the first one that is cut off.
        quotient = Signal(signed(len(product) + 1), reset_less=True)
        sticky = Signal(reset_less=True)
        below = Signal(len(product))
        rounded = Signal(self.rounded.shape(), reset_less=True)
        value = Signal(signed(self.value_bits), reset_less=True)
        half, odd = quotient[0], quotient[1]
        m.d.comb += [
            below.eq(((1 << shift_2) - 1) >> 1),
            self.rounded.eq(rounded),
            self.value.eq(value),
        ]
        m.d.sync += [
            biased.eq(self.sum + self.bias),
            factor.eq(self.multiplier),
            shift_1.eq(self.shift),
            product.eq(biased * factor),
            shift_2.eq(shift_1),
            quotient.eq(Cat(0, product).as_signed() >> shift_2),
            sticky.eq((product & below).any()),
            rounded.eq((quotient >> 1) + (half & (sticky | odd))),
        ]
        with m.If(rounded > self.limit):
            m.d.sync += value.eq(self.limit)
        with m.Elif((rounded < 0) & self.relu):
            m.d.sync += value.eq(0)
        with m.Elif(rounded < -self.limit):
            m.d.sync += value.eq(-self.limit)
        with m.Else():
            m.d.sync += value.eq(rounded)
        return m
