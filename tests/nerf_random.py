"""Random radiance fields, for the tests of files and of arithmetic."""

import numpy as np

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field, Mask


def random_field(
    seed: int,
    size: tuple[int, int, int],
    density: tuple[int, int, int],
    color: tuple[int, int, int],
    frequencies: tuple[int, int],
    *,
    features: int = 5,
    mask: bool = False,
) -> Field:
    """Components of each pair; frequencies of features and of directions."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    def planes(count: tuple[int, int, int]) -> tuple[Array, Array, Array]:
        a, b, c = (some(count[m], size[PLANE_AXES[m][1]], size[PLANE_AXES[m][0]]) for m in range(3))
        return a, b, c

    def lines(count: tuple[int, int, int]) -> tuple[Array, Array, Array]:
        a, b, c = (some(count[m], size[LINE_AXES[m]]) for m in range(3))
        return a, b, c

    box = np.array([[-1.5, -1.0, -0.7], [1.2, 1.1, 1.5]], np.float32)
    inputs = features * (1 + 2 * frequencies[0]) + 3 * (1 + 2 * frequencies[1])
    return Field(
        box,
        planes(density),
        lines(density),
        planes(color),
        lines(color),
        some(features, sum(color)) / np.float32(np.sqrt(sum(color))),
        (some(8, inputs), some(8, 8), some(3, 8)),
        (some(8), some(8), some(3)),
        mask=Mask(rng.random((3, 4, 5)) < 0.5, box) if mask else None,
        feature_frequencies=frequencies[0],
        direction_frequencies=frequencies[1],
    )
