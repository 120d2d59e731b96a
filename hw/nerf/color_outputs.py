"""A batch's logits to colours."""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named, place
from oleaster.hw.nerf.curve import CurveTable
from oleaster.models.accelerator.requantize import SATURATION
from oleaster.models.nerf.fixed.network_shape import COLORS
from oleaster.models.nerf.fixed.tables import sigmoid_curve
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = ["ColorOutputs"]


class ColorOutputs(Unit):
    """The sigmoid of one logit after the other, then the end of a tile, if there is one.

    Parameters
    ----------
    config: FixedConfig
        logit_bits, sigmoid_address_bits and color_bits count.
    samples: int
        Of a full batch.
    tag_bits: int

    Members
    -------
    tag_store: In
        `tag` is that of sample `tag_row`.
    tag_row, tag: In
    store: In
        `logits` are those of sample `store_row`.
    store_row, logits: In
    run: In
        Give colours of `count` samples, then a word with `end_tag` if `has_end`; high until `done`.
    count, has_end, end_tag: In
    done: Out
        All are taken; in the next cycle `run` must be low.
    write_enable, write_address, write_data: In
        Intervals of the sigmoid.
    o: stream of (color: 3 of color_bits + 1, end, tag), Out
    """

    def __init__(self, config: FixedConfig, samples: int, tag_bits: int) -> None:
        self.config = config
        self.samples = samples
        self.tag_bits = tag_bits
        self._sigmoid = sigmoid_curve(config)
        self._logit = signed(SATURATION.bit_length() + 1)
        self.curve = CurveTable(
            self._logit.width,
            config.color_bits + 1,
            config.sigmoid_address_bits,
            max(1, self._sigmoid.shift),
        )
        self.curve._MustUse__used = True  # placed where there is a module to place it in
        color = data.ArrayLayout(config.color_bits + 1, COLORS)
        super().__init__(
            {
                "tag_store": In(1),
                "tag_row": In(range(samples)),
                "tag": In(tag_bits),
                "store": In(1),
                "store_row": In(range(samples)),
                "logits": In(data.ArrayLayout(self._logit, COLORS)),
                "run": In(1),
                "count": In(range(samples + 1)),
                "has_end": In(1),
                "end_tag": In(tag_bits),
                "done": Out(1),
                "write_enable": In(1),
                "write_address": In(config.sigmoid_address_bits),
                "write_data": In(self.curve.write_data.shape()),
                "o": Out(
                    stream.Signature(data.StructLayout({"color": color, "end": 1, "tag": tag_bits}))
                ),
            }
        )

    @property
    def module_name(self) -> str:
        c = self.config
        widths = c.logit_bits, c.sigmoid_address_bits, c.color_bits
        return f"color_outputs_{self.samples}_{'_'.join(map(str, widths))}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        c = self.config
        return {
            "samples": self.samples,
            "logit_bits": c.logit_bits,
            "sigmoid_address_bits": c.sigmoid_address_bits,
            "color_bits": c.color_bits,
            "tag_bits": self.tag_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        curve = self.curve
        place(
            m,
            "sigmoid",
            curve,
            platform,
            lowest=Const(self._sigmoid.lowest, curve.lowest.shape()),
            shift=Const(self._sigmoid.shift, curve.shift.shape()),
            write_enable=self.write_enable,
            write_address=self.write_address,
            write_data=self.write_data,
        )
        m.submodules.kept_logits = logits = Memory(
            shape=self.logits.shape(), depth=self.samples, init=[]
        )
        m.submodules.tags = tags = Memory(shape=self.tag_bits, depth=self.samples, init=[])
        logits_write = named(logits.write_port(), "logits_write")
        logits_read = named(logits.read_port(domain="comb"), "logits_read")
        tags_write = named(tags.write_port(), "tags_write")
        tags_read = named(tags.read_port(domain="comb"), "tags_read")

        fed_row = Signal(range(self.samples + 1))
        fed_color = Signal(range(COLORS))
        row = Signal(range(self.samples + 1))
        color = Signal(range(COLORS))
        feeds = Signal()
        takes = Signal()
        through = Signal()
        # Red and green wait for blue.
        waiting = Signal(data.ArrayLayout(self.config.color_bits + 1, COLORS - 1), reset_less=True)
        m.d.comb += [
            tags_write.addr.eq(self.tag_row),
            tags_write.data.eq(self.tag),
            tags_write.en.eq(self.tag_store),
            tags_read.addr.eq(row[: len(tags_read.addr)]),
            logits_write.addr.eq(self.store_row),
            logits_write.data.eq(self.logits),
            logits_write.en.eq(self.store),
            logits_read.addr.eq(fed_row[: len(logits_read.addr)]),
            curve.i.payload.eq(logits_read.data[fed_color]),
            curve.i.valid.eq(self.run & (fed_row != self.count)),
            feeds.eq(curve.i.valid & curve.i.ready),
            curve.o.ready.eq((color != COLORS - 1) | self.o.ready),
            takes.eq(curve.o.valid & curve.o.ready),
            through.eq(self.run & (row == self.count)),
            self.done.eq(through & (~self.has_end | self.o.ready)),
            self.o.valid.eq((through & self.has_end) | (curve.o.valid & (color == COLORS - 1))),
            self.o.payload.end.eq(through),
            self.o.payload.tag.eq(Mux(through, self.end_tag, tags_read.data)),
            *(self.o.payload.color[i].eq(waiting[i]) for i in range(COLORS - 1)),
            self.o.payload.color[COLORS - 1].eq(curve.o.payload),
        ]
        for step, at_row, at_color in ((feeds, fed_row, fed_color), (takes, row, color)):
            with m.If(step):
                m.d.sync += at_color.eq(at_color + 1)
                with m.If(at_color == COLORS - 1):
                    m.d.sync += [at_color.eq(0), at_row.eq(at_row + 1)]
        with m.If(takes):
            for i in range(COLORS - 1):
                with m.If(color == i):
                    m.d.sync += waiting[i].eq(curve.o.payload)
        with m.If(self.done):
            m.d.sync += [fed_row.eq(0), row.eq(0)]
        return m
