"""Sentiment of film reviews: a small head on sentence embeddings, whose encoder is quantised.

The head is scikit-learn's. It is fitted once, to embeddings of the float model, and then sees those
of the quantised one, with no training in between, as in OliVe, section 6.
"""

import bz2
import csv
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from oleaster.models.accuracy import Activations, FormatAccuracy, Progress, Study
from oleaster.models.encoder import Array, Encoder, Linear

ROTTEN_TEXTS = 974
VADER_TEXTS = 1000
"""Texts held out by default."""

CALIBRATION_TEXTS = 64
"""So many of the training texts calibrate static scales: about as many tokens as Lee50's 16."""

_TRAINING_SHARE = 4
_VADER_MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


class SentimentError(ValueError):
    """A data set cannot give what is asked of it."""


class Sentiment(NamedTuple):
    """A split of a data set: texts are held out, training_texts fit the head.

    kind: "class", targets are 0 (rotten) and 1 (fresh); or "rating", targets are the mean of 20
    raters, -4 .. 4. Targets are float64, one a text.
    """

    kind: Literal["class", "rating"]
    texts: list[str]
    targets: NDArray[np.float64]
    training_texts: list[str]
    training_targets: NDArray[np.float64]


def load_rotten(folder: Path, texts: int = ROTTEN_TEXTS, *, seed: int = 0) -> Sentiment:
    """Rotten Tomatoes snippets of two classes (Pang and Lee), from the pinned package `rotten`.

    texts: held out; four times as many, or all that are left of 4,866, are for training, less
    those whose words are held out too. `seed` alone says which. Raises SentimentError if fewer than
    2 are asked for or too many.
    """
    with bz2.open(folder / "rotten_tomatoes_corpus.csv.bz2", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in ("fresh", "rotten")]
    targets = np.array([row["category"] == "fresh" for row in rows], float)
    return _split("class", [row["text"] for row in rows], targets, texts, seed)


def load_vader(folder: Path, texts: int = VADER_TEXTS, *, seed: int = 0) -> Sentiment:
    """Film review sentences with human ratings (Hutto and Gilbert, ICWSM 2014), package `vader`.

    Args and raises: as `load_rotten`, of 10,605.
    """
    with tarfile.open(folder / "hutto_ICWSM_2014.tar.gz") as archive:
        file = archive.extractfile(_VADER_MEMBER)
        assert file is not None
        lines = file.read().decode("latin-1").splitlines()
    rows = [line.split("\t") for line in lines]
    targets = np.array([row[1] for row in rows], float)
    return _split("rating", [row[2] for row in rows], targets, texts, seed)


def evaluate_sentiment(
    encoder: Encoder,
    formats: Sequence[str],
    data: Sentiment,
    *,
    activations: Activations = "static",
    progress: Progress | None = None,
) -> list[FormatAccuracy]:
    """Measure a sentence encoder in float and in each pair of formats, in that order.

    Classes give `accuracy`, of a logistic regression; ratings give `spearman`, of a ridge
    regression, both with scikit-learn's defaults on unit-norm embeddings. Static scales come from
    the first `CALIBRATION_TEXTS` training texts.

    Raises:
        FormatError: an unknown format, or one that activations cannot have.
        ValueError: activations is neither "static" nor "dynamic".
    """

    def embed(batch: Sequence[str], linear: Linear) -> Array:
        return encoder.embed(batch, linear=linear)

    (progress or (lambda line: None))(f"float: fitting to {len(data.training_texts)} texts")
    score = _fit(encoder.embed(data.training_texts), data)
    calibration = data.training_texts[:CALIBRATION_TEXTS]
    study = Study(encoder, data.texts, calibration, activations, progress, embed, score)
    return study.measure(formats)


def _fit(embeddings: Array, data: Sentiment) -> Callable[[Array], dict[str, float]]:
    from sklearn.linear_model import LogisticRegression, Ridge

    is_class = data.kind == "class"
    head: Any = LogisticRegression() if is_class else Ridge()
    head.fit(embeddings, data.training_targets)

    def score(rows: Array) -> dict[str, float]:
        found = head.predict(rows)
        if is_class:
            return {"accuracy": float((found == data.targets).mean())}
        return {"spearman": float(spearmanr(found, data.targets)[0])}

    return score


def _split(
    kind: Literal["class", "rating"],
    texts: list[str],
    targets: NDArray[np.float64],
    held_out: int,
    seed: int,
) -> Sentiment:
    if not 2 <= held_out <= len(texts) // 2:
        raise SentimentError(
            f"{held_out} texts cannot be held out; at least 2 and at most {len(texts) // 2} can"
        )
    order = np.random.default_rng(seed).permutation(len(texts))
    test, train = np.split(order[: (1 + _TRAINING_SHARE) * held_out], [held_out])
    # Both sets hold a few texts twice: none may be seen in training and asked for later.
    seen = {texts[i] for i in test}
    train = np.array([i for i in train if texts[i] not in seen])
    return Sentiment(
        kind,
        [texts[i] for i in test],
        targets[test],
        [texts[i] for i in train],
        targets[train],
    )
