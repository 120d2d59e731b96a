"""Packed words that travel between units."""

from __future__ import annotations

from amaranth import signed, unsigned
from amaranth.lib import data

from oleaster.models.lane import Lane

__all__ = ["ActivationWord", "OperandWord", "PairLayout", "SumsWord", "WeightWord"]


class PairLayout(data.StructLayout):
    """Exponent-integer pair, `integer << exponent`, as wide as the formats of a lane need."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(
            {"integer": signed(lane.integer_bits), "exponent": unsigned(lane.exponent_bits)}
        )


class OperandWord(data.StructLayout):
    """Two K elements for each lane.

    Fields, in this order: `codes`, for each lane `2 * code_bits` bits. An element of one lane
    pair has element 2i in the low bits and 2i + 1 right above (the byte layout of an
    outlier-victim pair); an element of two lanes has the bits of both, starting with the even
    lane's. `scales`, for each lane the E8M0 exponent of its block, and `base`, that which stands
    for 2**0 (lanes with MX formats only); `format`, the decoder (lanes with several only); `last`,
    high on the last word of a tile.
    """

    def __init__(self, lane: Lane, lanes: int) -> None:
        fields: dict[str, object] = {"codes": data.ArrayLayout(2 * lane.code_bits, lanes)}
        if lane.has_blocks:
            fields |= {"scales": data.ArrayLayout(8, lanes), "base": 8}
        if lane.select_bits:
            fields["format"] = lane.select_bits
        super().__init__({**fields, "last": 1})


class WeightWord(data.StructLayout):
    """Two K elements for each column of a weight-stationary array.

    The fields of `OperandWord(b, cols)`, then `repeat`: high in all words of tiles for elements of
    A that take two lanes (where some format of A does).
    """

    def __init__(self, a: Lane, b: Lane, cols: int) -> None:
        repeat = {"repeat": 1} if a.group == 2 else {}
        super().__init__({**OperandWord(b, cols).members, **repeat})


class ActivationWord(data.StructLayout):
    """One row of A over the K elements of a weight-stationary array's rows.

    The fields of `OperandWord(a, rows / 2)`, whose lane i has elements 2i and 2i + 1 of the row,
    or lanes 2i and 2i + 1 have elements 4i to 4i + 3 or, if elements take two lanes, 2i and 2i + 1
    in the same bits; `last` on the last row of a pass. Then `start`: sums start from 0 and not
    from a word of partial sums; `fuse`: column pairs are added where these sums leave (where some
    format of B takes two lanes).
    """

    def __init__(self, a: Lane, b: Lane, rows: int) -> None:
        fuse = {"fuse": 1} if b.group == 2 else {}
        super().__init__({**OperandWord(a, rows // 2).members, "start": 1, **fuse})


class SumsWord(data.StructLayout):
    """One row of a finished tile.

    Fields: `sums`, signed, one for each column; `overflow`, a bit for each column, set when the
    accumulation of that sum wrapped; `last`, high on the last row of the tile. Where elements of
    B take two lanes, sum j is in place 2j and the odd places are 0.
    """

    def __init__(self, cols: int, acc_bits: int) -> None:
        super().__init__(
            {"sums": data.ArrayLayout(signed(acc_bits), cols), "overflow": cols, "last": 1}
        )
