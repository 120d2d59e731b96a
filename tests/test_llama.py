"""The numpy decoder: a naive second implementation, damaged files, and SmolLM2 itself."""

import cmath
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants

from oleaster.models.accuracy import evaluate_decoder, load_lee50
from oleaster.models.encoder import Array, float_linear
from oleaster.models.fetch import fetch
from oleaster.models.llama import Decoder, DecoderError, load_decoder, rotate

# 4 heads of Q share 2 of K and V, each of 4 elements; layer by layer as in GGUF.
HIDDEN, LAYERS, HEADS, KV_HEADS, SIZE, INNER, BASE, EPS = 16, 2, 4, 2, 4, 32, 100.0, 1e-3
WORDS = ["a", "b", "c", "Ġ", "1", "2", "ab", "Ġab"]
MERGES = ["a b", "Ġ ab"]
LINEARS = [
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "gate",
    "up",
    "down",
]


def random_tensors(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(WORDS), HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for i in range(LAYERS):
        for name, shape in {
            "attn_norm": (HIDDEN,),
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (KV_HEADS * SIZE, HIDDEN),
            "attn_v": (KV_HEADS * SIZE, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_norm": (HIDDEN,),
            "ffn_gate": (INNER, HIDDEN),
            "ffn_up": (INNER, HIDDEN),
            "ffn_down": (HIDDEN, INNER),
        }.items():
            shapes[f"blk.{i}.{name}.weight"] = shape
    return {
        name: (rng.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()
    }


def write(
    path: Path,
    tensors: dict[str, Array],
    architecture: str = "llama",
    kinds: dict[str, GGMLQuantizationType] | None = None,
    **metadata: Any,
) -> Path:
    """A GGUF file; `kinds` names tensors to quantise, `metadata` replaces keys (dots as __)."""
    writer = GGUFWriter(path, architecture)
    fields: dict[str, Any] = {
        "embedding_length": HIDDEN,
        "block_count": LAYERS,
        "attention__head_count": HEADS,
        "attention__head_count_kv": KV_HEADS,
        "feed_forward_length": INNER,
        "context_length": 20,
        "attention__layer_norm_rms_epsilon": EPS,
        "rope__freq_base": BASE,
        "rope__dimension_count": SIZE,
        "tokenizer_pre": "smollm",
    } | metadata
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields.pop("tokenizer_pre"))
    writer.add_token_list(WORDS)
    writer.add_token_merges(MERGES)
    for key, value in fields.items():
        if value is None:
            continue
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add("llama." + key.replace("__", "."), value)
    for name, tensor in tensors.items():
        kind = (kinds or {}).get(name)
        if kind is None:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.gguf", random_tensors())


def naive_logits(tensors: dict[str, Array], ids: list[int]) -> np.ndarray:
    """Llama from its definition: float64, one head and one token at a time, complex rotations."""
    t = {name.removesuffix(".weight"): x.astype(np.float64) for name, x in tensors.items()}

    def norm(name: str, v: np.ndarray) -> np.ndarray:
        return v / math.sqrt(sum(v**2) / len(v) + EPS) * t[name]

    def turned(v: np.ndarray, position: int) -> np.ndarray:
        result = np.empty(SIZE)
        for i in range(SIZE // 2):
            z = complex(v[2 * i], v[2 * i + 1])
            z *= cmath.exp(1j * position / BASE ** (2 * i / SIZE))
            result[2 * i], result[2 * i + 1] = z.real, z.imag
        return result

    hidden = [t["token_embd"][token] for token in ids]
    for i in range(LAYERS):
        p = f"blk.{i}."
        keys: list[list[np.ndarray]] = []
        values: list[list[np.ndarray]] = []
        after = []
        for position, h in enumerate(hidden):
            x = norm(p + "attn_norm", h)
            query, key, value = (t[f"{p}attn_{name}"] @ x for name in "qkv")
            split = [slice(SIZE * kv, SIZE * kv + SIZE) for kv in range(KV_HEADS)]
            keys.append([turned(key[part], position) for part in split])
            values.append([value[part] for part in split])
            context = np.zeros(HIDDEN)
            for head in range(HEADS):
                kv = head // (HEADS // KV_HEADS)
                part = slice(SIZE * head, SIZE * head + SIZE)
                q = turned(query[part], position)
                weights = [math.exp(q @ k[kv] / math.sqrt(SIZE)) for k in keys]
                for weight, v in zip(weights, values, strict=True):
                    context[part] += weight / sum(weights) * v[kv]
            h = h + t[p + "attn_output"] @ context
            x = norm(p + "ffn_norm", h)
            gate, up = t[p + "ffn_gate"] @ x, t[p + "ffn_up"] @ x
            inner = np.array([g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)])
            after.append(h + t[p + "ffn_down"] @ inner)
        hidden = after
    return np.array([t["token_embd"] @ norm("output_norm", h) for h in hidden])


TEXTS = ["abc ab", "ab1212", "c"]
IDS = [[6, 2, 7], [6, 4, 5, 4, 5], [2]]


def test_agrees_with_the_naive_implementation(file: Path) -> None:
    decoder = load_decoder(file)
    assert [decoder.tokenize(text) for text in TEXTS] == IDS
    assert [decoder.detokenize(ids) for ids in IDS] == TEXTS
    for states, ids in zip(decoder.hidden_states(TEXTS), IDS, strict=True):
        logits = decoder.logits(states)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, naive_logits(random_tensors(), ids), rtol=0, atol=2e-5)


def test_rotation_turns_neighbours() -> None:
    """By hand: token 0 stays; at base 1 every pair of token 1 turns by one radian."""
    x = np.zeros((2, 1, 4), np.float32)
    x[:, 0, 0] = x[:, 0, 3] = 1
    turned = rotate(x, 1.0)
    np.testing.assert_array_equal(turned[0], x[0])
    cosine, sine = math.cos(1), math.sin(1)
    np.testing.assert_allclose(turned[1, 0], [cosine, sine, -sine, cosine], rtol=1e-6)
    # At base 10,000 the second of two pairs turns a hundred times slower.
    slow = rotate(x, 10000.0)[1, 0]
    np.testing.assert_allclose(slow[2:], [-math.sin(0.01), math.cos(0.01)], rtol=1e-6)


def test_scores_depend_on_the_distance_only() -> None:
    rng = np.random.default_rng(2)
    query, key = (np.tile(rng.standard_normal((1, 1, 8)), (9, 1, 1)) for _ in range(2))
    scores = rotate(query, 50.0)[:, 0] @ rotate(key, 50.0)[:, 0].T
    for distance in range(-8, 9):
        np.testing.assert_allclose(np.diff(np.diagonal(scores, distance)), 0, atol=1e-5)


def test_later_tokens_and_other_texts_change_nothing(file: Path) -> None:
    decoder = load_decoder(file)
    long, short = decoder.hidden_states(["ab1212", "ab1"])
    np.testing.assert_allclose(long[:2], short, atol=1e-5)
    texts = [*TEXTS, "cab"] * 5
    alone = [decoder.hidden_states([text])[0] for text in texts]
    for together, one in zip(decoder.hidden_states(texts), alone, strict=True):
        np.testing.assert_allclose(together, one, atol=1e-5)
    assert decoder.hidden_states([]) == []


def test_hook_takes_the_place_of_every_linear_layer(file: Path) -> None:
    decoder = load_decoder(file)
    seen: list[str] = []

    def linear(name: str, x: Array, weight: Array, bias: Array) -> Array:
        seen.append(name)
        assert weight is decoder.linears[name][0]
        assert x.shape == (3, weight.shape[1])
        np.testing.assert_array_equal(bias, np.zeros(len(weight), np.float32))
        return float_linear(name, x, weight, bias)

    (hooked,) = decoder.hidden_states(TEXTS[:1], linear=linear)
    assert seen == [f"layer.{i}.{name}" for i in range(LAYERS) for name in LINEARS]
    assert seen == list(decoder.linears)
    np.testing.assert_array_equal(hooked, decoder.hidden_states(TEXTS[:1])[0])


def test_quantised_weights_are_what_the_file_holds(tmp_path: Path) -> None:
    name, kind = "blk.1.ffn_down.weight", GGMLQuantizationType.Q4_1
    tensors = random_tensors()
    decoder = load_decoder(write(tmp_path / "q.gguf", tensors, kinds={name: kind}))
    weight, _ = decoder.linears["layer.1.down"]
    low, high = (f(tensors[name], axis=1) for f in (np.min, np.max))
    step = (high - low) / 15
    assert 0 < np.abs(weight - tensors[name]).max() <= 0.51 * step.max() + 0.01
    assert all(len(np.unique(row)) <= 16 for row in weight)


def test_perplexity_by_hand(file: Path) -> None:
    decoder = load_decoder(file)
    texts, calibration = TEXTS[:2], ["cab ab"]
    losses = []
    for ids in IDS[:2]:
        logits = naive_logits(random_tensors(), ids)
        for row, following in zip(logits, ids[1:], strict=False):
            losses.append(math.log(sum(math.exp(x) for x in row)) - row[following])
    exact, int8, rough = evaluate_decoder(decoder, ["float:int8", "int4"], texts, calibration)
    assert exact.perplexity == pytest.approx(math.exp(sum(losses) / 6), rel=1e-4)
    assert (exact.format, exact.cosine, exact.spearman) == ("float", pytest.approx(1), None)
    assert (int8.format, int8.weight_bits, int8.activation_bits) == ("float:int8", 32, 8)
    assert int8.weight_sqnr_db == math.inf
    assert int8.perplexity == pytest.approx(exact.perplexity, rel=0.1)
    assert rough.cosine < int8.cosine < 1
    assert [layer.name for layer in rough.layers] == list(decoder.linears)


def test_texts_that_cannot_be_used(file: Path) -> None:
    decoder = load_decoder(file)
    with pytest.raises(ValueError, match="21 tokens, it must have 1 to 20"):
        decoder.hidden_states(["1" * 21])
    with pytest.raises(ValueError, match="0 tokens"):
        decoder.hidden_states([""])
    with pytest.raises(TypeError, match="sequence of texts"):
        decoder.hidden_states("ab")
    for texts in ([], ["c"]):
        with pytest.raises(ValueError, match="2 tokens in each"):
            evaluate_decoder(decoder, [], texts, ["ab"])


def test_folders(file: Path, tmp_path: Path) -> None:
    assert isinstance(load_decoder(tmp_path), Decoder)
    file.rename(tmp_path / "other.bin")
    with pytest.raises(DecoderError, match=r"holds 0 \.gguf files"):
        load_decoder(tmp_path)
    with pytest.raises(DecoderError, match=r"neither a \.gguf file nor a folder"):
        load_decoder(tmp_path / "none.gguf")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.6, 0.95])
def test_cut_files(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DecoderError, match=r"tiny\.gguf is not a whole GGUF file"):
        load_decoder(file)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("no model at all, but long enough to have a header")
    with pytest.raises(DecoderError, match="is not a whole GGUF file"):
        load_decoder(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "gpt2"}, "general.architecture is 'gpt2', only 'llama'"),
        ({"tokenizer_pre": "default"}, r"the tokenizer is \('gpt2', 'default'\), only"),
        ({"block_count": None}, "llama.block_count must be a positive int, not None"),
        ({"rope__freq_base": 0.0}, "llama.rope.freq_base must be a positive float, not 0.0"),
        ({"attention__head_count": 3}, "hidden size 16 does not give 3 heads"),
        ({"attention__head_count": 16}, "hidden size 16 does not give 16 heads of an even size"),
        ({"attention__head_count_kv": 3}, "4 heads cannot share 3 heads of K and V"),
        ({"rope__dimension_count": 2}, "dimension_count is 2, only the whole head, 4"),
        ({"block_count": 3}, r"lacks the tensor blk\.2\."),
        ({"block_count": 1}, r"holds the tensor blk\.1\.\w+\.weight, which is not supported"),
        ({"feed_forward_length": 24}, r"has shape \(32, 16\), its metadata say \(24, 16\)"),
    ],
)
def test_wrong_metadata(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        load_decoder(write(tmp_path / "wrong.gguf", random_tensors(), **change))


def test_wrong_tensors(tmp_path: Path) -> None:
    path = tmp_path / "wrong.gguf"
    tensors = random_tensors()
    del tensors["blk.1.attn_k.weight"]
    with pytest.raises(DecoderError, match=r"lacks the tensor blk\.1\.attn_k\.weight"):
        load_decoder(write(path, tensors))
    tensors = random_tensors()
    tensors["blk.0.attn_v.weight"] = tensors["blk.0.attn_v.weight"][:4]
    with pytest.raises(DecoderError, match=r"attn_v\.weight has shape \(4, 16\)"):
        load_decoder(write(path, tensors))
    tensors = random_tensors()
    tensors["output_norm.weight"][3] = np.nan
    with pytest.raises(DecoderError, match=r"output_norm\.weight holds values that are not finite"):
        load_decoder(write(path, tensors))


@pytest.mark.model
def test_smollm2(cached: Callable[[str], Path]) -> None:
    decoder = load_decoder(cached("smollm2"))
    assert len(decoder.linears) == 210
    (states,) = decoder.hidden_states(["The capital of France is"])
    following = int(decoder.logits(states[-1:]).argmax())
    assert decoder.detokenize([following]) == " Paris"
    lee = load_lee50(fetch("lee50"))
    texts = lee.texts[:20]
    assert sum(len(decoder.tokenize(text)) - 1 for text in texts) == 2273
    (exact,) = evaluate_decoder(decoder, [], texts, [], activations="dynamic")
    assert exact.perplexity == pytest.approx(36.2, abs=0.05)
