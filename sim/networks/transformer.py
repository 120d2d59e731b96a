"""Transformers as lists of GEMMs, built from their hyperparameters.

An encoder's layers are named `layer.<i>.`, a decoder's too; where a network has both they are
`encoder.<i>.` and `decoder.<i>.`. In each follow, as they run,

    attention.query, .key, .value (or .qkv), .scores, .context, .output
    cross_attention, the same without .qkv, in the decoder of a network that has an encoder
    ffn.gate (if gated), ffn.up, ffn.down

`scores` is Q K^T and `context` is P V: the layers of kind "attention".
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from oleaster.sim.networks.layer import Convolution, Layer

__all__ = ["Phase", "Transformer", "transformers"]

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Transformer:
    """Hyperparameters.

    hidden: width of the hidden states; heads: query heads of `hidden / heads` each. kv_heads: heads
    of K and V, each shared by `heads / kv_heads` query heads; 0 for as many as query heads.
    ffn: width inside the feed-forward layers. sequence: tokens by default.
    fused_qkv: Q, K and V come from one linear layer. vocabulary: width of the output head that
    gives the next token, 0 for none. pooler, classes: a (hidden, hidden) layer and a classifier
    at the end, on one token. patch: side of the square of pixels that makes a token of an image,
    0 for text.
    """

    hidden: int
    heads: int
    ffn: int
    sequence: int
    encoder_layers: int = 0
    decoder_layers: int = 0
    kv_heads: int = 0
    gated_ffn: bool = False
    fused_qkv: bool = False
    vocabulary: int = 0
    pooler: bool = False
    classes: int = 0
    patch: int = 0

    @property
    def generates(self) -> bool:
        """Whether it gives one token after the other, with a cache of K and V."""
        return bool(self.vocabulary)

    def layers(self, batch: int, sequence: int, phase: Phase) -> Iterator[Layer]:
        """All layers, as they run on `batch` sequences of `sequence` tokens each.

        In the phase "decode" each sequence has one new token, which attends to `sequence` tokens,
        itself included; Q K^T and P V are computed in full, also where a mask then hides scores.
        """
        tokens = sequence if phase == "prefill" else 1
        if self.patch:
            yield self._patch_embedding(batch, sequence)
        both = bool(self.encoder_layers and self.decoder_layers)
        for index in range(self.encoder_layers):
            name = f"{'encoder' if both else 'layer'}.{index}"
            yield from self._attention(f"{name}.attention", batch, tokens, sequence)
            yield from self._feed_forward(f"{name}.ffn", batch * tokens)
        for index in range(self.decoder_layers):
            name = f"{'decoder' if both else 'layer'}.{index}"
            yield from self._attention(f"{name}.attention", batch, tokens, sequence)
            if both:
                yield from self._cross_attention(f"{name}.cross_attention", batch, tokens, sequence)
            yield from self._feed_forward(f"{name}.ffn", batch * tokens)
        # Heads read one token of each sequence: the first of BERT, the last of the others.
        if self.pooler:
            yield Layer("pooler", "linear", batch, self.hidden, self.hidden)
        if self.classes:
            yield Layer("classifier", "linear", batch, self.hidden, self.classes)
        if self.vocabulary:
            yield Layer("lm_head", "linear", batch, self.hidden, self.vocabulary)

    def _patch_embedding(self, batch: int, sequence: int) -> Layer:
        side = round((sequence - 1) ** 0.5)  # one token is the class token
        convolution = Convolution(
            batch, side, side, 3, self.hidden, self.patch, self.patch, self.patch
        )
        k = self.patch * self.patch * 3
        m = batch * side * side
        return Layer("patch_embedding", "convolution", m, k, self.hidden, 1, convolution)

    def _attention(self, name: str, batch: int, tokens: int, cached: int) -> Iterator[Layer]:
        rows, hidden, kv = batch * tokens, self.hidden, self._kv_width
        if self.fused_qkv:
            yield Layer(f"{name}.qkv", "linear", rows, hidden, hidden + 2 * kv)
        else:
            yield Layer(f"{name}.query", "linear", rows, hidden, hidden)
            yield Layer(f"{name}.key", "linear", rows, hidden, kv)
            yield Layer(f"{name}.value", "linear", rows, hidden, kv)
        yield from self._products(name, batch, tokens, cached)
        yield Layer(f"{name}.output", "linear", rows, hidden, hidden)

    def _cross_attention(self, name: str, batch: int, tokens: int, source: int) -> Iterator[Layer]:
        hidden, kv = self.hidden, self._kv_width
        yield Layer(f"{name}.query", "linear", batch * tokens, hidden, hidden)
        yield Layer(f"{name}.key", "linear", batch * source, hidden, kv)
        yield Layer(f"{name}.value", "linear", batch * source, hidden, kv)
        yield from self._products(name, batch, tokens, source)
        yield Layer(f"{name}.output", "linear", batch * tokens, hidden, hidden)

    def _products(self, name: str, batch: int, tokens: int, cached: int) -> Iterator[Layer]:
        # Query heads that share K and V are rows of one product.
        kv_heads, head = self.kv_heads or self.heads, self.hidden // self.heads
        rows, count = self.heads // kv_heads * tokens, batch * kv_heads
        yield Layer(f"{name}.scores", "attention", rows, head, cached, count)
        yield Layer(f"{name}.context", "attention", rows, cached, head, count)

    def _feed_forward(self, name: str, rows: int) -> Iterator[Layer]:
        if self.gated_ffn:
            yield Layer(f"{name}.gate", "linear", rows, self.hidden, self.ffn)
        yield Layer(f"{name}.up", "linear", rows, self.hidden, self.ffn)
        yield Layer(f"{name}.down", "linear", rows, self.ffn, self.hidden)

    @property
    def _kv_width(self) -> int:
        return self.hidden // self.heads * (self.kv_heads or self.heads)


@cache
def transformers() -> dict[str, Transformer]:
    """Those of transformers.toml, by name."""
    text = files(__package__).joinpath("transformers.toml").read_text(encoding="utf-8")
    return {name: Transformer(**keys) for name, keys in tomllib.loads(text).items()}
