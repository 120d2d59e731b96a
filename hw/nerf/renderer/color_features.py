"""From the codes around a sample to the products that its colour is made of."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.features import CodesLayout, product_bits
from oleaster.hw.nerf.layouts import RayLayout
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.renderer.alpha import feed, pair_features
from oleaster.hw.nerf.renderer.taps import TapsWord
from oleaster.hw.rescaler import Rescaler
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS

__all__ = ["ColorFeatures", "ColorProducts"]


class ColorProducts(Pipe):
    """Some components of each pair, interpolated and multiplied; a word every cycle.

    `FixedField.products` is the reference.

    Parameters
    ----------
    config: RendererConfig
        Words have its color_at_once components of each pair.

    Members
    -------
    i: stream of (codes, weight: 3, end, tag), In
    o: stream of (product: 3 x color_at_once, end, tag), Out
    """

    def __init__(self, config: RendererConfig, tag_bits: int) -> None:
        self.config = config
        self.tag_bits = tag_bits
        fixed, count = config.fixed, config.color_at_once
        self._features = pair_features(config, count)
        codes = data.ArrayLayout(CodesLayout(config.plane_bits, config.line_bits), count)
        product = signed(product_bits(config.plane_bits, config.line_bits, fixed.guard_bits))
        super().__init__(
            data.StructLayout(
                {
                    "codes": data.ArrayLayout(codes, PAIRS),
                    "weight": data.ArrayLayout(fixed.weight_bits + 1, 3),
                    "end": 1,
                    "tag": tag_bits,
                }
            ),
            data.StructLayout(
                {
                    "product": data.ArrayLayout(data.ArrayLayout(product, count), PAIRS),
                    "end": 1,
                    "tag": tag_bits,
                }
            ),
            latency=1 + self._features[0].pipe.latency,
        )

    @property
    def module_name(self) -> str:
        return f"color_products_{self.config.name}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.config.parameters, "tag_bits": self.tag_bits}

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        word_1 = delayed(m, word, 1, "word")
        for pair, unit in enumerate(self._features):
            place(m, f"features_{pair}", unit, platform)
        feed(m, self._features, word_1.codes, word_1.weight)
        answer = Signal(self.o.payload.shape())
        m.d.comb += [
            *(answer.product[i].eq(unit.o.product) for i, unit in enumerate(self._features)),
            answer.end.eq(delayed(m, word_1.end, self.latency - 1, "end")),
            answer.tag.eq(delayed(m, word_1.tag, self.latency - 1, "tag")),
        ]
        return answer


class ColorFeatures(Unit):
    """All products of a sample, some components of each pair at a time, and its ray's direction.

    A sample is color_components / color_at_once words of `ColorProducts`, an `end` is one. A word's
    products are put together as they come; a sample leaves when it has all, and the next one's
    first word may come in that cycle. `sim/nerf/renderer/taps.py` has the cycles.

    Parameters
    ----------
    config: RendererConfig
    tag_bits: int
        Of a sample's tag, whose lowest bits are its pixel, and which is handed through.

    Members
    -------
    i: stream of TapsWord, In
    o: stream of (product: signed 32 of each component, pair by pair, direction: 3, end, tag), Out
    read_address: Out(2 * tile_bits)
        Pixel whose ray is wanted.
    direction: In(3)
        Of its ray, a cycle later.
    """

    def __init__(self, config: RendererConfig, tag_bits: int) -> None:
        self.config = config
        self.tag_bits = tag_bits
        direction = RayLayout(config.fixed).members["direction"]
        products = PAIRS * config.color_components
        super().__init__(
            {
                "i": In(stream.Signature(TapsWord(config, config.color_components, tag_bits))),
                "o": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "product": data.ArrayLayout(signed(Rescaler.SUM_BITS), products),
                                "direction": direction,
                                "end": 1,
                                "tag": tag_bits,
                            }
                        )
                    )
                ),
                "read_address": Out(2 * config.tile_bits),
                "direction": In(direction),
            }
        )

    @property
    def module_name(self) -> str:
        return f"color_features_{self.config.name}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.config.parameters, "tag_bits": self.tag_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.config.color_at_once
        parts = self.config.color_components // count
        products = ColorProducts(self.config, self.tag_bits)
        place(m, "products", products, platform)
        word = self.i.payload
        sends = Signal(range(parts))
        last_sent = word.end | (sends == parts - 1)
        part = Signal(products.i.payload.codes.shape(), name="part")
        with m.Switch(sends):
            for i in range(parts):
                with m.Case(i):
                    for pair in range(PAIRS):
                        for j in range(count):
                            m.d.comb += part[pair][j].eq(word.codes[pair][i * count + j])
        m.d.comb += [
            products.i.payload.codes.eq(part),
            products.i.payload.weight.eq(word.weight),
            products.i.payload.end.eq(word.end),
            products.i.payload.tag.eq(word.tag),
            products.i.valid.eq(self.i.valid),
            self.i.ready.eq(products.i.ready & last_sent),
        ]
        with m.If(products.i.valid & products.i.ready):
            m.d.sync += sends.eq(Mux(last_sent, 0, sends + 1))
        self._gather(m, products.o, parts)
        return m

    def _gather(self, m: Module, products: Any, parts: int) -> None:
        """A sample's words, put together."""
        count, word = self.config.color_at_once, products.payload
        gathered = Signal(self.o.payload.product.shape(), reset_less=True)
        at = Signal(range(parts))
        end = Signal(reset_less=True)
        tag = Signal(self.tag_bits, reset_less=True)
        full = Signal()
        takes = Signal()
        last = word.end | (at == parts - 1)
        m.d.comb += [
            products.ready.eq(~full | self.o.ready),
            takes.eq(products.valid & products.ready),
            self.o.valid.eq(full),
            self.o.payload.product.eq(gathered),
            self.o.payload.end.eq(end),
            self.o.payload.tag.eq(tag),
            self.o.payload.direction.eq(self.direction),
            # Read anew in every cycle in which the sample waits.
            self.read_address.eq(Mux(takes, word.tag, tag)[: len(self.read_address)]),
        ]
        with m.If(takes):
            m.d.sync += [at.eq(Mux(last, 0, at + 1)), end.eq(word.end), tag.eq(word.tag)]
            with m.Switch(at):
                for i in range(parts):
                    with m.Case(i):
                        for pair in range(PAIRS):
                            for j in range(count):
                                place_of = (pair * parts + i) * count + j
                                m.d.sync += gathered[place_of].eq(word.product[pair][j])
        with m.If(takes & last):
            m.d.sync += full.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += full.eq(0)
