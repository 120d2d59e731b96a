"""What the array's sums become: features, codes of the next layer's operand, logits."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from oleaster.hw.accelerator.layouts import ChannelLayout
from oleaster.hw.emit import Unit, named, place
from oleaster.hw.encoder import OVPEncoder
from oleaster.hw.layouts import SumsWord
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.rescaler import Rescaler
from oleaster.models.accelerator.requantize import SATURATION

__all__ = ["ColorSums"]

_CODE_BITS = 8


class ColorSums(Unit):
    """`Stage.after` and the next stage's `Rounding`, for a row of a tile in every cycle.

    Rows and tiles are counted from a reset on, through all stages and again.

    Parameters
    ----------
    tiles: tuple of int
        Of each stage; relu comes behind all but the first and the last.
    rows, columns: int
        Elements of a tile, `columns` a power of two.

    Members
    -------
    sums: stream of SumsWord(2 * columns, 32), In
        Always ready; sums are in the even places.
    write_enable, write_address, write_data: In
        The channel word of a column; address: tiles of all stages, then columns.
    values: Out(columns of signed(16))
        VALUE_LATENCY cycles after the sums.
    value_valid, value_stage, value_tile, value_row: Out
    codes: Out(columns / 2 of 16)
        CODES_LATENCY cycles after the sums.
    codes_valid, codes_stage, codes_tile, codes_row: Out
    ends: Out
        With the codes of a stage's last row.
    """

    VALUE_LATENCY = 1 + Rescaler.LATENCY
    CODES_LATENCY = VALUE_LATENCY + 1

    def __init__(self, tiles: tuple[int, ...], rows: int, columns: int) -> None:
        self.tiles = tiles
        self.rows = rows
        self.columns = columns
        where = {"stage": range(len(tiles)), "tile": range(max(2, *tiles)), "row": range(rows)}
        super().__init__(
            {
                "sums": In(stream.Signature(SumsWord(2 * columns, Rescaler.SUM_BITS))),
                "write_enable": In(1),
                "write_address": In(range(sum(tiles) * columns)),
                "write_data": In(ChannelLayout()),
                "values": Out(
                    data.ArrayLayout(signed(SATURATION.bit_length() + 1), columns),
                ),
                "value_valid": Out(1),
                **{f"value_{name}": Out(shape) for name, shape in where.items()},
                "codes": Out(data.ArrayLayout(2 * _CODE_BITS, columns // 2)),
                "codes_valid": Out(1),
                **{f"codes_{name}": Out(shape) for name, shape in where.items()},
                "ends": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"color_sums_{self.rows}x{self.columns}_{'_'.join(map(str, self.tiles))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"tiles": list(self.tiles), "rows": self.rows, "columns": self.columns}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.sums.payload
        stage = Signal(range(len(self.tiles)))
        tile = Signal(range(max(self.tiles)))
        row = Signal(range(self.rows))
        channel = Signal(range(sum(self.tiles)))  # tiles of all stages
        last_tile = Signal()
        last_stage = Signal()
        m.d.comb += [
            self.sums.ready.eq(1),
            last_tile.eq(tile == Array(Const(n - 1, len(tile)) for n in self.tiles)[stage]),
            last_stage.eq(stage == len(self.tiles) - 1),
        ]
        with m.If(self.sums.valid):
            m.d.sync += row.eq(row + 1)
            with m.If(word.last):
                m.d.sync += [row.eq(0), tile.eq(tile + 1), channel.eq(channel + 1)]
                with m.If(last_tile):
                    m.d.sync += [tile.eq(0), stage.eq(stage + 1)]
                    with m.If(last_stage):
                        m.d.sync += [stage.eq(0), channel.eq(0)]

        flow = Flow(m)
        flow.add("valid", self.sums.valid, 0, reset_less=False)
        flow.add("ends", self.sums.valid & word.last & last_tile, 0, reset_less=False)
        for name, value in (("stage", stage), ("tile", tile), ("row", row)):
            flow.add(name, value, 0)
            m.d.comb += [
                getattr(self, f"value_{name}").eq(flow.at(name, self.VALUE_LATENCY)),
                getattr(self, f"codes_{name}").eq(flow.at(name, self.CODES_LATENCY)),
            ]
        flow.add("relu", (stage != 0) & ~last_stage, 0)
        words = self._channels(m, channel)
        values = []
        for j in range(self.columns):
            rescaler = Rescaler()
            place(
                m,
                f"rescaler_{j}",
                rescaler,
                platform,
                sum=flow.step(f"sum_{j}", word.sums[2 * j], 1),
                bias=words[j].bias.as_signed(),
                multiplier=words[j].multiplier,
                shift=words[j].shift,
                limit=Const(SATURATION, rescaler.limit.shape()),
                relu=flow.at("relu", 1 + Rescaler.ROUNDED),
            )
            values.append(rescaler.value)
        for i in range(self.columns // 2):
            encoder = OVPEncoder(_CODE_BITS, len(values[0]))
            even, odd = values[2 * i : 2 * i + 2]
            place(m, f"encoder_{i}", encoder, platform, even=even, odd=odd)
            m.d.comb += self.codes[i].eq(flow.step(f"codes_{i}", encoder.pair, self.CODES_LATENCY))
        m.d.comb += [
            self.values.eq(Cat(*values)),
            self.value_valid.eq(flow.at("valid", self.VALUE_LATENCY)),
            self.codes_valid.eq(flow.at("valid", self.CODES_LATENCY)),
            self.ends.eq(flow.at("ends", self.CODES_LATENCY)),
        ]
        return m

    def _channels(self, m: Module, channel: Signal) -> Any:
        """Channel words of a tile, a cycle later."""
        shape = data.ArrayLayout(ChannelLayout(), self.columns)
        m.submodules.channels = memory = Memory(shape=shape, depth=sum(self.tiles), init=[])
        write = named(memory.write_port(granularity=1), "channels_write")
        read = named(memory.read_port(), "channels_read")
        column_bits = ceil_log2(self.columns)
        column = self.write_address[:column_bits]
        m.d.comb += [
            write.addr.eq(self.write_address[column_bits:]),
            write.data.eq(self.write_data.as_value().replicate(self.columns)),
            write.en.eq(Mux(self.write_enable, 1 << column, 0)),
            read.addr.eq(channel),
        ]
        return read.data
