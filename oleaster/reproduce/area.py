# amaranth: UnusedElaboratable=no
"""Area of OliVe's array: published, and of our own circuits after synthesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.array import SystolicArray
from oleaster.hw.decoder import OVPDecoder
from oleaster.hw.emit import Unit, place
from oleaster.hw.encoder import OVPEncoder
from oleaster.hw.layouts import PairLayout
from oleaster.hw.pe import PE
from oleaster.models.lane import Lane
from oleaster.reproduce.published import Area, published
from oleaster.synth.synthesis import Synthesis, synthesise

__all__ = [
    "AreaShare",
    "DecodingPE",
    "OverheadRow",
    "border_share",
    "measure",
    "overheads",
    "published_shares",
]


@dataclass(frozen=True)
class AreaShare:
    """area: of one, in um^2 (published) or transistors (ours). share: of all three, per cent.

    flops: flip-flops in one; None where that is not published.
    """

    unit: str
    area: float
    count: int
    share: float
    flops: int | None = None


@dataclass(frozen=True)
class OverheadRow:
    """area: gate equivalents. pes: how many PEs of 4-bit formats that is."""

    unit: str
    area: float
    pes: float


def published_shares() -> list[AreaShare]:
    """Shares that the published areas and counts give."""
    return _shares([(row.unit, row.um2, row.count) for row in published().areas])


def measure(liberty: Path | None = None) -> list[AreaShare]:
    """Our decoders and our PE with the published counts.

    The PE is that of an array that also fuses four PEs for 8-bit formats, as OliVe's. Areas are
    Yosys' estimate of transistors, or those of a library's cells.
    Raises SynthesisError without Yosys.
    """
    lane = Lane.named("olive")
    units = {
        "4-bit decoder": OVPDecoder(4),
        "8-bit decoder": OVPDecoder(8),
        "4-bit PE": PE(lane, lane),
    }
    counts: dict[str, Area] = {row.unit: row for row in published().areas}
    cells = {name: synthesise(unit, liberty=liberty, flatten=True) for name, unit in units.items()}
    shares = _shares([(name, _area(found), counts[name].count) for name, found in cells.items()])
    return [replace(share, flops=cells[share.unit].flops) for share in shares]


def overheads(liberty: Path | None = None) -> list[OverheadRow]:
    """PEs of more and more formats, what decodes and encodes, and a PE with decoders of its own."""
    four, olive, integer = Lane.named("olive4"), Lane.named("olive"), _IntegerLane(("int4",))
    units = {
        "PE, int4 without exponents": PE(integer, integer),
        "PE, 4-bit formats": PE(four, four),
        "PE, 4-bit formats and nibbles of 8-bit ones": PE(olive, olive),
        "4-bit decoder": OVPDecoder(4),
        "8-bit decoder": OVPDecoder(8),
        "4-bit encoder, of 16-bit sums": OVPEncoder(4, 16),
        "8-bit encoder, of 32-bit sums": OVPEncoder(8, 32),
        "PE, 4-bit formats, with both decoders inside": DecodingPE(four),
    }
    found = {
        name: synthesise(unit, liberty=liberty, flatten=True).gate_equivalents or 0.0
        for name, unit in units.items()
    }
    pe = found["PE, 4-bit formats"]
    return [OverheadRow(name, area, area / pe) for name, area in found.items()]


def border_share(formats: str, side: int, liberty: Path | None = None) -> tuple[float, float]:
    """(gate equivalents of a `side` x `side` array, per cent of it that are PEs).

    The rest: decoders, registers that delay operands and sums on their way in and out, control.
    """
    lane = Lane.named(formats)
    found = synthesise(SystolicArray(lane, lane, side, side), liberty=liberty)
    array, pe = found.gate_equivalents or 0.0, found.modules[PE(lane, lane).module_name]
    return array, 100 * side * side * pe / array


class _IntegerLane(Lane):
    """Integers of four bits and nothing else; the lane of format int4 keeps OVP's exponents."""

    integer_bits = 4
    exponent_bits = 0
    max_exponent = 0
    name = "integer"


class DecodingPE(Unit):
    """A PE of an array without decoders at its borders: pairs of codes travel, each PE decodes.

    Two elements of K come in one byte, so that a byte stays for two cycles, as at the borders.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.pe = PE(lane, lane)
        ports = {"codes": 8, "flint": 1}
        super().__init__(
            {
                **{
                    f"{side}_{name}{suffix}": flow(bits)
                    for side in "ab"
                    for name, bits in ports.items()
                    for suffix, flow in (("", In), ("_out", Out))
                },
                **{name: In(1) for name in ("en", "odd", "swap", "select", "overflow_in")},
                **{name: Out(1) for name in ("odd_out", "swap_out", "overflow_out")},
                "sum_in": In(self.pe.acc_bits),
                "sum_out": Out(self.pe.acc_bits),
            }
        )

    @property
    def module_name(self) -> str:
        return f"decoding_{self.pe.module_name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"formats": list(self.lane.formats)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operands = {}
        for side in "ab":
            codes, flint = getattr(self, f"{side}_codes"), getattr(self, f"{side}_flint")
            decoder = OVPDecoder(4)
            place(m, f"decode_{side}", decoder, platform, pair=codes, flint=flint)
            pair = Signal(PairLayout(self.lane), name=f"pair_{side}")
            m.d.comb += [
                pair[field].eq(Mux(self.odd, decoder.odd[field], decoder.even[field]))
                for field in ("exponent", "integer")
            ]
            operands[side] = Value.cast(pair)
            with m.If(self.en):
                m.d.sync += [
                    getattr(self, f"{side}_codes_out").eq(codes),
                    getattr(self, f"{side}_flint_out").eq(flint),
                ]
        with m.If(self.en):
            m.d.sync += self.odd_out.eq(self.odd)
        passed = ("en", "swap", "select", "sum_in", "overflow_in")
        place(
            m, "pe", self.pe, platform, **operands, **{name: getattr(self, name) for name in passed}
        )
        m.d.comb += [
            getattr(self, name).eq(getattr(self.pe, name))
            for name in ("swap_out", "sum_out", "overflow_out")
        ]
        return m


def _area(found: Synthesis) -> float:
    area = found.own.get("area", found.transistors)
    assert area is not None  # of gates, or of a library's cells
    return float(area)


def _shares(rows: list[tuple[str, float, int]]) -> list[AreaShare]:
    total = sum(area * count for _, area, count in rows)
    return [AreaShare(name, area, n, 100 * area * n / total) for name, area, n in rows]
