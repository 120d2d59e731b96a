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
from oleaster.hw.rescaler import Rescaler
from oleaster.models.accelerator.descriptor import FORMAT_CODES, element_bits
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS, SATURATION
from oleaster.models.formats import get_format

__all__ = ["FORMAT_SHAPE", "Requantizer", "has_format"]

FORMAT_SHAPE = range(max(FORMAT_CODES.values()) + 1)


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

    LATENCY = Rescaler.LATENCY + 1

    def __init__(self, lanes: int) -> None:
        if lanes < 2 or lanes % 2:
            raise ValueError(f"lanes is {lanes}; it must be even and at least 2")
        self.lanes = lanes
        super().__init__(
            {
                "sums": In(data.ArrayLayout(signed(Rescaler.SUM_BITS), lanes)),
                "channels": In(data.ArrayLayout(ChannelLayout(), lanes)),
                "count": In(range(lanes + 1)),
                "c_format": In(FORMAT_SHAPE),
                "relu": In(1),
                "data": Out(Rescaler.SUM_BITS * lanes),
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
            rescaler = self._rescaler(m, platform, lane, is_raw, limit)
            unscaled = Signal(Rescaler.SUM_BITS, name=f"unscaled{lane}", reset_less=True)
            m.d.sync += unscaled.eq(rescaler.rounded)
            raw.append(unscaled)
            values.append(rescaler.value)

        codes = {bits: self._codes(m, platform, values, bits) for bits in (4, 8)}
        is_byte = has_format(
            self.c_format, [name for name in OUTPUT_FORMATS if element_bits(name) == 8]
        )
        packed = Signal(Rescaler.SUM_BITS * self.lanes, reset_less=True)
        m.d.sync += packed.eq(Mux(is_raw, Cat(raw), Mux(is_byte, codes[8], codes[4])))
        m.d.comb += self.data.eq(packed)
        return m

    def _rescaler(
        self, m: Module, platform: object, lane: int, is_raw: Value, limit: Value
    ) -> Rescaler:
        channel = self.channels[lane]
        beyond = lane >= self.count
        rescaler = Rescaler()
        place(
            m,
            f"rescaler{lane}",
            rescaler,
            platform,
            sum=Mux(beyond, 0, self.sums[lane]),
            # An int32 goes the same way, times 1.
            bias=Mux(beyond | is_raw, 0, channel.bias.as_signed()),
            multiplier=Mux(is_raw, 1, channel.multiplier),
            shift=Mux(is_raw, 0, channel.shift),
            limit=limit,
            relu=self.relu,
        )
        return rescaler

    def _codes(self, m: Module, platform: object, values: list[Value], bits: int) -> Value:
        pairs = []
        for i in range(0, self.lanes, 2):
            encoder = OVPEncoder(bits, len(values[i]))
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
