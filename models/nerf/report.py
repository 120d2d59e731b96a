"""What an encoding holds and what it saves, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from oleaster.models.nerf.encoding import Encoded, decode
from oleaster.models.nerf.layout import (
    BITMAP,
    COORDINATES,
    DENSE,
    PLAIN,
    layouts,
    pure_bits,
)

__all__ = ["TensorReport", "report", "total"]


@dataclass(frozen=True)
class TensorReport:
    """One tensor, or a sum of several.

    cells, values: all of them; zero_*: of which 0, a cell being 0 if all its components are.
    chunk, group: the layout, 0 and 0 if plain or a sum. value_bits: of a code, 0 for a sum.
    fp16_bits: every value in 16 bits. dense_bits, bitmap_bits, coordinate_bits: the smallest
    encoding in that one format, directory included where it needs one, over chunks of 32, 64 and
    128 and elements of at least `group` components. hybrid_bits: as stored, at most each of them.
    *_chunks: by mode; empty ones store nothing but their directory entry.
    """

    name: str
    rows: int
    cells: int
    components: int
    value_bits: int
    chunk: int
    group: int
    zero_cells: int
    values: int
    zero_values: int
    fp16_bits: int
    dense_bits: int
    bitmap_bits: int
    coordinate_bits: int
    hybrid_bits: int
    dense_chunks: int
    bitmap_chunks: int
    coordinate_chunks: int
    empty_chunks: int

    @property
    def ratio(self) -> float:
        """Times smaller than dense fp16."""
        return self.fp16_bits / self.hybrid_bits


def report(encoded: Mapping[str, Encoded]) -> list[TensorReport]:
    """One row for each tensor, in their order. Decodes them all: a second for a large field."""
    return [_row(name, each) for name, each in encoded.items()]


def total(rows: Iterable[TensorReport]) -> TensorReport:
    """The sum of rows; what is not a sum is 0."""
    rows = list(rows)
    summed = {
        key: sum(getattr(row, key) for row in rows)
        for key in TensorReport.__dataclass_fields__
        if key not in ("name", *_NO_SUM)
    }
    return TensorReport(name="all", **dict.fromkeys(_NO_SUM, 0), **summed)


_NO_SUM = ("rows", "components", "value_bits", "chunk", "group")


def _row(name: str, encoded: Encoded) -> TensorReport:
    codes = decode(encoded)
    values, components = codes.codes.size, encoded.components
    finest = components if encoded.layout == PLAIN else encoded.layout.group
    cuts = layouts(components, range(finest, components + 1))[1:]
    filled = encoded.counts > 0
    modes = np.bincount(np.where(filled, encoded.modes, 3).ravel(), minlength=4)
    return TensorReport(
        name=name,
        rows=encoded.rows,
        cells=encoded.rows * encoded.cells,
        components=components,
        value_bits=encoded.bits,
        chunk=encoded.layout.chunk,
        group=encoded.layout.group,
        zero_cells=int((~codes.codes.any(axis=2)).sum()),
        values=values,
        zero_values=int((codes.codes == 0).sum()),
        fp16_bits=16 * values,
        dense_bits=pure_bits(codes, PLAIN, DENSE),
        bitmap_bits=min(pure_bits(codes, cut, BITMAP) for cut in cuts),
        coordinate_bits=min(pure_bits(codes, cut, COORDINATES) for cut in cuts),
        hybrid_bits=encoded.size_bits,
        dense_chunks=int(modes[DENSE]),
        bitmap_chunks=int(modes[BITMAP]),
        coordinate_chunks=int(modes[COORDINATES]),
        empty_chunks=int(modes[3]),
    )
