"""The outlier-victim-pair decoder at the border of the array."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.hw.layouts import Lane

__all__ = ["OVPDecoder"]


class OVPDecoder(Unit):
    """Two codes in, two exponent-integer pairs out; combinational (OliVe, Fig. 6b).

    A slot that holds the outlier identifier (`1000` or `1000_0000`) is a victim and decodes to 0;
    the other slot is then an abfloat code. Plain int4, flint4 and int8 never use the identifier,
    so they decode as the OVP format beside them. Two identifiers are an illegal pair: both
    outputs are 0 and `illegal` is high.

    Parameters
    ----------
    lane: Lane
        4-bit codes: int4 or flint4 normals and E2M1 outliers of bias 2 or 3, chosen by `flint`.
        8-bit codes: int8 normals and E4M3 outliers of bias 4 that saturate at 2**15.

    Members
    -------
    pair: In(2 * code_bits)
        Element 2i in the low half.
    flint: In(1)
        Normal type is flint4 (4-bit lanes only).
    even, odd: Out
        Elements 2i and 2i + 1.
    illegal: Out(1)
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        ports = {"pair": In(2 * lane.code_bits)}
        if lane.has_flint:
            ports["flint"] = In(1)
        super().__init__(
            {**ports, "even": Out(lane.pair), "odd": Out(lane.pair), "illegal": Out(1)}
        )

    @property
    def module_name(self) -> str:
        return f"ovp_decoder{self.lane.code_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"code_bits": self.lane.code_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.lane.code_bits
        identifier = 1 << (bits - 1)
        codes = [self.pair[:bits], self.pair[bits:]]
        is_identifier = [Signal(name=f"{side}_is_identifier") for side in ("even", "odd")]
        m.d.comb += [
            flag.eq(code == identifier) for flag, code in zip(is_identifier, codes, strict=True)
        ]
        m.d.comb += self.illegal.eq(is_identifier[0] & is_identifier[1])

        # At most one slot is an outlier, so one abfloat decoder serves both.
        outlier_code = Signal(bits)
        m.d.comb += outlier_code.eq(Mux(is_identifier[0], codes[1], codes[0]))
        outlier = self._abfloat(m, outlier_code)
        for out, code, side in ((self.even, codes[0], 0), (self.odd, codes[1], 1)):
            normal = self._normal(m, code, "even" if side == 0 else "odd")
            with m.If(is_identifier[side]):
                m.d.comb += out.eq(0)
            with m.Elif(is_identifier[1 - side]):
                m.d.comb += [out.exponent.eq(outlier[0]), out.integer.eq(outlier[1])]
            with m.Else():
                m.d.comb += [out.exponent.eq(normal[0]), out.integer.eq(normal[1])]
        return m

    def _normal(self, m: Module, code: Value, name: str) -> tuple[Value, Value]:
        if not self.lane.has_flint:
            return Const(0, self.lane.exponent_bits), code.as_signed()
        # flint4: sign, then 0xx = 0..3, 110 = <2,1>, 111 = <1,3>, 101 = <3,1>, 100 = <4,1>
        exponent = Signal(3, name=f"{name}_flint_exponent")
        magnitude = Signal(2, name=f"{name}_flint_magnitude")
        with m.Switch(code[:3]):
            for pattern, e, i in (("110", 2, 1), ("111", 1, 3), ("101", 3, 1), ("100", 4, 1)):
                with m.Case(pattern):
                    m.d.comb += [exponent.eq(e), magnitude.eq(i)]
            with m.Default():
                m.d.comb += magnitude.eq(code[:2])
        integer = Mux(code[3], -magnitude, magnitude)
        return Mux(self.flint, exponent, 0), Mux(self.flint, integer, code.as_signed())

    def _abfloat(self, m: Module, code: Value) -> tuple[Value, Value]:
        mantissa_bits = 1 if self.lane.code_bits == 4 else 3
        sign, field = code[-1], code[mantissa_bits:-1]
        bias = 2 + self.flint if self.lane.has_flint else 4
        exponent = Signal(range(self.lane.max_exponent + 1), name="outlier_exponent")
        magnitude = Signal(mantissa_bits + 1, name="outlier_magnitude")
        with m.If(code[:-1] == 0):
            m.d.comb += [exponent.eq(0), magnitude.eq(0)]
        with m.Elif((field + bias) >= self.lane.max_exponent + self.lane.has_flint):
            # Only 8-bit codes reach beyond the largest exponent, where the value saturates.
            m.d.comb += [exponent.eq(self.lane.max_exponent), magnitude.eq(1 << mantissa_bits)]
        with m.Else():
            m.d.comb += [
                exponent.eq(field + bias),
                magnitude.eq(Cat(code[:mantissa_bits], Const(1, 1))),
            ]
        return exponent, Mux(sign, -magnitude, magnitude)
