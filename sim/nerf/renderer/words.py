"""Samples as the words that pass between the units of a tile's pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.fixed.features import Factors, FixedField
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS
from oleaster.sim.nerf.words import packed

__all__ = ["cells_word", "codes_around", "taps_word"]

_PLANE_TAPS, _LINE_TAPS = 4, 2


def codes_around(
    field: FixedField, factors: Sequence[Factors], at: Longs, components: int
) -> NDArray[np.int64]:
    """(3, n) coordinates -> (n, pairs, components, taps) codes, the plane's four before the line's.

    components: of a word; 0 where a pair has fewer.
    """
    cells, _ = field.cells(at)
    found = np.zeros((at.shape[1], PAIRS, components, _PLANE_TAPS + _LINE_TAPS), np.int64)
    for m, pair in enumerate(factors):
        (u, v), w = PLANE_AXES[m], LINE_AXES[m]
        first = cells[v] * pair.row + cells[u]
        corners = first, first + 1, first + pair.row, first + pair.row + 1
        taps = [pair.plane[each] for each in corners]
        taps += [pair.line[cells[w] + i] for i in range(_LINE_TAPS)]
        found[:, m, : pair.line.shape[1]] = np.stack(taps, axis=2)
    return found


def cells_word(
    config: RendererConfig, cell: Longs, weight: Longs, end: bool, tag: int, tag_bits: int
) -> int:
    """Of `hw/nerf/renderer/taps.py`'s CellsWord. cell, weight: along x, y, z."""
    cells = [(at, config.cell_bits) for at in cell]
    return packed([*cells, *_weights(config, weight), (end, 1), (tag, tag_bits)])


def taps_word(
    config: RendererConfig,
    codes: NDArray[np.int64],
    weight: Longs,
    end: bool,
    tag: int,
    tag_bits: int,
) -> int:
    """Of `hw/nerf/renderer/taps.py`'s TapsWord. codes: (pairs, components, taps)."""
    widths = [config.plane_bits] * _PLANE_TAPS + [config.line_bits] * _LINE_TAPS
    fields = [
        (code, bits)
        for taps in codes.reshape(-1, len(widths)).tolist()
        for code, bits in zip(taps, widths, strict=True)
    ]
    return packed([*fields, *_weights(config, weight), (end, 1), (tag, tag_bits)])


def _weights(config: RendererConfig, weight: Longs) -> list[tuple[int, int]]:
    return [(int(each), config.fixed.weight_bits + 1) for each in weight]
