"""Sentiment: what the data sets hold, which texts are held out, and what the head is shown."""

import bz2
import csv
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from oleaster.models.encoder import Array, Linear, float_linear, load_encoder
from oleaster.models.fetch import fetch
from oleaster.models.formats import FormatError
from oleaster.models.sentiment import (
    Sentiment,
    SentimentError,
    evaluate_sentiment,
    load_rotten,
    load_vader,
)


class OneLayer:
    """Embeds a text, a number and a seed, as that number times a direction, plus noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.linears = {"only": (rng.normal(size=(8, 6)).astype(np.float32), np.zeros(8, "f4"))}
        self.seen: list[str] = []

    def hidden_states(self, texts: Sequence[str], *, linear: Linear = float_linear) -> list[Array]:
        states = []
        for text in texts:
            value, seed = text.split()
            x = np.random.default_rng(int(seed)).normal(0, 0.5, (1, 6)).astype(np.float32)
            x[:, 0] += 2 * float(value)
            states.append(linear("only", x, *self.linears["only"]))
        self.seen += texts
        return states

    def embed(self, texts: Sequence[str], *, linear: Linear = float_linear) -> Array:
        return np.concatenate(self.hidden_states(texts, linear=linear))


def numbers(count: int, seed: int, *, classes: bool) -> tuple[list[str], np.ndarray]:
    values = np.random.default_rng(seed).uniform(-1, 1, count)
    texts = [f"{value} {seed * 1000 + i}" for i, value in enumerate(values)]
    return texts, (values > 0).astype(float) if classes else values


@pytest.mark.parametrize("kind", ["class", "rating"])
def test_the_head_is_fitted_to_float_and_shown_the_quantised(kind) -> None:
    model = OneLayer()
    test, train = (numbers(n, n, classes=kind == "class") for n in (40, 160))
    data = Sentiment(kind, *test, *train)
    results = evaluate_sentiment(model, ["int8", "int4:float", "int4"], data)  # type: ignore[arg-type]
    assert [result.format for result in results] == ["float", "int8", "int4:float", "int4"]
    scores = [result.accuracy if kind == "class" else result.spearman for result in results]
    assert scores[0] is not None
    assert 0.7 < scores[0] < 1
    assert all(score is not None and score > 0.6 for score in scores)
    assert all((result.spearman is None) == (kind == "class") for result in results)
    assert results[0].cosine == 1 > results[1].cosine > results[3].cosine > 0.8
    assert model.seen[:160] == train[0]
    if kind == "rating":
        from sklearn.linear_model import Ridge

        head = Ridge().fit(model.embed(train[0]), train[1])
        expected = spearmanr(head.predict(model.embed(test[0])), test[1])[0]
        assert scores[0] == pytest.approx(expected)


def test_static_scales_come_from_training_texts() -> None:
    """Held-out texts ten times as large saturate, unless each has its own scale."""
    texts, targets = numbers(60, 3, classes=False)
    large = [f"{10 * float(text.split()[0])} {text.split()[1]}" for text in texts]
    data = Sentiment("rating", large, targets, texts, targets)
    static, dynamic = (
        evaluate_sentiment(OneLayer(), ["float:int8"], data, activations=kind)[1]  # type: ignore[arg-type]
        for kind in ("static", "dynamic")
    )
    assert static.activation_sqnr_db < 10 < 30 < dynamic.activation_sqnr_db
    with pytest.raises(FormatError, match="int5"):
        evaluate_sentiment(OneLayer(), ["int5"], data)  # type: ignore[arg-type]


@pytest.fixture
def rotten(tmp_path: Path) -> Path:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["category", "filename", "text", "movie_name"])
    for i in range(100):
        writer.writerow([("fresh", "rotten")[i % 2], "", f"text {i},\nof two lines", "film"])
        writer.writerow(["plot", "", f"plot {i}", "film"])
    content = table.getvalue().encode()
    (tmp_path / "rotten_tomatoes_corpus.csv.bz2").write_bytes(bz2.compress(content))
    return tmp_path


def test_rotten(rotten: Path) -> None:
    data = load_rotten(rotten, 12)
    assert (data.kind, len(data.texts), len(data.training_texts)) == ("class", 12, 48)
    targets = [*data.targets, *data.training_targets]
    every = dict(zip(data.texts + data.training_texts, targets, strict=True))
    assert len(every) == 60
    for text, target in every.items():
        number = int(text.removeprefix("text ").split(",")[0])
        assert target == (number % 2 == 0)
        assert text.endswith("\nof two lines")
    assert load_rotten(rotten, 12).texts == data.texts
    assert load_rotten(rotten, 12, seed=1).texts != data.texts
    assert len(load_rotten(rotten, 30).training_texts) == 70
    for wrong in (0, 1, 51):
        with pytest.raises(SentimentError, match=f"{wrong} texts cannot .* at most 50 can"):
            load_rotten(rotten, wrong)


def test_vader(tmp_path: Path) -> None:
    lines = "".join(f"{i}\t{i / 10 - 2}\tpas mal, n\xb0 {i}\r\n" for i in range(40))
    with tarfile.open(tmp_path / "hutto_ICWSM_2014.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        content = lines.encode("latin-1")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    data = load_vader(tmp_path, 8)
    assert (data.kind, len(data.texts), len(data.training_texts)) == ("rating", 8, 32)
    for text, target in zip(data.texts, data.targets, strict=True):
        assert target == pytest.approx(int(text.removeprefix("pas mal, n\xb0 ")) / 10 - 2)


@pytest.mark.model
def test_real_data() -> None:
    rotten, vader = load_rotten(fetch("rotten")), load_vader(fetch("vader"))
    assert (len(rotten.texts), len(rotten.training_texts)) == (974, 3891)
    assert round(float(np.mean(rotten.training_targets)), 1) == 0.5
    assert (len(vader.texts), len(vader.training_texts)) == (1000, 4000)
    assert np.abs(vader.targets).max() <= 4
    for data in (rotten, vader):
        assert not set(data.texts) & set(data.training_texts)
        assert len(data.training_texts) == len(data.training_targets)


@pytest.mark.model
def test_minilm_knows_praise_from_blame() -> None:
    encoder = load_encoder(fetch("minilm"))
    exact, ovp = evaluate_sentiment(encoder, ["ovp8"], load_rotten(fetch("rotten"), 40))
    assert exact.accuracy
    assert ovp.accuracy
    assert exact.accuracy > 0.6
    assert abs(exact.accuracy - ovp.accuracy) <= 0.05
    assert ovp.cosine > 0.99
