"""When grids are refined and masks renewed, and how fast values move (TensoRF, ECCV 2022).

TensoRF's published schedule is for runs of 15,000 or 30,000 iterations. A shorter run passes the
same events at the same fractions of 15,000. Ours, too: two more masks after the last refinement,
which also leave out what no training ray sees, such as the inside of things; a share of the planes
set to 0 and kept there while the rest goes on learning; an L1 term on colour, so that fields
compress better; and no mask before iteration 100, when nothing has taken shape yet. (In runs of
less than 750 iterations the box therefore shrinks after refinements, which were for all of it.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oleaster.models.nerf.field import Array, FieldError

__all__ = ["Config"]

_FULL = 15_000
_REFINED_AT = (2000, 3000, 4000, 5500, 7000)
_MASKED_AT = (2000, 4000)
_MASKED_BY_SIGHT_AT = (8000, 13500)
_PRUNED_AT = 10_000
_FIRST_MASK = 100
_START = 128 / 300  # of the final lattice's edge


@dataclass(frozen=True)
class Config:
    """What a training run is told; the same values and seed give the same run on a CPU.

    iterations: Adam steps. voxels: the final lattice has about voxels^3 points. density_components,
    color_components: of each of the three pairs. batch: rays a step. grid_rate, network_rate:
    Adam's steps at the start, 1/10 of it at the end. sparsity: weights of the L1 term on density
    before and after the first mask. color_sparsity: weight of that on colour. pruned: the share
    of planes' values that becomes 0, the smallest first. seed: of starting values, rays and jitter.
    """

    iterations: int = 5000
    voxels: int = 128
    density_components: int = 4
    color_components: int = 12
    batch: int = 4096
    grid_rate: float = 0.02
    network_rate: float = 1e-3
    sparsity: tuple[float, float] = (8e-5, 4e-5)
    color_sparsity: float = 2e-5
    pruned: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "iterations": (1, 1_000_000),
            "voxels": (8, 512),
            "density_components": (1, 64),
            "color_components": (1, 64),
            "batch": (1, 1 << 20),
            "seed": (0, (1 << 63) - 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise FieldError(f"{name} is {getattr(self, name)}; it must be {low} .. {high}")
        if not 0 <= self.pruned < 1:
            raise FieldError(f"pruned is {self.pruned}; it must be 0 .. below 1")

    @property
    def masks(self) -> dict[int, bool]:
        """Iterations after which the mask is renewed, and whether by sight.

        The box is shrunk at the first.
        """
        at = {max(self._scaled(i), _FIRST_MASK): False for i in _MASKED_AT}
        at |= {max(self._scaled(i), _FIRST_MASK): True for i in _MASKED_BY_SIGHT_AT}
        return {i: by_sight for i, by_sight in sorted(at.items()) if i < self.iterations}

    @property
    def prunes_at(self) -> int:
        """The iteration after which the smallest values are set to 0 for good."""
        return max(self._scaled(_PRUNED_AT), _FIRST_MASK)

    @property
    def refinements(self) -> dict[int, int]:
        """Iterations after which the lattice is refined, each with its new number of points.

        Numbers grow log-linearly from the first lattice's to the last one's.
        """
        first, last = 3 * np.log(self.first_voxels), 3 * np.log(self.voxels)
        counts = np.exp(np.linspace(first, last, len(_REFINED_AT) + 1)[1:])
        found = {self._scaled(i): round(float(n)) for i, n in zip(_REFINED_AT, counts, strict=True)}
        return {i: n for i, n in found.items() if i < self.iterations}

    @property
    def first_voxels(self) -> int:
        """Points along an edge of the first lattice."""
        return max(8, round(self.voxels * _START))

    def size(self, box: Array, points: int) -> tuple[int, int, int]:
        """Lattice of about so many points with cubic voxels in a box (2, 3): along x, y, z."""
        extent = (box[1] - box[0]).astype(np.float64)
        edge = (extent.prod() / points) ** (1 / 3)
        nx, ny, nz = (max(2, int(length / edge + 1e-6)) for length in extent)
        return nx, ny, nz

    def rate(self, iteration: int, refined: int) -> float:
        """Factor on Adam's steps at an iteration, when the last refinement was after `refined`."""
        return float(0.1 ** ((iteration - refined) / self.iterations))

    def _scaled(self, iteration: int) -> int:
        return max(1, round(iteration * min(1.0, self.iterations / _FULL)))
