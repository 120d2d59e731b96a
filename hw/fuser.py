"""What makes one PE of 8 bits from two or four: the adders where sums leave the array."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit

__all__ = ["SumFuser"]


class SumFuser(Unit):
    """Adds the sums of neighbouring PEs, a row of them in each enabled cycle (OliVe, section 4.3).

    Parameters
    ----------
    columns: int
        2 if elements of B may take two lanes, else 1.
    pairs_rows: bool
        Elements of A may take two lanes.
    acc_bits: int

    Members
    -------
    en: In(1)
    wide_a, wide_b: In(1)
        In this tile they do: this row is added to the one before, both columns to column 0.
    sums, overflow: In(columns * acc_bits), In(columns)
        Of this row; column 0 in the low bits.
    fused, fused_overflow: Out
        The same for what leaves, combinational; column 1 is 0 while `wide_b`. A sum overflows if
        one of its parts did or it does not fit.
    """

    def __init__(self, columns: int, pairs_rows: bool, acc_bits: int) -> None:
        self.columns = columns
        self.pairs_rows = pairs_rows
        self.acc_bits = acc_bits
        super().__init__(
            {
                "en": In(1),
                "wide_a": In(1),
                "wide_b": In(1),
                "sums": In(columns * acc_bits),
                "overflow": In(columns),
                "fused": Out(columns * acc_bits),
                "fused_overflow": Out(columns),
            }
        )

    @property
    def module_name(self) -> str:
        return f"sum_fuser_{1 + self.pairs_rows}x{self.columns}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "pairs_rows": self.pairs_rows,
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.acc_bits
        own = [self.sums.word_select(j, bits).as_signed() for j in range(self.columns)]
        fused, wrapped = [], []
        for j in range(self.columns):
            row = Signal(signed(bits + 1), name=f"row{j}")
            row_overflow = Signal(name=f"row_overflow{j}")
            if self.columns == 1:
                m.d.comb += [row.eq(own[0]), row_overflow.eq(self.overflow)]
            elif j == 1:
                m.d.comb += [
                    row.eq(Mux(self.wide_b, 0, own[1])),
                    row_overflow.eq(self.overflow[1] & ~self.wide_b),
                ]
            else:
                m.d.comb += [
                    row.eq(own[0] + Mux(self.wide_b, own[1], 0)),
                    row_overflow.eq(self.overflow[0] | (self.overflow[1] & self.wide_b)),
                ]
            total = Signal(signed(bits + 2), name=f"total{j}")
            flag = row_overflow
            if self.pairs_rows:
                # Row 2i waits here for row 2i + 1.
                held = Signal(signed(bits + 1), name=f"held{j}")
                held_overflow = Signal(name=f"held_overflow{j}")
                with m.If(self.en):
                    m.d.sync += [held.eq(row), held_overflow.eq(row_overflow)]
                m.d.comb += total.eq(row + Mux(self.wide_a, held, 0))
                flag = flag | (held_overflow & self.wide_a)
            else:
                m.d.comb += total.eq(row)
            fused.append(total[:bits])
            outside = (total[bits - 1 :] != 0) & ~total[bits - 1 :].all()
            wrapped.append(flag | outside)
        m.d.comb += [self.fused.eq(Cat(fused)), self.fused_overflow.eq(Cat(wrapped))]
        return m
