"""The numpy encoder: against published cosines, a naive second implementation, bad folders."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from oleaster.models.encoder import MAX_TOKENS, Array, Encoder, EncoderError, load_encoder
from oleaster.models.fetch import fetch

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 6,
    "type_vocab_size": 2,
    "vocab_size": 7,
    "layer_norm_eps": 1e-3,
}
WORDS = ["[UNK]", "[CLS]", "[SEP]", "wild", "olive", "tree"]
LINEARS = [
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "intermediate",
    "output",
]


def random_tensors(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (7, 8),
        "embeddings.position_embeddings.weight": (6, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
    }
    for i in range(2):
        for name, shape in {
            "attention.self.query": (8, 8),
            "attention.self.key": (8, 8),
            "attention.self.value": (8, 8),
            "attention.output.dense": (8, 8),
            "attention.output.LayerNorm": (8,),
            "intermediate.dense": (12, 8),
            "output.dense": (8, 12),
            "output.LayerNorm": (8,),
        }.items():
            shapes[f"encoder.layer.{i}.{name}.weight"] = shape
            shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_folder(folder: Path, tensors: dict[str, Any], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(tensors, folder / "model.safetensors")
    tokenizer = Tokenizer(
        WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bert", random_tensors())


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder(fetch("minilm"))


def naive_embedding(tensors: dict[str, Array], ids: list[int]) -> np.ndarray:
    """BERT from its definition: float64, one head and one token at a time."""
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
            + t["embeddings.position_embeddings.weight"][position]
            + t["embeddings.token_type_embeddings.weight"][0],
        )
        for position, token in enumerate(ids)
    ]
    for i in range(2):
        p = f"encoder.layer.{i}."
        query, key, value = (
            [dense(f"{p}attention.self.{name}", h) for h in hidden]
            for name in ("query", "key", "value")
        )
        after = []
        for token in range(len(ids)):
            context = np.zeros(8)
            for head in (slice(0, 4), slice(4, 8)):
                scores = [math.exp(query[token][head] @ k[head] / 2.0) for k in key]
                for score, v in zip(scores, value, strict=True):
                    context[head] += score / sum(scores) * v[head]
            attended = dense(p + "attention.output.dense", context) + hidden[token]
            x = norm(p + "attention.output.LayerNorm", attended)
            inner = dense(p + "intermediate.dense", x)
            inner = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in inner])
            after.append(norm(p + "output.LayerNorm", dense(p + "output.dense", inner) + x))
        hidden = after
    mean = sum(hidden[1:], hidden[0]) / len(hidden)
    return mean / math.sqrt(mean @ mean)


def test_agrees_with_the_naive_implementation(folder: Path) -> None:
    encoder = load_encoder(folder)
    texts = ["wild olive tree", "", "olive unheard", "tree tree tree tree tree tree"]
    ids = [[1, 3, 4, 5, 2], [1, 2], [1, 4, 0, 2], [1, 5, 5, 5, 5, 2]]
    assert [encoder.tokenize(text) for text in texts] == ids
    embeddings = encoder.embed(texts)
    assert embeddings.dtype == np.float32
    for embedding, tokens in zip(embeddings, ids, strict=True):
        np.testing.assert_allclose(
            embedding, naive_embedding(random_tensors(), tokens), rtol=0, atol=2e-6
        )


def test_batches_do_not_mix_texts(folder: Path) -> None:
    encoder = load_encoder(folder)
    texts = ["wild", "olive tree", "wild wild wild", ""] * 9
    alone = np.concatenate([encoder.embed([text]) for text in texts[:4]] * 9)
    np.testing.assert_allclose(encoder.embed(texts), alone, rtol=0, atol=1e-6)
    assert encoder.embed([]).shape == (0, 8)


def test_hook_takes_the_place_of_every_linear_layer(folder: Path) -> None:
    encoder = load_encoder(folder)
    seen: list[str] = []

    def linear(name: str, x: Array, weight: Array, bias: Array) -> Array:
        seen.append(name)
        stored_weight, stored_bias = encoder.linears[name]
        assert weight is stored_weight
        assert bias is stored_bias
        assert x.shape == (5, weight.shape[1])
        return np.zeros((len(x), len(weight)), np.float32)

    changed = encoder.embed(["wild olive tree"], linear=linear)
    assert seen == [f"layer.{i}.{name}" for i in range(2) for name in LINEARS]
    assert seen == list(encoder.linears)
    assert not np.allclose(changed, encoder.embed(["wild olive tree"]), atol=1e-3)


def test_one_layer_through_another_engine(folder: Path) -> None:
    encoder = load_encoder(folder)
    x = encoder.embed_tokens(encoder.tokenize("wild olive tree"))
    assert x.shape == (5, 8)
    exact = encoder.run_layer(0, x)

    def integers(name: str, x: Array, weight: Array, bias: Array) -> Array:
        return (np.rint(x * 2**12) @ np.rint(weight.T * 2**12) / 2**24 + bias).astype(np.float32)

    np.testing.assert_allclose(encoder.run_layer(0, x, linear=integers), exact, atol=0.01)


def test_old_names_and_half_precision(tmp_path: Path) -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in random_tensors().items()}
    plain = load_encoder(write_folder(tmp_path / "plain", tensors))
    renamed = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tensors.items()
    }
    renamed["cls.predictions.bias"] = np.zeros(7, np.float16)
    old = load_encoder(write_folder(tmp_path / "old", renamed))
    np.testing.assert_array_equal(plain.embed(["wild olive"]), old.embed(["wild olive"]))


def test_one_string_is_not_a_sequence_of_texts(folder: Path) -> None:
    with pytest.raises(TypeError, match="sequence of texts"):
        load_encoder(folder).embed("wild olive")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_and_cut_files(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match=name):
        load_encoder(folder)
    path.unlink()
    with pytest.raises(EncoderError, match=f"holds no {name}"):
        load_encoder(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is not a folder"):
        load_encoder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', only 'bert' and 'mpnet' are"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', only 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "only 'absolute'"),
        ({"hidden_size": None}, "hidden_size must be a positive int, not None"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers must be a positive int, not 1.5"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be a positive float, not 0"),
        ({"num_attention_heads": 3}, "no multiple of num_attention_heads 3"),
        ({"intermediate_size": 16}, r"has shape \(12, 8\), config.json says \(16, 8\)"),
        ({"num_hidden_layers": 3}, r"lacks the tensor encoder\.layer\.2\."),
    ],
)
def test_wrong_configuration(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(write_folder(tmp_path / "bert", random_tensors(), **change))


def without_key(tensors: dict[str, Any]) -> None:
    del tensors["encoder.layer.1.attention.self.key.weight"]


def with_nan(tensors: dict[str, Any]) -> None:
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = np.nan


def with_integers(tensors: dict[str, Any]) -> None:
    tensors["embeddings.LayerNorm.bias"] = np.ones(8, np.int32)


def with_few_words(tensors: dict[str, Any]) -> None:
    tensors["embeddings.word_embeddings.weight"] = np.ones((5, 8), np.float32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_key, r"lacks the tensor encoder\.layer\.1\.attention\.self\.key\.weight"),
        (with_nan, r"encoder\.layer\.0\.output\.dense\.weight holds values that are not finite"),
        (with_integers, r"embeddings\.LayerNorm\.bias holds values that are not finite floats"),
        (with_few_words, r"has shape \(5, 8\), config.json says \(7, 8\)"),
    ],
)
def test_wrong_tensors(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    tensors: dict[str, Any] = random_tensors()
    damage(tensors)
    with pytest.raises(EncoderError, match=message):
        load_encoder(write_folder(tmp_path / "bert", tensors))


def test_tokenizer_larger_than_the_vocabulary(tmp_path: Path) -> None:
    tensors = random_tensors()
    word = "embeddings.word_embeddings.weight"
    tensors[word] = np.ascontiguousarray(tensors[word][:5])
    with pytest.raises(EncoderError, match=r"has 6 tokens, config\.json says vocab_size 5"):
        load_encoder(write_folder(tmp_path / "bert", tensors, vocab_size=5))


@pytest.mark.model
def test_minilm_cosines(minilm: Encoder) -> None:
    embeddings = minilm.embed(
        [
            "That is a happy person",
            "That is a happy dog",
            "That is a very happy person",
            "Today is a sunny day",
        ]
    )
    np.testing.assert_allclose(embeddings[1:] @ embeddings[0], [0.6946, 0.9429, 0.2569], atol=5e-5)


@pytest.mark.model
def test_minilm_cuts_long_texts(minilm: Encoder) -> None:
    assert len(minilm.tokenize("olive " * 400)) == MAX_TOKENS
    assert len(minilm.linears) == 36
