"""The colour network in integers: what the OVP array computes, and its output stage after it.

Four products of matrices: the basis, then the network's three layers. The operands of each are
codes of a number format, weights with a scale for every output, activations with one that
calibration finds. What leaves a product is requantised as `accelerator.requantize` does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.requantize import SATURATION, multiplier_of
from oleaster.models.formats import Format, get_format
from oleaster.models.gemm import gemm
from oleaster.models.nerf.field import Array, Field
from oleaster.models.nerf.fixed.tables import Curve, Longs, sigmoid_curve, to_fixed, wave
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.quantize import quantize
from oleaster.models.scale_search import search_scale

__all__ = [
    "FEATURE_WIDTH",
    "FixedNetwork",
    "Rounding",
    "Stage",
    "Words",
    "fix_network",
    "float_network",
]

FEATURE_WIDTH = SATURATION.bit_length() + 1
"""Bits of a colour feature, sign included."""

_EVENING = 2 / 3
"""How far columns are brought to one size: 0 not at all, 1 wholly. Of lego's colours ovp8 loses
least so: 48 dB, against 41 and 45."""

_BIAS_END = 1 << 30  # of an output stage's bias, and so of what is added to a sum


@dataclass(frozen=True, eq=False)
class Words:
    """What multiplies each of N columns before it is rounded: see `ChannelWords`."""

    bias: Longs
    multiplier: Longs
    shift: Longs

    def __call__(self, sums: NDArray[Any], relu: bool = False) -> Longs:
        """(M, N) signed integers of 32 bits to 16 bits: what `requantize` gives, in less time.

        A product has 48 bits, so that float64 holds it and its share of a power of two exactly.
        """
        found = sums + self.bias.astype(np.float64)
        found *= np.ldexp(self.multiplier.astype(np.float64), -self.shift)
        np.rint(found, out=found)
        np.clip(found, 0 if relu else -SATURATION, SATURATION, out=found)
        return found.astype(np.int64)

    @classmethod
    def of(cls, scales: NDArray[np.floating[Any]], bias: Longs | None = None) -> Words:
        # A column of zeros has any scale.
        multiplier, shift = multiplier_of(np.clip(scales, 2.0**-40, 2.0**15))
        return cls(np.zeros(len(shift), np.int64) if bias is None else bias, multiplier, shift)


@dataclass(frozen=True, eq=False)
class Rounding:
    """Integers of 16 bits to the values of a format's nearest codes: encoder and decoder in one.

    alone: (2^16,) what each integer becomes if its pair's other element is no outlier. border:
    least magnitude of an outlier; None for formats without.
    """

    alone: NDArray[np.int32]
    border: int | None

    @classmethod
    def of(cls, fmt: Format) -> Rounding:
        integers = np.arange(-SATURATION - 1, SATURATION + 1)
        pairs = np.stack([integers, np.zeros_like(integers)], axis=1)
        alone = fmt.decode(fmt.encode(pairs))[:, 0].astype(np.int32)
        border = math.ceil(fmt.outlier_border) if fmt.has_outliers else None
        return cls(alone, border)

    def __call__(self, x: Longs) -> NDArray[np.int32]:
        """(M, K), K even."""
        found = self.alone[x + (SATURATION + 1)]
        if self.border is not None:
            size = np.abs(x)
            even, odd = size[:, 0::2], size[:, 1::2]
            row, pair = np.nonzero(np.maximum(even, odd) >= self.border)
            # The smaller of a pair with an outlier is its victim; of equal ones the even.
            victim = even[row, pair] > odd[row, pair]
            found[row, 2 * pair + victim] = 0
        return found


@dataclass(frozen=True, eq=False)
class Stage:
    """One product: activations (M, K) in integers are rounded to codes and multiplied by weights.

    weights: decoded, (N, K padded to an even number). after: what the sums pass through.
    """

    rounding: Rounding
    weights: Longs
    after: Words

    def operands(self, activations: Longs) -> NDArray[np.int32]:
        """(M, K padded) what the array multiplies."""
        padding = self.weights.shape[1] - activations.shape[1]
        if padding:
            activations = np.pad(activations, ((0, 0), (0, padding)))
        return self.rounding(activations)

    def __call__(self, activations: Longs, relu: bool = False) -> Longs:
        """(M, N)"""
        return self.after(gemm(self.operands(activations), self.weights).sums, relu)


@dataclass(frozen=True, eq=False)
class FixedNetwork:
    """From a sample's colour products and direction to its colour.

    products, inputs: words that bring products, and the first layer's inputs, to activations.
    stages: basis and three layers. frequencies: of features and of directions.
    """

    config: FixedConfig
    products: Words
    inputs: Words
    stages: tuple[Stage, Stage, Stage, Stage]
    frequencies: tuple[int, int]
    sigmoid: Curve

    def __call__(self, products: Longs, directions: Longs) -> Longs:
        """(n, components) and (n, 3) -> (n, 3), color_bits of fraction."""
        basis, first, second, third = self.stages
        features = basis(self.products(products))
        x = self.inputs(encode_inputs(features, directions, self.frequencies, self.config))
        return self.sigmoid(third(second(first(x, relu=True), relu=True)))


def encode_inputs(
    features: Longs, directions: Longs, frequencies: tuple[int, int], config: FixedConfig
) -> Longs:
    """Features, direction, sines and cosines of both, in the order of `Field.network_input`.

    features: feature_bits of fraction; directions: direction_bits. Results keep theirs; sines and
    cosines have wave_bits.
    """
    parts = [features, directions]
    for values, fraction, count in (
        (features, config.feature_bits, frequencies[0]),
        (directions, config.direction_bits, frequencies[1]),
    ):
        for cosine in (False, True):
            waves = [wave(values, fraction, i, cosine, config) for i in range(count)]
            if waves:
                parts.append(np.stack(waves, axis=2).reshape(len(values), -1))
    return np.concatenate(parts, axis=1)


def _input_fractions(field: Field, config: FixedConfig) -> NDArray[np.int64]:
    """(inputs,) bits of fraction of what `encode_inputs` gives."""
    features = len(field.basis)
    bits = [config.feature_bits] * features + [config.direction_bits] * 3
    waves = 2 * features * field.feature_frequencies + 6 * field.direction_frequencies
    return np.array(bits + [config.wave_bits] * waves)


def fix_network(
    field: Field,
    scales: NDArray[np.float64],
    products: Longs,
    directions: Longs,
    formats: str,
    config: FixedConfig,
) -> FixedNetwork:
    """Quantise basis and network; scales: what a unit of each product is worth.

    products, directions: (n, ...) of samples that calibrate the activations' scales, one stage
    after the other, each on what the stages before it give.
    """
    if not len(products):  # nothing is seen: the scales of zeros
        products, directions = np.zeros((1, len(scales)), np.int64), np.zeros((1, 3), np.int64)
    rounding = Rounding.of(get_format(formats))
    frequencies = field.feature_frequencies, field.direction_frequencies
    words, unit, columns = _activations(products * scales, scales, formats)
    x = words(products)
    out = np.full(len(field.basis), 0.5**config.feature_bits)
    basis = _stage(rounding, formats, field.basis * columns, None, unit, out)
    encoded = encode_inputs(basis(x), directions, frequencies, config)
    worth: NDArray[np.float64] = np.ldexp(1.0, -_input_fractions(field, config))
    inputs, unit, columns = _activations(encoded * worth, worth, formats)
    x = inputs(encoded)
    stages = [basis]
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        scaled = weight * columns
        if i == 2:
            out = np.full(3, 0.5**config.logit_bits)
        else:
            real: NDArray[np.float64] = rounding(_even(x))[:, : x.shape[1]] * unit @ scaled.T + bias
            _, unit_after, columns = _activations(np.maximum(real, 0), None, formats)
            out = unit_after * columns
        stages.append(_stage(rounding, formats, scaled, bias, unit, out))
        if i < 2:
            x, unit = stages[-1](x, relu=True), unit_after
    a, b, c, d = stages
    return FixedNetwork(config, words, inputs, (a, b, c, d), frequencies, sigmoid_curve(config))


def _activations(
    real: NDArray[np.float64], worth: NDArray[np.float64] | None, formats: str
) -> tuple[Words, float, NDArray[np.float64]]:
    """How activations (n, K) become integers: words from units of `worth`, then the unit of the
    integers, and (K,) powers of two by which columns are divided, and weights multiplied.

    Columns of like size share one unit with less loss.
    """
    root = np.sqrt(np.square(real).mean(axis=0))
    columns = np.exp2(np.rint(_EVENING * np.log2(np.where(root > 0, root, 1.0))))
    unit = float(search_scale(real / columns, formats).scale)
    if worth is None:
        worth = np.full(real.shape[1], unit)
    return Words.of(worth / columns / unit), unit, columns


def _stage(
    rounding: Rounding,
    formats: str,
    weight: NDArray[Any],
    bias: Array | None,
    unit: float,
    out: NDArray[np.float64],
) -> Stage:
    """weight: (N, K) for activations of `unit`; out: (N,) units of what leaves the stage."""
    quantized = quantize(weight.astype(np.float32), formats, granularity="channel")
    scale = unit * quantized.scale.astype(np.float64)
    added = None
    if bias is not None:
        limit = _BIAS_END - 1
        added = np.clip(np.rint(bias / scale), -limit, limit).astype(np.int64)
    codes = quantized.number_format.decode(quantized.codes).astype(np.int64)
    return Stage(rounding, codes, Words.of(scale / out, added))


def _even(x: Longs) -> Longs:
    return np.pad(x, ((0, 0), (0, x.shape[1] % 2)))


def float_network(
    field: Field, scales: NDArray[np.float64], config: FixedConfig
) -> Callable[[Longs, Longs], Longs]:
    """The same in float32, for comparison: only what enters and leaves is fixed point."""

    def colors(products: Longs, directions: Longs) -> Longs:
        features = (products * scales).astype(np.float32) @ field.basis.T
        unit = np.ldexp(directions, -config.direction_bits).astype(np.float32)
        x = field.network_input(features, unit)
        for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
            x = x @ weight.T + bias
            if i < 2:
                x = np.maximum(x, 0)
        return to_fixed(np.tanh(x / 2) / 2 + 0.5, config.color_bits)

    return colors
