"""A field's values at lattice coordinates, in integers: what is read, interpolated, multiplied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.requantize import multiplier_of
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Field, FieldError
from oleaster.models.nerf.fixed.tables import Curve, Longs, alpha_curve, rounded
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.layout import Codes, quantize
from oleaster.models.nerf.tensors import field_tensors

__all__ = ["Factors", "FixedField", "fix_field"]

_LINE_BITS = 2  # that lines have beyond planes, as in `prune.py`
_PART = 4096  # samples at once, so that the arrays of a part stay in a core's cache


@dataclass(frozen=True, eq=False)
class Factors:
    """A plane and its line. plane: (cells, components), row by row; line: (cells, components).

    Codes, in integers wide enough for every product. scale: of a product of two codes.
    """

    plane: NDArray[Any]
    line: NDArray[Any]
    row: int
    scale: float


@dataclass(frozen=True, eq=False)
class FixedField:
    """What hardware holds of a field. density_multiplier, density_shift: (3,) of the pairs' sums.

    alpha: from their sum to the share of light that a sample keeps.
    """

    config: FixedConfig
    size: tuple[int, int, int]
    density: tuple[Factors, Factors, Factors]
    color: tuple[Factors, Factors, Factors]
    density_multiplier: Longs
    density_shift: Longs
    alpha: Curve

    def density_sums(self, at: Longs) -> Longs:
        """(3, n) coordinates on the field's lattice -> (n,) sums, density_bits of fraction."""
        found = np.zeros(at.shape[1], np.int64)
        for first in range(0, at.shape[1], _PART):
            part = slice(first, first + _PART)
            found[part] = self.sums_of(self.products(self.density, at[:, part]))
        return found

    def sums_of(self, products: Sequence[NDArray[Any]]) -> Longs:
        """Each density pair's products, (n, components) -> (n,) sums, density_bits of fraction.

        For each pair the components' products add up exactly; the pair's sum times its multiplier
        is rounded once.
        """
        found = np.zeros(len(products[0]), np.int64)
        for m, each in enumerate(products):
            sums = each.sum(axis=1, dtype=np.int64)
            found += rounded(sums * int(self.density_multiplier[m]), int(self.density_shift[m]))
        return found

    def color_products(self, at: Longs) -> Longs:
        """(3, n) coordinates on the field's lattice -> (n, components of all three pairs).

        In units of `color_scales`.
        """
        found = np.empty((at.shape[1], sum(each.line.shape[1] for each in self.color)), np.int64)
        for first in range(0, at.shape[1], _PART):
            part = slice(first, first + _PART)
            products = self.products(self.color, at[:, part])
            np.concatenate(products, axis=1, out=found[part], casting="same_kind")
        return found

    @property
    def color_scales(self) -> NDArray[np.float64]:
        """(components of all three pairs,): what a unit of a colour product is worth."""
        guard = self.config.guard_bits
        scales = [np.full(each.line.shape[1], np.ldexp(each.scale, -guard)) for each in self.color]
        return np.concatenate(scales)

    def cells(self, at: Longs) -> tuple[Longs, Longs]:
        """(3, n) coordinates -> (3, n) cells, and (3, n) weights of the points behind them.

        A coordinate on the last face is a whole cell beyond the last: its weight is 2^weight_bits.
        """
        config = self.config
        low = np.clip(at >> config.position_bits, 0, (np.array(self.size) - 2)[:, None])
        weight = at - (low << config.position_bits)
        weight >>= config.position_bits - config.weight_bits
        return low, weight

    def products(self, factors: tuple[Factors, ...], at: Longs) -> list[NDArray[Any]]:
        """For each pair (n, components): plane times line, guard_bits below the codes' unit."""
        config = self.config
        low, weight = self.cells(at)
        found = []
        for m, pair in enumerate(factors):
            (u, v), w = PLANE_AXES[m], LINE_AXES[m]
            weights = [weight[axis].astype(pair.plane.dtype)[:, None] for axis in (u, v, w)]
            first = low[v] * pair.row + low[u]
            bottom = self._between(pair.plane, first, weights[0])
            top = self._between(pair.plane, first + pair.row, weights[0])
            plane = (bottom << config.weight_bits) + (top - bottom) * weights[1]
            line = self._between(pair.line, low[w], weights[2])
            plane = _rounded(plane, 2 * config.weight_bits - config.guard_bits)
            line = _rounded(line, config.weight_bits - config.guard_bits)
            # Plane and line are guard_bits below the unit of their codes, and so is their product.
            found.append(_rounded(plane * line, config.guard_bits))
        return found

    def _between(self, cells: NDArray[Any], first: Longs, weight: NDArray[Any]) -> NDArray[Any]:
        low = cells[first]
        rise = cells[first + 1] - low
        rise *= weight
        low <<= self.config.weight_bits
        low += rise
        return low


def _rounded(values: NDArray[Any], shift: int) -> NDArray[Any]:
    """As `rounded`, in the array's own kind and in place; to the left if shift is negative."""
    if shift > 0:
        values += 1 << (shift - 1)
        values >>= shift
    else:
        values <<= -shift
    return values


def fix_field(field: Field, config: FixedConfig, codes: Mapping[str, Codes] | None) -> FixedField:
    """codes: of all twelve tensors, as an encoding holds them; None quantises the field's own."""
    if codes is None:
        codes = {
            name: quantize(tensor, config.value_bits + (0 if "planes" in name else _LINE_BITS))
            for name, tensor in field_tensors(field).items()
        }
    bits = [
        codes[f"{kind}_{part}[{m}]"].bits
        for kind in ("density", "color")
        for m in range(3)
        for part in ("planes", "lines")
    ]
    products = max(a + b - 1 for a, b in zip(bits[::2], bits[1::2], strict=True))
    widest = max(products + 2 * config.guard_bits, max(bits) + 2 * config.weight_bits + 1)
    if products + config.guard_bits > 32:
        raise FieldError(
            f"planes and lines of {products + 1} bits together, and {config.guard_bits} guard bits:"
            f" a product has {products + config.guard_bits} bits; 32 at most can be requantised"
        )
    kind = np.int32 if widest <= 32 else np.int64

    def pair(name: str, m: int) -> Factors:
        plane, line = codes[f"{name}_planes[{m}]"], codes[f"{name}_lines[{m}]"]
        return Factors(
            plane.codes.reshape(-1, plane.codes.shape[2]).astype(kind),
            line.codes[0].astype(kind),
            plane.codes.shape[1],
            float(plane.scale) * float(line.scale),
        )

    density = pair("density", 0), pair("density", 1), pair("density", 2)
    color = pair("color", 0), pair("color", 1), pair("color", 2)
    unit = np.ldexp([each.scale for each in density], config.density_bits - config.guard_bits)
    # Beyond these, the least code is all or nothing whatever the rest.
    multiplier, shift = multiplier_of(np.clip(unit, 2.0**-40, 2.0**15))
    length = float(field.step) * field.distance_scale
    alpha = alpha_curve(length, field.softplus, field.density_shift, config)
    return FixedField(config, field.size, density, color, multiplier, shift, alpha)
