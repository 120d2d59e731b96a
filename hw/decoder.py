"""Decoders of codes to exponent-integer pairs: outlier-victim pairs, floats, codebooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, named
from oleaster.models.formats import FORMATS, Format, get_format
from oleaster.models.formats.registry import FLOATS

__all__ = ["CODE_DECODERS", "CodebookDecoder", "FloatDecoder", "OVPDecoder", "pair_layout"]


def pair_layout(formats: list[Format]) -> data.StructLayout:
    """The narrowest exponent-integer pair that holds every code of the formats."""
    return data.StructLayout(
        {
            "integer": signed(max(fmt.integer_bits for fmt in formats)),
            "exponent": unsigned(max(fmt.exponent_bits for fmt in formats)),
        }
    )


def _ovp_formats(code_bits: int) -> list[Format]:
    """Those that an outlier-victim decoder of that width reads."""
    return [fmt for fmt in FORMATS.values() if fmt.outlier and fmt.code_bits == code_bits]


class OVPDecoder(Unit):
    """Two codes in, two exponent-integer pairs out; combinational (OliVe, Fig. 6b).

    A slot that holds the outlier identifier (`1000` or `1000_0000`) is a victim and decodes to 0;
    the other slot is then an abfloat code. Plain int4, flint4 and int8 never use the identifier,
    so they decode as the OVP format beside them. Two identifiers are an illegal pair: both
    outputs are 0 and `illegal` is high.

    Parameters
    ----------
    code_bits: int
        4: int4 or flint4 normals and E2M1 outliers of bias 2 or 3, chosen by `flint`.
        8: int8 normals and E4M3 outliers of bias 4 that saturate at 2**15.

    Raises ValueError for another width.

    Members
    -------
    pair: In(2 * code_bits)
        Element 2i in the low half.
    flint: In(1)
        Normal type is flint4 (4 bits only).
    even, odd: Out
        Elements 2i and 2i + 1.
    illegal: Out(1)
    """

    def __init__(self, code_bits: int) -> None:
        formats = _ovp_formats(code_bits)
        if not formats:
            raise ValueError(f"code_bits is {code_bits!r}; it must be 4 or 8")
        self.code_bits = code_bits
        self.has_flint = code_bits == 4
        self.max_exponent = max(row.exponent for fmt in formats for row in fmt.table())
        pair = pair_layout(formats)
        ports = {"pair": In(2 * code_bits)}
        if self.has_flint:
            ports["flint"] = In(1)
        super().__init__({**ports, "even": Out(pair), "odd": Out(pair), "illegal": Out(1)})

    @property
    def module_name(self) -> str:
        return f"ovp_decoder{self.code_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"code_bits": self.code_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.code_bits
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
        if not self.has_flint:
            return Const(0, self.max_exponent.bit_length()), code.as_signed()
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
        mantissa_bits = 1 if self.code_bits == 4 else 3
        sign, field = code[-1], code[mantissa_bits:-1]
        bias = 2 + self.flint if self.has_flint else 4
        exponent = Signal(range(self.max_exponent + 1), name="outlier_exponent")
        magnitude = Signal(mantissa_bits + 1, name="outlier_magnitude")
        with m.If(code[:-1] == 0):
            m.d.comb += [exponent.eq(0), magnitude.eq(0)]
        with m.Elif((field + bias) >= self.max_exponent + self.has_flint):
            # Only 8-bit codes reach beyond the largest exponent, where the value saturates.
            m.d.comb += [exponent.eq(self.max_exponent), magnitude.eq(1 << mantissa_bits)]
        with m.Else():
            m.d.comb += [
                exponent.eq(field + bias),
                magnitude.eq(Cat(code[:mantissa_bits], Const(1, 1))),
            ]
        return exponent, Mux(sign, -magnitude, magnitude)


class FloatDecoder(Unit):
    """One code of an OCP float in, one exponent-integer pair out; combinational.

    With fields s | e | m, a value is +-m for e = 0, +-(2**mantissa_bits + m) << (e - 1) above, in
    units of the least subnormal. NaN and infinity give 0 and raise `illegal`.

    Parameters
    ----------
    format: str
        "fp4-e2m1", "fp6-e3m2", "fp6-e2m3", "fp8-e4m3" or "fp8-e5m2".

    Members
    -------
    code: In(code_bits)
    pair: Out
    illegal: Out(1)
    """

    def __init__(self, format: str) -> None:
        fmt = get_format(format)
        self.format = format
        self.code_bits = fmt.code_bits
        self.mantissa_field = int(format[-1])
        self.specials = int((~fmt.normal.usable).sum()) // 2
        super().__init__(
            {"code": In(fmt.code_bits), "pair": Out(pair_layout([fmt])), "illegal": Out(1)}
        )

    @property
    def module_name(self) -> str:
        return f"{self.format.replace('-', '_')}_decoder"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"format": self.format}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mantissa = self.code[: self.mantissa_field]
        exponent = self.code[self.mantissa_field : -1]
        is_normal = exponent.any()
        magnitude = Signal(self.mantissa_field + 1)
        m.d.comb += magnitude.eq(Cat(mantissa, is_normal))
        if self.specials == 1:  # one magnitude, that of all ones, is NaN
            m.d.comb += self.illegal.eq(exponent.all() & mantissa.all())
        elif self.specials:  # NaN and infinity wherever the exponent is all ones
            m.d.comb += self.illegal.eq(exponent.all())
        with m.If(~self.illegal):
            m.d.comb += [
                self.pair.exponent.eq(Mux(is_normal, exponent - 1, 0)),
                self.pair.integer.eq(Mux(self.code[-1], -magnitude, magnitude)),
            ]
        return m


CODE_DECODERS: dict[str, Callable[[], Unit]] = {
    codec.name: partial(FloatDecoder, codec.name) for codec in FLOATS
}
"""By codec, what decodes one code: a combinational unit with ports `code`, `pair`, `illegal`."""


class CodebookDecoder(Unit):
    """An index in, two exponent-integer pairs out: a table of 256 entries that can be written.

    An entry is two bytes, that of element 2i in the low half; a byte is the exponent (3 bits) above
    the integer (5 bits, two's complement). Reading is combinational, writing takes the clock edge.

    Members
    -------
    index: In(8)
    even, odd: Out
    table_write: In(1); table_index: In(8); table_entry: In(16)
    """

    def __init__(self) -> None:
        pair = pair_layout([get_format("codebook")])
        super().__init__(
            {
                "index": In(8),
                "even": Out(pair),
                "odd": Out(pair),
                "table_write": In(1),
                "table_index": In(8),
                "table_entry": In(16),
            }
        )

    @property
    def module_name(self) -> str:
        return "codebook_decoder"

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.entries = entries = Memory(shape=16, depth=256, init=[])
        read = named(entries.read_port(domain="comb"), "read")
        write = named(entries.write_port(), "write")
        m.d.comb += [
            read.addr.eq(self.index),
            Cat(self.even.as_value(), self.odd.as_value()).eq(read.data),
            write.en.eq(self.table_write),
            write.addr.eq(self.table_index),
            write.data.eq(self.table_entry),
        ]
        return m
