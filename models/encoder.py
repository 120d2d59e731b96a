"""BERT and MPNet in numpy, from a Hugging Face folder, with a hook in place of every linear layer.

Only the linear layers go through the hook; embeddings, scores, softmax, LayerNorm and GELU stay
float32. Architecture: Devlin et al., "BERT", NAACL 2019; Song et al., "MPNet", NeurIPS 2020, which
is BERT without token types and with the relative position bias of T5 (Raffel et al., JMLR 2020);
sentence embedding as the mean of the last hidden states: Reimers and Gurevych, "Sentence-BERT",
EMNLP 2019.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

Array = NDArray[np.float32]

Linear = Callable[[str, Array, Array, Array], Array]
"""`linear(name, x, weight, bias) -> y`: x (tokens, K), weight (N, K), bias (N,), y (tokens, N).

A layer that has no bias passes zeros."""

MAX_TOKENS = 256
"""Texts are cut here, as in the training of all-MiniLM-L6-v2."""

BATCH_TEXTS = 16
"""Texts per pass: large GEMMs, as many small ones stall when another process holds a core."""

MAX_DISTANCE = 128
"""Tokens further apart share a bucket of MPNet's relative position bias."""

# Model type -> hook name within a layer -> tensor name within `encoder.layer.<i>`.
_LINEARS = {
    "bert": {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    },
    "mpnet": {
        "attention.query": "attention.attn.q",
        "attention.key": "attention.attn.k",
        "attention.value": "attention.attn.v",
        "attention.output": "attention.attn.o",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    },
}
_ATTENTION_NORM = {"bert": "attention.output.LayerNorm", "mpnet": "attention.LayerNorm"}
# MPNet numbers positions from the one after that of padding, which is 1.
_FIRST_POSITION = {"bert": 0, "mpnet": 2}
# What the configuration of one type has and that of the other lacks.
_OWN_KEY = {"bert": "type_vocab_size", "mpnet": "relative_attention_num_buckets"}


class EncoderError(ValueError):
    """A model folder cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Config:
    """The part of config.json that shapes the computation; `model_type` is "bert" or "mpnet".

    type_vocab_size is 0 in MPNet, relative_attention_num_buckets in BERT.
    """

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    vocab_size: int
    layer_norm_eps: float
    type_vocab_size: int = 0
    relative_attention_num_buckets: int = 0


def float_linear(name: str, x: Array, weight: Array, bias: Array) -> Array:
    """The hook that changes nothing: x W^T + b in float32."""
    return x @ weight.T + bias


class Encoder:
    """BERT or MPNet. `tensors` has the names of the Hugging Face model without prefix."""

    def __init__(self, config: Config, tensors: Mapping[str, Array], tokenizer: Tokenizer) -> None:
        self.config = config
        self._tensors = tensors
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        positions = config.max_position_embeddings - _FIRST_POSITION[config.model_type]
        tokenizer.enable_truncation(min(MAX_TOKENS, positions))

    @property
    def linears(self) -> dict[str, tuple[Array, Array]]:
        """Every linear layer in the order it runs: name -> weight (N, K), bias (N,).

        The names are `layer.<i>.` with `attention.query`, `attention.key`, `attention.value`,
        `attention.output`, `intermediate` or `output`.
        """
        return {
            f"layer.{index}.{name}": self._linear(index, name)
            for index in range(self.config.num_hidden_layers)
            for name in _LINEARS[self.config.model_type]
        }

    def tokenize(self, text: str) -> list[int]:
        """Token ids of one text, special tokens included, cut to `MAX_TOKENS`."""
        return list(self._tokenizer.encode(text).ids)

    def embed_tokens(self, ids: Sequence[int]) -> Array:
        """Input of layer 0: sum of the embeddings of the tokens, normalised: (tokens, hidden)."""
        tensors, first = self._tensors, _FIRST_POSITION[self.config.model_type]
        x = tensors["embeddings.word_embeddings.weight"][np.asarray(ids)]
        x = x + tensors["embeddings.position_embeddings.weight"][first : first + len(ids)]
        if self.config.type_vocab_size:
            x = x + tensors["embeddings.token_type_embeddings.weight"][0]
        return self._layer_norm("embeddings.LayerNorm", x)

    def run_layer(
        self,
        index: int,
        x: Array,
        *,
        lengths: Sequence[int] | None = None,
        linear: Linear = float_linear,
    ) -> Array:
        """Encoder layer `index` on hidden states x (tokens, hidden), giving the same shape.

        Args:
            index: 0 .. num_hidden_layers - 1.
            x: the tokens of one text, or of several one after the other.
            lengths: tokens of each text, if several; a token attends to its own text only.
            linear: called in place of each of the six linear layers.
        """

        def project(name: str, x: Array) -> Array:
            return linear(f"layer.{index}.{name}", x, *self._linear(index, name))

        query = project("attention.query", x)
        key = project("attention.key", x)
        value = project("attention.value", x)
        context = np.empty_like(x)
        start = 0
        for length in lengths or [len(x)]:
            text = slice(start, start + length)
            context[text] = _attention(
                query[text],
                key[text],
                value[text],
                self.config.num_attention_heads,
                self.position_bias(length),
            )
            start += length

        x = self.attention_norm(index, project("attention.output", context) + x)
        inner = gelu(project("intermediate", x))
        return self.output_norm(index, project("output", inner) + x)

    def attention_norm(self, index: int, x: Array) -> Array:
        """LayerNorm after the attention of layer `index`, on (tokens, hidden)."""
        name = _ATTENTION_NORM[self.config.model_type]
        return self._layer_norm(f"encoder.layer.{index}.{name}", x)

    def output_norm(self, index: int, x: Array) -> Array:
        """LayerNorm at the end of layer `index`, on (tokens, hidden)."""
        return self._layer_norm(f"encoder.layer.{index}.output.LayerNorm", x)

    def hidden_states(self, texts: Sequence[str], *, linear: Linear = float_linear) -> list[Array]:
        """The last layer's output: (tokens, hidden) of each text.

        The hook sees the tokens of up to `BATCH_TEXTS` texts at once, one after the other, with
        no padding between them.

        Args:
            texts: the sentences; longer ones are cut to `MAX_TOKENS` tokens.
            linear: called in place of every linear layer.
        """
        if isinstance(texts, str):
            raise TypeError("this takes a sequence of texts, not one string")
        states: list[Array] = []
        for first in range(0, len(texts), BATCH_TEXTS):
            tokens = [self.tokenize(text) for text in texts[first : first + BATCH_TEXTS]]
            lengths = [len(ids) for ids in tokens]
            x = np.concatenate([self.embed_tokens(ids) for ids in tokens])
            for index in range(self.config.num_hidden_layers):
                x = self.run_layer(index, x, lengths=lengths, linear=linear)
            states += np.split(x, np.cumsum(lengths)[:-1])
        return states

    def embed(self, texts: Sequence[str], *, linear: Linear = float_linear) -> Array:
        """Unit-norm sentence embeddings (texts, hidden): the mean of a text's `hidden_states`."""
        states = self.hidden_states(texts, linear=linear)
        embeddings = np.array([pool(x) for x in states], np.float32)
        return embeddings.reshape(len(texts), self.config.hidden_size)

    def _linear(self, index: int, name: str) -> tuple[Array, Array]:
        prefix = f"encoder.layer.{index}.{_LINEARS[self.config.model_type][name]}"
        return self._tensors[prefix + ".weight"], self._tensors[prefix + ".bias"]

    def position_bias(self, length: int) -> Array | float:
        """What is added to a text's scores in every layer: (heads, length, length)."""
        if not self.config.relative_attention_num_buckets:
            return 0.0
        table = self._tensors["encoder.relative_attention_bias.weight"]
        at = np.arange(length)
        buckets = relative_buckets(at - at[:, None], len(table))
        return table[buckets].transpose(2, 0, 1)

    def _layer_norm(self, name: str, x: Array) -> Array:
        x = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(x).mean(axis=-1, keepdims=True)
        scaled = x / np.sqrt(variance + np.float32(self.config.layer_norm_eps))
        return scaled * self._tensors[name + ".weight"] + self._tensors[name + ".bias"]


def load_encoder(folder: Path | str) -> Encoder:
    """Load a folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json.

    Tensors may carry the prefix `bert.` or `mpnet.` (a checkpoint with a head) and the old
    LayerNorm names `gamma` and `beta`; they are converted to float32. Tensors beyond the encoder
    are ignored.

    Raises:
        EncoderError: the folder is not one, a file is missing or damaged, the model is neither
            BERT with absolute positions nor MPNet, its GELU is not the exact one, or a tensor
            does not fit the configuration.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise EncoderError(f"{folder} holds no {name}")
    config = _load_config(folder / "config.json")
    tensors = _load_tensors(folder / "model.safetensors", config)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        raise EncoderError(f"{folder / 'tokenizer.json'} is no tokenizer: {error}") from error
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise EncoderError(
            f"{folder / 'tokenizer.json'} has {tokenizer.get_vocab_size()} tokens, config.json "
            f"says vocab_size {config.vocab_size}"
        )
    return Encoder(config, tensors, tokenizer)


def _load_config(path: Path) -> Config:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise EncoderError(f"{path} is not a JSON object")
    needed = {
        "model_type": tuple(_LINEARS),
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
    }
    defaults = {"position_embedding_type": "absolute"}
    for key, supported in needed.items():
        found = raw.get(key, defaults.get(key))
        if found not in supported:
            known = " and ".join(map(repr, supported))
            verb = "is" if len(supported) == 1 else "are"
            raise EncoderError(f"{path}: {key} is {found!r}, only {known} {verb} supported")
    values: dict[str, Any] = {"model_type": raw["model_type"]}
    foreign = {key for kind, key in _OWN_KEY.items() if kind != raw["model_type"]}
    for key, kind in Config.__annotations__.items():
        if key in values or key in foreign:
            continue
        value = raw.get(key)
        if isinstance(value, bool) or not isinstance(value, (kind, int)) or not value > 0:
            raise EncoderError(f"{path}: {key} must be a positive {kind.__name__}, not {value!r}")
        values[key] = value
    config = Config(**values)
    if config.hidden_size % config.num_attention_heads:
        raise EncoderError(
            f"{path}: hidden_size {config.hidden_size} is no multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    if config.max_position_embeddings <= _FIRST_POSITION[config.model_type]:
        raise EncoderError(
            f"{path}: max_position_embeddings is {config.max_position_embeddings}, which leaves "
            f"no position: {config.model_type} begins at {_FIRST_POSITION[config.model_type]}"
        )
    if config.relative_attention_num_buckets % 4:
        raise EncoderError(
            f"{path}: relative_attention_num_buckets is {config.relative_attention_num_buckets}, "
            "it must be a multiple of 4"
        )
    return config


def _load_tensors(path: Path, config: Config) -> dict[str, Array]:
    try:
        stored = load_file(path)
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise EncoderError(f"{path} cannot be read as safetensors in float: {error}") from error
    found = {_canonical_name(name): tensor for name, tensor in stored.items()}
    tensors: dict[str, Array] = {}
    for name, shape in _shapes(config).items():
        if name not in found:
            raise EncoderError(f"{path} lacks the tensor {name}")
        tensor = found[name]
        if tensor.shape != shape:
            raise EncoderError(f"{path}: {name} has shape {tensor.shape}, config.json says {shape}")
        if tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise EncoderError(f"{path}: {name} holds values that are not finite floats")
        tensors[name] = np.ascontiguousarray(tensor, np.float32)
    return tensors


def _canonical_name(name: str) -> str:
    name = name.removeprefix("bert.").removeprefix("mpnet.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, hidden),
    }
    if config.type_vocab_size:
        types = (config.type_vocab_size, hidden)
        shapes["embeddings.token_type_embeddings.weight"] = types
    if config.relative_attention_num_buckets:
        buckets = (config.relative_attention_num_buckets, config.num_attention_heads)
        shapes["encoder.relative_attention_bias.weight"] = buckets
    norms = ["embeddings.LayerNorm"]
    for index in range(config.num_hidden_layers):
        prefix = f"encoder.layer.{index}."
        norms += [prefix + _ATTENTION_NORM[config.model_type], prefix + "output.LayerNorm"]
        for name, tensor in _LINEARS[config.model_type].items():
            rows = inner if name == "intermediate" else hidden
            columns = inner if name == "output" else hidden
            shapes[f"{prefix}{tensor}.weight"] = (rows, columns)
            shapes[f"{prefix}{tensor}.bias"] = (rows,)
    for norm in norms:
        shapes[norm + ".weight"] = shapes[norm + ".bias"] = (hidden,)
    return shapes


def relative_buckets(distance: NDArray[np.int_], buckets: int) -> NDArray[np.int_]:
    """Bucket of each distance, key's position less query's: T5's scheme for both directions.

    A quarter of the `buckets` (a multiple of 4) holds one distance each, in each direction; the
    next quarter grows in geometric steps to `MAX_DISTANCE` and takes what is beyond.
    """
    half, exact = buckets // 2, buckets // 4
    n = np.abs(distance)
    steps = np.log(np.maximum(n, exact) / exact) / np.log(MAX_DISTANCE / exact)
    far = np.minimum(exact + (steps * (half - exact)).astype(int), half - 1)
    return np.where(distance > 0, half, 0) + np.where(n < exact, n, far)


def _attention(query: Array, key: Array, value: Array, heads: int, bias: Array | float) -> Array:
    """Softmax attention of one text: three times (tokens, hidden) -> (tokens, hidden)."""
    query, key, value = (
        x.reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (query, key, value)
    )
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1])) + bias
    return (softmax(scores) @ value).transpose(1, 0, 2).reshape(value.shape[1], -1)


def softmax(scores: Array) -> Array:
    """Attention's shares, along the last axis."""
    shares: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def gelu(x: Array) -> Array:
    """The exact GELU: x times the normal distribution at x."""
    result: Array = 0.5 * x * (1 + erf(x * np.float32(np.sqrt(0.5))))
    return result


def pool(states: Array) -> Array:
    """The unit-norm mean (hidden,) of a text's hidden states (tokens, hidden)."""
    mean = states.mean(axis=0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit
