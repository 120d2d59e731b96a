"""Samples to pixels in integers: alpha, light that passes, weights, colours, background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.features import FixedField
from oleaster.models.nerf.fixed.rays import FixedRays
from oleaster.models.nerf.fixed.tables import Longs, rounded
from oleaster.models.nerf.samples import Samples
from oleaster.models.nerf.shade import DARK, Shaded
from oleaster.models.nerf.traffic import Visits

__all__ = ["LARGEST_BYTE", "Colors", "FixedPixels", "limits", "shade_fixed"]

Colors = Callable[[Longs, Longs], Longs]
"""(n, components) products of colour, (n, 3) directions -> (n, 3), color_bits of fraction."""

LARGEST_BYTE = 255
"""A pixel's colour 1."""

_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class FixedPixels:
    """State of some rays. light: (n,) that still passes, transmittance_bits of fraction.

    color: (n, 3), sums so far, transmittance_bits + color_bits of fraction.
    """

    light: Longs
    color: Longs

    @staticmethod
    def clear(count: int, transmittance_bits: int) -> FixedPixels:
        light = np.full(count, np.int64(1) << transmittance_bits)
        return FixedPixels(light, np.zeros((count, 3), np.int64))

    def finish(self, white: bool, bits: int, color_bits: int) -> NDArray[np.uint8]:
        """(n, 3) colours 0 .. LARGEST_BYTE over white or black. bits: of transmittance."""
        total = self.color + (self.light << color_bits)[:, None] if white else self.color
        found = rounded(total * LARGEST_BYTE, bits + color_bits)
        return np.minimum(found, LARGEST_BYTE).astype(np.uint8)


def limits(threshold: float, bits: int, terminate: bool) -> tuple[int, int]:
    """Light below which a pixel is dark, and the weight above which a colour counts, for hardware.

    bits: of transmittance. Without terminate no pixel is ever dark.
    """
    one = 1 << bits
    return int(np.ceil(float(DARK) * one)) if terminate else 0, int(threshold * one)


def shade_fixed(
    field: FixedField,
    rays: FixedRays,
    samples: Samples,
    pixels: FixedPixels,
    counts: Shaded,
    colors: Colors,
    threshold: float,
    *,
    terminate: bool,
    visits: Visits | None = None,
) -> None:
    """Add a batch of samples, which lie behind all earlier ones of their rays, to the pixels.

    As `shade.shade`; threshold: the weight above which a sample's colour counts.
    """
    dark, least = limits(threshold, field.config.transmittance_bits, terminate)
    counts.kept += len(samples.ray)
    if terminate:
        lit = pixels.light[samples.ray] >= dark
        counts.skipped += len(lit) - int(np.count_nonzero(lit))
        samples = Samples(samples.ray[lit], samples.k[lit])
    counts.density += len(samples.ray)
    at = np.stack([rays.field_at(axis, *samples) for axis in range(3)])
    bits = field.config.position_bits
    if visits is not None:
        visits.add("density", (at >> bits).T)
    alphas = field.alpha(field.density_sums(at))
    alphas[samples.k == rays.frame.count - 1] = 0  # nothing lies between it and a next one
    weights = _weights(alphas, samples, pixels, dark, field.config.transmittance_bits)
    seen = np.flatnonzero(weights > least)
    counts.colored += len(seen)
    if visits is not None:
        visits.add("color", (at[:, seen] >> bits).T)
    for first in range(0, len(seen), _AT_ONCE):
        part = seen[first : first + _AT_ONCE]
        ray = samples.ray[part]
        found = colors(field.color_products(at[:, part]), rays.direction[:, ray].T)
        np.add.at(pixels.color, ray, weights[part, None] * found)


def _weights(alphas: Longs, samples: Samples, pixels: FixedPixels, dark: int, bits: int) -> Longs:
    """(n,) alpha times light, rounded; so much less light passes, and all weights add up to 1."""
    weights = np.zeros_like(alphas)
    starts = np.flatnonzero(np.diff(samples.ray, prepend=np.int32(-1)))
    lengths = np.diff(starts, append=len(alphas))
    longest_first = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[longest_first], lengths[longest_first]
    ray = samples.ray[starts]
    light = pixels.light[ray]
    alive: NDArray[np.intp] = np.arange(len(starts))
    for step in range(int(lengths[0]) if len(lengths) else 0):
        alive = alive[: np.searchsorted(-lengths[alive], -step, side="left")]
        alive = alive[light[alive] >= dark]
        at = starts[alive] + step
        weight = rounded(alphas[at] * light[alive], bits)
        weights[at] = weight
        light[alive] -= weight
    pixels.light[ray] = light
    return weights
