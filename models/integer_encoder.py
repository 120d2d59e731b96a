"""BERT or MPNet in the accelerator's own integers: every product of a layer is one of its GEMMs.

Six linear layers and the two products of the attention run in lists of GEMMs between matrices in
the accelerator's memory (`Executor`); softmax, LayerNorm, GELU and residuals run here, in float32,
between the lists. Every executor gets the same requests, so equal sums make equal embeddings, bit
for bit. How the layer is cut into lists and where its scales go is ours.

What the accelerator requantises by itself (queries, keys, values, context) has static scales, found
on calibration texts; what passes through here (inputs of the linear layers, attention's shares) is
quantised with a scale of its own each time, so a text's result does not depend on other texts.

The values are computed transposed, V^T = Wv x^T, so that they are K-major for the product with the
shares. Their columns are tokens, so the scales of Wv's rows cannot be applied there: they are left
to the context, whose columns are those rows. The bias of the values goes there too, as it is: the
shares of a token add up to 1.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.gemm_list import (
    Executor,
    Gemm,
    Matrix,
    Part,
    as_sums,
    words_for,
)
from oleaster.models.accelerator.requantize import ChannelWords
from oleaster.models.encoder import Array, Config, Encoder, gelu, pool, softmax
from oleaster.models.quantize import QuantizedTensor, quantize, search_scale

__all__ = ["CALIBRATION_TEXTS", "FORMATS", "LISTS", "IntegerEncoder"]

FORMATS = ("int4", "flint4", "ovp4-int", "ovp4-flint", "int8", "ovp8")
"""Those that the accelerator both reads and writes."""

LISTS = ("scores", "context", "intermediate", "output")
"""A layer's descriptor lists in the order they run, named after what they end with."""

CALIBRATION_TEXTS = (
    "The harvest of the wild olive begins in late autumn, when the fruit has turned dark.",
    "How do I reset my password?",
    "A man is playing a guitar on the corner of a busy street.",
    "The committee rejected the proposal by 7 votes to 5, citing a lack of funds.",
    "She doesn't like coffee, but she'll drink it when there's nothing else.",
    "Water boils at 100 degrees Celsius at sea level, and at lower temperatures on mountains.",
    "Shares of the airline fell sharply on Tuesday after it warned that profits would be lower.",
    "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }",
    "Two dogs run across a field.",
    "The patient was given antibiotics and discharged from hospital three days later.",
    "Yes!",
    "In 1789 the price of bread in Paris rose to more than half of a labourer's daily wage.",
)
"""Ours, of many kinds and lengths: static scales must not come from the texts to be embedded."""

Progress = Callable[[int, int], None]
_Scales = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Linear:
    """weight: (N, K) on the accelerator; scales: (N,), what 1 stands for in a row; bias: (N,)."""

    weight: Matrix
    scales: _Scales
    bias: Array

    def values(self, packed: NDArray[np.uint8], input_scale: float) -> Array:
        """Raw sums (tokens, N) of an input of that scale, in float32 with the bias added."""
        values = as_sums(packed) * (input_scale * self.scales)
        return values.astype(np.float32) + self.bias


@dataclass(frozen=True, eq=False)
class _Static:
    """What 1 stands for in what the accelerator writes as codes.

    query, key: (heads,). value: of the values without bias, divided by the scale of their weights'
    row. context: of all of it.
    """

    query: _Scales
    key: _Scales
    value: float
    context: float


@dataclass(frozen=True, eq=False)
class _Buffers:
    """A text's matrices, used again by every layer.

    value: transposed, (hidden, tokens). scores: columns head by head, shares: rows head by head.
    """

    x: Matrix
    query: Matrix
    key: Matrix
    value: Matrix
    scores: Matrix
    shares: Matrix
    context: Matrix
    attended: Matrix
    intermediate: Matrix
    inner: Matrix
    output: Matrix

    @staticmethod
    def of(config: Config, codes: str, tokens: int) -> "_Buffers":
        """For a text of so many tokens; codes: the format of what is not a sum."""
        hidden, inner, heads = (
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
        )
        return _Buffers(
            x=Matrix(codes, tokens, hidden),
            query=Matrix(codes, tokens, hidden),
            key=Matrix(codes, tokens, hidden),
            value=Matrix(codes, hidden, tokens),
            scores=Matrix("int32", tokens, heads * tokens),
            shares=Matrix(codes, heads * tokens, tokens),
            context=Matrix(codes, tokens, hidden),
            attended=Matrix("int32", tokens, hidden),
            intermediate=Matrix("int32", tokens, inner),
            inner=Matrix(codes, tokens, inner),
            output=Matrix("int32", tokens, hidden),
        )


class IntegerEncoder:
    """An `Encoder` quantised for the accelerator.

    Args:
        encoder: the float model, of which the weights, and all that is not a GEMM, are used.
        weights: format of the linear layers' weights, a scale for every output channel.
        activations: format of everything else.
        layers: only the first so many layers; None for all.
        calibration_texts: for the static scales, at least one.

    Raises ValueError for a format that is not in `FORMATS`, layers that the model has not, no
    calibration text, or heads whose slices would cut a pair.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        weights: str = "ovp8",
        activations: str = "ovp8",
        layers: int | None = None,
        calibration_texts: Sequence[str] = CALIBRATION_TEXTS,
    ) -> None:
        for side, name in (("weights", weights), ("activations", activations)):
            if name not in FORMATS:
                raise ValueError(f"{side} are {name!r}; they must be one of {', '.join(FORMATS)}")
        config = encoder.config
        self.layers = config.num_hidden_layers if layers is None else layers
        if not 1 <= self.layers <= config.num_hidden_layers:
            raise ValueError(f"layers is {layers}; the model has 1 to {config.num_hidden_layers}")
        if not calibration_texts:
            raise ValueError("static scales need at least one calibration text")
        self.heads = config.num_attention_heads
        self.width = config.hidden_size // self.heads
        if self.width % 2:
            raise ValueError(f"a head has {self.width} elements; pairs need an even number")
        self.encoder = encoder
        self.weights, self.activations = weights, activations
        self.linears = {
            name: _quantized_linear(weight, bias, weights)
            for name, (weight, bias) in encoder.linears.items()
            if int(name.split(".")[1]) < self.layers
        }
        self.static = self._calibrated(calibration_texts)

    @property
    def constants(self) -> list[Matrix]:
        """The weights, which stay on the accelerator."""
        return [linear.weight for linear in self.linears.values()]

    def embed(
        self, texts: Sequence[str], executor: Executor, *, progress: Progress | None = None
    ) -> Array:
        """Unit-norm embeddings (texts, hidden), the texts one after the other.

        progress: called with (lists run, lists in all). Raises what the executor raises, and
        ValueError if a scale of some text cannot be said in a channel word.
        """
        if isinstance(texts, str):
            raise TypeError("this takes a sequence of texts, not one string")
        lists = len(texts) * self.layers * len(LISTS)
        done = itertools.count(1)

        def one_more() -> None:
            if progress:
                progress(next(done), lists)

        pooled = [pool(_TextRun(self, text, executor, one_more).states()) for text in texts]
        embeddings = np.array(pooled, np.float32)
        return embeddings.reshape(len(texts), self.encoder.config.hidden_size)

    def embed_float(self, texts: Sequence[str]) -> Array:
        """The same by the float model, of as many layers."""
        pooled = []
        for text in texts:
            x = self.encoder.embed_tokens(self.encoder.tokenize(text))
            for index in range(self.layers):
                x = self.encoder.run_layer(index, x)
            pooled.append(pool(x))
        return np.array(pooled, np.float32).reshape(len(texts), self.encoder.config.hidden_size)

    def _calibrated(self, texts: Sequence[str]) -> list[_Static]:
        """Scales of least squared error over what the float model computes for the texts."""
        seen: dict[str, list[Array]] = {}

        def record(name: str, x: Array, weight: Array, bias: Array) -> Array:
            product = x @ weight.T
            if name.endswith("attention.output"):
                seen.setdefault(name, []).append(x)
            elif ".attention." in name:
                seen.setdefault(name, []).append(product)
            return product + bias

        for text in texts:
            x = self.encoder.embed_tokens(self.encoder.tokenize(text))
            for index in range(self.layers):
                x = self.encoder.run_layer(index, x, linear=record)

        def by_head(name: str) -> _Scales:
            values = np.concatenate(seen[name]) + self.linears[name].bias
            heads = values.reshape(len(values), self.heads, self.width).transpose(1, 0, 2)
            rows = heads.reshape(self.heads, -1)
            found = search_scale(rows, self.activations, granularity="channel")
            return found.scale.astype(np.float64)

        def overall(values: Array) -> float:
            return float(search_scale(values, self.activations).scale)

        static = []
        for index in range(self.layers):
            prefix = f"layer.{index}.attention."
            value = np.concatenate(seen[f"{prefix}value"]) / self.linears[f"{prefix}value"].scales
            static.append(
                _Static(
                    query=by_head(f"{prefix}query"),
                    key=by_head(f"{prefix}key"),
                    value=overall(np.ascontiguousarray(value.T)),
                    context=overall(np.concatenate(seen[f"{prefix}output"])),
                )
            )
        return static


class _TextRun:
    """One text through the layers; the matrices on the accelerator last as long."""

    def __init__(
        self, model: IntegerEncoder, text: str, executor: Executor, one_more: Callable[[], None]
    ) -> None:
        self._model = model
        self._encoder = model.encoder
        self._executor = executor
        self._one_more = one_more
        self._tokens = model.encoder.tokenize(text)
        self._at = _Buffers.of(model.encoder.config, model.activations, len(self._tokens))

    def states(self) -> Array:
        """The last layer's output (tokens, hidden)."""
        self._executor.start()
        x = self._encoder.embed_tokens(self._tokens)
        for index in range(self._model.layers):
            x = self._run_layer(index, x)
        return x

    def _run_layer(self, index: int, x: Array) -> Array:
        at, prefix = self._at, f"layer.{index}."
        shares = self._quantized(softmax(self._scores(index, x)))
        attended = self._attended(index, shares)
        x = self._encoder.attention_norm(index, attended + x)
        inner = gelu(self._dense(f"{prefix}intermediate", x, at.x, at.intermediate))
        output = self._dense(f"{prefix}output", inner, at.inner, at.output)
        return self._encoder.output_norm(index, output + x)

    def _scores(self, index: int, x: Array) -> Array:
        """Queries, keys, values and scores: (heads * tokens, tokens), as softmax takes them."""
        at, static, heads = self._at, self._model.static[index], self._model.heads
        prefix = f"layer.{index}.attention."
        value = self._model.linears[f"{prefix}value"].weight
        codes = self._quantized(x)
        scale, tokens = float(codes.scale), len(x)
        gemms = [
            self._projection(f"{prefix}query", scale, static.query, at.query),
            self._projection(f"{prefix}key", scale, static.key, at.key),
            Gemm(
                f"{prefix}value",
                value.part(),
                at.x.part(),
                at.value.part(),
                words_for(np.full(tokens, scale), 0.0, static.value),
            ),
        ]
        for head in range(heads):
            to = at.scores.part(columns=slice(head * tokens, (head + 1) * tokens))
            query, key = self._of_head(at.query, head), self._of_head(at.key, head)
            gemms.append(Gemm(f"{prefix}scores", query, key, to))
        sums = as_sums(self._run(f"layer.{index}.scores", gemms, at.x, codes, at.scores))
        by_head = sums.reshape(tokens, heads, tokens).transpose(1, 0, 2)
        units = static.query * static.key / np.sqrt(self._model.width)
        scores = (by_head * units[:, None, None]).astype(np.float32)
        return (scores + self._encoder.position_bias(tokens)).reshape(-1, tokens)

    def _projection(self, name: str, x_scale: float, scales: _Scales, to: Matrix) -> Gemm:
        """Queries or keys as codes; scales: (heads,), what 1 stands for in each head."""
        linear = self._model.linears[name]
        by_column = np.repeat(scales, self._model.width)
        words = words_for(x_scale * linear.scales, linear.bias, by_column)
        return Gemm(name, self._at.x.part(), linear.weight.part(), to.part(), words)

    def _attended(self, index: int, shares: QuantizedTensor) -> Array:
        """Context and the attention's last linear layer: (tokens, hidden) from all shares."""
        at, static = self._at, self._model.static[index]
        prefix = f"layer.{index}.attention."
        value, output = (self._model.linears[prefix + name] for name in ("value", "output"))
        unit = float(shares.scale) * static.value * value.scales
        words = words_for(unit, value.bias, static.context)
        gemms, tokens = [], at.x.rows
        for head in range(self._model.heads):
            own = slice(head * self._model.width, (head + 1) * self._model.width)
            gemms.append(
                Gemm(
                    f"{prefix}context",
                    at.shares.part(rows=slice(head * tokens, (head + 1) * tokens)),
                    at.value.part(rows=own),
                    self._of_head(at.context, head),
                    ChannelWords(*(column[own] for column in words)),
                )
            )
        last = Gemm(f"{prefix}output", at.context.part(), output.weight.part(), at.attended.part())
        sums = self._run(f"layer.{index}.context", [*gemms, last], at.shares, shares, at.attended)
        return output.values(sums, static.context)

    def _dense(self, name: str, x: Array, source: Matrix, to: Matrix) -> Array:
        """A linear layer by itself: (tokens, N) from x (tokens, K)."""
        linear, codes = self._model.linears[name], self._quantized(x)
        gemm = Gemm(name, source.part(), linear.weight.part(), to.part())
        return linear.values(self._run(name, [gemm], source, codes, to), float(codes.scale))

    def _run(
        self, name: str, gemms: list[Gemm], source: Matrix, codes: QuantizedTensor, to: Matrix
    ) -> NDArray[np.uint8]:
        (packed,) = self._executor.run(name, gemms, {source: codes.packed}, [to])
        self._one_more()
        return packed

    def _of_head(self, matrix: Matrix, head: int) -> Part:
        width = self._model.width
        return matrix.part(columns=slice(head * width, (head + 1) * width))

    def _quantized(self, x: Array) -> QuantizedTensor:
        return quantize(x, self._model.activations)


def _quantized_linear(weight: Array, bias: Array, format: str) -> _Linear:
    tensor = quantize(weight, format, granularity="channel")
    return _Linear(Matrix.constant(tensor), tensor.scale.astype(np.float64), bias)
