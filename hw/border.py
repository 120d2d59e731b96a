"""One border of the array: for each group of lanes its decoders, then the skew."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from oleaster.hw.decoder import CODE_DECODERS, CodebookDecoder, OVPDecoder
from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import PairLayout
from oleaster.models.formats import Format
from oleaster.models.lane import Lane
from oleaster.models.microscaling import MAX_WINDOW

__all__ = ["TABLE_PORTS", "OperandBorder", "OperandLanes", "word_ports"]

Pair = tuple[Value, Value]
"""(exponent, integer)"""

TABLE_PORTS = ("table_write", "table_index", "table_entry")


def word_ports(lane: Lane, lanes: int) -> dict[str, Any]:
    """The fields of `OperandWord` but `last`, flat, and the ports that fill codebooks."""
    ports = {"codes": In(2 * lane.code_bits * lanes)}
    if lane.has_blocks:
        ports |= {"scales": In(8 * lanes), "base": In(8)}
    if lane.select_bits:
        ports["format"] = In(lane.select_bits)
    if lane.has_codebook:
        ports |= {"table_write": In(1), "table_index": In(8), "table_entry": In(16)}
    return ports


class OperandLanes(Unit):
    """Decodes the codes of one group of lanes and issues them in two cycles.

    A group is one lane, or two if there is a format whose elements take two lanes. In the cycle of
    `issue_even` the even elements enter the output registers and the odd ones are kept; in that of
    `issue_odd` the kept ones enter. In any other enabled cycle a zero does, which adds nothing to
    any accumulator. The odd ones are kept until the next `issue_even`.

    Parameters
    ----------
    lane: Lane

    Members
    -------
    en, issue_even, issue_odd: In(1)
    codes, scales, base, format: In
        As in `OperandWord`, for the lanes of the group.
    table_write, table_index, table_entry: In
        As in `CodebookDecoder` (lanes with a codebook only).
    pairs: Out
        Exponent-integer pairs, one enabled cycle after their issue; lane 0 in the low bits.
    odds: Out
        The odd elements that are kept.
    illegal: Out(1)
        `codes` holds an illegal pair or a code that is no number, or a scale is beyond the window.
    flushed: Out(1)
        A scale is below `base`: its lane's elements count as 0 (lanes with MX formats only).
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        ports = word_ports(lane, lane.group)
        if lane.has_blocks:
            ports["flushed"] = Out(1)
        super().__init__(
            {
                "en": In(1),
                "issue_even": In(1),
                "issue_odd": In(1),
                **ports,
                "pairs": Out(PairLayout(lane).size * lane.group),
                "odds": Out(PairLayout(lane).size * lane.group),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"operand_lanes_{self.lane.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"formats": list(self.lane.formats)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane = self.lane
        even, odd = (
            [Signal(PairLayout(lane), name=f"{side}{i}") for i in range(lane.group)]
            for side in ("even", "odd")
        )
        illegal = Signal(name="no_number")
        with m.Switch(self.format if lane.select_bits else Const(0, 1)):
            kinds = [_decoder_kind(fmt) for fmt in lane.decoders]
            for kind in dict.fromkeys(kinds):
                values = [value for value, other in enumerate(kinds) if other == kind]
                evens, odds, wrong = self._decode(m, platform, kind)
                is_last = kind == kinds[-1]
                with m.Default() if is_last else m.Case(*values):
                    for out, (exponent, integer) in zip(even + odd, evens + odds, strict=True):
                        m.d.comb += [out.exponent.eq(exponent), out.integer.eq(integer)]
                    m.d.comb += illegal.eq(wrong)
        m.d.comb += self.illegal.eq(illegal)
        if lane.has_blocks:
            even, odd = self._scaled(m, even, odd, illegal)

        evens, odds = (Cat(pair.as_value() for pair in pairs) for pairs in (even, odd))
        with m.If(self.en):
            m.d.sync += self.pairs.eq(0)
            with m.If(self.issue_even):
                m.d.sync += [self.pairs.eq(evens), self.odds.eq(odds)]
            with m.Elif(self.issue_odd):
                m.d.sync += self.pairs.eq(self.odds)
        return m

    def _decode(
        self, m: Module, platform: object, kind: str
    ) -> tuple[list[Pair], list[Pair], Value]:
        """(even, odd elements lane by lane, illegal) as decoders of that kind see the codes."""
        if kind == "ovp8":
            ovp8 = place(m, "decode_ovp8", OVPDecoder(8), platform, pair=self.codes[:16])
            return _nibbles(ovp8.even), _nibbles(ovp8.odd), ovp8.illegal
        evens: list[Pair] = []
        odds: list[Pair] = []
        wrong: list[Value] = []
        for i in range(self.lane.group):
            codes = self.codes.word_select(i, 2 * self.lane.code_bits)
            name = f"decode_{kind.replace('-', '_')}_{i}"
            if kind == "ovp4":
                ovp4 = place(
                    m, name, OVPDecoder(4), platform, pair=codes[:8], flint=self._is_flint()
                )
                pairs, illegal = [ovp4.even, ovp4.odd], ovp4.illegal
            elif kind == "codebook":
                table = {port: getattr(self, port) for port in TABLE_PORTS}
                book = place(m, name, CodebookDecoder(), platform, index=codes[:8], **table)
                pairs, illegal = [book.even, book.odd], Const(0, 1)
            else:
                if kind not in CODE_DECODERS:
                    raise ValueError(f"{kind} has no decoder among CODE_DECODERS in hw/decoder.py")
                fmt = next(f for f in self.lane.decoders if _decoder_kind(f) == kind)
                halves = [
                    place(m, f"{name}_{side}", CODE_DECODERS[kind](), platform, code=code)
                    for side, code in (
                        ("even", codes[: fmt.code_bits]),
                        ("odd", codes[fmt.code_bits : 2 * fmt.code_bits]),
                    )
                ]
                pairs = [half.pair for half in halves]
                illegal = halves[0].illegal | halves[1].illegal
            for elements, pair in zip((evens, odds), pairs, strict=True):
                elements.append((pair.exponent, pair.integer))
            wrong.append(illegal)
        return evens, odds, Cat(wrong).any()

    def _is_flint(self) -> Value:
        values = [i for i, fmt in enumerate(self.lane.decoders) if fmt.normal.name == "flint4"]
        if not self.lane.select_bits:
            return Const(len(values), 1)
        return self.format == values[0] if values else Const(0, 1)

    def _scaled(
        self, m: Module, even: list[Signal], odd: list[Signal], illegal: Signal
    ) -> tuple[list[Signal], list[Signal]]:
        """The pairs with their blocks' exponents relative to `base` added."""
        scaled: list[list[Signal]] = [[], []]
        below: list[Value] = []
        beyond: list[Value] = []
        for i in range(self.lane.group):
            shift = Signal(9, name=f"shift{i}")
            m.d.comb += shift.eq(self.scales.word_select(i, 8) - self.base)
            below.append(shift[-1])
            beyond.append(~shift[-1] & (shift > MAX_WINDOW))
            for pairs, out, side in ((even, scaled[0], "even"), (odd, scaled[1], "odd")):
                pair = Signal(PairLayout(self.lane), name=f"scaled_{side}{i}")
                with m.If(shift[MAX_WINDOW.bit_length() :] == 0):
                    m.d.comb += [
                        pair.exponent.eq(pairs[i].exponent + shift[: MAX_WINDOW.bit_length()]),
                        pair.integer.eq(pairs[i].integer),
                    ]
                out.append(pair)
        m.d.comb += [
            self.flushed.eq(Cat(below).any()),
            self.illegal.eq(illegal | Cat(beyond).any()),
        ]
        return scaled[0], scaled[1]


def _decoder_kind(fmt: Format) -> str:
    """Formats of one kind are read by one decoder: "ovp4", "ovp8", "codebook" or a codec's."""
    if fmt.outlier is not None:
        return f"ovp{fmt.code_bits}"
    return fmt.normal.name if fmt.name != "codebook" else "codebook"


def _nibbles(pair: View) -> list[Pair]:
    """An 8-bit element on two lanes: high nibble signed, low nibble not (OliVe, section 4.3).

    An outlier's integer fits the signed nibble of one lane, so it does without the other (ours).
    """
    exponent, integer = pair.exponent, pair.integer
    is_outlier = exponent.any()
    low = Cat(integer[:4], integer[4] & is_outlier).as_signed()
    # As wide as in a lane: Verilator takes a sign that is read back from the lane for a loop.
    high = Cat(integer[4:], integer[-1]).as_signed()
    return [(Mux(is_outlier, 0, 4), Mux(is_outlier, 0, high)), (exponent, low)]


class OperandBorder(Unit):
    """The lanes of one operand, lane i delayed by i enabled cycles.

    Parameters
    ----------
    lane: Lane
    lanes: int
        Number of lanes (rows for operand A, columns for B), a multiple of `lane.group`.

    Members
    -------
    en, issue_even, issue_odd: In(1)
        As in `OperandLanes`.
    codes, scales, base, format: In
        As in `OperandWord`.
    table_write, table_index, table_entry: In
        Fill the table of every lane (lanes with a codebook only).
    pairs: Out
        Exponent-integer pairs, lane 0 in the lowest bits.
    illegal, flushed: Out(1)
        As in `OperandLanes`, of any lane.
    """

    def __init__(self, lane: Lane, lanes: int) -> None:
        self.lane = lane
        self.lanes = lanes
        ports = word_ports(lane, lanes)
        if lane.has_blocks:
            ports["flushed"] = Out(1)
        super().__init__(
            {
                "en": In(1),
                "issue_even": In(1),
                "issue_odd": In(1),
                **ports,
                "pairs": Out(PairLayout(lane).size * lanes),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"operand_border_x{self.lanes}_{self.lane.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"formats": list(self.lane.formats), "lanes": self.lanes}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane, group = self.lane, self.lane.group
        width = PairLayout(lane).size
        shared = {name: getattr(self, name) for name in word_ports(lane, 1)}
        skewed, illegal, flushed = [], [], []
        for first in range(0, self.lanes, group):
            own = {"codes": self.codes.word_select(first // group, 2 * lane.code_bits * group)}
            if lane.has_blocks:
                own["scales"] = self.scales.word_select(first // group, 8 * group)
            lanes = place(
                m,
                f"lanes{first}",
                OperandLanes(lane),
                platform,
                en=self.en,
                issue_even=self.issue_even,
                issue_odd=self.issue_odd,
                **{**shared, **own},
            )
            illegal.append(lanes.illegal)
            if lane.has_blocks:
                flushed.append(lanes.flushed)
            for i in range(first, first + group):
                pair = lanes.pairs.word_select(i - first, width)
                if i > 0:
                    skew = Signal(width * i, name=f"skew{i}")
                    with m.If(self.en):
                        m.d.sync += skew.eq(Cat(pair, skew)[: width * i])
                    pair = skew[-width:]
                skewed.append(pair)
        m.d.comb += [self.pairs.eq(Cat(skewed)), self.illegal.eq(Cat(illegal).any())]
        if lane.has_blocks:
            m.d.comb += self.flushed.eq(Cat(flushed).any())
        return m
