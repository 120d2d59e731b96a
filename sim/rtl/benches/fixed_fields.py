"""Fields in fixed point whose codes are extreme, for benches. Not a bench itself."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.fixed.features import Factors, FixedField
from oleaster.models.nerf.fixed.tables import Curve
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig

__all__ = ["random_field"]


def random_field(
    rng: np.random.Generator, size: tuple[int, int, int], components: int, bits: Mapping[str, int]
) -> FixedField:
    """bits: a unit's parameters; those that are widths of `FixedConfig` are taken, and plane_bits
    and line_bits. Half of the codes are the greatest or the least that there are, or 0."""

    def codes(count: int, width: int) -> NDArray[np.int64]:
        end = 1 << (width - 1)
        found = rng.integers(-end + 1, end, (count, components))
        extreme = rng.random(found.shape) < 0.5
        found[extreme] = rng.choice([-end + 1, 0, end - 1], np.count_nonzero(extreme))
        return found

    def pair(m: int) -> Factors:
        (u, v), w = PLANE_AXES[m], LINE_AXES[m]
        plane = codes(size[u] * size[v], bits.get("plane_bits", 8))
        return Factors(plane, codes(size[w], bits.get("line_bits", 8)), size[u], 1.0)

    pairs = pair(0), pair(1), pair(2)
    config = FixedConfig(**{name: value for name, value in bits.items() if name in RANGES})
    # As large and as small as `fix_field` makes them, and between.
    multiplier, shift = rng.integers(1 << 15, 1 << 16, 3), np.array([0, 20, 55])
    alpha = Curve(0, 0, np.zeros(2, np.int64))
    return FixedField(config, size, pairs, pairs, multiplier, rng.permutation(shift), alpha)
