"""What a pair of formats costs a real model, measured once for all points that have it."""

from __future__ import annotations

from collections.abc import Callable

from oleaster.explore.error import StudyError
from oleaster.explore.evaluate import Outcome
from oleaster.models.fetch import fetch
from oleaster.models.formats import FormatError

__all__ = ["Accuracy"]


class Accuracy:
    """Measures as `oleaster accuracy MODEL --formats W:A --texts N` does, with static scales.

    known: what earlier runs measured, by pair. keep: called with a pair and its figures as soon as
    they are there, so that later runs know them. progress: with a line before long steps.
    """

    def __init__(
        self,
        encoder: str,
        texts: int,
        known: dict[str, dict[str, float]],
        keep: Callable[[str, dict[str, float]], None],
        progress: Callable[[str], None],
    ) -> None:
        self._encoder, self._texts = encoder, texts
        self._known, self._keep, self._progress = dict(known), keep, progress

    def measure(self, formats: str) -> Outcome:
        """The metrics accuracy_cosine and accuracy_spearman of formats W:A.

        StudyError if the extra "models" is missing; FetchError if the model cannot be had. Formats
        that activations cannot have are the outcome's reason.
        """
        if formats not in self._known:
            try:
                figures = self._measure(formats)
            except FormatError as error:
                return Outcome({}, str(error))
            self._known[formats] = figures
            self._keep(formats, figures)
        return Outcome(self._known[formats])

    def _measure(self, formats: str) -> dict[str, float]:
        try:
            from oleaster.models.accuracy import evaluate_encoder, load_lee50
            from oleaster.models.encoder import EncoderError, load_encoder
        except ModuleNotFoundError as error:
            raise StudyError(
                f"accuracy needs {error.name}: pip install 'oleaster[models]'"
            ) from error
        try:
            encoder = load_encoder(fetch(self._encoder, progress=self._progress))
        except EncoderError as error:
            raise StudyError(str(error)) from error
        lee = load_lee50(fetch("lee50", progress=self._progress))
        count = self._texts
        _, found = evaluate_encoder(
            encoder,
            [formats],
            lee.texts[:count],
            lee.human_similarity[:count, :count],
            lee.calibration_texts,
            progress=self._progress,
        )
        assert found.spearman is not None
        return {"accuracy_cosine": found.cosine, "accuracy_spearman": found.spearman}
