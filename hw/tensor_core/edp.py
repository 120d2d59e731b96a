"""16EDP: a 16-element dot product with OVP decoders in front and an accumulator behind."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from oleaster.hw.decoder import OVPDecoder
from oleaster.hw.emit import Unit, place

__all__ = ["CHUNK_BITS", "EDP16", "OperandType"]

MULTIPLIERS = 16
CHUNK_BITS = 64  # of one operand: 16 codes of 4 bits or 8 of 8 bits

# A decoded element of either width: magnitude at most 2**15 as `integer << exponent`.
_ELEMENT = data.StructLayout({"integer": signed(8), "exponent": unsigned(4)})
# One product with its shift. At the most negative, <4, -1> * 2**12 * -2**15 = 2**31.
_TERM = signed(33)
# 8 elements, or 16 of 4 bits, of magnitude at most 2**30.
_SUM = signed(35)


class OperandType(data.StructLayout):
    """How the codes of an operand are read.

    Fields: `flint`, of 4-bit codes the normal type is int4 (0) or flint4 (1); `wide`, codes have
    8 bits.
    """

    def __init__(self) -> None:
        super().__init__({"flint": 1, "wide": 1})


def _place_decoder(
    m: Module, name: str, platform: object, code_bits: int, pair: Value, flint: Value
) -> OVPDecoder:
    decoder = OVPDecoder(code_bits)
    controls = {"flint": flint} if decoder.has_flint else {}
    place(m, name, decoder, platform, pair=pair, **controls)
    return decoder


class EDP16(Unit):
    """Sixteen multipliers of nibble and byte, shifters, an adder tree and an accumulator.

    When both operands have 4 bits, 16 products <ea + eb, ia * ib> are summed each cycle. Otherwise
    8: each integer of A is split into its high nibble, <ea + 4, signed>, and its low one,
    <ea, unsigned>, on two multipliers beside the whole integer of B (OliVe splits both; a nibble
    beside a byte is ours). The sum is exact; the 32-bit accumulator wraps.

    Three stages: decode; multiply, shift and sum; accumulate. Both operands have eight 4-bit pair
    decoders and four 8-bit ones: 16 and 8 for each EDP (OliVe's counts).

    Members
    -------
    en: In(1)
        Operands are here.
    a, b: In(64)
        Codes, element 0 lowest. A 4-bit operand beside an 8-bit one has 8 codes below 32 zeros.
    a_type, b_type: In(OperandType)
    add: In(1)
        `en`, two cycles later: the sum of those operands enters the accumulator.
    first: In(1)
        With `add`: on top of `c`, not of the accumulator.
    c: In(32)
    acc: Out(32)
        Three cycles after the operands.
    wraps: Out(1)
        This `add` leaves the range of signed 32 bits.
    illegal: Out(1)
        `a` or `b` holds two identifiers in a pair, which decode to 0.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "en": In(1),
                "a": In(CHUNK_BITS),
                "b": In(CHUNK_BITS),
                "a_type": In(OperandType()),
                "b_type": In(OperandType()),
                "add": In(1),
                "first": In(1),
                "c": In(signed(32)),
                "acc": Out(signed(32)),
                "wraps": Out(1),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "edp16"

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a4, a8, illegal_a = self._decode(m, platform, "a", self.a, self.a_type)
        b4, b8, illegal_b = self._decode(m, platform, "b", self.b, self.b_type)
        m.d.comb += self.illegal.eq(illegal_a | illegal_b)

        by_byte = Signal()
        m.d.comb += by_byte.eq(self.a_type.wide | self.b_type.wide)
        terms: list[Value] = []
        for i in range(MULTIPLIERS):
            nibble = Signal(signed(5), name=f"nibble{i}", reset_less=True)
            byte = Signal(signed(8), name=f"byte{i}", reset_less=True)
            shift = Signal(5, name=f"shift{i}", reset_less=True)
            a, b = a8[i // 2], b8[i // 2]
            high = i % 2
            half = a.integer[4:].as_signed() if high else a.integer[:4]
            with m.If(self.en):
                with m.If(by_byte):
                    m.d.sync += [
                        nibble.eq(half),
                        byte.eq(b.integer),
                        shift.eq(a.exponent + b.exponent + 4 * high),
                    ]
                with m.Else():
                    m.d.sync += [
                        nibble.eq(a4[i].integer),
                        byte.eq(b4[i].integer),
                        shift.eq(a4[i].exponent + b4[i].exponent),
                    ]
            product = Signal(signed(12), name=f"product{i}")
            term = Signal(_TERM, name=f"term{i}")
            m.d.comb += [product.eq(nibble * byte), term.eq(product << shift)]
            terms.append(term)
        while len(terms) > 1:
            terms = [x + y for x, y in zip(terms[0::2], terms[1::2], strict=True)]
        total = Signal(_SUM, reset_less=True)
        m.d.sync += total.eq(terms[0])
        self._accumulate(m, total)
        return m

    def _decode(
        self, m: Module, platform: object, side: str, codes: Value, kind: data.View
    ) -> tuple[list[data.View], list[data.View], Value]:
        """(16 elements as 4-bit codes, 8 elements in either width, illegal) of one operand."""
        elements: dict[int, list[data.View]] = {}
        illegal: dict[int, Value] = {}
        for bits in (4, 8):
            decoders = [
                _place_decoder(
                    m,
                    f"decoder{bits}_{side}{i}",
                    platform,
                    bits,
                    codes.word_select(i, 2 * bits),
                    kind.flint,
                )
                for i in range(CHUNK_BITS // (2 * bits))
            ]
            elements[bits] = [pair for decoder in decoders for pair in (decoder.even, decoder.odd)]
            illegal[bits] = Cat(decoder.illegal for decoder in decoders).any()
        either = []
        for i, wide in enumerate(elements[8]):
            element = Signal(_ELEMENT, name=f"{side}{i}")
            with m.If(kind.wide):
                m.d.comb += [
                    element.integer.eq(wide.integer),
                    element.exponent.eq(wide.exponent),
                ]
            with m.Else():
                m.d.comb += [
                    element.integer.eq(elements[4][i].integer),
                    element.exponent.eq(elements[4][i].exponent),
                ]
            either.append(element)
        return elements[4], either, Mux(kind.wide, illegal[8], illegal[4])

    def _accumulate(self, m: Module, total: Signal) -> None:
        start = Signal(signed(32))
        result = Signal(signed(_SUM.width + 1))
        beyond = result[31:]
        m.d.comb += [
            start.eq(Mux(self.first, self.c, self.acc)),
            result.eq(start + total),
            self.wraps.eq(self.add & beyond.any() & ~beyond.all()),
        ]
        with m.If(self.add):
            m.d.sync += self.acc.eq(result)
