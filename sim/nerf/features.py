"""Words of the units that make a sample's density: what goes in, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.fixed.features import Factors, FixedField
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.sim.nerf.words import packed

__all__ = ["address_words", "density_words", "feature_words"]

Words = tuple[list[int], list[int]]
"""Payloads of the stream in, and of the stream out."""

_TAG = 0x9E3779B1  # a sample's tag: its number times this, so that neighbours differ in many bits


def _tags(count: int) -> list[int]:
    return [i * _TAG for i in range(count)]


def address_words(field: FixedField, at: Longs, bits: Mapping[str, int]) -> Words:
    """at: (3, n) coordinates in the lattice. bits: parameters of `SampleAddress`."""
    tags = _tags(at.shape[1])
    whole = bits["cell_bits"] + bits["position_bits"]
    words = [
        packed([*((x, whole) for x in row), (tag, bits["tag_bits"])])
        for row, tag in zip(at.T, tags, strict=True)
    ]
    cells, weights = field.cells(at)
    answers = [
        packed(
            [
                *((x, bits["cell_bits"]) for x in cell),
                *((x, bits["weight_bits"] + 1) for x in weight),
                (tag, bits["tag_bits"]),
            ]
        )
        for cell, weight, tag in zip(cells.T, weights.T, tags, strict=True)
    ]
    return words, answers


def feature_words(
    field: FixedField,
    factors: tuple[Factors, Factors, Factors],
    at: Longs,
    bits: Mapping[str, int],
) -> Words:
    """Words for all three pairs of samples at (3, n) coordinates, one pair after the other, and for
    as many groups of components as a pair has. bits: parameters of `FeatureUnit`."""
    cells, weights = field.cells(at)
    out_bits = bits["plane_bits"] + bits["line_bits"] - 1 + bits["guard_bits"]
    words, answers = [], []
    for m, products in enumerate(field.products(factors, at)):
        (u, v), w = PLANE_AXES[m], LINE_AXES[m]
        first = cells[v] * factors[m].row + cells[u]
        corners = [first, first + 1, first + factors[m].row, first + factors[m].row + 1]
        plane = np.stack([factors[m].plane[each] for each in corners], axis=2)
        line = np.stack([factors[m].line[cells[w] + i] for i in (0, 1)], axis=2)
        turned = weights[[u, v, w]].T
        for group in range(0, products.shape[1], bits["components"]):
            part = slice(group, group + bits["components"])
            for i, tag in enumerate(_tags(len(products))):
                codes = [
                    field
                    for planes, lines in zip(plane[i, part], line[i, part], strict=True)
                    for field in (
                        *((x, bits["plane_bits"]) for x in planes),
                        *((x, bits["line_bits"]) for x in lines),
                    )
                ]
                fractions = [(x, bits["weight_bits"] + 1) for x in turned[i]]
                words.append(packed([*codes, *fractions, (tag, bits["tag_bits"])]))
                found = [(x, out_bits) for x in products[i, part]]
                answers.append(packed([*found, (tag, bits["tag_bits"])]))
    return words, answers


def density_words(field: FixedField, products: NDArray[np.int64], bits: Mapping[str, int]) -> Words:
    """products: (3, n, components). bits: parameters of `DensityUnit`."""
    end = 1 << (bits["sum_bits"] - 1)
    sums = np.clip(field.sums_of(list(products)), -end, end - 1)
    tags = _tags(len(sums))
    words = [
        packed(
            [
                *((x, bits["product_bits"]) for x in products[:, i].flat),
                (tag, bits["tag_bits"]),
            ]
        )
        for i, tag in enumerate(tags)
    ]
    answers = [
        packed([(total, bits["sum_bits"]), (tag, bits["tag_bits"])])
        for total, tag in zip(sums, tags, strict=True)
    ]
    return words, answers
