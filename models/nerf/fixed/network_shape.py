"""Sizes of a colour network, and where its circuit has what in its tables (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from oleaster.models.nerf.fixed.network import FixedNetwork
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = ["COLORS", "InputSource", "NetworkShape", "Region"]

COLORS = 3
_DIRECTION = 3


class InputSource(NamedTuple):
    """What an input of the first layer is: feature or component `element`, or a wave of it."""

    element: int
    direction: bool
    wave: bool = False
    octave: int = 0
    cosine: bool = False


class Region(NamedTuple):
    """Words `start` to `start + size - 1` of the tables."""

    start: int
    size: int


@dataclass(frozen=True)
class NetworkShape:
    """Products, features and hidden units, and octaves of the waves of features and direction."""

    products: int = 36
    features: int = 27
    feature_octaves: int = 2
    direction_octaves: int = 2
    hidden: int = 128

    @classmethod
    def of(cls, network: FixedNetwork) -> NetworkShape:
        basis, first, _, _ = network.stages
        return cls(
            len(network.products.shift),
            len(basis.weights),
            *network.frequencies,
            len(first.weights),
        )

    @property
    def inputs(self) -> int:
        """Of the first layer."""
        waves = self.features * self.feature_octaves + _DIRECTION * self.direction_octaves
        return self.features + _DIRECTION + 2 * waves

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(K, N) of the four products of matrices."""
        return (
            (self.products, self.features),
            (self.inputs, self.hidden),
            (self.hidden, self.hidden),
            (self.hidden, COLORS),
        )

    @property
    def words(self) -> tuple[int, ...]:
        """Pairs of elements of K, of each stage."""
        return tuple((k + 1) // 2 for k, _ in self.stages)

    def steps(self, encoders: int) -> tuple[int, int]:
        """In which so many encoders make codes of all products, and of all inputs."""
        first, second = self.words[:2]
        return -(-first // encoders), -(-second // encoders)

    @property
    def octaves(self) -> int:
        return max(self.feature_octaves, self.direction_octaves, 1)

    def tiles(self, columns: int) -> tuple[int, ...]:
        """Of each stage, on an array of so many columns of elements."""
        return tuple(-(-n // columns) for _, n in self.stages)

    def sources(self) -> Iterator[InputSource]:
        """The inputs in the order of `encode_inputs`."""
        groups = (
            (False, self.features, self.feature_octaves),
            (True, _DIRECTION, self.direction_octaves),
        )
        for direction, count, _ in groups:
            yield from (InputSource(i, direction) for i in range(count))
        for direction, count, octaves in groups:
            for cosine in (False, True):
                for i in range(count):
                    for octave in range(octaves):
                        yield InputSource(i, direction, True, octave, cosine)

    def regions(self, columns: int, config: FixedConfig, encoders: int) -> dict[str, Region]:
        """The tables of a circuit with so many columns of elements, in words of 64 bits.

        weights: pairs of codes of four columns, along the columns of a tile, K, tiles and stages.
        channels: a channel word for each column of all tiles. inputs: one for each product and
        then for each input, both filled up to whole steps. sigmoid: intervals of the curve.
        """
        tiles = self.tiles(columns)
        sizes = {
            "weights": columns // 4 * sum(t * w for t, w in zip(tiles, self.words, strict=True)),
            "channels": columns * sum(tiles),
            "inputs": 2 * encoders * sum(self.steps(encoders)),
            "sigmoid": 1 << config.sigmoid_address_bits,
        }
        regions, start = {}, 0
        for name, size in sizes.items():
            regions[name] = Region(start, size)
            start += size
        return regions
