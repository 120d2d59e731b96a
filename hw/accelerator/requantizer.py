"""Sums to the values and codes of C, a few columns a cycle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import ChannelLayout
from oleaster.hw.emit import Unit, place
from oleaster.hw.encoder import OVPEncoder
from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS, FORMAT_CODES, element_bits
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS, SATURATION
from oleaster.models.formats import get_format

__all__ = ["FORMAT_SHAPE", "Requantizer", "has_format"]

FORMAT_SHAPE = range(max(FORMAT_CODES.values()) + 1)

_BITS = {field.name: field.bits for field in CHANNEL_FIELDS}
_SUM_BITS = 32


class Requantizer(Unit):
    """`requantize` and `encode_output` for `lanes` neighbouring columns of one row; ours.

    Takes and gives a row's part in every cycle; what leaves in a cycle came LATENCY cycles before.

    Parameters
    ----------
    lanes: int
        Columns a cycle, even.

    Members
    -------
    sums: In(ArrayLayout(signed(32), lanes))
    channels: In(ArrayLayout(ChannelLayout, lanes))
        Not looked at for int32.
    count: In(range(lanes + 1))
        Columns that there are; the others count as 0.
    c_format: In(FORMAT_SHAPE)
        Code of FORMAT_CODES. Like `relu` it must not change while columns are on their way.
    relu: In(1)
        Not for int32.
    data: Out(32 * lanes)
        Bytes of C from bit 0 on: as many bits a column as its format has.
    """

    LATENCY = 6

    def __init__(self, lanes: int) -> None:
        if lanes < 2 or lanes % 2:
            raise ValueError(f"lanes is {lanes}; it must be even and at least 2")
        self.lanes = lanes
        super().__init__(
            {
                "sums": In(data.ArrayLayout(signed(_SUM_BITS), lanes)),
                "channels": In(data.ArrayLayout(ChannelLayout(), lanes)),
                "count": In(range(lanes + 1)),
                "c_format": In(FORMAT_SHAPE),
                "relu": In(1),
                "data": Out(_SUM_BITS * lanes),
            }
        )

    @property
    def module_name(self) -> str:
        return f"requantizer_{self.lanes}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"lanes": self.lanes}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        is_raw = has_format(self.c_format, ["int32"])
        limit = Signal(range(SATURATION + 1))
        m.d.comb += limit.eq(SATURATION)
        for name in OUTPUT_FORMATS:
            if name != "int32" and not get_format(name).has_outliers:
                # No outlier starts that low: the encoders then write normal codes only.
                with m.If(has_format(self.c_format, [name])):
                    m.d.comb += limit.eq(get_format(name).max_normal)

        raw: list[Value] = []
        values: list[Value] = []
        for lane in range(self.lanes):
            rounded = self._rounded(m, lane, is_raw)
            clamped = Signal(
                signed(SATURATION.bit_length() + 1), name=f"clamped{lane}", reset_less=True
            )
            unscaled = Signal(_SUM_BITS, name=f"unscaled{lane}", reset_less=True)
            m.d.sync += unscaled.eq(rounded)
            with m.If(rounded > limit):
                m.d.sync += clamped.eq(limit)
            with m.Elif((rounded < 0) & self.relu):
                m.d.sync += clamped.eq(0)
            with m.Elif(rounded < -limit):
                m.d.sync += clamped.eq(-limit)
            with m.Else():
                m.d.sync += clamped.eq(rounded)
            raw.append(unscaled)
            values.append(clamped)

        codes = {bits: self._codes(m, platform, values, bits) for bits in (4, 8)}
        is_byte = has_format(
            self.c_format, [name for name in OUTPUT_FORMATS if element_bits(name) == 8]
        )
        packed = Signal(_SUM_BITS * self.lanes, reset_less=True)
        m.d.sync += packed.eq(Mux(is_raw, Cat(raw), Mux(is_byte, codes[8], codes[4])))
        m.d.comb += self.data.eq(packed)
        return m

    def _rounded(self, m: Module, lane: int, is_raw: Value) -> Signal:
        """The first four stages: (sum + bias) * multiplier / 2^shift, half to even."""

        def stage(name: str, shape: Any) -> Signal:
            return Signal(shape, name=f"{name}{lane}", reset_less=True)

        channel = self.channels[lane]
        biased = stage("biased", signed(_SUM_BITS + 1))
        multiplier = stage("multiplier", _BITS["multiplier"])
        shifts = [stage(f"shift{step}_", _BITS["shift"]) for step in range(2)]
        # An int32 goes the same way, times 1.
        with m.If(lane >= self.count):
            m.d.sync += biased.eq(0)
        with m.Elif(is_raw):
            m.d.sync += biased.eq(self.sums[lane])
        with m.Else():
            m.d.sync += biased.eq(self.sums[lane] + channel.bias.as_signed())
        m.d.sync += [
            multiplier.eq(Mux(is_raw, 1, channel.multiplier)),
            shifts[0].eq(Mux(is_raw, 0, channel.shift)),
            shifts[1].eq(shifts[0]),
        ]

        product = stage("product", signed(len(biased) + len(multiplier)))
        m.d.sync += product.eq(biased * multiplier)

        # One more bit below: the first one that is cut off.
        quotient = stage("quotient", signed(len(product) + 1))
        sticky = stage("sticky", 1)
        below = Signal(len(product), name=f"below{lane}")
        m.d.comb += below.eq(((1 << shifts[1]) - 1) >> 1)
        m.d.sync += [
            quotient.eq(Cat(0, product).as_signed() >> shifts[1]),
            sticky.eq((product & below).any()),
        ]

        rounded = stage("rounded", signed(len(product)))
        half, odd = quotient[0], quotient[1]
        m.d.sync += rounded.eq((quotient >> 1) + (half & (sticky | odd)))
        return rounded

    def _codes(self, m: Module, platform: object, values: list[Value], bits: int) -> Value:
        pairs = []
        for i in range(0, self.lanes, 2):
            encoder = OVPEncoder(bits, SATURATION.bit_length() + 1)
            flint = {}
            if encoder.has_flint:
                flint["flint"] = has_format(self.c_format, ["flint4", "ovp4-flint"])
            place(
                m,
                f"encoder{bits}_{i // 2}",
                encoder,
                platform,
                even=values[i],
                odd=values[i + 1],
                **flint,
            )
            pairs.append(encoder.pair)
        return Cat(pairs)


def has_format(c_format: Value, names: Iterable[str]) -> Value:
    """Whether a format's code is one of those called `names`."""
    return Cat(c_format == FORMAT_CODES[name] for name in names).any()
