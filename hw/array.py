"""The output-stationary systolic array, and the row of PEs it is made of."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.border import OperandBorder
from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import Lane, OperandWord, SumsWord
from oleaster.hw.pe import PE, check_acc_bits

__all__ = ["SystolicArray", "SystolicRow"]


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
                "a": In(a.pair),
                "swap": In(1),
                "swap_out": Out(1),
                "b": In(b.pair.size * cols),
                "b_out": Out(b.pair.size * cols),
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
        lanes = f"a{self.lane_a.code_bits}b{self.lane_b.code_bits}"
        return f"systolic_row_x{self.cols}_{lanes}_acc{self.acc_bits}{suffix}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "code_bits_a": self.lane_a.code_bits,
            "code_bits_b": self.lane_b.code_bits,
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
                b=self.b.word_select(j, self.lane_b.pair.size),
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


class SystolicArray(Unit):
    """`rows x cols` PEs with OVP decoders on two borders (OliVe, section 4; timing is ours).

    A tile is a stream of operand words, two K elements each, that ends with `last`; A and B words
    are taken together, one pair of words every two cycles. `rows` words of sums leave for each
    tile, row 0 first, `2 + cols` cycles after the tile's last element or, for a tile with
    K < rows, when the one before has left. Tiles with K >= rows follow each other without a
    bubble. A word that is not taken stalls the whole array; an operand that does not come lets
    bubbles in, which change no sum.

    Parameters
    ----------
    a, b: Lane
        Lanes of operand A (rows) and B (columns).
    rows, cols: int
        At least 1.
    acc_bits: int
        Width of the accumulators; must hold the largest product.

    Raises ValueError for `rows`, `cols` or `acc_bits` that are too small.

    Members
    -------
    a: stream of OperandWord(a, rows), In
    b: stream of OperandWord(b, cols), In
    sums: stream of SumsWord(cols, acc_bits), Out
    clear: In(1)
        Clears the three flags.
    overflow: Out(1)
        Sticky: a sum that left had wrapped.
    illegal: Out(1)
        Sticky: a word held two identifiers in one pair, which decode to 0.
    misaligned: Out(1)
        Sticky: `last` of the A and B words differed; that of A counts.
    """

    def __init__(self, a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32) -> None:
        for name, value in (("rows", rows), ("cols", cols)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        check_acc_bits(a, b, acc_bits)
        self.lane_a = a
        self.lane_b = b
        self.rows = rows
        self.cols = cols
        self.acc_bits = acc_bits
        super().__init__(
            {
                "a": In(stream.Signature(OperandWord(a, rows))),
                "b": In(stream.Signature(OperandWord(b, cols))),
                "sums": Out(stream.Signature(SumsWord(cols, acc_bits))),
                "clear": In(1),
                "overflow": Out(1),
                "illegal": Out(1),
                "misaligned": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        lanes = f"a{self.lane_a.code_bits}b{self.lane_b.code_bits}"
        return f"systolic_{self.rows}x{self.cols}_{lanes}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "code_bits_a": self.lane_a.code_bits,
            "code_bits_b": self.lane_b.code_bits,
            "rows": self.rows,
            "cols": self.cols,
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = Signal()
        m.d.comb += en.eq(~self.sums.valid | self.sums.ready)

        issue_even, issue_odd, swap = self._sequence(m, en)
        pairs, illegal = [], []
        for name, lane, lanes, port in (
            ("a", self.lane_a, self.rows, self.a),
            ("b", self.lane_b, self.cols, self.b),
        ):
            border = OperandBorder(lane, lanes)
            controls = {"flint": port.payload.flint} if lane.has_flint else {}
            place(
                m,
                f"border_{name}",
                border,
                platform,
                en=en,
                issue_even=issue_even,
                issue_odd=issue_odd,
                codes=port.payload.codes.as_value(),
                **controls,
            )
            pairs.append(border.pairs)
            illegal.append(border.illegal)
        with m.If(en & issue_even & Cat(illegal).any()):
            m.d.sync += self.illegal.eq(1)

        self._drain(m, en, *self._grid(m, platform, en, swap, *pairs))
        with m.If(self.clear):
            m.d.sync += [self.overflow.eq(0), self.illegal.eq(0), self.misaligned.eq(0)]
        return m

    def _sequence(self, m: Module, en: Signal) -> tuple[Signal, Signal, Signal]:
        """Take words and tell tiles apart: (issue_even, issue_odd, swap into PE 0, 0)."""
        issue_even = Signal()
        issue_odd = Signal()
        pending = Signal()  # a finished tile waits for its swap
        ends = Signal()  # the word whose odd elements are next is the tile's last
        swap = Signal()
        swap_now = Signal()
        # Rows drain one by one, so swaps must be `rows` cycles apart.
        spacing = Signal(range(max(self.rows, 2)))
        may_swap = Signal()
        m.d.comb += [
            may_swap.eq(spacing == 0),
            issue_even.eq(self.a.valid & self.b.valid & ~issue_odd & (~pending | may_swap)),
            swap_now.eq(pending & may_swap),
            self.a.ready.eq(en & issue_even),
            self.b.ready.eq(en & issue_even),
        ]
        with m.If(en):
            m.d.sync += [
                issue_odd.eq(issue_even),
                ends.eq(self.a.payload.last),
                swap.eq(swap_now),
                spacing.eq(Mux(swap_now, self.rows - 1, Mux(may_swap, 0, spacing - 1))),
            ]
            with m.If(issue_odd & ends):
                m.d.sync += pending.eq(1)
            with m.Elif(swap_now):
                m.d.sync += pending.eq(0)
            with m.If(issue_even & (self.a.payload.last != self.b.payload.last)):
                m.d.sync += self.misaligned.eq(1)
        return issue_even, issue_odd, swap

    def _grid(
        self, m: Module, platform: object, en: Signal, swap: Signal, a: Signal, b: Signal
    ) -> tuple[Signal, Signal, Signal, Signal]:
        """The rows: (sums and overflow of the row on the drain bus, drained, last)."""
        early = max(0, self.cols - self.rows)
        width = self.lane_a.pair.size
        sums = Const(0, self.acc_bits * self.cols)
        overflow = Const(0, self.cols)
        drained = []
        for i in range(self.rows):
            row = SystolicRow(self.lane_a, self.lane_b, self.cols, self.acc_bits, early)
            place(
                m,
                f"row{i}",
                row,
                platform,
                en=en,
                a=a.word_select(i, width),
                b=b,
                swap=swap,
                sums=sums,
                overflow=overflow,
            )
            b, swap, sums, overflow = row.b_out, row.swap_out, row.sums_out, row.overflow_out
            drained.append(row.drained)

        # The columns that were drained early wait for the others.
        late_sums: list[Value] = []
        late_overflow: list[Value] = []
        for j in range(early):
            for value, late in (
                (sums.word_select(j, self.acc_bits), late_sums),
                (overflow[j], late_overflow),
            ):
                width = len(value)
                wait = Signal(width * (early - j), name=f"wait{j}_{width}", reset_less=True)
                with m.If(en):
                    m.d.sync += wait.eq(Cat(value, wait)[: len(wait)])
                late.append(wait[-width:])
        if early:
            sums = Cat(*late_sums, sums[self.acc_bits * early :])
            overflow = Cat(*late_overflow, overflow[early:])
        return sums, overflow, Cat(drained).any(), drained[-1]

    def _drain(
        self, m: Module, en: Signal, sums: Signal, overflow: Signal, drained: Signal, last: Signal
    ) -> None:
        with m.If(en):
            m.d.sync += [
                self.sums.valid.eq(drained),
                self.sums.payload.sums.eq(sums),
                self.sums.payload.overflow.eq(overflow),
                self.sums.payload.last.eq(last),
            ]
        with m.If(self.sums.valid & self.sums.ready & self.sums.payload.overflow.any()):
            m.d.sync += self.overflow.eq(1)
