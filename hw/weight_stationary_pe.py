"""The processing element that keeps its weight, and the row of them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import PairLayout
from oleaster.hw.pe import check_acc_bits, shifted_product
from oleaster.models.lane import Lane, lanes_name

__all__ = ["WeightStationaryPE", "WeightStationaryRow"]


class WeightStationaryPE(Unit):
    """Multiply an exponent-integer pair by the weight that stays here and add to a passing sum.

    `<ea, ia> x <eb, ib> = (ia * ib) << (ea + eb)` is added to the sum from the PE above, which
    wraps; its overflow bit says that some PE on its way did (OliVe, section 4.2, gives the product;
    the rest is ours).

    The next weights pass downwards through `b_out`, which is also where they wait: `swap` takes
    this PE's from its input `b`, so it waits in the PE above.

    Parameters
    ----------
    a, b: Lane
        Operand lanes, which fix the widths of the exponent-integer pairs.
    acc_bits: int
        Width of the sums; must hold the largest product.

    Raises ValueError for an `acc_bits` that is too small.

    Members
    -------
    en: In(1)
        Nothing in the PE moves while this is low.
    a, a_out:
        Activation; leaves to the right one enabled cycle later.
    b, b_out, load:
        Weights on their way; `b` enters `b_out` at an enabled edge with `load` high.
    swap: In(1)
        `b` is the weight from the next enabled cycle on.
    load_out, swap_out: Out(1)
        To the right, one enabled cycle later.
    sum_in, sum_out, overflow_in, overflow_out:
        From the PE above, with `a` of this cycle; to the PE below one enabled cycle later.
    """

    def __init__(self, a: Lane, b: Lane, acc_bits: int = 32) -> None:
        check_acc_bits(a, b, acc_bits)
        self.lane_a = a
        self.lane_b = b
        self.acc_bits = acc_bits
        super().__init__(
            {
                "en": In(1),
                "a": In(PairLayout(a)),
                "a_out": Out(PairLayout(a)),
                "b": In(PairLayout(b)),
                "b_out": Out(PairLayout(b)),
                "load": In(1),
                "load_out": Out(1),
                "swap": In(1),
                "swap_out": Out(1),
                "sum_in": In(acc_bits),
                "sum_out": Out(acc_bits),
                "overflow_in": In(1),
                "overflow_out": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"weight_stationary_pe_{lanes_name(self.lane_a, self.lane_b)}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "formats_a": list(self.lane_a.formats),
            "formats_b": list(self.lane_b.formats),
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weight = Signal(PairLayout(self.lane_b), reset_less=True)
        lanes = (self.lane_a, self.lane_b)
        term = shifted_product(m, self.a, weight, lanes, self.acc_bits)
        start = Signal(signed(self.acc_bits))
        total = Signal(signed(self.acc_bits))
        wraps = Signal()
        m.d.comb += [
            start.eq(self.sum_in),
            total.eq(start + term),
            wraps.eq((start[-1] == term[-1]) & (total[-1] != start[-1])),
        ]
        with m.If(self.en):
            m.d.sync += [
                self.a_out.eq(self.a),
                self.load_out.eq(self.load),
                self.swap_out.eq(self.swap),
                self.sum_out.eq(total),
                self.overflow_out.eq(self.overflow_in | wraps),
            ]
            with m.If(self.load):
                m.d.sync += self.b_out.eq(self.b)
            with m.If(self.swap):
                m.d.sync += weight.eq(self.b)
        return m


class WeightStationaryRow(Unit):
    """One row of PEs, which hold the weights of one lane of A.

    Parameters
    ----------
    a, b: Lane
    cols: int
    acc_bits: int

    Members
    -------
    en: In(1)
    a, load, swap: In
        From the left.
    b, b_out; sums, sums_out; overflow, overflow_out:
        From the row above, to the row below; column 0 in the lowest bits.
    swap_out: Out(1)
        `swap` one enabled cycle later, for the row below.
    """

    def __init__(self, a: Lane, b: Lane, cols: int, acc_bits: int = 32) -> None:
        self.lane_a = a
        self.lane_b = b
        self.cols = cols
        self.acc_bits = acc_bits
        super().__init__(
            {
                "en": In(1),
                "a": In(PairLayout(a)),
                "load": In(1),
                "swap": In(1),
                "swap_out": Out(1),
                "b": In(PairLayout(b).size * cols),
                "b_out": Out(PairLayout(b).size * cols),
                "sums": In(acc_bits * cols),
                "sums_out": Out(acc_bits * cols),
                "overflow": In(cols),
                "overflow_out": Out(cols),
            }
        )

    @property
    def module_name(self) -> str:
        lanes = lanes_name(self.lane_a, self.lane_b)
        return f"weight_stationary_row_x{self.cols}_{lanes}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "formats_a": list(self.lane_a.formats),
            "formats_b": list(self.lane_b.formats),
            "cols": self.cols,
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pes = []
        a, load, swap = self.a, self.load, self.swap
        for j in range(self.cols):
            pe = WeightStationaryPE(self.lane_a, self.lane_b, self.acc_bits)
            place(
                m,
                f"pe{j}",
                pe,
                platform,
                en=self.en,
                a=a,
                b=self.b.word_select(j, PairLayout(self.lane_b).size),
                load=load,
                swap=swap,
                sum_in=self.sums.word_select(j, self.acc_bits),
                overflow_in=self.overflow[j],
            )
            a, load, swap = pe.a_out, pe.load_out, pe.swap_out
            pes.append(pe)
        m.d.comb += [
            self.b_out.eq(Cat(pe.b_out for pe in pes)),
            self.sums_out.eq(Cat(pe.sum_out for pe in pes)),
            self.overflow_out.eq(Cat(pe.overflow_out for pe in pes)),
        ]
        with m.If(self.en):
            m.d.sync += self.swap_out.eq(self.swap)
        return m
