"""The processing element of the array."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.hw.layouts import PairLayout
from oleaster.models.formats import get_format
from oleaster.models.lane import Lane, lane_peak, lanes_name

__all__ = ["PE", "check_acc_bits", "shifted_product"]


def check_acc_bits(a: Lane, b: Lane, acc_bits: int) -> None:
    """ValueError unless a signed accumulator of `acc_bits` holds the largest single product."""
    needed = (a.max_magnitude * b.max_magnitude).bit_length() + 1
    if acc_bits < needed:
        widest = [max(lane.formats, key=lambda f: lane_peak(get_format(f))) for lane in (a, b)]
        raise ValueError(
            f"acc_bits is {acc_bits}; the largest product, of {widest[0]} and {widest[1]}, needs "
            f"at least {needed}"
        )


def shifted_product(m: Module, a: View, b: View, lanes: tuple[Lane, Lane], acc_bits: int) -> Signal:
    """Two exponent-integer pairs multiplied and shifted, signed, at most `acc_bits` wide.

    Products of the formats' own codes fit (`check_acc_bits`); who adds block exponents sees to it
    that they still do.
    """
    product = Signal(signed(lanes[0].integer_bits + lanes[1].integer_bits), name="product")
    shift = Signal(range(lanes[0].max_exponent + lanes[1].max_exponent + 1), name="shift")
    shifted = product << shift
    # No wider than it must be: sign extension by hand would look like a combinational loop
    # to tools that track whole signals.
    term = Signal(signed(min(len(shifted), acc_bits)), name="term")
    m.d.comb += [
        product.eq(a.integer * b.integer),
        shift.eq(a.exponent + b.exponent),
        term.eq(shifted),
    ]
    return term


class PE(Unit):
    """Multiply two exponent-integer pairs, shift, accumulate; output stationary.

    `<ea, ia> x <eb, ib> = (ia * ib) << (ea + eb)` is added to a signed accumulator that wraps;
    its overflow bit remembers that it did (OliVe, section 4.2; the overflow bit is ours).

    `swap` says that the operands beside it are the first of a new tile: the finished sum moves to
    the drain register and accumulation starts again from this product. `a` and `swap` leave to
    the right and `b` downwards one enabled cycle later. While `select` is high the drain register
    is on the column's drain bus, otherwise what comes from the PE above is.

    Parameters
    ----------
    a, b: Lane
        Operand lanes, which fix the widths of the exponent-integer pairs.
    acc_bits: int
        Width of the accumulator; must hold the largest product.

    Raises ValueError for an `acc_bits` that is too small.

    Members
    -------
    en: In(1)
        Nothing in the PE moves while this is low.
    a, b: In
        Exponent-integer pairs.
    swap: In(1)
    a_out, b_out, swap_out: Out
        The inputs, one enabled cycle later.
    select: In(1)
    sum_in, sum_out, overflow_in, overflow_out:
        The drain bus of the column.
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
                "b": In(PairLayout(b)),
                "swap": In(1),
                "a_out": Out(PairLayout(a)),
                "b_out": Out(PairLayout(b)),
                "swap_out": Out(1),
                "select": In(1),
                "sum_in": In(acc_bits),
                "sum_out": Out(acc_bits),
                "overflow_in": In(1),
                "overflow_out": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"pe_{lanes_name(self.lane_a, self.lane_b)}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "formats_a": list(self.lane_a.formats),
            "formats_b": list(self.lane_b.formats),
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = (self.lane_a, self.lane_b)
        term = shifted_product(m, self.a, self.b, lanes, self.acc_bits)

        acc = Signal(signed(self.acc_bits))
        overflow = Signal()
        start = Signal(signed(self.acc_bits))
        total = Signal(signed(self.acc_bits))
        wraps = Signal()
        m.d.comb += [
            start.eq(Mux(self.swap, 0, acc)),
            total.eq(start + term),
            wraps.eq((start[-1] == term[-1]) & (total[-1] != start[-1])),
        ]

        drain = Signal(self.acc_bits, reset_less=True)
        drain_overflow = Signal(reset_less=True)
        with m.If(self.en):
            m.d.sync += [
                self.a_out.eq(self.a),
                self.b_out.eq(self.b),
                self.swap_out.eq(self.swap),
                acc.eq(total),
                overflow.eq(wraps | (overflow & ~self.swap)),
            ]
            with m.If(self.swap):
                m.d.sync += [drain.eq(acc), drain_overflow.eq(overflow)]

        m.d.comb += [
            self.sum_out.eq(Mux(self.select, drain, self.sum_in)),
            self.overflow_out.eq(Mux(self.select, drain_overflow, self.overflow_in)),
        ]
        return m
