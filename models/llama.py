"""Llama-type decoder in numpy, from a GGUF file, with a hook in place of every linear layer.

The hook and its rules are the encoder's (`oleaster.models.encoder`): embeddings, scores, softmax,
RMSNorm, SiLU and the output head stay float32. Weights are what the file holds, dequantised.
Architecture: Touvron et al., "LLaMA", 2023; rotary positions: Su et al., "RoFormer", 2021, with
neighbouring elements as a pair, which is how GGUF files of this architecture store Q and K.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, quants
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as Steps

from oleaster.models.encoder import BATCH_TEXTS, Array, Linear, float_linear

# Hook name within a layer -> tensor name within `blk.<i>`.
_LINEARS = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}

# Field of `Config` -> key in the file.
_KEYS = {
    "hidden_size": "llama.embedding_length",
    "num_layers": "llama.block_count",
    "num_heads": "llama.attention.head_count",
    "num_kv_heads": "llama.attention.head_count_kv",
    "intermediate_size": "llama.feed_forward_length",
    "context_length": "llama.context_length",
    "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "rope_base": "llama.rope.freq_base",
}


class DecoderError(ValueError):
    """A GGUF file cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Config:
    """The part of the file's metadata that shapes the computation."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    context_length: int
    rms_norm_eps: float
    rope_base: float

    @property
    def head_size(self) -> int:
        """Elements of one head of Q, K or V."""
        return self.hidden_size // self.num_heads


class Decoder:
    """A Llama-type decoder with tied embeddings. `tensors` has the names of GGUF."""

    def __init__(self, config: Config, tensors: Mapping[str, Array], tokenizer: Tokenizer) -> None:
        self.config = config
        self._tensors = tensors
        self._tokenizer = tokenizer

    @property
    def linears(self) -> dict[str, tuple[Array, Array]]:
        """Every linear layer in the order it runs: name -> weight (N, K), bias (N,) of zeros.

        The names are `layer.<i>.` with `attention.query`, `attention.key`, `attention.value`,
        `attention.output`, `gate`, `up` or `down`. The output head is not among them.
        """
        return {
            f"layer.{index}.{name}": self._linear(index, name)
            for index in range(self.config.num_layers)
            for name in _LINEARS
        }

    def tokenize(self, text: str) -> list[int]:
        """Token ids of one text, with no token put before or after them."""
        return list(self._tokenizer.encode(text).ids)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def hidden_states(self, texts: Sequence[str], *, linear: Linear = float_linear) -> list[Array]:
        """What the output head reads: (tokens, hidden) of each text, after the last RMSNorm.

        The hook sees the tokens of up to `BATCH_TEXTS` texts at once, one after the other, with
        no padding between them; a token attends to those before it in its own text.

        Args:
            texts: each of 1 to `context_length` tokens.
            linear: called in place of every linear layer.

        Raises:
            ValueError: a text has no token, or too many.
        """
        if isinstance(texts, str):
            raise TypeError("this takes a sequence of texts, not one string")
        states: list[Array] = []
        for first in range(0, len(texts), BATCH_TEXTS):
            tokens = [self.tokenize(text) for text in texts[first : first + BATCH_TEXTS]]
            lengths = [len(ids) for ids in tokens]
            for length in lengths:
                if not 1 <= length <= self.config.context_length:
                    raise ValueError(
                        f"a text has {length} tokens, it must have 1 to "
                        f"{self.config.context_length}"
                    )
            x = self._tensors["token_embd.weight"][np.concatenate(tokens)]
            for index in range(self.config.num_layers):
                x = self._run_layer(index, x, lengths, linear)
            x = self._rms_norm("output_norm.weight", x)
            states += np.split(x, np.cumsum(lengths)[:-1])
        return states

    def logits(self, states: Array) -> Array:
        """Scores of the token that follows each of `states` (tokens, hidden): (tokens, vocab)."""
        return states @ self._tensors["token_embd.weight"].T

    def _run_layer(self, index: int, x: Array, lengths: Sequence[int], linear: Linear) -> Array:
        def project(name: str, x: Array) -> Array:
            return linear(f"layer.{index}.{name}", x, *self._linear(index, name))

        config = self.config
        normed = self._rms_norm(f"blk.{index}.attn_norm.weight", x)
        query = project("attention.query", normed).reshape(len(x), config.num_heads, -1)
        key = project("attention.key", normed).reshape(len(x), config.num_kv_heads, -1)
        value = project("attention.value", normed).reshape(len(x), config.num_kv_heads, -1)
        context = np.empty_like(x)
        start = 0
        for length in lengths:
            text = slice(start, start + length)
            context[text] = _attention(
                rotate(query[text], config.rope_base),
                rotate(key[text], config.rope_base),
                value[text],
            )
            start += length
        x = x + project("attention.output", context)
        normed = self._rms_norm(f"blk.{index}.ffn_norm.weight", x)
        inner = _silu(project("gate", normed)) * project("up", normed)
        return x + project("down", inner)

    def _linear(self, index: int, name: str) -> tuple[Array, Array]:
        weight = self._tensors[f"blk.{index}.{_LINEARS[name]}.weight"]
        return weight, np.zeros(len(weight), np.float32)

    def _rms_norm(self, name: str, x: Array) -> Array:
        mean_square = np.square(x).mean(axis=-1, keepdims=True)
        root = np.sqrt(mean_square + np.float32(self.config.rms_norm_eps))
        return x / root * self._tensors[name]


def rotate(x: Array, base: float) -> Array:
    """RoPE on x (tokens, heads, size), the token in row t at position t.

    Elements 2i and 2i+1 turn as one complex number by t * base**(-2i / size).
    """
    tokens, _, size = x.shape
    angles = np.outer(np.arange(tokens), base ** (-np.arange(0, size, 2) / size))[:, None]
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * cosine - odd * sine
    turned[..., 1::2] = even * sine + odd * cosine
    return turned


def load_decoder(path: Path | str) -> Decoder:
    """Load a GGUF file of architecture "llama" with tied embeddings and a byte-level BPE.

    Args:
        path: the file, or a folder that holds one .gguf file. Any tensor type that the package
            `gguf` can dequantise will do; all become float32.

    Raises:
        DecoderError: there is no such file, it is damaged, it is of another architecture, it
            lacks a tensor or holds one this forward pass has no use for, or one does not fit.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            raise DecoderError(f"{path} holds {len(files)} .gguf files, it must hold one")
        (path,) = files
    if not path.is_file():
        raise DecoderError(f"{path} is neither a .gguf file nor a folder with one")
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        shapes = {
            tensor.name: tuple(int(size) for size in reversed(tensor.shape))
            for tensor in reader.tensors
        }
    except Exception as error:  # what the package raises on a damaged file depends on the damage
        raise DecoderError(f"{path} is not a whole GGUF file ({_sentence(error)})") from error
    config = _config(path, fields)
    tokenizer, vocabulary = _tokenizer(path, fields)
    _check_shapes(path, shapes, _shapes(config, vocabulary))
    tensors: dict[str, Array] = {}
    for stored in reader.tensors:
        try:
            tensor = quants.dequantize(stored.data, stored.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise DecoderError(
                f"{path}: {stored.name} cannot be dequantised ({_sentence(error)})"
            ) from error
        if not np.isfinite(tensor).all():
            raise DecoderError(f"{path}: {stored.name} holds values that are not finite")
        tensors[stored.name] = np.ascontiguousarray(tensor, np.float32)
    return Decoder(config, tensors, tokenizer)


def _config(path: Path, fields: Mapping[str, Any]) -> Config:
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise DecoderError(
            f"{path}: general.architecture is {architecture!r}, only 'llama' is supported"
        )
    values: dict[str, Any] = {}
    for name, key in _KEYS.items():
        kind, value = Config.__annotations__[name], fields.get(key)
        if not isinstance(value, kind | int) or not value > 0:
            raise DecoderError(f"{path}: {key} must be a positive {kind.__name__}, not {value!r}")
        values[name] = value
    config = Config(**values)
    if config.hidden_size % config.num_heads or config.head_size % 2:
        raise DecoderError(
            f"{path}: hidden size {config.hidden_size} does not give {config.num_heads} heads of "
            "an even size"
        )
    if config.num_heads % config.num_kv_heads:
        raise DecoderError(
            f"{path}: {config.num_heads} heads cannot share {config.num_kv_heads} heads of K and V"
        )
    turned = fields.get("llama.rope.dimension_count", config.head_size)
    if turned != config.head_size:
        raise DecoderError(
            f"{path}: llama.rope.dimension_count is {turned}, only the whole head, "
            f"{config.head_size}, is supported"
        )
    return config


def _tokenizer(path: Path, fields: Mapping[str, Any]) -> tuple[Tokenizer, int]:
    """The tokenizer and the size of its vocabulary."""
    kind = (fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise DecoderError(f"{path}: the tokenizer is {kind}, only ('gpt2', 'smollm') is supported")
    try:
        words: list[str] = fields["tokenizer.ggml.tokens"]
        merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
        ids = {word: index for index, word in enumerate(words)}
        tokenizer = Tokenizer(BPE(vocab=ids, merges=merges))
    except Exception as error:  # the library raises Exception itself
        raise DecoderError(f"{path} holds no usable tokenizer ({_sentence(error)})") from error
    # The pre-tokeniser "smollm": every digit alone, then the words of GPT-2.
    tokenizer.pre_tokenizer = Steps(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer, len(words)


def _shapes(config: Config, vocabulary: int) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    narrow = config.num_kv_heads * config.head_size
    sizes = {
        "attn_k": (narrow, hidden),
        "attn_v": (narrow, hidden),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, hidden),
        "output_norm.weight": (hidden,),
    }
    for index in range(config.num_layers):
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{index}.{name}.weight"] = (hidden,)
        for name in _LINEARS.values():
            shapes[f"blk.{index}.{name}.weight"] = sizes.get(name, (hidden, hidden))
    return shapes


def _check_shapes(
    path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in wanted.items():
        if name not in found:
            raise DecoderError(f"{path} lacks the tensor {name}")
        if found[name] != shape:
            raise DecoderError(f"{path}: {name} has shape {found[name]}, its metadata say {shape}")
    for name in found:
        if name not in wanted:
            raise DecoderError(f"{path} holds the tensor {name}, which is not supported")


def _attention(query: Array, key: Array, value: Array) -> Array:
    """Causal attention of one text, (tokens, heads, size) and twice (tokens, kv heads, size).

    Neighbouring heads of Q share a head of K and V. Gives (tokens, heads * size).
    """
    tokens, heads, size = query.shape
    shared = heads // key.shape[1]
    key, value = (np.repeat(x, shared, axis=1).transpose(1, 0, 2) for x in (key, value))
    scores = query.transpose(1, 0, 2) @ key.transpose(0, 2, 1) / np.float32(np.sqrt(size))
    scores = np.where(np.tri(tokens, dtype=bool), scores, np.float32(-np.inf))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended: Array = (scores @ value).transpose(1, 0, 2).reshape(tokens, -1)
    return attended


def _silu(x: Array) -> Array:
    # tanh, as exp(-x) overflows for the large negative values of a quantised model.
    silu: Array = x * (0.5 * (1 + np.tanh(0.5 * x)))
    return silu


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
