"""The outlier-victim-pair encoder behind the accumulators."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit

__all__ = ["OVPEncoder"]


class OVPEncoder(Unit):
    """Two signed integers in units of the scale in, one outlier-victim pair out; combinational.

    The same bytes as `Format.encode` of ovp4-int, ovp4-flint or ovp8 for integer values: nearest
    value with ties to the larger magnitude, an outlier from the midpoint between the largest
    normal value and the smallest outlier on, the larger of two outliers kept and on a tie the odd
    one (OliVe, Algorithm 1). The circuit is ours: the paper gives none.

    Parameters
    ----------
    code_bits: int
        Width of the codes, 4 or 8.
    value_bits: int
        Width of each input; beyond the largest outlier the encoder saturates.

    Members
    -------
    even, odd: In(signed(value_bits))
        Elements 2i and 2i + 1.
    flint: In(1)
        Normal type is flint4 (4 bits only).
    pair: Out(2 * code_bits)
        Element 2i in the low half.
    """

    def __init__(self, code_bits: int, value_bits: int | None = None) -> None:
        self.code_bits = code_bits
        self.has_flint = code_bits == 4
        self.value_bits = value_bits if value_bits is not None else 4 * code_bits
        if self.value_bits < code_bits:
            raise ValueError(f"value_bits is {value_bits!r}; it must be at least {code_bits}")
        ports = {"even": In(signed(self.value_bits)), "odd": In(signed(self.value_bits))}
        if self.has_flint:
            ports["flint"] = In(1)
        super().__init__({**ports, "pair": Out(2 * code_bits)})

    @property
    def module_name(self) -> str:
        return f"ovp_encoder{self.code_bits}_v{self.value_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"code_bits": self.code_bits, "value_bits": self.value_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.code_bits
        magnitudes, outliers, normals = [], [], []
        for name, value in (("even", self.even), ("odd", self.odd)):
            magnitude = Signal(self.value_bits, name=f"{name}_magnitude")
            is_outlier = Signal(name=f"{name}_is_outlier")
            m.d.comb += magnitude.eq(Mux(value < 0, -value, value))
            if self.has_flint:
                m.d.comb += is_outlier.eq(magnitude >= Mux(self.flint, 20, 10))
            else:
                m.d.comb += is_outlier.eq(magnitude >= 136)
            magnitudes.append(magnitude)
            outliers.append(is_outlier)
            normals.append(self._normal(m, name, value[-1], magnitude))

        keep_odd = Signal()
        m.d.comb += keep_odd.eq(
            outliers[1] & (~outliers[0] | (magnitudes[1] >= magnitudes[0])),
        )
        # One abfloat encoder serves both slots: at most one outlier stays.
        sign = Mux(keep_odd, self.odd[-1], self.even[-1])
        kept = Signal(self.value_bits)
        m.d.comb += kept.eq(Mux(keep_odd, magnitudes[1], magnitudes[0]))
        outlier = Signal(bits)
        m.d.comb += outlier.eq(Cat(self._abfloat(m, kept), sign))

        identifier = Const(1 << (bits - 1), bits)
        with m.If(keep_odd):
            m.d.comb += self.pair.eq(Cat(identifier, outlier))
        with m.Elif(outliers[0]):
            m.d.comb += self.pair.eq(Cat(outlier, identifier))
        with m.Else():
            m.d.comb += self.pair.eq(Cat(*normals))
        return m

    def _normal(self, m: Module, name: str, sign: Value, magnitude: Value) -> Signal:
        bits = self.code_bits
        largest = (1 << (bits - 1)) - 1
        clamped = Signal(bits - 1, name=f"{name}_clamped")
        m.d.comb += clamped.eq(Mux(magnitude > largest, largest, magnitude))
        code = Signal(bits, name=f"{name}_normal")
        m.d.comb += code.eq(Mux(sign, -clamped, clamped))
        if self.has_flint:
            flint = Signal(3, name=f"{name}_flint")
            with m.If(magnitude >= 12):
                m.d.comb += flint.eq(0b100)  # 16
            with m.Elif(magnitude >= 7):
                m.d.comb += flint.eq(0b101)  # 8
            with m.Elif(magnitude >= 5):
                m.d.comb += flint.eq(0b111)  # 6
            with m.Elif(magnitude == 4):
                m.d.comb += flint.eq(0b110)
            with m.Else():
                m.d.comb += flint.eq(magnitude[:2])
            with m.If(self.flint):
                # The code of -0 is the identifier.
                m.d.comb += code.eq(Cat(flint, sign & (flint != 0)))
        return code

    def _abfloat(self, m: Module, magnitude: Value) -> Signal:
        """Magnitude code of the nearest abfloat value, ties to the larger one, saturated."""
        code = Signal(self.code_bits - 1, name="outlier_code")
        if self.has_flint:
            # Grid of bias 2: 12 16 24 32 48 64 96; that of bias 3 is twice as large.
            scaled = Signal(self.value_bits)
            m.d.comb += scaled.eq(Mux(self.flint, magnitude >> 1, magnitude))
            m.d.comb += code.eq(1 + sum(scaled >= middle for middle in (14, 20, 28, 40, 56, 80)))
            return code
        top = 15  # 2**15 is the largest outlier
        if self.value_bits > top:
            with m.If(magnitude >= 1 << top):
                m.d.comb += code.eq((top - 7) << 3)
        for position in range(min(top, self.value_bits) - 1, 6, -1):
            shift = position - 3
            rounded = Signal(5, name=f"rounded_{position}")
            m.d.comb += rounded.eq((magnitude[: position + 1] + (1 << (shift - 1))) >> shift)
            leading = magnitude[position:top] == 1
            with m.If(leading & (magnitude < (1 << top))):
                # A carry out of the mantissa (rounded is 16) moves on to the next exponent.
                m.d.comb += code.eq(((position - 7) << 3) + (rounded - 8))
        return code
