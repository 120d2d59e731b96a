"""From alphas to weights: the light that each pixel of a tile still lets pass."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.pipe import delayed
from oleaster.hw.nerf.pixel_store import PixelStore

__all__ = ["Shader", "ShaderCounts"]

_LATENCY = 4  # cycles from a sample's handshake until its weight is compared
_DEPTH = 8  # samples on their way and weights that wait, at most
_COUNT_BITS = 32


class ShaderCounts(data.StructLayout):
    """Samples since the last reset, modulo 2^32.

    skipped: found their pixel dark; density: did not; colored: of these, left with a weight.
    """

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(("skipped", "density", "colored"), _COUNT_BITS))


class Shader(Unit):
    """Alpha times light is a sample's weight, and so much less light passes; a sample every cycle.

    `models/nerf/fixed/shade.py` is the reference, for batches of one sample; `sim/nerf/shader.py`
    has the cycles. Samples of a pixel must come front to back.

    Parameters
    ----------
    pixels: int
        Of a tile, a power of two.
    transmittance_bits: int
        Fraction of alpha, light and weight, of which 1 itself is a value.
    tag_bits: int
        Of a sample's tag, which is handed through.

    Members
    -------
    i: stream of (pixel, alpha: transmittance_bits + 1, last, end, tag), In
        last: nothing follows the sample on its ray, and its alpha counts as 0. end: no sample, but
        the end of the tile. The next tile is taken when all of `light` has been.
    o: stream of (pixel, weight: transmittance_bits + 1, end, tag), Out
        Samples whose weight is above `threshold`, and the ends of tiles.
    light: stream of transmittance_bits + 1, Out
        After an end, what passes each pixel, pixel 0 first; the next tile begins with 1.
    dark, threshold: transmittance_bits + 1, In
        Pixels with less light take no samples; samples of no more weight have no colour. Stable
        while samples are on their way.
    look: In
    is_dark: Out
        Whether pixel `look` of the cycle before is dark, as far as samples are through.
    counts: ShaderCounts, Out
    """

    def __init__(self, pixels: int, transmittance_bits: int, tag_bits: int) -> None:
        self.pixels = pixels
        self.transmittance_bits = transmittance_bits
        self.tag_bits = tag_bits
        share = transmittance_bits + 1
        sample = {"pixel": range(pixels), "alpha": share, "last": 1, "end": 1, "tag": tag_bits}
        weight = {"pixel": range(pixels), "weight": share, "end": 1, "tag": tag_bits}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(sample))),
                "o": Out(stream.Signature(data.StructLayout(weight))),
                "light": Out(stream.Signature(share)),
                "dark": In(share),
                "threshold": In(share),
                "look": In(range(pixels)),
                "is_dark": Out(1),
                "counts": Out(ShaderCounts()),
            }
        )

    @property
    def module_name(self) -> str:
        return f"shader_{self.pixels}_{self.transmittance_bits}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "pixels": self.pixels,
            "transmittance_bits": self.transmittance_bits,
            "tag_bits": self.tag_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, one = self.transmittance_bits, 1 << self.transmittance_bits
        word = self.i.payload
        weights = Queue(Value.cast(self.o.payload).shape().width, _DEPTH)
        lights = PixelStore(self.pixels, bits + 1, one)
        place(m, "weights", weights, platform)
        place(m, "lights", lights, platform)
        room = Signal(range(_DEPTH + 1), init=_DEPTH)
        takes = Signal()
        m.d.comb += [
            self.i.ready.eq(lights.idle & (room != 0)),
            takes.eq(self.i.valid & self.i.ready),
            lights.pixel.eq(word.pixel),
            lights.take.eq(takes & ~word.end),
            lights.sweep.eq(takes & word.end),
            self.light.payload.eq(lights.o.payload),
            self.light.valid.eq(lights.o.valid),
            lights.o.ready.eq(self.light.ready),
            lights.look.eq(self.look),
            self.is_dark.eq(lights.seen < self.dark),
        ]
        # While the light is read: what the sample lets pass.
        alpha = delayed(m, Mux(word.last, 0, word.alpha), 1, "alpha")
        passes = Signal(bits + 1, reset_less=True)
        m.d.sync += passes.eq(one - alpha)
        # light - rounded(alpha light) is (1 - alpha) light, halves down: so the loop from light to
        # light is one multiplier.
        light = lights.was
        lit = Signal()
        m.d.comb += [
            lit.eq(light >= self.dark),
            lights.becomes.eq(Mux(lit, (light * passes + (one // 2 - 1))[bits:], light)),
        ]
        was = delayed(m, light, 1, "light_was")
        now = delayed(m, lights.becomes, 1, "light_is")
        weight = Signal(bits + 1, reset_less=True)
        m.d.sync += weight.eq(was - now)
        through = delayed(m, takes, _LATENCY, "on_the_way", reset_less=False)
        end = delayed(m, word.end, _LATENCY, "end")
        is_lit = delayed(m, lit, 2, "lit")
        colored = Signal()
        keeps = Signal()
        drops = Signal()
        gives = Signal()
        payload = data.View(self.o.payload.shape(), weights.i.payload)
        m.d.comb += [
            colored.eq(through & ~end & is_lit & (weight > self.threshold)),
            keeps.eq(colored | (through & end)),
            drops.eq(through & ~keeps),
            gives.eq(self.o.valid & self.o.ready),
            payload.pixel.eq(delayed(m, word.pixel, _LATENCY, "pixel")),
            payload.weight.eq(weight),
            payload.end.eq(end),
            payload.tag.eq(delayed(m, word.tag, _LATENCY, "tag")),
            weights.i.valid.eq(keeps),
            Value.cast(self.o.payload).eq(weights.o.payload),
            self.o.valid.eq(weights.o.valid),
            weights.o.ready.eq(self.o.ready),
        ]
        counts = self.counts
        m.d.sync += [
            room.eq(room + gives + drops - takes),
            counts.skipped.eq(counts.skipped + (through & ~end & ~is_lit)),
            counts.density.eq(counts.density + (through & ~end & is_lit)),
            counts.colored.eq(counts.colored + colored),
        ]
        return m
