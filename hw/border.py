"""One border of the array: for each lane a decoder, then the skew."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from oleaster.hw.decoder import OVPDecoder
from oleaster.hw.emit import Unit, place
from oleaster.hw.layouts import Lane

__all__ = ["OperandBorder", "OperandLane"]


class OperandLane(Unit):
    """Decodes the two codes of one lane and issues them in two cycles.

    In the cycle of `issue_even` the even element enters the output register and the odd one is
    kept; in that of `issue_odd` the kept one enters. In any other enabled cycle a zero does,
    which adds nothing to any accumulator.

    Parameters
    ----------
    lane: Lane

    Members
    -------
    en, issue_even, issue_odd: In(1)
    codes: In
        Two codes, element 2i in the low half.
    flint: In(1)
        Normal type is flint4 (4-bit lanes only).
    pair: Out
        Exponent-integer pair, one enabled cycle after its issue.
    illegal: Out(1)
        `codes` is an illegal pair.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        ports = {"flint": In(1)} if lane.has_flint else {}
        super().__init__(
            {
                "en": In(1),
                "issue_even": In(1),
                "issue_odd": In(1),
                "codes": In(2 * lane.code_bits),
                **ports,
                "pair": Out(lane.pair),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"operand_lane{self.lane.code_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"code_bits": self.lane.code_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        decoder = OVPDecoder(self.lane)
        controls = {"flint": self.flint} if self.lane.has_flint else {}
        place(m, "decoder", decoder, platform, pair=self.codes, **controls)
        kept = Signal(self.lane.pair)
        with m.If(self.en):
            m.d.sync += [kept.eq(decoder.odd), self.pair.eq(0)]
            with m.If(self.issue_even):
                m.d.sync += self.pair.eq(decoder.even)
            with m.Elif(self.issue_odd):
                m.d.sync += self.pair.eq(kept)
        m.d.comb += self.illegal.eq(decoder.illegal)
        return m


class OperandBorder(Unit):
    """The lanes of one operand, lane i delayed by i enabled cycles.

    Parameters
    ----------
    lane: Lane
    lanes: int
        Number of lanes (rows for operand A, columns for B).

    Members
    -------
    en, issue_even, issue_odd, flint: In(1)
        As in `OperandLane`.
    codes: In
        Two codes for each lane, as in `OperandWord`.
    pairs: Out
        Exponent-integer pairs, lane 0 in the lowest bits.
    illegal: Out(1)
        The word on `codes` holds an illegal pair.
    """

    def __init__(self, lane: Lane, lanes: int) -> None:
        self.lane = lane
        self.lanes = lanes
        ports = {"flint": In(1)} if lane.has_flint else {}
        super().__init__(
            {
                "en": In(1),
                "issue_even": In(1),
                "issue_odd": In(1),
                "codes": In(2 * lane.code_bits * lanes),
                **ports,
                "pairs": Out(lane.pair.size * lanes),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"operand_border{self.lane.code_bits}_x{self.lanes}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"code_bits": self.lane.code_bits, "lanes": self.lanes}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.lane.pair.size
        skewed, illegal = [], []
        for i in range(self.lanes):
            lane = OperandLane(self.lane)
            controls = {"flint": self.flint} if self.lane.has_flint else {}
            place(
                m,
                f"lane{i}",
                lane,
                platform,
                en=self.en,
                issue_even=self.issue_even,
                issue_odd=self.issue_odd,
                codes=self.codes.word_select(i, 2 * self.lane.code_bits),
                **controls,
            )
            illegal.append(lane.illegal)
            pair = lane.pair.as_value()
            if i > 0:
                skew = Signal(width * i, name=f"skew{i}")
                with m.If(self.en):
                    m.d.sync += skew.eq(Cat(pair, skew)[: width * i])
                pair = skew[-width:]
            skewed.append(pair)
        m.d.comb += [self.pairs.eq(Cat(skewed)), self.illegal.eq(Cat(illegal).any())]
        return m
