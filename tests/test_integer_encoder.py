"""The encoder in the accelerator's integers, run in numpy: how near the float one it stays."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_mpnet
from test_encoder import random_tensors, write_folder

from oleaster.models.accelerator.gemm_list import ModelExecutor
from oleaster.models.encoder import Array, Encoder, load_encoder
from oleaster.models.integer_encoder import LISTS, IntegerEncoder

TEXTS = ["wild olive tree", "", "olive unheard", "tree tree tree tree tree tree"]
CALIBRATION = ["olive tree wild", "tree", "unheard wild wild olive olive"]


@pytest.fixture
def tiny(tmp_path: Path) -> Encoder:
    return load_encoder(write_folder(tmp_path / "bert", random_tensors()))


@pytest.fixture
def tiny_mpnet(tmp_path: Path) -> Encoder:
    return load_encoder(test_mpnet.write(tmp_path / "mpnet", test_mpnet.random_tensors()))


def cosines(model: IntegerEncoder, texts: list[str]) -> Array:
    """To the float model, one for each text."""
    found = model.embed(texts, ModelExecutor())
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    return (found * model.embed_float(texts)).sum(axis=1)


@pytest.mark.parametrize(
    ("weights", "activations", "bound"),
    [("int8", "int8", 0.999), ("ovp8", "ovp8", 0.99), ("int8", "ovp8", 0.99)],
)
@pytest.mark.parametrize("kind", ["tiny", "tiny_mpnet"])
def test_near_the_float_model(
    kind: str, weights: str, activations: str, bound: float, request: pytest.FixtureRequest
) -> None:
    encoder: Encoder = request.getfixturevalue(kind)
    model = IntegerEncoder(
        encoder, weights=weights, activations=activations, calibration_texts=CALIBRATION
    )
    found = cosines(model, TEXTS)
    assert found.min() > bound
    np.testing.assert_allclose(model.embed_float(TEXTS), encoder.embed(TEXTS), atol=2e-6)


def test_every_head_has_its_own_scale(tmp_path: Path) -> None:
    tensors = random_tensors()
    for name in ("query", "key"):
        for part in ("weight", "bias"):
            tensors[f"encoder.layer.0.attention.self.{name}.{part}"][:4] *= np.float32(0.02)
    tensors["encoder.layer.0.attention.output.dense.weight"] *= np.float32(10)
    encoder = load_encoder(write_folder(tmp_path / "bert", tensors))
    model = IntegerEncoder(
        encoder, weights="int8", activations="int8", layers=1, calibration_texts=CALIBRATION
    )
    assert cosines(model, TEXTS).min() > 0.997


def test_one_token(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = IntegerEncoder(tiny, weights="int8", activations="int8", calibration_texts=CALIBRATION)
    monkeypatch.setattr(tiny, "tokenize", lambda text: [4])
    assert cosines(model, ["olive"]).min() > 0.999


def test_texts_do_not_change_each_other(tiny: Encoder) -> None:
    model = IntegerEncoder(tiny, calibration_texts=CALIBRATION)
    executor = ModelExecutor()
    alone = [model.embed([text], executor)[0] for text in TEXTS]
    np.testing.assert_array_equal(model.embed(TEXTS, executor), alone)
    assert model.embed([], executor).shape == (0, 8)


def test_layers_and_progress(tiny: Encoder) -> None:
    calls: list[tuple[int, int]] = []
    model = IntegerEncoder(tiny, layers=1, weights="int8", calibration_texts=CALIBRATION)
    assert len(model.constants) == 6
    model.embed(TEXTS, ModelExecutor(), progress=lambda done, of: calls.append((done, of)))
    lists = len(TEXTS) * len(LISTS)
    assert calls == [(done, lists) for done in range(1, lists + 1)]
    first_only = tiny.run_layer(0, tiny.embed_tokens(tiny.tokenize(TEXTS[0]))).mean(axis=0)
    np.testing.assert_allclose(
        model.embed_float(TEXTS[:1])[0], first_only / np.linalg.norm(first_only), atol=1e-6
    )
    assert cosines(model, TEXTS).min() > 0.99


def test_what_cannot_be(tiny: Encoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights are 'fp4-e2m1'; they must be one of int4, "):
        IntegerEncoder(tiny, weights="fp4-e2m1")
    with pytest.raises(ValueError, match="activations are 'int32'"):
        IntegerEncoder(tiny, activations="int32")
    for layers in (0, 3):
        with pytest.raises(ValueError, match=f"layers is {layers}; the model has 1 to 2"):
            IntegerEncoder(tiny, layers=layers)
    with pytest.raises(ValueError, match="at least one calibration text"):
        IntegerEncoder(tiny, calibration_texts=[])
    with pytest.raises(TypeError, match="sequence of texts"):
        IntegerEncoder(tiny, calibration_texts=CALIBRATION).embed("olive", ModelExecutor())
    tensors = random_tensors()
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    assert config["hidden_size"] == 8
    odd = load_encoder(write_folder(tmp_path / "odd", tensors, num_attention_heads=8))
    with pytest.raises(ValueError, match="a head has 1 elements; pairs need an even number"):
        IntegerEncoder(odd)


def test_weights_too_small_for_their_bias(tmp_path: Path) -> None:
    tensors = random_tensors()
    tensors["encoder.layer.1.attention.self.query.weight"] *= np.float32(1e-20)
    encoder = load_encoder(write_folder(tmp_path / "bert", tensors))
    model = IntegerEncoder(encoder, calibration_texts=CALIBRATION)
    with pytest.raises(ValueError, match="the bias of column"):
        model.embed(TEXTS, ModelExecutor())


@pytest.mark.model
@pytest.mark.parametrize(("weights", "bound"), [("ovp8", 0.99), ("ovp4-flint", 0.92)])
def test_minilm(weights: str, bound: float, cached: Callable[[str], Path]) -> None:
    model = IntegerEncoder(load_encoder(cached("minilm")), weights=weights)
    texts = [
        "The oleaster, or wild olive, is older than the cultivated tree.",
        "It was the best of times, it was the worst of times, it was the age of wisdom.",
        "That is a happy person",
    ]
    executor = ModelExecutor()
    found = model.embed(texts, executor)
    assert ((found * model.embed_float(texts)).sum(axis=1) > bound).all()
    assert not executor.overflows
