"""MPNet in the numpy encoder: a naive second implementation, T5's buckets, published cosines."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_encoder import write_folder

from oleaster.models.encoder import Array, EncoderError, load_encoder, relative_buckets

CONFIG = {
    "model_type": "mpnet",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 11,
    "relative_attention_num_buckets": 8,
    "vocab_size": 7,
    "layer_norm_eps": 1e-3,
}


def random_tensors(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (7, 8),
        "embeddings.position_embeddings.weight": (11, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
        "encoder.relative_attention_bias.weight": (8, 2),
    }
    for i in range(2):
        for name, shape in {
            "attention.attn.q": (8, 8),
            "attention.attn.k": (8, 8),
            "attention.attn.v": (8, 8),
            "attention.attn.o": (8, 8),
            "attention.LayerNorm": (8,),
            "intermediate.dense": (12, 8),
            "output.dense": (8, 12),
            "output.LayerNorm": (8,),
        }.items():
            shapes[f"encoder.layer.{i}.{name}.weight"] = shape
            shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write(folder: Path, tensors: dict[str, Any], **config: Any) -> Path:
    write_folder(folder, tensors)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


def bucket(distance: int, buckets: int) -> int:
    """T5's rule, one distance at a time, in whole numbers: 8 * 16**(j / 8) <= n and so on."""
    half, exact = buckets // 2, buckets // 4
    n, first = abs(distance), half if distance > 0 else 0
    if n < exact:
        return first + n
    steps = half - exact
    # The largest j with exact * (128 / exact) ** (j / steps) <= n.
    j = max(j for j in range(steps + 20) if n**steps >= exact ** (steps - j) * 128**j)
    return first + min(exact + j, half - 1)


def naive_embedding(tensors: dict[str, Array], ids: list[int]) -> np.ndarray:
    """MPNet from its definition: float64, one head and one token at a time."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def norm(name: str, v: np.ndarray) -> np.ndarray:
        mean = sum(v) / len(v)
        variance = sum((v - mean) ** 2) / len(v)
        return (v - mean) / math.sqrt(variance + 1e-3) * t[name + ".weight"] + t[name + ".bias"]

    def dense(name: str, v: np.ndarray) -> np.ndarray:
        return t[name + ".weight"] @ v + t[name + ".bias"]

    hidden = [
        norm(
            "embeddings.LayerNorm",
            t["embeddings.word_embeddings.weight"][token]
            + t["embeddings.position_embeddings.weight"][2 + position],
        )
        for position, token in enumerate(ids)
    ]
    for i in range(2):
        p = f"encoder.layer.{i}."
        query, key, value = ([dense(f"{p}attention.attn.{n}", h) for h in hidden] for n in "qkv")
        after = []
        for token in range(len(ids)):
            context = np.zeros(8)
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                scores = [
                    math.exp(
                        query[token][part] @ k[part] / 2.0
                        + t["encoder.relative_attention_bias.weight"][bucket(at - token, 8), head]
                    )
                    for at, k in enumerate(key)
                ]
                for score, v in zip(scores, value, strict=True):
                    context[part] += score / sum(scores) * v[part]
            attended = dense(p + "attention.attn.o", context) + hidden[token]
            x = norm(p + "attention.LayerNorm", attended)
            inner = dense(p + "intermediate.dense", x)
            inner = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in inner])
            after.append(norm(p + "output.LayerNorm", dense(p + "output.dense", inner) + x))
        hidden = after
    mean = sum(hidden[1:], hidden[0]) / len(hidden)
    return mean / math.sqrt(mean @ mean)


def test_agrees_with_the_naive_implementation(tmp_path: Path) -> None:
    encoder = load_encoder(write(tmp_path / "mpnet", random_tensors()))
    texts = ["wild olive tree", "", "olive unheard", "tree tree tree tree tree tree tree tree"]
    ids = [[1, 3, 4, 5, 2], [1, 2], [1, 4, 0, 2], [1, *[5] * 7, 2]]
    assert [encoder.tokenize(text) for text in texts] == ids  # 11 positions leave 9 tokens
    for embedding, tokens in zip(encoder.embed(texts), ids, strict=True):
        np.testing.assert_allclose(
            embedding, naive_embedding(random_tensors(), tokens), rtol=0, atol=2e-6
        )


@pytest.mark.parametrize("buckets", [4, 8, 32])
def test_buckets(buckets: int) -> None:
    distances = np.arange(-300, 301)
    expected = [bucket(int(distance), buckets) for distance in distances]
    assert relative_buckets(distances, buckets).tolist() == expected


def test_buckets_of_mpnet() -> None:
    """By hand: 8 single distances, then borders at 8 * 2**(j / 2) up to 128, later keys from 16."""
    distances = np.array([0, -1, -7, -8, -11, -12, -16, -23, -64, -90, -91, -127, -500])
    assert relative_buckets(distances, 32).tolist() == [
        *(0, 1, 7, 8, 8, 9, 10, 11, 14, 14, 15, 15, 15)
    ]
    assert relative_buckets(-distances[1:], 32).tolist() == [
        *(17, 23, 24, 24, 25, 26, 27, 30, 30, 31, 31, 31)
    ]


def test_hook_and_prefix(tmp_path: Path) -> None:
    tensors = random_tensors()
    prefixed = {"mpnet." + name: tensor for name, tensor in tensors.items()}
    encoder = load_encoder(write(tmp_path / "prefixed", prefixed))
    seen: list[str] = []

    def linear(name: str, x: Array, weight: Array, bias: Array) -> Array:
        seen.append(name)
        assert encoder.linears[name][0] is weight
        return x @ weight.T + bias

    text = ["wild olive tree"]
    np.testing.assert_array_equal(encoder.embed(text, linear=linear), encoder.embed(text))
    assert seen == list(encoder.linears)
    np.testing.assert_array_equal(
        encoder.linears["layer.1.attention.output"][0],
        tensors["encoder.layer.1.attention.attn.o.weight"],
    )


def without_bias(tensors: dict[str, Any]) -> None:
    del tensors["encoder.relative_attention_bias.weight"]


def with_many_buckets(tensors: dict[str, Any]) -> None:
    tensors["encoder.relative_attention_bias.weight"] = np.ones((16, 2), np.float32)


def without_query(tensors: dict[str, Any]) -> None:
    del tensors["encoder.layer.0.attention.attn.q.weight"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_bias, r"lacks the tensor encoder\.relative_attention_bias\.weight"),
        (with_many_buckets, r"has shape \(16, 2\), config\.json says \(8, 2\)"),
        (without_query, r"lacks the tensor encoder\.layer\.0\.attention\.attn\.q\.weight"),
    ],
)
def test_wrong_tensors(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = write(tmp_path / "mpnet", random_tensors())
    tensors: dict[str, Any] = random_tensors()
    damage(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=message):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_attention_num_buckets": None}, "must be a positive int, not None"),
        ({"relative_attention_num_buckets": 6}, "is 6, it must be a multiple of 4"),
        ({"max_position_embeddings": 2}, "leaves no position: mpnet begins at 2"),
        ({"model_type": "bert"}, "type_vocab_size must be a positive int, not None"),
    ],
)
def test_wrong_configuration(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(write(tmp_path / "mpnet", random_tensors(), **change))


@pytest.mark.model
def test_mpnet_cosines(cached: Callable[[str], Path]) -> None:
    encoder = load_encoder(cached("mpnet"))
    embeddings = encoder.embed(
        [
            "That is a happy person",
            "That is a happy dog",
            "That is a very happy person",
            "Today is a sunny day",
        ]
    )
    np.testing.assert_allclose(embeddings[1:] @ embeddings[0], [0.764, 0.967, 0.315], atol=5e-4)
    assert len(encoder.linears) == 72
