"""What a study has found: its points, the best of them, and files of them."""

from __future__ import annotations

import csv
import io as text_io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from oleaster import __version__
from oleaster.explore.check import METRICS
from oleaster.explore.error import StudyError
from oleaster.explore.study import Study
from oleaster.io import check_output_file, write_bytes

if TYPE_CHECKING:
    pass

__all__ = ["SUFFIXES", "Exploration", "Point", "check_export", "export"]

SUFFIXES = (".csv", ".json", ".parquet")


@dataclass(frozen=True)
class Point:
    """number: a grid's or a random point's index; of the other samplers Optuna's number.

    values: all metrics, none if the point failed. feasible: it did not, and meets the constraints.
    reason: why it failed.
    """

    number: int
    parameters: Mapping[str, Any]
    values: Mapping[str, float]
    feasible: bool
    state: Literal["complete", "failed"]
    reason: str | None


@dataclass(frozen=True)
class Exploration:
    """points: in order of their numbers."""

    study: Study
    points: tuple[Point, ...]

    @cached_property
    def pareto(self) -> tuple[Point, ...]:
        """Feasible points that no other beats, in order of the first objective.

        A point beats another if it is better in one objective and not worse in any; of one
        objective these are the best points. Of points with the same parameters, which samplers that
        learn come back to, only the first is among them.
        """
        first: dict[str, Point] = {}
        for point in self.points:
            if point.feasible:
                first.setdefault(repr(point.parameters), point)
        feasible = list(first.values())
        goals = self.study.objectives
        signs = np.array([1.0 if goal == "min" else -1.0 for goal in goals.values()])
        values = np.array([[point.values[name] for name in goals] for point in feasible])
        if not feasible:
            return ()
        kept = _front(values * signs)
        return tuple(feasible[at] for at in kept)

    @cached_property
    def failures(self) -> Counter[str]:
        """How many points failed for each reason."""
        return Counter(point.reason for point in self.points if point.reason is not None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that some point has."""
        found = {name for point in self.points for name in point.values}
        return tuple(name for name in METRICS if name in found)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A table, one row a point: pandas.DataFrame takes it. None where there is no value."""
        names, metrics = list(self.study.given), self.metrics
        front = {point.number for point in self.pareto}
        return [
            {
                "number": point.number,
                "state": point.state,
                "feasible": point.feasible,
                "pareto": point.number in front,
                "reason": point.reason,
                **{name: point.parameters[name] for name in names},
                **{name: point.values.get(name) for name in metrics},
            }
            for point in self.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, of types that JSON has; docs/explore.md describes the keys."""
        study = self.study
        return {
            "version": __version__,
            "study": study.name,
            "title": study.title,
            "workload": study.workload.model_dump(),
            "design": study.design or list(study.designs),
            "sampler": study.sampler,
            "seed": study.seed,
            "trials": study.trials,
            "objectives": dict(study.objectives),
            "parameters": dict(study.given),
            "constraints": {name: dict(each) for name, each in study.constraints.items()},
            "points": [asdict(point) for point in self.points],
            "pareto": [point.number for point in self.pareto],
        }


def check_export(path: Path) -> None:
    """Raise StudyError or FileError unless points can be written there: asked before long work."""
    if path.suffix not in SUFFIXES:
        raise StudyError(f"{path}: the name after -o ends in {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        _pyarrow()
    check_output_file(path)


def export(found: Exploration, path: Path) -> None:
    """Write all points as .csv or .parquet, whole or not at all."""
    write_bytes(path, _parquet(found) if path.suffix == ".parquet" else _csv(found).encode())


def _csv(found: Exploration) -> str:
    text = text_io.StringIO()
    writer = csv.DictWriter(text, list(_columns(found)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row) for row in found.rows)
    return text.getvalue()


def _parquet(found: Exploration) -> bytes:
    """Columns of one type each; what the study was is JSON under the key "oleaster"."""
    pa = _pyarrow()
    import pyarrow.parquet

    rows = [_plain(row) for row in found.rows]
    columns = {name: _column([row[name] for row in rows]) for name in _columns(found)}
    about = {key: v for key, v in found.to_dict().items() if key not in ("points", "pareto")}
    table = pa.table(columns).replace_schema_metadata({"oleaster": json.dumps(about)})
    buffer = text_io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _column(values: list[Any]) -> list[Any]:
    """Whole numbers beside others become others, and of choices of several types text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) < 2 else [None if each is None else str(each) for each in values]


def _columns(found: Exploration) -> tuple[str, ...]:
    fixed = ("number", "state", "feasible", "pareto", "reason")
    return (*fixed, *found.study.given, *found.metrics)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lists and tables among choices as JSON."""
    return {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}


def _front(values: NDArray[np.float64]) -> Sequence[int]:
    """Indexes of rows (n, objectives) that no other row beats; less is better. In ascending order
    of the first objective, then the next.
    """
    order = np.lexsort(values.T[::-1])
    left, kept = order, []
    while len(left):
        # In this order nothing that comes later can beat the first one.
        first, rest = left[0], left[1:]
        kept.append(int(first))
        worse = (values[rest] >= values[first]).all(axis=1)
        equal = (values[rest] == values[first]).all(axis=1)
        left = rest[~worse | equal]
    return kept


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise StudyError(f"Parquet needs {error.name}: pip install 'oleaster[explore]'") from error
    return pyarrow
