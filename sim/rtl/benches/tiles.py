"""Samples of some tiles, and what `shade_fixed` makes of them one by one. Not a bench itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.shade import FixedPixels, shade_fixed
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig
from oleaster.models.nerf.samples import Samples
from oleaster.models.nerf.shade import Shaded

__all__ = ["THRESHOLD", "Tile", "config_of", "shade_tile"]

THRESHOLD = 1e-4  # as scenes have it


def config_of(bits: Mapping[str, int]) -> FixedConfig:
    """With the widths among a unit's parameters."""
    return FixedConfig(**{name: value for name, value in bits.items() if name in RANGES})


@dataclass(frozen=True)
class Tile:
    """Samples, (n,) each, colors (n, 3), in random order but for runs of one pixel.

    weight: what each takes of its pixel's light. colored: whether it counts. light: (n + 1, pixels)
    before each, and after all. finished: pixels at the end. counts: of all.
    """

    pixel: Longs
    alpha: Longs
    last: NDArray[np.bool_]
    color: Longs
    weight: Longs
    colored: NDArray[np.bool_]
    light: Longs
    finished: FixedPixels
    counts: Shaded


def shade_tile(
    rng: np.random.Generator,
    config: FixedConfig,
    pixels: int,
    count: int,
    *,
    terminate: bool = True,
    thin: bool = False,
) -> Tile:
    """Half of the samples have their pixel from one just before, and many leave nearly no light.

    thin: samples have a hundredth of their alphas, so that many of a pixel have a colour.
    """
    one = 1 << config.transmittance_bits
    pixel = rng.integers(0, pixels, count)
    for i in np.flatnonzero(rng.random(count) < 0.6).tolist():
        pixel[i] = pixel[max(0, i - int(rng.integers(1, 4)))]
    kind = rng.integers(0, 6, count)
    alpha = rng.integers(0, one + 1, count)
    alpha = np.where(kind == 0, rng.choice([0, 1, one - 1, one], count), alpha)
    alpha = np.where(kind == 1, one - rng.integers(0, 16, count), alpha)
    # Halves of halves, whose products fall between two weights.
    alpha = np.where(kind == 2, one >> rng.integers(1, 4, count), alpha)
    alpha = np.where(kind >= 4, alpha >> rng.integers(0, config.transmittance_bits, count), alpha)
    alpha >>= 7 * thin
    last = rng.random(count) < 0.05
    color = rng.integers(0, (1 << config.color_bits) + 1, (count, 3))
    color = np.where(rng.random(color.shape) < 0.2, 1 << config.color_bits, color)

    # A sample's number is its k, and its coordinates; that of all last samples is `count`.
    field: Any = SimpleNamespace(
        config=config,
        density_sums=lambda at: at[0],
        alpha=lambda sums: np.append(alpha, one)[sums],
        color_products=lambda at: at.T,
    )
    rays: Any = SimpleNamespace(
        field_at=lambda axis, ray, k: k,
        frame=SimpleNamespace(count=count + 1),
        direction=np.zeros((3, pixels), np.int64),
    )
    state = FixedPixels.clear(pixels, config.transmittance_bits)
    counts = Shaded()
    light = np.empty((count + 1, pixels), np.int64)
    colored = np.zeros(count, bool)
    k = np.where(last, count, np.arange(count)).astype(np.int32)
    for i in range(count):
        light[i] = state.light
        before = counts.colored
        shade_fixed(
            field,
            rays,
            Samples(pixel[i : i + 1].astype(np.int32), k[i : i + 1]),
            state,
            counts,
            lambda products, directions: color[products[:, 0]],
            THRESHOLD,
            terminate=terminate,
        )
        colored[i] = counts.colored > before
    light[count] = state.light
    weight = (light[:-1] - light[1:]).sum(axis=1)
    return Tile(pixel, alpha, last, color, weight, colored, light, state, counts)
