"""What a number format costs a real model: a sentence encoder's ranking, a decoder's perplexity."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from oleaster.models.encoder import Array, Encoder, Linear, float_linear
from oleaster.models.quantized_linear import (
    FLOAT,
    FLOAT_BITS,
    Inputs,
    LayerAccuracy,
    MeasuredLinear,
    Model,
    linear_inputs,
    parse_operands,
)

if TYPE_CHECKING:
    from oleaster.models.llama import Decoder

Activations = Literal["static", "dynamic"]
Progress = Callable[[str], None]

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
class FormatAccuracy:
    """The whole model in one pair of formats; `format` is "float" for the unquantised model.

    format: "W:A", the formats of weights and activations, or one name for both.
    weight_bits, activation_bits: stored bits of one value, measured: the mean over all values.
    weight_sqnr_db, activation_sqnr_db, output_sqnr_db: means of the layers' decibels, so every
        layer counts the same; infinite where nothing is lost.
    cosine: mean, over the texts' embeddings or over the tokens' last hidden states, of the cosine
        to those of the unquantised model.
    spearman: rank correlation with human judgement: of the embeddings' cosines over all pairs of
        texts, or of the ratings that a head predicts over the texts; None where there is neither.
    accuracy: the share of texts, 0 .. 1, that a head puts into the right one of two classes; None
        where there are no classes.
    perplexity: exp of the mean negative log-likelihood of every token but the first of each text;
        None for an encoder.
    """

    format: str
    weight_bits: float
    activation_bits: float
    weight_sqnr_db: float
    activation_sqnr_db: float
    output_sqnr_db: float
    cosine: float
    layers: list[LayerAccuracy]
    spearman: float | None = None
    accuracy: float | None = None
    perplexity: float | None = None


def load_lee50(folder: Path) -> Lee50:
    """Read the folder of the pinned package `lee50` (`oleaster.models.fetch`)."""
    background = (folder / "lee_background.cor").read_text(encoding="latin-1")
    return Lee50(
        (folder / "lee.cor").read_text(encoding="latin-1").splitlines(),
        np.loadtxt(folder / "similarities0-1.txt"),
        background.splitlines()[:CALIBRATION_TEXTS],
    )


def evaluate_encoder(
    encoder: Encoder,
    formats: Sequence[str],
    texts: Sequence[str],
    human_similarity: NDArray[np.float64],
    calibration_texts: Sequence[str],
    *,
    activations: Activations = "static",
    progress: Progress | None = None,
) -> list[FormatAccuracy]:
    """Measure a sentence encoder in float and in each pair of formats, in that order.

    Args:
        encoder: the model.
        formats: each as in `parse_operands`.
        texts: n sentences to embed, n >= 3.
        human_similarity: (n, n), symmetric; only its upper triangle is read.
        calibration_texts: sentences for static scales, at least one; not to be among `texts`.
        activations: "static" or "dynamic" scales; dynamic ones are searched per text and layer.
        progress: called with one line of text before each long step.

    Raises:
        FormatError: an unknown format, or one that activations cannot have.
        ValueError: texts and similarities do not fit, static scales without calibration texts,
            or activations is neither of the two.
    """
    if len(texts) < 3 or np.shape(human_similarity) != (len(texts), len(texts)):
        raise ValueError(
            f"{len(texts)} texts need at least 3 and a similarity for each pair of them, not "
            f"{np.shape(human_similarity)}"
        )

    def embed(batch: Sequence[str], linear: Linear) -> Array:
        return encoder.embed(batch, linear=linear)

    def spearman(embeddings: Array) -> dict[str, float]:
        pairs = np.triu_indices(len(embeddings), 1)
        similarity = (embeddings @ embeddings.T)[pairs]
        return {"spearman": float(spearmanr(similarity, human_similarity[pairs])[0])}

    study = Study(encoder, texts, calibration_texts, activations, progress, embed, spearman)
    return study.measure(formats)


def evaluate_decoder(
    decoder: "Decoder",
    formats: Sequence[str],
    texts: Sequence[str],
    calibration_texts: Sequence[str],
    *,
    activations: Activations = "static",
    progress: Progress | None = None,
) -> list[FormatAccuracy]:
    """Measure a decoder in float and in each pair of formats, in that order.

    Args and raises: as `evaluate_encoder`; texts: at least one, each of at least 2 tokens.
    """
    tokens = [decoder.tokenize(text) for text in texts]
    if not tokens or min(map(len, tokens)) < 2:
        raise ValueError("perplexity needs at least one text, and 2 tokens in each")

    def states(batch: Sequence[str], linear: Linear) -> Array:
        return np.concatenate(decoder.hidden_states(batch, linear=linear))

    def perplexity(rows: Array) -> dict[str, float]:
        ends = np.cumsum([len(ids) for ids in tokens])[:-1]
        losses = [
            _losses(decoder.logits(text[:-1]), ids[1:])
            for text, ids in zip(np.split(rows, ends), tokens, strict=True)
        ]
        return {"perplexity": float(np.exp(np.concatenate(losses).mean()))}

    study = Study(decoder, texts, calibration_texts, activations, progress, states, perplexity)
    return study.measure(formats)


@dataclass(frozen=True)
class Study:
    """What all evaluations do: `measure` gives the float model's result, then each format's.

    run: the rows (texts or tokens, hidden) that texts give with a hook; score: the result's own
    fields from the rows of all texts.
    """

    model: Model
    texts: Sequence[str]
    calibration_texts: Sequence[str]
    activations: Activations
    progress: Progress | None
    run: Callable[[Sequence[str], Linear], Array]
    score: Callable[[Array], dict[str, float]]

    def measure(self, formats: Sequence[str]) -> list[FormatAccuracy]:
        """In float and in each pair of formats; raises as `evaluate_encoder`."""
        if self.activations not in get_args(Activations):
            raise ValueError(
                f"activations is {self.activations!r}, it must be 'static' or 'dynamic'"
            )
        if self.activations == "static" and not self.calibration_texts:
            raise ValueError("static scales need at least one calibration text")
        for name in formats:
            parse_operands(name)
        say = self.progress or (lambda line: None)
        say(f"float: running {len(self.texts)} texts")
        exact = self.run(self.texts, float_linear)
        bits, lossless = float(FLOAT_BITS), float("inf")
        results = [
            FormatAccuracy(
                FLOAT, bits, bits, lossless, lossless, lossless, 1.0, [], **self.score(exact)
            )
        ]
        calibration: Inputs | None = None
        if self.activations == "static":
            say(f"float: calibrating on {len(self.calibration_texts)} texts")
            calibration = linear_inputs(self.model, self.calibration_texts)
        for name in formats:
            results.append(self._measure_one(name, exact, calibration, say))
        return results

    def _measure_one(
        self, name: str, exact: Array, calibration: Inputs | None, say: Progress
    ) -> FormatAccuracy:
        say(f"{name}: quantising {len(self.model.linears)} layers")
        linear = MeasuredLinear(self.model, name, calibration)
        say(f"{name}: running {len(self.texts)} texts")
        # A dynamic scale must not depend on which texts happen to share a batch.
        static = self.activations == "static"
        batches = [self.texts] if static else [[text] for text in self.texts]
        rows = np.concatenate([self.run(batch, linear) for batch in batches])
        layers = linear.layers()
        weight_sizes = [weight.size for weight, _ in self.model.linears.values()]
        return FormatAccuracy(
            format=str(linear.operands),
            weight_bits=_mean((layer.weight_bits for layer in layers), weight_sizes),
            activation_bits=_mean(
                (layer.activation_bits for layer in layers), linear.input_sizes()
            ),
            weight_sqnr_db=_mean(layer.weight_sqnr_db for layer in layers),
            activation_sqnr_db=_mean(layer.activation_sqnr_db for layer in layers),
            output_sqnr_db=_mean(layer.output_sqnr_db for layer in layers),
            cosine=float(_cosines(rows, exact).mean()),
            layers=layers,
            **self.score(rows),
        )


def _losses(logits: Array, following: Sequence[int]) -> NDArray[np.float64]:
    """Negative log-likelihoods (tokens,) of the tokens that follow, from logits (tokens, vocab)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    sums = np.exp(logits).sum(axis=1, dtype=np.float64)
    return np.log(sums) - logits[np.arange(len(logits)), following]


def _cosines(rows: Array, exact: Array) -> Array:
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(exact, axis=1)
    cosines: Array = np.sum(rows * exact, axis=1) / norms
    return cosines


def _mean(values: Iterable[float], weights: Sequence[float] | None = None) -> float:
    return float(np.average(list(values), weights=weights))
