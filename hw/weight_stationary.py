"""The weight-stationary systolic array: weights stay in the PEs, partial sums pass through them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.border import TABLE_PORTS, OperandBorder, OperandLanes, word_ports
from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import ActivationWord, PairLayout, SumsWord, WeightWord
from oleaster.hw.pe import check_acc_bits
from oleaster.hw.weight_stationary_pe import WeightStationaryRow
from oleaster.models.lane import Lane, lanes_name

__all__ = ["ActivationBorder", "WeightStationaryArray"]


class ActivationBorder(Unit):
    """Decodes one row of A in a cycle; the array's row i gets its lane i enabled cycles later.

    The last lane goes to row 0, as the weights that enter first come to rest in the last row.

    Parameters
    ----------
    lane: Lane
    rows: int
        Of the array, a multiple of `2 * lane.group`.

    Members
    -------
    en: In(1)
    issue: In(1)
        The word is taken in this cycle.
    codes, scales, base, format: In
        As in `ActivationWord`.
    table_write, table_index, table_entry: In
        Fill the table of every lane (lanes with a codebook only).
    pairs: Out
        Exponent-integer pairs, row 0 in the lowest bits and one enabled cycle after `issue`.
    illegal, flushed: Out(1)
        As in `OperandLanes`, of any lane.
    """

    def __init__(self, lane: Lane, rows: int) -> None:
        self.lane = lane
        self.rows = rows
        ports = word_ports(lane, rows // 2)
        if lane.has_blocks:
            ports["flushed"] = Out(1)
        super().__init__(
            {
                "en": In(1),
                "issue": In(1),
                **ports,
                "pairs": Out(PairLayout(lane).size * rows),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"activation_border_x{self.rows}_{self.lane.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"formats": list(self.lane.formats), "rows": self.rows}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane, group = self.lane, self.lane.group
        width = PairLayout(lane).size
        shared = {name: getattr(self, name) for name in word_ports(lane, 1)}
        by_lane: list[Value] = []
        illegal, flushed = [], []
        for place_ in range(self.rows // 2 // group):
            own = {"codes": self.codes.word_select(place_, 2 * lane.code_bits * group)}
            if lane.has_blocks:
                own["scales"] = self.scales.word_select(place_, 8 * group)
            lanes = place(
                m,
                f"lanes{2 * group * place_}",
                OperandLanes(lane),
                platform,
                en=self.en,
                issue_even=self.issue,
                issue_odd=0,
                **{**shared, **own},
            )
            for i in range(group):
                by_lane += [lanes.pairs.word_select(i, width), lanes.odds.word_select(i, width)]
            illegal.append(lanes.illegal)
            if lane.has_blocks:
                flushed.append(lanes.flushed)
        m.d.comb += [
            self.pairs.eq(
                Cat(_delayed(m, self.en, p, i, "skew") for i, p in enumerate(reversed(by_lane)))
            ),
            self.illegal.eq(Cat(illegal).any()),
        ]
        if lane.has_blocks:
            m.d.comb += self.flushed.eq(Cat(flushed).any())
        return m


class WeightStationaryArray(Unit):
    """`rows x cols` PEs that hold a tile of B while rows of A stream by (ours).

    The tile has `rows` elements along K of `cols` rows of B, half as many where elements take two
    lanes. A pass streams any number of rows of A over these K elements against it: each word of
    `a` gives a word of `sums`, `rows + cols` cycles later. What the tiles along K before have
    summed up enters as `partial`, one word with each word of A that has no `start`; the buffer in
    between is the user's. Within a tile K is summed from its last element to its first.

    The next tile is loaded while a pass computes, so passes of at least `rows` rows follow each
    other without a bubble. A word that is not taken stalls the whole array; a word that does not
    come lets bubbles in, which change no sum.

    Elements of two lanes: those of A lie on the lanes of neighbouring rows, whose products the
    passing sum adds anyway; each weight is loaded twice (`repeat`). Those of B lie on column pairs,
    which are added where sums leave if `fuse` says so; until then they are separate partial sums.

    Parameters
    ----------
    a, b: Lane
        Lanes of operand A (activations) and B (weights).
    rows: int
        Lanes of K: a multiple of 2, of 4 where a format of A takes two lanes.
    cols: int
        At least 1; even where a format of B takes two lanes.
    acc_bits: int
        Width of the sums; must hold the largest product.

    Raises ValueError for `rows`, `cols` or `acc_bits` that cannot be.

    Members
    -------
    a: stream of ActivationWord(a, b, rows), In
        One row of A.
    b: stream of WeightWord(a, b, cols), In
        Two K elements of the tile, in rising order; `last` on the tile's last word.
    partial: stream of SumsWord(cols, acc_bits), In
        What left as `sums` for that row of A and the tile along K before; `last` is ignored.
    sums: stream of SumsWord(cols, acc_bits), Out
        `last` is that of the word of A.
    clear: In(1)
        Clears the flags.
    overflow: Out(1)
        Sticky: a sum that left, partial or not, had wrapped.
    illegal: Out(1)
        Sticky: a word held two identifiers in one pair, or NaN or infinity, which decode to 0.
    misaligned: Out(1)
        Sticky: `last` of B was not on the last word of a tile; the array counts words itself.
    flushed: Out(1)
        Sticky: a word had a block exponent below the base (lanes with MX formats only).
    a_table_write, a_table_index, a_table_entry: In; likewise for b
        Fill the codebook (lanes with one only): entry `index` of every lane at the clock edge.
    """

    def __init__(self, a: Lane, b: Lane, rows: int, cols: int, acc_bits: int = 32) -> None:
        for name, value, multiple, lane in (
            ("rows", rows, 2 * a.group, a),
            ("cols", cols, b.group, b),
        ):
            if value < 1 or value % multiple:
                wide = ", ".join(fmt.name for fmt in lane.decoders if fmt.lanes == 2)
                why = f", for an element of {wide} takes two lanes" if wide else ""
                what = f"a multiple of {multiple}" if multiple > 1 else "at least 1"
                raise ValueError(f"{name} is {value}; it must be {what}{why}")
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
                "a": In(stream.Signature(ActivationWord(a, b, rows))),
                "b": In(stream.Signature(WeightWord(a, b, cols))),
                "partial": In(stream.Signature(SumsWord(cols, acc_bits))),
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
    def module_name(self) -> str:
        lanes = lanes_name(self.lane_a, self.lane_b)
        return f"weight_stationary_{self.rows}x{self.cols}_{lanes}_acc{self.acc_bits}"

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
        take = Signal()
        swap = Signal()
        m.d.comb += en.eq(~self.sums.valid | self.sums.ready)
        issue_even, loads, is_loaded = self._load_tiles(m, en, swap)

        # A pass begins with the swap to the tile that has been loaded.
        between = Signal(init=1)
        row = self.a.payload
        m.d.comb += [
            take.eq(
                self.a.valid & (row.start | self.partial.valid) & (~between | is_loaded),
            ),
            swap.eq(take & between),
            self.a.ready.eq(en & take),
            self.partial.ready.eq(en & take & ~row.start),
        ]
        with m.If(en & take):
            m.d.sync += between.eq(row.last)

        border_a = ActivationBorder(self.lane_a, self.rows)
        border_b = OperandBorder(self.lane_b, self.cols)
        for name, border, lanes, issue in (
            ("a", border_a, self.rows // 2, {"issue": take}),
            # Between its issues the border shows the last element, which waits there.
            ("b", border_b, self.cols, {"issue_even": issue_even, "issue_odd": ~issue_even}),
        ):
            place(m, f"border_{name}", border, platform, en=en, **issue, **self._word(name, lanes))
        sums, overflow = self._grid(m, platform, en, swap, loads, border_a.pairs, border_b.pairs)
        self._leave(m, en, take, sums, overflow)

        events: dict[str, list[Value]] = {"illegal": [], "flushed": []}
        for port, border in ((self.a, border_a), (self.b, border_b)):
            taken = port.valid & port.ready
            events["illegal"].append(taken & border.illegal)
            if border.lane.has_blocks:
                events["flushed"].append(taken & border.flushed)
        for event, sources in events.items():
            if sources:
                with m.If(Cat(sources).any()):
                    m.d.sync += getattr(self, event).eq(1)
        with m.If(self.sums.valid & self.sums.ready & self.sums.payload.overflow.any()):
            m.d.sync += self.overflow.eq(1)
        with m.If(self.clear):
            m.d.sync += [self.overflow.eq(0), self.illegal.eq(0), self.misaligned.eq(0)]
            if self.has_blocks:
                m.d.sync += self.flushed.eq(0)
        return m

    def _word(self, name: str, lanes: int) -> dict[str, Value]:
        """What the border of that operand reads, by port."""
        lane, port = getattr(self, f"lane_{name}"), getattr(self, name)
        return {
            field: getattr(self, f"{name}_{field}")
            if field in TABLE_PORTS
            else Value.cast(port.payload[field])
            for field in word_ports(lane, lanes)
        }

    def _load_tiles(self, m: Module, en: Signal, swap: Signal) -> tuple[Signal, Signal, Signal]:
        """Issue weights: (issue_even, load of every row but the last, tile waits for its swap).

        The first element ends in the last row. It is in the border one cycle after its issue and
        moves on with each that follows: row i loads from the (i + 2)th issue on, and not before,
        for the swap to the tile before may still be on its way to the rows below.
        """
        issue_even = Signal()
        odd_next = Signal()
        again = Signal()  # the word is given for the second time
        ends = Signal()  # it has `last`
        is_loaded = Signal()
        begun = Signal(self.rows - 1)  # bit i: more than i elements of the tile were issued
        loads = Signal(self.rows - 1)
        is_first_of_two = Signal()
        if self.lane_a.group == 2:
            m.d.comb += is_first_of_two.eq(self.b.payload.repeat & ~again)
        m.d.comb += [
            issue_even.eq(self.b.valid & ~odd_next & (~is_loaded | swap)),
            loads.eq(Mux(issue_even | odd_next, begun, 0)),
            self.b.ready.eq(en & issue_even & ~is_first_of_two),
        ]
        with m.If(en):
            m.d.sync += odd_next.eq(issue_even)
            with m.If(issue_even):
                m.d.sync += [again.eq(is_first_of_two), ends.eq(self.b.payload.last)]
            with m.If(swap):
                m.d.sync += is_loaded.eq(0)
            with m.If(issue_even | odd_next):
                m.d.sync += begun.eq(Cat(1, begun))
            with m.If(odd_next):
                with m.If(begun[-1]):
                    m.d.sync += [begun.eq(0), is_loaded.eq(1)]
                with m.If(~again & (ends != begun[-1])):
                    m.d.sync += self.misaligned.eq(1)
        return issue_even, loads, is_loaded

    def _grid(
        self,
        m: Module,
        platform: object,
        en: Signal,
        swap: Signal,
        loads: Signal,
        a: Signal,
        b: Signal,
    ) -> tuple[Value, Value]:
        """The rows, with the skew of the sums above and below: (sums, overflow) of one row of A."""
        bits = self.acc_bits
        starts = ~self.a.payload.start
        entering = []
        for j in range(self.cols):
            word = self.partial.payload
            one = Cat(word.sums[j], word.overflow[j])
            entering.append(_delayed(m, en, Mux(starts, one, 0), j + 1, "partial"))
        sums = Cat(one[:bits] for one in entering)
        overflow = Cat(one[bits] for one in entering)
        width = PairLayout(self.lane_a).size
        for i in range(self.rows):
            row = WeightStationaryRow(self.lane_a, self.lane_b, self.cols, bits)
            place(
                m,
                f"row{i}",
                row,
                platform,
                en=en,
                a=a.word_select(i, width),
                b=b,
                load=loads[i] if i < self.rows - 1 else 0,
                swap=swap,
                sums=sums,
                overflow=overflow,
            )
            b, swap, sums, overflow = row.b_out, row.swap_out, row.sums_out, row.overflow_out
        leaving = [
            _delayed(
                m,
                en,
                Cat(sums.word_select(j, bits), overflow[j]),
                self.cols - 1 - j,
                "leaving",
            )
            for j in range(self.cols)
        ]
        return Cat(one[:bits] for one in leaving), Cat(one[bits] for one in leaving)

    def _leave(self, m: Module, en: Signal, take: Signal, sums: Value, overflow: Value) -> None:
        """Show what has left the last row, and tell its words apart."""
        row, bits = self.a.payload, self.acc_bits
        flags = Cat(take, row.last, row.fuse if self.lane_b.group == 2 else ())
        way = Signal(len(flags) * (self.rows + self.cols))
        with m.If(en):
            m.d.sync += way.eq(Cat(flags, way)[: len(way)])
        valid, last, *fuse = way[-len(flags) :]
        word = self.sums.payload
        m.d.comb += [self.sums.valid.eq(valid), word.last.eq(last)]
        if not fuse:
            m.d.comb += [word.sums.eq(sums), word.overflow.eq(overflow)]
            return
        for j in range(0, self.cols, 2):
            own, other = (sums.word_select(j + i, bits).as_signed() for i in (0, 1))
            total = Signal(signed(bits + 1), name=f"total{j}")
            m.d.comb += [
                total.eq(own + Mux(fuse[0], other, 0)),
                word.sums[j].eq(total[:bits]),
                word.sums[j + 1].eq(Mux(fuse[0], 0, other)),
                word.overflow[j].eq(
                    overflow[j] | (overflow[j + 1] & fuse[0]) | (total[-1] != total[-2])
                ),
                word.overflow[j + 1].eq(overflow[j + 1] & ~fuse[0]),
            ]


def _delayed(m: Module, en: Signal, value: Value, cycles: int, name: str) -> Value:
    """`value` as it was so many enabled cycles before."""
    if cycles == 0:
        return value
    waiting = Signal(len(value) * cycles, name=f"{name}{cycles}", reset_less=True)
    with m.If(en):
        m.d.sync += waiting.eq(Cat(value, waiting)[: len(waiting)])
    return waiting[-len(value) :]
