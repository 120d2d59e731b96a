"""The colour network for millions of samples: `FixedNetwork`, its steps between products compiled.

Equal bit for bit (a test holds it), in a tenth of the time. Products of matrices are numpy's, in
float32 where that holds every sum, else in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.requantize import SATURATION
from oleaster.models.nerf.fixed.network import FixedNetwork, Rounding, Words
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.tables import TURN, TURN_BITS, Longs, sines
from oleaster.sim.nerf.renderer.jit import kernel
from oleaster.sim.nerf.renderer.values import Codes, cells, products

__all__ = ["FastNetwork"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

_SAMPLES = 1 << 12  # at once, so that a batch stays in a core's cache
_EXACT = 1 << 24  # integers up to it are floats of 32 bits
_SUM_BITS = 32  # of the array's accumulators


class _Scale(NamedTuple):
    """`Words`: what is added to a column, and what it is then multiplied by."""

    bias: Doubles
    scale: Doubles

    @classmethod
    def of(cls, words: Words) -> _Scale:
        scale: Doubles = np.ldexp(words.multiplier.astype(np.float64), -words.shift)
        return cls(words.bias.astype(np.float64), scale)


class _Coder(NamedTuple):
    """`Rounding`; border: beyond all integers if there is none."""

    alone: Floats
    border: int

    @classmethod
    def of(cls, rounding: Rounding) -> _Coder:
        border = 2 * SATURATION if rounding.border is None else rounding.border
        return cls(rounding.alone.astype(np.float32), border)


class FastNetwork:
    """From recorded samples to colours. network: of integers; codes: of the colour tensors."""

    def __init__(self, network: FixedNetwork, codes: Codes) -> None:
        self.network, self.codes = network, codes
        self._products = _Scale.of(network.products)
        self._inputs = _Scale.of(network.inputs)
        self._after = [_Scale.of(stage.after) for stage in network.stages]
        self._coders = [_Coder.of(stage.rounding) for stage in network.stages]
        self._weights = [np.ascontiguousarray(stage.weights.T) for stage in network.stages]
        # Sums up to an operand's magnitude times this are exact in float32.
        self._largest = [int(np.abs(each).sum(axis=0).max()) for each in self._weights]
        self._narrow = [each.astype(np.float32) for each in self._weights]
        self._wide = [each.astype(np.float64) for each in self._weights]
        config = network.config
        self._sources = _sources(network)
        self._sines = sines(config.wave_address_bits, config.wave_bits)

    def __call__(self, at: Longs, directions: Longs) -> Longs:
        """(n, 3) coordinates in the field's lattice, (n, 3) -> (n, 3) as the network gives."""
        found = np.empty((len(at), 3), np.int64)
        for first in range(0, len(at), _SAMPLES):
            part = slice(first, first + _SAMPLES)
            found[part] = self._batch(at[part], directions[part])
        return found

    def _batch(self, at: Longs, directions: Longs) -> Longs:
        operands = self._room(at, 0)
        room = np.empty((3, max(3, int(self.codes.components.max()))), np.int64)
        _code_products(at, self.codes, self._products, self._coders[0], room, operands)
        features = self._multiply(operands, 0)
        operands = self._room(at, 1)
        _code_inputs(
            features, directions, self._sources, self._sines, self._after[0], self._inputs,
            self._coders[1], operands,
        )  # fmt: skip
        for stage in (1, 2):
            sums = self._multiply(operands, stage)
            operands = self._room(at, stage + 1)
            _code_hidden(sums, self._after[stage], self._coders[stage + 1], operands)
        logits = self._multiply(operands, 3)
        _scale_all(logits, self._after[3])
        return self.network.sigmoid(logits.astype(np.int64))

    def _room(self, at: Longs, stage: int) -> Floats:
        """For a stage's operands; the padding of their columns is 0."""
        return np.zeros((len(at), len(self._weights[stage])), np.float32)

    def _multiply(self, operands: Floats, stage: int) -> Doubles:
        peak = max(float(operands.max()), -float(operands.min()))
        if peak * self._largest[stage] <= _EXACT:
            return (operands @ self._narrow[stage]).astype(np.float64)
        return operands.astype(np.float64) @ self._wide[stage]


def _sources(network: FixedNetwork) -> Longs:
    """(inputs, 4): of each input of the first layer its element (features, then the direction),
    what a wave of it is shifted to the right by, what is added to that, and whether it is one."""
    config, rows = network.config, []
    features = len(network.stages[0].weights)
    for source in NetworkShape.of(network).sources():
        fraction = config.direction_bits if source.direction else config.feature_bits
        shift = fraction + TURN_BITS - config.wave_address_bits - source.octave
        quarter = (1 << config.wave_address_bits >> 2) * source.cosine
        rows.append((source.element + features * source.direction, shift, quarter, source.wave))
    return np.array(rows, np.int64)


@kernel
def _scaled(value: float, scale: _Scale, column: int, low: float) -> float:
    """`Words.__call__` of one sum, which wraps at 32 bits as the array's accumulators do."""
    half = float(1 << (_SUM_BITS - 1))
    if value >= half or value < -half:
        value -= 2 * half * np.floor((value + half) / (2 * half))
    # np.rint, not round: halves go to the even one.
    return min(max(np.rint((value + scale.bias[column]) * scale.scale[column]), low), SATURATION)


@kernel
def _code_pairs(row: Floats, coder: _Coder) -> None:
    """`Rounding.__call__` of a row, in place."""
    for i in range(0, len(row), 2):
        even, odd = int(row[i]), int(row[i + 1])
        row[i] = coder.alone[even + SATURATION + 1]
        row[i + 1] = coder.alone[odd + SATURATION + 1]
        even, odd = abs(even), abs(odd)
        if max(even, odd) >= coder.border:
            row[i + 1 if even > odd else i] = 0


@kernel
def _code_products(
    at: Longs, codes: Codes, scale: _Scale, coder: _Coder, room: Longs, out: Floats
) -> None:
    """Codes of the products of samples at (n, 3). room: (3, most components, at least 3)."""
    cell, weight, found = room[0], room[1], room[2]
    for i in range(len(at)):
        cells(codes, at[i], cell, weight)
        column = 0
        for pair in range(3):
            for j in range(products(codes, pair, cell, weight, found)):
                out[i, column] = _scaled(float(found[j]), scale, column, -SATURATION)
                column += 1
        _code_pairs(out[i], coder)


@kernel
def _code_inputs(
    sums: Doubles, directions: Longs, sources: Longs, waves: Longs, after: _Scale, scale: _Scale,
    coder: _Coder, out: Floats,
) -> None:  # fmt: skip
    """Codes of the first layer's inputs: `encode_inputs`. sums: (n, features) of the basis."""
    features, mask = sums.shape[1], len(waves) - 1
    for i in range(len(sums)):
        for j in range(features):
            sums[i, j] = _scaled(sums[i, j], after, j, -SATURATION)
        for j in range(len(sources)):
            element, shift, quarter = sources[j, 0], sources[j, 1], sources[j, 2]
            if element < features:
                value = int(sums[i, element])
            else:
                value = directions[i, element - features]
            if sources[j, 3]:
                turns = value * TURN
                if shift > 0:
                    turns = (turns + (1 << (shift - 1))) >> shift
                else:
                    turns <<= -shift
                value = waves[(turns + quarter) & mask]
            out[i, j] = _scaled(float(value), scale, j, -SATURATION)
        _code_pairs(out[i], coder)


@kernel
def _code_hidden(sums: Doubles, after: _Scale, coder: _Coder, out: Floats) -> None:
    """Codes of what a layer's sums are after it: 0 if negative."""
    for i in range(len(sums)):
        for j in range(sums.shape[1]):
            out[i, j] = _scaled(sums[i, j], after, j, 0.0)
        _code_pairs(out[i], coder)


@kernel
def _scale_all(sums: Doubles, after: _Scale) -> None:
    for i in range(len(sums)):
        for j in range(sums.shape[1]):
            sums[i, j] = _scaled(sums[i, j], after, j, -SATURATION)
