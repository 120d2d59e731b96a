"""Weights and colours to pixels: sums of a tile, and what they are over the background."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.pipe import Pipe, delayed
from oleaster.hw.nerf.pixel_store import PixelStore
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.shade import LARGEST_BYTE

__all__ = ["Compositor", "PixelFinisher"]

_BYTE_BITS = LARGEST_BYTE.bit_length()


def _sums(bits: int) -> data.ArrayLayout:
    """Sums of weight times colour along red, green and blue: 1 itself is a value."""
    return data.ArrayLayout(bits + 1, 3)


class PixelFinisher(Pipe):
    """A pixel's sums and light to its bytes: `FixedPixels.finish`.

    All weights of a pixel and its light add up to 1 exactly, so that no sum is beyond 1 and
    nothing has to be clipped.

    Parameters
    ----------
    transmittance_bits, color_bits: int
        Fraction of the light, and of a sample's colour.

    Members
    -------
    white: In
        The background, or else it is black; stable while pixels are on their way.
    i: stream of (sum: 3 of transmittance_bits + color_bits + 1, light), In
    o: stream of 3 bytes, Out
    """

    def __init__(self, transmittance_bits: int, color_bits: int) -> None:
        self.transmittance_bits = transmittance_bits
        self.color_bits = color_bits
        self.sum_bits = transmittance_bits + color_bits
        word = {"sum": _sums(self.sum_bits), "light": transmittance_bits + 1}
        super().__init__(
            data.StructLayout(word),
            data.ArrayLayout(_BYTE_BITS, 3),
            latency=2,
            members={"white": In(1)},
        )

    @property
    def module_name(self) -> str:
        return f"pixel_finisher_{self.transmittance_bits}_{self.color_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"transmittance_bits": self.transmittance_bits, "color_bits": self.color_bits}

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        answer = Signal(self.o.payload.shape(), reset_less=True)
        behind = Signal(self.sum_bits + 1)
        m.d.comb += behind.eq(Mux(self.white, word.light.shift_left(self.color_bits), 0))
        for i, name in enumerate(("red", "green", "blue")):
            over = Signal(self.sum_bits + 1, name=name, reset_less=True)
            m.d.sync += [
                over.eq(word.sum[i] + behind),
                answer[i].eq(rounded(over * LARGEST_BYTE, self.sum_bits)),
            ]
        return answer


class Compositor(Unit):
    """Adds weight times colour to its pixel, a sample every cycle; a tile ends with its pixels.

    `FixedPixels` of `models/nerf/fixed/shade.py` is the reference, `sim/nerf/compositor.py` has the
    cycles.

    Parameters
    ----------
    pixels: int
        Of a tile, a power of two.
    transmittance_bits, color_bits: int
        Fraction of light and weights, and of a sample's colour; 1 itself is a value.

    Members
    -------
    i: stream of (pixel, weight: transmittance_bits + 1, color: 3 of color_bits + 1, end), In
        end: no sample, but the end of the tile. The next tile is taken when all of `light` has
        been.
    light: stream of transmittance_bits + 1, In
        For each end, what passes each pixel, pixel 0 first, as `Shader` gives it.
    o: stream of 3 bytes, Out
        Red, green and blue of each pixel, pixel 0 first.
    white: In
        The background, or else it is black; stable while pixels are on their way.
    """

    def __init__(self, pixels: int, transmittance_bits: int, color_bits: int) -> None:
        self.pixels = pixels
        self.transmittance_bits = transmittance_bits
        self.color_bits = color_bits
        share = transmittance_bits + 1
        color = data.ArrayLayout(color_bits + 1, 3)
        sample = {"pixel": range(pixels), "weight": share, "color": color, "end": 1}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(sample))),
                "light": In(stream.Signature(share)),
                "o": Out(stream.Signature(data.ArrayLayout(_BYTE_BITS, 3))),
                "white": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"compositor_{self.pixels}_{self.transmittance_bits}_{self.color_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "pixels": self.pixels,
            "transmittance_bits": self.transmittance_bits,
            "color_bits": self.color_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.i.payload
        layout = _sums(self.transmittance_bits + self.color_bits)
        sums = PixelStore(self.pixels, layout.size, 0)
        finisher = PixelFinisher(self.transmittance_bits, self.color_bits)
        place(m, "sums", sums, platform)
        place(m, "finisher", finisher, platform)
        takes = Signal()
        m.d.comb += [
            self.i.ready.eq(sums.idle),
            takes.eq(self.i.valid & self.i.ready),
            sums.pixel.eq(word.pixel),
            sums.take.eq(takes & ~word.end),
            sums.sweep.eq(takes & word.end),
        ]
        weight = delayed(m, word.weight, 1, "weight")
        was = data.View(layout, sums.was)
        becomes = []
        for i, name in enumerate(("red", "green", "blue")):
            share = Signal(layout.elem_shape, name=f"share_of_{name}", reset_less=True)
            m.d.sync += share.eq(weight * delayed(m, word.color[i], 1, name))
            becomes.append((was[i] + share)[: len(share)])
        ready = finisher.i.ready
        m.d.comb += [
            sums.becomes.eq(Cat(*becomes)),
            finisher.i.valid.eq(sums.o.valid & self.light.valid),
            finisher.i.payload.sum.eq(sums.o.payload),
            finisher.i.payload.light.eq(self.light.payload),
            sums.o.ready.eq(self.light.valid & ready),
            self.light.ready.eq(sums.o.valid & ready),
            finisher.white.eq(self.white),
            self.o.payload.eq(finisher.o.payload),
            self.o.valid.eq(finisher.o.valid),
            finisher.o.ready.eq(self.o.ready),
        ]
        return m
