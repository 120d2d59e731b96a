"""What a number format costs a real model: quantised linear layers, measured layer by layer.

Weights are quantised once, per output channel; activations per tensor, with scales from
calibration texts ("static") or from the text itself ("dynamic"). Both are multiplied as integers,
as the array does, so a layer's sums are the array's accumulators bit for bit (sums that do not fit
those are counted).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from oleaster.models.encoder import Array, Encoder
from oleaster.models.formats import get_format
from oleaster.models.gemm import GemmSums, gemm
from oleaster.models.quantize import QuantizedTensor, quantization_stats, quantize

Activations = Literal["static", "dynamic"]
Inputs = dict[str, Array]

CALIBRATION_TEXTS = 16


class Lee50(NamedTuple):
    """Human judgement of document similarity: Lee, Pincombe and Welsh, CogSci 2005.

    texts: 50 news texts; human_similarity: (50, 50) mean rating, 0 .. 1;
    calibration_texts: other news texts, from the background corpus.
    """

    texts: list[str]
    human_similarity: NDArray[np.float64]
    calibration_texts: list[str]


@dataclass(frozen=True)
class LayerAccuracy:
    """One linear layer in one format. Shares are of all pairs, 0 .. 1; SQNR in dB.

    Activations are those that reach the layer in the quantised model, over all texts; the
    output's SQNR compares x W^T of the quantised operands with that of the unquantised ones.
    The formats are what "auto" chose; dynamic activations may name several, joined by "/".
    overflows: sums that a signed 32-bit accumulator would have wrapped.
    """

    name: str
    weight_format: str
    activation_format: str
    weight_outlier_normal: float
    weight_outlier_outlier: float
    weight_sqnr_db: float
    activation_outlier_normal: float
    activation_outlier_outlier: float
    activation_sqnr_db: float
    output_sqnr_db: float
    overflows: int


@dataclass(frozen=True)
class FormatAccuracy:
    """The whole model in one format; `format` is "float" for the unquantised model.

    cosine: mean over the texts, of the embedding to that of the unquantised model.
    spearman: rank correlation of the embeddings' cosines with human judgement, over all pairs
        of texts.
    """

    format: str
    cosine: float
    spearman: float
    layers: list[LayerAccuracy]


def load_lee50(folder: Path) -> Lee50:
    """Read the folder of the pinned package `lee50` (`oleaster.models.fetch`)."""
    background = (folder / "lee_background.cor").read_text(encoding="latin-1")
    return Lee50(
        (folder / "lee.cor").read_text(encoding="latin-1").splitlines(),
        np.loadtxt(folder / "similarities0-1.txt"),
        background.splitlines()[:CALIBRATION_TEXTS],
    )


def linear_inputs(encoder: Encoder, texts: Sequence[str]) -> Inputs:
    """Inputs of every linear layer in the float model: name -> (tokens of all texts, K).

    Layers that read the same activations share one array.
    """
    batches: dict[str, list[Array]] = {}

    def record(name: str, x: Array, weight: Array, bias: Array) -> Array:
        batches.setdefault(name, []).append(x)
        return x @ weight.T + bias

    encoder.embed(texts, linear=record)
    inputs: Inputs = {}
    for name, xs in batches.items():
        twin = next((other for other in inputs if batches[other][0] is xs[0]), None)
        inputs[name] = inputs[twin] if twin else np.concatenate(xs)
    return inputs


class QuantizedLinear:
    """A hook for `Encoder.embed`: every linear layer in one operand format, or in "auto".

    Args:
        encoder: its linear layers' weights are quantised here, once.
        format: a name in `FORMATS`, or "auto" to choose int or flint per tensor by error.
        calibration: `linear_inputs` of calibration texts for static activation scales; None
            searches a scale for every call (dynamic).
    """

    def __init__(self, encoder: Encoder, format: str, calibration: Inputs | None) -> None:
        self._format = format
        self.weights = {
            name: quantize(weight, format, granularity="channel")
            for name, (weight, _) in encoder.linears.items()
        }
        self._static = None if calibration is None else _searched_once(calibration, format)

    def quantize_input(self, name: str, x: Array) -> QuantizedTensor:
        """The activations x (tokens, K) of layer `name` as the array reads them."""
        if self._static is None:
            return quantize(x, self._format)
        static = self._static[name]
        return quantize(x, static.format, scale=static.scale)

    def __call__(self, name: str, x: Array, weight: Array, bias: Array) -> Array:
        a, w = self.quantize_input(name, x), self.weights[name]
        return scale_sums(integer_sums(a, w).sums, a, w) + bias


def integer_sums(a: QuantizedTensor, w: QuantizedTensor) -> GemmSums:
    """What the accumulators hold for a (tokens, K) and w (N, K): (tokens, N)."""
    return gemm(get_format(a.format).decode(a.codes), get_format(w.format).decode(w.codes))


def scale_sums(sums: NDArray[np.integer[Any]], a: QuantizedTensor, w: QuantizedTensor) -> Array:
    """Sums to real numbers in float32: tokens share one scale, each output has its own."""
    return (sums * (a.scale.astype(np.float64) * w.scale)).astype(np.float32)


def evaluate(
    encoder: Encoder,
    formats: Sequence[str],
    texts: Sequence[str],
    human_similarity: NDArray[np.float64],
    calibration_texts: Sequence[str],
    *,
    activations: Activations = "static",
    progress: Callable[[str], None] | None = None,
) -> list[FormatAccuracy]:
    """Measure the model in float and in each format, in that order.

    Args:
        encoder: the model.
        formats: names in `FORMATS`, or "auto".
        texts: n sentences to embed, n >= 3.
        human_similarity: (n, n), symmetric; only its upper triangle is read.
        calibration_texts: sentences for static scales, at least one; not to be among `texts`.
        activations: "static" or "dynamic" scales; dynamic ones are searched per text and layer.
        progress: called with one line of text before each long step.

    Raises:
        FormatError: an unknown format.
        ValueError: texts and similarities do not fit, static scales without calibration texts,
            or activations is neither of the two.
    """
    if activations not in get_args(Activations):
        raise ValueError(f"activations is {activations!r}, it must be 'static' or 'dynamic'")
    if len(texts) < 3 or np.shape(human_similarity) != (len(texts), len(texts)):
        raise ValueError(
            f"{len(texts)} texts need at least 3 and a similarity for each pair of them, not "
            f"{np.shape(human_similarity)}"
        )
    if activations == "static" and not calibration_texts:
        raise ValueError("static scales need at least one calibration text")
    for name in formats:
        if name != "auto":
            get_format(name)
    say = progress or (lambda line: None)
    say(f"float: embedding {len(texts)} texts")
    exact = encoder.embed(texts)
    results = [FormatAccuracy("float", 1.0, _spearman(exact, human_similarity), [])]
    calibration: Inputs | None = None
    if activations == "static":
        say(f"float: calibrating on {len(calibration_texts)} texts")
        calibration = linear_inputs(encoder, calibration_texts)
    # A dynamic scale must not depend on which texts happen to share a batch.
    batches = [texts] if activations == "static" else [[text] for text in texts]
    for name in formats:
        say(f"{name}: quantising {len(encoder.linears)} weight matrices")
        linear = _MeasuredLinear(encoder, name, calibration)
        say(f"{name}: embedding {len(texts)} texts")
        embeddings = np.concatenate([encoder.embed(batch, linear=linear) for batch in batches])
        cosine = float(np.sum(embeddings * exact, axis=1).mean())
        spearman = _spearman(embeddings, human_similarity)
        results.append(FormatAccuracy(name, cosine, spearman, linear.layers()))
    return results


class _MeasuredLinear(QuantizedLinear):
    """The same hook, adding up what each layer loses over all calls."""

    def __init__(self, encoder: Encoder, format: str, calibration: Inputs | None) -> None:
        super().__init__(encoder, format, calibration)
        self._of_weights = {
            name: quantization_stats(weight, self.weights[name])
            for name, (weight, _) in encoder.linears.items()
        }
        self._totals = {name: _Totals() for name in self.weights}

    def __call__(self, name: str, x: Array, weight: Array, bias: Array) -> Array:
        a, w, totals = self.quantize_input(name, x), self.weights[name], self._totals[name]
        stats = quantization_stats(x, a)
        sums = integer_sums(a, w)
        product = scale_sums(sums.sums, a, w)
        exact = x @ weight.T
        totals.formats.add(a.format)
        totals.pairs += x.size / 2
        totals.outlier_normal += stats["outlier_normal"] * x.size / 2
        totals.outlier_outlier += stats["outlier_outlier"] * x.size / 2
        totals.input_signal += _energy(x)
        totals.input_noise += stats["mse"] * x.size
        totals.output_signal += _energy(exact)
        totals.output_noise += _energy(product - exact)
        totals.overflows += int(np.count_nonzero(sums.overflow))
        return product + bias

    def layers(self) -> list[LayerAccuracy]:
        """The measurements so far, in the order the layers run."""
        return [
            LayerAccuracy(
                name=name,
                weight_format=self.weights[name].format,
                activation_format="/".join(sorted(totals.formats)),
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


def _searched_once(calibration: Inputs, format: str) -> dict[str, QuantizedTensor]:
    """Format and scale for every layer; the search is long, so an array shared is searched once."""
    searched: dict[int, QuantizedTensor] = {}
    for x in calibration.values():
        if id(x) not in searched:
            searched[id(x)] = quantize(x, format)
    return {name: searched[id(x)] for name, x in calibration.items()}


@dataclass
class _Totals:
    formats: set[str] = field(default_factory=set)
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


def _spearman(embeddings: Array, human_similarity: NDArray[np.float64]) -> float:
    pairs = np.triu_indices(len(embeddings), 1)
    return float(spearmanr((embeddings @ embeddings.T)[pairs], human_similarity[pairs])[0])
