"""Shares of an array's area: published, and of our own circuits after synthesis."""

from dataclasses import dataclass, replace

from oleaster.hw.decoder import OVPDecoder
from oleaster.hw.pe import PE
from oleaster.models.lane import Lane
from oleaster.reproduce.published import Area, published
from oleaster.synth.synthesis import synthesise

__all__ = ["AreaShare", "measure", "published_shares"]


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


def published_shares() -> list[AreaShare]:
    """Shares that the published areas and counts give."""
    return _shares([(row.unit, row.um2, row.count) for row in published().areas])


def measure() -> list[AreaShare]:
    """Our decoders and our PE with the published counts, by Yosys' estimate of transistors.

    The PE is that of an array that also fuses four PEs for 8-bit formats, as OliVe's.
    Raises SynthesisError without Yosys.
    """
    lane = Lane.named("olive")
    units = {
        "4-bit decoder": OVPDecoder(4),
        "8-bit decoder": OVPDecoder(8),
        "4-bit PE": PE(lane, lane),
    }
    counts: dict[str, Area] = {row.unit: row for row in published().areas}
    cells = {name: synthesise(unit) for name, unit in units.items()}
    shares = _shares(
        [(name, found.transistors, counts[name].count) for name, found in cells.items()]
    )
    return [replace(share, flops=cells[share.unit].flops) for share in shares]


def _shares(rows: list[tuple[str, float, int]]) -> list[AreaShare]:
    total = sum(area * count for _, area, count in rows)
    return [AreaShare(name, area, n, 100 * area * n / total) for name, area, n in rows]
