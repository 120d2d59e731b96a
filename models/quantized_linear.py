"""Linear layers in a number format: the hook that quantises, and the one that also measures.

Weights are quantised once, per output channel (rivals' formats as their papers have it);
activations per tensor, with scales from calibration texts ("static") or from the call itself
("dynamic"). MX formats take their exponents from each block of the call itself, always.

Where both operands are integers (int, flint, ovp and ANT's types), they are multiplied as integers,
as the array does, so a layer's sums are the array's accumulators bit for bit, and sums that do not
fit those are counted. Every other pair of formats is multiplied as dequantised values in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from oleaster.models.encoder import Array, Linear
from oleaster.models.formats import (
    FORMATS,
    RIVAL_FORMATS,
    CodebookFormat,
    FormatError,
    any_format,
    unknown_format,
)
from oleaster.models.gemm import GemmSums, gemm
from oleaster.models.quantize import ADAPTIVE, QuantizedTensor
from oleaster.models.rivals import RIVALS, AnyTensor, quantize_any, stats

Inputs = dict[str, Array]

FLOAT = "float"
"""In place of a format's name: an operand that stays float32."""

FLOAT_BITS = 32
"""Stored bits of an operand that stays float."""

_INTEGERS = ("int", "flint", "ovp", "pot", *ADAPTIVE)


class Model(Protocol):
    """What `Encoder` and `Decoder` have in common."""

    @property
    def linears(self) -> dict[str, tuple[Array, Array]]:
        """Every linear layer in the order it runs: name -> weight (N, K), bias (N,)."""

    def hidden_states(self, texts: Sequence[str], *, linear: Linear) -> list[Array]:
        """The last hidden states, (tokens, hidden) of each text."""


class Operands(NamedTuple):
    """The formats of a linear layer's operands: of `FORMATS`, `RIVALS`, "auto" or "float"."""

    weights: str
    activations: str

    def __str__(self) -> str:
        same = self.weights == self.activations
        return self.weights if same else f"{self.weights}:{self.activations}"


def parse_operands(text: str, *, weights: str | None = None) -> Operands:
    """Read "W:A", the formats of weights and activations, or one name for both.

    weights: the format of the weights where `text` names none.
    Raises FormatError for an unknown format, or one that activations cannot have.
    """
    left, colon, right = text.partition(":")
    operands = Operands(left, right) if colon else Operands(weights or left, left)
    for name in operands:
        if name not in (*ADAPTIVE, *RIVALS, FLOAT, *FORMATS, *RIVAL_FORMATS):
            raise unknown_format(name, (*FORMATS, *ADAPTIVE, *RIVALS, FLOAT))
    if _is_of_weights_only(operands.activations):
        name = operands.activations
        raise FormatError(
            f"{name!r} is a format of weights only; name one of activations too, "
            f"as in '{name}:{_partner(name)}'"
        )
    return operands


def all_operands(*, weights: str | None = None) -> list[Operands]:
    """Every format, then "auto", then the rivals'; `weights` as in `parse_operands`.

    A format of weights only comes with int8 activations, GOBO's with float ones, and not at all
    where `weights` are given.
    """
    every = list(dict.fromkeys([*FORMATS, *ADAPTIVE, *RIVALS]))
    names = [name for name in every if not _is_of_weights_only(name)]
    if weights is None:
        names += [f"{name}:{_partner(name)}" for name in every if _is_of_weights_only(name)]
    return [parse_operands(name, weights=weights) for name in names]


def quantize_weights(weight: Array, format: str) -> AnyTensor:
    """A weight matrix (N, K), a scale for every output channel.

    MX formats scale their blocks, rivals' formats the tensor if their papers do.
    """
    if format in RIVALS:
        return quantize_any(weight, format, granularity=RIVALS[format].weights)
    if format not in ADAPTIVE and any_format(format).block_size:
        return quantize_any(weight, format)
    return quantize_any(weight, format, granularity="channel")


def linear_inputs(model: Model, texts: Sequence[str]) -> Inputs:
    """Inputs of every linear layer in the float model: name -> (tokens of all texts, K).

    Layers that read the same activations share one array.
    """
    batches: dict[str, list[Array]] = {}

    def record(name: str, x: Array, weight: Array, bias: Array) -> Array:
        batches.setdefault(name, []).append(x)
        return x @ weight.T + bias

    model.hidden_states(texts, linear=record)
    inputs: Inputs = {}
    for name, xs in batches.items():
        twin = next((other for other in inputs if batches[other][0] is xs[0]), None)
        inputs[name] = inputs[twin] if twin else np.concatenate(xs)
    return inputs


class QuantizedLinear:
    """A hook for `Encoder` and `Decoder`: every linear layer in one pair of formats.

    weights: the quantised weights by layer; empty if they stay float.

    Args:
        model: its linear layers' weights are quantised here, once.
        formats: as in `parse_operands`; "auto" and "ant4" choose a type by tensor.
        calibration: `linear_inputs` of calibration texts for static activation scales; None
            searches a scale for every call (dynamic).

    Raises:
        FormatError: as `parse_operands`.
    """

    def __init__(self, model: Model, formats: str, calibration: Inputs | None) -> None:
        self.operands = parse_operands(formats)
        self.weights: dict[str, AnyTensor] = {}
        if self.operands.weights != FLOAT:
            self.weights = {
                name: quantize_weights(weight, self.operands.weights)
                for name, (weight, _) in model.linears.items()
            }
        self._weight_values: dict[str, Array] = {}
        self._static: dict[str, AnyTensor] = {}
        if calibration is not None and _is_calibrated(self.operands.activations):
            self._static = _searched_once(calibration, self.operands.activations)
        self._latest: _Input | None = None

    def quantize_input(self, name: str, x: Array) -> AnyTensor:
        """The activations x (tokens, K) of layer `name` as the array reads them."""
        return self._input(name, x).quantized

    def __call__(self, name: str, x: Array, weight: Array, bias: Array) -> Array:
        return self._multiply(name, x, weight).values + bias

    def _multiply(self, name: str, x: Array, weight: Array) -> "_Product":
        a, w = None, self.weights.get(name)
        if self.operands.activations != FLOAT:
            a = self._input(name, x).quantized
        if self._is_integer() and isinstance(a, QuantizedTensor) and isinstance(w, QuantizedTensor):
            sums = integer_sums(a, w)
            return _Product(scale_sums(sums.sums, a, w), int(np.count_nonzero(sums.overflow)))
        if self.operands.activations != FLOAT:
            x = self._input(name, x).values
        if self.operands.weights != FLOAT:
            if name not in self._weight_values:
                self._weight_values[name] = self.weights[name].dequantize()
            weight = self._weight_values[name]
        return _Product(x @ weight.T, 0)

    def _is_integer(self) -> bool:
        return all(part.startswith(_INTEGERS) for part in self.operands)

    def _input(self, name: str, x: Array) -> "_Input":
        """Several layers in a row read the same array: it is quantised once."""
        static = self._static.get(name)
        latest = self._latest
        if latest is None or latest.x is not x or latest.static is not static:
            if static is None:
                quantized = quantize_any(x, self.operands.activations)
            else:
                quantized = quantize_any(x, static.format, scale=static.scale)
            self._latest = latest = _Input(x, static, quantized)
        return latest


def integer_sums(a: QuantizedTensor, w: QuantizedTensor) -> GemmSums:
    """What the accumulators hold for a (tokens, K) and w (N, K): (tokens, N)."""
    return gemm(a.number_format.decode(a.codes), w.number_format.decode(w.codes))


def scale_sums(sums: NDArray[np.integer[Any]], a: QuantizedTensor, w: QuantizedTensor) -> Array:
    """Sums to real numbers in float32: tokens share one scale, each output has its own."""
    return (sums * (a.scale.astype(np.float64) * w.scale)).astype(np.float32)


@dataclass(frozen=True)
class LayerAccuracy:
    """One linear layer in one pair of formats. Shares are of all pairs, 0 .. 1; SQNR in dB.

    Activations are those that reach the layer in the quantised model, over all texts; the
    output's SQNR compares x W^T of the quantised operands with that of the unquantised ones.
    The formats are what "auto" and "ant4" chose; dynamic activations may name several, joined by
    "/".
    weight_bits, activation_bits: stored bits of one value, measured: code, share of a block's
        exponent, and of a list of outliers; scales are not counted.
    An operand that stays float has an infinite SQNR.
    overflows: sums that a signed 32-bit accumulator would have wrapped; 0 for formats that are
        multiplied as floats.
    """

    name: str
    weight_format: str
    activation_format: str
    weight_bits: float
    activation_bits: float
    weight_outlier_normal: float
    weight_outlier_outlier: float
    weight_sqnr_db: float
    activation_outlier_normal: float
    activation_outlier_outlier: float
    activation_sqnr_db: float
    output_sqnr_db: float
    overflows: int


class MeasuredLinear(QuantizedLinear):
    """The same hook, adding up what each layer loses over all calls."""

    def __init__(self, model: Model, formats: str, calibration: Inputs | None) -> None:
        super().__init__(model, formats, calibration)
        linears = model.linears
        self._of_weights = {
            name: stats(linears[name][0], self.weights[name]) if name in self.weights else _LOSSLESS
            for name in linears
        }
        self._totals = {name: _Totals() for name in linears}

    def __call__(self, name: str, x: Array, weight: Array, bias: Array) -> Array:
        product, totals = self._multiply(name, x, weight), self._totals[name]
        lost, format, bits = _LOSSLESS, FLOAT, float(FLOAT_BITS)
        if self.operands.activations != FLOAT:
            input = self._input(name, x)
            lost, format, bits = input.stats, input.quantized.format, input.quantized.bits_per_value
        exact = x @ weight.T
        totals.formats.add(format)
        totals.bits += bits * x.size
        totals.pairs += x.size / 2
        totals.outlier_normal += lost["outlier_normal"] * x.size / 2
        totals.outlier_outlier += lost["outlier_outlier"] * x.size / 2
        totals.input_signal += _energy(x)
        totals.input_noise += lost["mse"] * x.size
        totals.output_signal += _energy(exact)
        totals.output_noise += _energy(product.values - exact)
        totals.overflows += product.overflows
        return product.values + bias

    def input_sizes(self) -> list[float]:
        """How many activations each layer has seen so far, in the order of `layers`."""
        return [2 * totals.pairs for totals in self._totals.values()]

    def layers(self) -> list[LayerAccuracy]:
        """The measurements so far, in the order the layers run."""
        return [
            LayerAccuracy(
                name=name,
                weight_format=self.weights[name].format if name in self.weights else FLOAT,
                activation_format="/".join(sorted(totals.formats)),
                weight_bits=self.weights[name].bits_per_value
                if name in self.weights
                else float(FLOAT_BITS),
                activation_bits=totals.bits / (2 * totals.pairs),
                weight_outlier_normal=self._of_weights[name]["outlier_normal"],
                weight_outlier_outlier=self._of_weights[name]["outlier_outlier"],
                weight_sqnr_db=self._of_weights[name]["sqnr_db"],
                activation_outlier_normal=totals.outlier_normal / totals.pairs,
                activation_outlier_outlier=totals.outlier_outlier / totals.pairs,
                activation_sqnr_db=_decibel(totals.input_signal, totals.input_noise),
                output_sqnr_db=_decibel(totals.output_signal, totals.output_noise),
                overflows=totals.overflows,
            )
            for name, totals in self._totals.items()
        ]


_LOSSLESS = {"outlier_normal": 0.0, "outlier_outlier": 0.0, "sqnr_db": float("inf"), "mse": 0.0}


def _is_of_weights_only(name: str) -> bool:
    if name in RIVALS:
        return RIVALS[name].weights_only
    return isinstance(FORMATS.get(name), CodebookFormat)


def _partner(name: str) -> str:
    """The activations that a format of weights only is measured with."""
    return FLOAT if name in RIVALS else "int8"


def _is_calibrated(name: str) -> bool:
    return name in ADAPTIVE or name in RIVALS or (name != FLOAT and not any_format(name).block_size)


def _searched_once(calibration: Inputs, format: str) -> dict[str, AnyTensor]:
    """Format and scale for every layer; the search is long, so an array shared is searched once."""
    searched: dict[int, AnyTensor] = {}
    for x in calibration.values():
        if id(x) not in searched:
            searched[id(x)] = quantize_any(x, format)
    return {name: searched[id(x)] for name, x in calibration.items()}


@dataclass(frozen=True)
class _Product:
    """x W^T (tokens, N) in float32, and how many of its sums overflowed."""

    values: Array
    overflows: int


@dataclass(frozen=True)
class _Input:
    x: Array
    static: AnyTensor | None
    quantized: AnyTensor

    @cached_property
    def values(self) -> Array:
        return self.quantized.dequantize()

    @cached_property
    def stats(self) -> dict[str, float]:
        return stats(self.x, self.quantized)


@dataclass
class _Totals:
    formats: set[str] = field(default_factory=set)
    bits: float = 0
    pairs: float = 0
    outlier_normal: float = 0
    outlier_outlier: float = 0
    input_signal: float = 0
    input_noise: float = 0
    output_signal: float = 0
    output_noise: float = 0
    overflows: int = 0


def _energy(x: Array) -> float:
    return float(np.square(x, dtype=np.float64).sum())


def _decibel(signal: float, noise: float) -> float:
    return float(10 * np.log10(signal / noise)) if noise else float("inf")
