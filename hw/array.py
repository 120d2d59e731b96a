"""The output-stationary systolic array."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from oleaster.hw.border import TABLE_PORTS, OperandBorder, word_ports
from oleaster.hw.emit import Unit, place
from oleaster.hw.fuser import SumFuser
from oleaster.hw.layouts import OperandWord, PairLayout, SumsWord
from oleaster.hw.pe import check_acc_bits
from oleaster.hw.row import SystolicRow
from oleaster.models.lane import Lane, lanes_name

__all__ = ["SystolicArray"]


class SystolicArray(Unit):
    """`rows x cols` PEs with decoders on two borders (OliVe, section 4; timing is ours).

    A tile is a stream of operand words, two K elements each, that ends with `last`; A and B words
    are taken together, one pair of words every two cycles. `rows` words of sums leave for each
    tile, row 0 first, `3 + cols` cycles after the tile's last element is issued (`4 + cols` with
    formats of two lanes) or, for a tile with K < rows, when the one before has left. Tiles with
    K >= rows follow each other without a bubble. A word that is not taken stalls the whole array;
    an operand that does not come lets bubbles in, which change no sum.

    Each tile has its own pair of formats. Elements of two lanes make four neighbouring PEs one of
    8 bits, or two if only one operand has them; their sums are added where they leave: `rows / 2`
    words if A has two lanes, sums in the even places if B has.

    Parameters
    ----------
    a, b: Lane
        Lanes of operand A (rows) and B (columns).
    rows, cols: int
        At least 1; even where a format takes two lanes.
    acc_bits: int
        Width of the accumulators; must hold the largest product.

    Raises ValueError for `rows`, `cols` or `acc_bits` that cannot be.

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
        Sticky: a word held two identifiers in one pair, NaN or infinity, or a block exponent more
        than 15 above the base; all count as 0.
    misaligned: Out(1)
        Sticky: `last` of the A and B words differed; that of A counts.
    flushed: Out(1)
        Sticky: a word had a block exponent below the base (lanes with MX formats only).
    a_table_write, a_table_index, a_table_entry: In; likewise for b
        Fill the codebook (lanes with one only): entry `index` of every lane at the clock edge.
    """

    def __init__(self, a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32) -> None:
        for name, value, lane in (("rows", rows, a), ("cols", cols, b)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
            if value % lane.group:
                wide = ", ".join(fmt.name for fmt in lane.decoders if fmt.lanes == 2)
                raise ValueError(
                    f"{name} is {value}; it must be even, for an element of {wide} takes two lanes"
                )
        check_acc_bits(a, b, acc_bits)
        self.lane_a = a
        self.lane_b = b
        self.rows = rows
        self.cols = cols
        self.acc_bits = acc_bits
        self.has_blocks = a.has_blocks or b.has_blocks
        tables = {
            f"{name}_{port}": word_ports(lane, 1)[port]
            for name, lane in (("a", a), ("b", b))
            if lane.has_codebook
            for port in TABLE_PORTS
        }
        super().__init__(
            {
                "a": In(stream.Signature(OperandWord(a, rows))),
                "b": In(stream.Signature(OperandWord(b, cols))),
                "sums": Out(stream.Signature(SumsWord(cols, acc_bits))),
                "clear": In(1),
                "overflow": Out(1),
                "illegal": Out(1),
                "misaligned": Out(1),
                **({"flushed": Out(1)} if self.has_blocks else {}),
                **tables,
            }
        )

    @property
    def is_fusing(self) -> bool:
        """Whether sums are added where they leave: some format takes two lanes."""
        return max(self.lane_a.group, self.lane_b.group) == 2

    @property
    def module_name(self) -> str:
        lanes = lanes_name(self.lane_a, self.lane_b)
        return f"systolic_{self.rows}x{self.cols}_{lanes}_acc{self.acc_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "formats_a": list(self.lane_a.formats),
            "formats_b": list(self.lane_b.formats),
            "rows": self.rows,
            "cols": self.cols,
            "acc_bits": self.acc_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = Signal()
        m.d.comb += en.eq(~self.sums.valid | self.sums.ready)

        issue_even, issue_odd, swap = self._sequence(m, en)
        pairs: list[Value] = []
        events: dict[str, list[Value]] = {"illegal": [], "flushed": []}
        for name, lane, lanes, port in (
            ("a", self.lane_a, self.rows, self.a),
            ("b", self.lane_b, self.cols, self.b),
        ):
            inputs = {
                field: getattr(self, f"{name}_{field}")
                if field in TABLE_PORTS
                else Value.cast(port.payload[field])
                for field in word_ports(lane, lanes)
            }
            border = OperandBorder(lane, lanes)
            place(
                m,
                f"border_{name}",
                border,
                platform,
                en=en,
                issue_even=issue_even,
                issue_odd=issue_odd,
                **inputs,
            )
            pairs.append(border.pairs)
            events["illegal"].append(border.illegal)
            if lane.has_blocks:
                events["flushed"].append(border.flushed)
        for event, sources in events.items():
            if sources:
                with m.If(en & issue_even & Cat(sources).any()):
                    m.d.sync += getattr(self, event).eq(1)

        sums, overflow, drained, last = self._grid(m, platform, en, swap, *pairs)
        if self.is_fusing:
            modes = self._modes(m, en, issue_even)
            sums, overflow, drained, last = self._fuse(
                m, platform, en, modes, sums, overflow, drained
            )
        self._drain(m, en, sums, overflow, drained, last)
        with m.If(self.clear):
            m.d.sync += [self.overflow.eq(0), self.illegal.eq(0), self.misaligned.eq(0)]
            if self.has_blocks:
                m.d.sync += self.flushed.eq(0)
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

    def _modes(self, m: Module, en: Signal, issue_even: Signal) -> Signal:
        """Bits {B, A}: elements take two lanes, in the tile whose row 0 is on the drain bus."""
        modes = Signal(2)
        # As long as a swap's way to the right end of row 0.
        travelling = Signal(2 * (self.cols + 1))
        with m.If(en):
            m.d.sync += travelling.eq(Cat(modes, travelling)[: len(travelling)])
            with m.If(issue_even):
                m.d.sync += modes.eq(
                    Cat(
                        _is_wide(lane, port.payload)
                        for lane, port in ((self.lane_a, self.a), (self.lane_b, self.b))
                    )
                )
        return travelling[-2:]

    def _grid(
        self, m: Module, platform: object, en: Signal, swap: Signal, a: Signal, b: Signal
    ) -> tuple[Signal, Signal, Signal, Signal]:
        """The rows: (sums and overflow of the row on the drain bus, drained, last)."""
        early = max(0, self.cols - self.rows)
        width = PairLayout(self.lane_a).size
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

    def _fuse(
        self,
        m: Module,
        platform: object,
        en: Signal,
        modes: Signal,
        sums: Value,
        overflow: Value,
        drained: Value,
    ) -> tuple[Value, Value, Value, Value]:
        """Add the sums of PEs that make one of 8 bits; takes a cycle more."""
        bits = self.acc_bits
        # One by one, because a signal takes its name from the variable it is assigned to.
        row = Signal(bits * self.cols)
        row_overflow = Signal(self.cols)
        leaving = Signal()
        index = Signal(range(self.rows))
        next_index = Signal(range(self.rows))
        wide_a = Signal()
        wide_b = Signal()
        with m.If(en):
            m.d.sync += [row.eq(sums), row_overflow.eq(overflow), leaving.eq(drained)]
            with m.If(drained):
                m.d.sync += [
                    index.eq(next_index),
                    next_index.eq(Mux(next_index == self.rows - 1, 0, next_index + 1)),
                ]
                with m.If(next_index == 0):
                    m.d.sync += Cat(wide_a, wide_b).eq(modes)

        width, pairs_rows = self.lane_b.group, self.lane_a.group == 2
        fused: list[Value] = []
        wrapped: list[Value] = []
        for j in range(self.cols // width):
            fuser = SumFuser(width, pairs_rows, bits)
            place(
                m,
                f"fuser{j}",
                fuser,
                platform,
                en=en,
                wide_a=wide_a,
                wide_b=wide_b,
                sums=row.word_select(j, bits * width),
                overflow=row_overflow.word_select(j, width),
            )
            fused.append(fuser.fused)
            wrapped.append(fuser.fused_overflow)
        complete = ~wide_a | index[0] if pairs_rows else Const(1)
        return Cat(fused), Cat(wrapped), leaving & complete, index == self.rows - 1

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


def _is_wide(lane: Lane, word: View) -> Value:
    """Elements of this operand word take two lanes."""
    wide = [place for place, fmt in enumerate(lane.decoders) if fmt.lanes == 2]
    if not lane.select_bits:
        return Const(len(wide), 1)
    return Cat(word.format == place for place in wide).any() if wide else Const(0, 1)
