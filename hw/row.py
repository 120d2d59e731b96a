"""A row of PEs of the output-stationary array."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import PairLayout
from oleaster.hw.pe import PE
from oleaster.models.lane import Lane, lanes_name

__all__ = ["SystolicRow"]


class SystolicRow(Unit):
    """One row of PEs. It drains itself when `swap` has passed its columns.

    Parameters
    ----------
    a, b: Lane
    cols: int
    acc_bits: int
    early: int
        In an array with more columns than rows, the next tile's `swap` follows before this one
        has crossed the row. The first `early` columns are then drained as the wave goes by,
        column j by `early - j` cycles before the rest. 0 drains all columns at once.

    Members
    -------
    en, swap: In(1); a: In
        From the left.
    b, b_out; sums, sums_out; overflow, overflow_out:
        From the row above, to the row below; column 0 in the lowest bits.
    swap_out: Out(1)
        `swap` one enabled cycle later, for the row below.
    drained: Out(1)
        The last columns of this row are on the drain bus.
    """

    def __init__(self, a: Lane, b: Lane, cols: int, acc_bits: int = 32, early: int = 0) -> None:
        self.lane_a = a
        self.lane_b = b
        self.cols = cols
        self.acc_bits = acc_bits
        self.early = early
        super().__init__(
            {
                "en": In(1),
                "a": In(PairLayout(a)),
                "swap": In(1),
                "swap_out": Out(1),
                "b": In(PairLayout(b).size * cols),
                "b_out": Out(PairLayout(b).size * cols),
                "sums": In(acc_bits * cols),
                "sums_out": Out(acc_bits * cols),
                "overflow": In(cols),
                "overflow_out": Out(cols),
                "drained": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        suffix = f"_early{self.early}" if self.early else ""
        lanes = lanes_name(self.lane_a, self.lane_b)
        return f"systolic_row_x{self.cols}_{lanes}_acc{self.acc_bits}{suffix}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "formats_a": list(self.lane_a.formats),
            "formats_b": list(self.lane_b.formats),
            "cols": self.cols,
            "acc_bits": self.acc_bits,
            "early": self.early,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pes = [PE(self.lane_a, self.lane_b, self.acc_bits) for _ in range(self.cols)]
        select = pes[self.cols - 1 - self.early].swap_out
        a, swap = self.a, self.swap
        for j, pe in enumerate(pes):
            if 0 < j <= self.early:
                later = Signal(name=f"select{j}")
                with m.If(self.en):
                    m.d.sync += later.eq(select)
                select = later
            place(
                m,
                f"pe{j}",
                pe,
                platform,
                en=self.en,
                a=a,
                b=self.b.word_select(j, PairLayout(self.lane_b).size),
                swap=swap,
                select=select,
                sum_in=self.sums.word_select(j, self.acc_bits),
                overflow_in=self.overflow[j],
            )
            a, swap = pe.a_out, pe.swap_out
        m.d.comb += [
            self.b_out.eq(Cat(pe.b_out for pe in pes)),
            self.sums_out.eq(Cat(pe.sum_out for pe in pes)),
            self.overflow_out.eq(Cat(pe.overflow_out for pe in pes)),
            self.drained.eq(select),
        ]
        with m.If(self.en):
            m.d.sync += self.swap_out.eq(self.swap)
        return m
