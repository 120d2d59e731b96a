"""Densities to pixels: what both samplers share (TensoRF's compositing, and early termination)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import Array, Field
from oleaster.models.nerf.samples import Rays, Samples
from oleaster.models.nerf.traffic import Visits

__all__ = ["DARK", "Pixels", "Shaded", "shade"]

DARK = np.float32(0.99e-4)
"""A ray through which less light than this passes takes no more samples (ours; RT-NeRF's own
threshold is not known). All later weights sum to less, so a pixel changes by at most 1e-4; the
hundredth left over is for the rounding of sums in float32."""

_DENSITIES_AT_ONCE = 1 << 15
_COLORS_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class Pixels:
    """State of a set of rays while samples arrive. transmittance: (n,) light that still passes.

    color: (n, 3) and opacity: (n,), sums so far, without background.
    """

    transmittance: Array
    color: Array
    opacity: Array

    @staticmethod
    def clear(count: int) -> Pixels:
        return Pixels(
            np.ones(count, np.float32),
            np.zeros((count, 3), np.float32),
            np.zeros(count, np.float32),
        )

    def finish(self, white: bool) -> Array:
        """(n, 3) colours 0 .. 1 over white or black."""
        color = self.color + (1 - self.opacity)[:, None] if white else self.color
        return np.clip(color, 0, 1)


@dataclass
class Shaded:
    """Samples: kept by the sampler = skipped, as their ray was dark, + density asked; colored."""

    kept: int = 0
    skipped: int = 0
    density: int = 0
    colored: int = 0


def shade(
    field: Field,
    rays: Rays,
    samples: Samples,
    pixels: Pixels,
    counts: Shaded,
    *,
    terminate: bool,
    visits: Visits | None = None,
) -> None:
    """Add a batch of samples, which lie behind all earlier ones of their rays, to the pixels.

    With `terminate`, densities of rays that were dark before the batch are not asked, and no sample
    behind the one that made its ray dark counts: so the image does not depend on the batches.
    visits: told what embeddings are read.
    """
    counts.kept += len(samples.ray)
    if terminate:
        lit = pixels.transmittance[samples.ray] >= DARK
        counts.skipped += len(lit) - int(np.count_nonzero(lit))
        if not lit.all():
            samples = Samples(samples.ray[lit], samples.k[lit])
    counts.density += len(samples.ray)
    alphas = _alphas(field, rays, samples, visits)
    weights = _weights(alphas, samples, pixels, terminate)
    np.add.at(pixels.opacity, samples.ray, weights)
    seen = np.flatnonzero(weights > np.float32(field.weight_threshold))
    counts.colored += len(seen)
    for first in range(0, len(seen), _COLORS_AT_ONCE):
        part = seen[first : first + _COLORS_AT_ONCE]
        some = Samples(samples.ray[part], samples.k[part])
        directions = np.ascontiguousarray(rays.directions[:, some.ray].T)
        points = rays.points(some)
        if visits is not None:
            visits.add("color", field.lattice(points))
        colors = field.colors(points, directions)
        np.add.at(pixels.color, some.ray, weights[part, None] * colors)


def _alphas(field: Field, rays: Rays, samples: Samples, visits: Visits | None) -> Array:
    """(n,) how much of the light each sample keeps."""
    density = np.empty(len(samples.ray), np.float32)
    for first in range(0, len(density), _DENSITIES_AT_ONCE):
        part = slice(first, first + _DENSITIES_AT_ONCE)
        points = rays.points(Samples(samples.ray[part], samples.k[part]))
        if visits is not None:
            visits.add("density", field.lattice(points))
        density[part] = field.density(points)
    optical = density * rays.lengths(samples) * np.float32(field.distance_scale)
    alphas: Array = 1 - np.exp(-optical)
    return alphas


def _weights(alphas: Array, samples: Samples, pixels: Pixels, terminate: bool) -> Array:
    """(n,) alpha times transmittance; the pixels' transmittance is carried on.

    The product over a ray is taken one sample after the other, so that its rounding, too, does not
    depend on the batches: first all rays' first samples, then all second ones.
    """
    weights = np.zeros_like(alphas)
    starts = np.flatnonzero(np.diff(samples.ray, prepend=np.int32(-1)))
    lengths = np.diff(starts, append=len(alphas))
    longest_first = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[longest_first], lengths[longest_first]
    ray = samples.ray[starts]
    light = pixels.transmittance[ray]
    alive: NDArray[np.intp] = np.arange(len(starts))
    for step in range(int(lengths[0]) if len(lengths) else 0):
        alive = alive[: np.searchsorted(-lengths[alive], -step, side="left")]
        if terminate:
            alive = alive[light[alive] >= DARK]
        at = starts[alive] + step
        alpha, passed = alphas[at], light[alive]
        weights[at] = alpha * passed
        light[alive] = passed * (1 - alpha + np.float32(1e-10))
    pixels.transmittance[ray] = light
    return weights
