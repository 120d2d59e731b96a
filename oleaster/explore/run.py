"""Runs a study: evaluates the points that its store lacks, by itself or with processes.

Points of a grid and random ones have an index and depend on nothing else; worker K of N takes the
indexes K - 1, K - 1 + N, ... TPE and NSGA-II ask for one point after the other and learn from each
that is told; their workers share what is in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from oleaster.explore.accuracy import Accuracy
from oleaster.explore.evaluate import Outcome, formats_of
from oleaster.explore.pool import Done, Pool, open_pool
from oleaster.explore.results import Exploration, Point
from oleaster.explore.store import Store, Worker, default_store
from oleaster.explore.study import Study, load_study
from oleaster.explore.workload import NetworkWorkload
from oleaster.sim.performance.design import DesignFault

__all__ = ["Report", "run_study", "stored_study"]

Report = Callable[[int, int, Mapping[str, float]], None]
"""Called with finished points, all points of this worker, and the best of each objective."""

_MOST_AT_ONCE = 64
_SECONDS_AT_ONCE = 0.5  # of a processor: what a kill loses at most, where a point is faster


def run_study(
    source: str | Study,
    *,
    store: str | None = None,
    jobs: int = 1,
    worker: Worker = (1, 1),
    report: Report = lambda done, total, best: None,
    say: Callable[[str], None] = lambda line: None,
) -> Exploration:
    """Evaluate what the store lacks of a study, and return all that is there.

    source: a name, a file or a study. store: a path or an URL of a database; STUDY.db by default.
    jobs: processes; with more than one, a script needs `if __name__ == "__main__":`. worker: (K, N)
    for the Kth of N runs that share the study. say: called with lines about long steps.

    An interrupt leaves all finished points in the store, and the same call goes on from there.
    StudyError: the study or its store cannot be used.
    """
    study = load_study(source) if isinstance(source, str) else source
    kept = Store(study, store or default_store(study))
    with kept.running(worker):
        kept.drop_unfinished(worker)
        accuracy = _accuracy(study, kept, say)
        with open_pool(study, jobs) as pool:
            if study.sampler in ("grid", "random"):
                _run_listed(study, kept, worker, pool, accuracy, report)
            else:
                _run_asked(study, kept, worker, pool, accuracy, report)
    return _exploration(study, kept)


def stored_study(source: str | Study, *, store: str | None = None) -> Exploration:
    """What a study's store has, without running anything; StudyError if there is none."""
    study = load_study(source) if isinstance(source, str) else source
    return _exploration(study, Store(study, store or default_store(study), must_exist=True))


_Finish = Callable[[Done], Outcome]


def _run_listed(
    study: Study, store: Store, worker: Worker, pool: Pool, finish: _Finish, report: Report
) -> None:
    k, n = worker
    share = range(k - 1, study.trials, n)
    before = [point for point in _points(study, store) if point.number in share]
    tally = _Tally(study, before, len(share), report)
    there = {point.number for point in before}
    missing = (index for index in share if index not in there)

    def save(done: list[Done]) -> None:
        found = [(each, finish(each)) for each in done]
        store.add((each.key, each.point, outcome) for each, outcome in found)
        for each, outcome in found:
            tally.finished(each, outcome)

    at_once = 4
    ended = False
    try:
        while not ended or pool.waiting:
            while not ended and pool.waiting < 2 * pool.jobs:
                job = [(i, _point(study, store, i)) for i in islice(missing, at_once)]
                if job:
                    pool.start(job)
                ended = len(job) < at_once
            save(pool.collect())
            seconds = max(tally.seconds_per_point, 1e-6)
            at_once = max(1, min(_MOST_AT_ONCE, int(_SECONDS_AT_ONCE / seconds)))
    except KeyboardInterrupt:
        save(pool.collect(block=False))
        raise


def _run_asked(
    study: Study, store: Store, worker: Worker, pool: Pool, finish: _Finish, report: Report
) -> None:
    k, n = worker
    trials = store.trials()
    left = study.trials - len(trials)
    if n > 1:  # of a study whose trials are shared out evenly
        own = sum(trial.user_attrs.get("worker") == f"{k}/{n}" for trial in trials)
        left = min(left, len(range(k - 1, study.trials, n)) - own)
    left = max(left, 0)
    tally = _Tally(study, _points(study, store), len(trials) + left, report)
    store.sampler(worker)
    asked = {}
    try:
        while left or pool.waiting:
            while left and pool.waiting < pool.jobs:
                trial, point = store.ask(worker)
                asked[trial.number] = trial
                pool.start([(trial.number, point)])
                left -= 1
            for each in pool.collect():
                outcome = finish(each)
                store.tell(asked.pop(each.key), outcome)
                tally.finished(each, outcome)
    except KeyboardInterrupt:
        store.drop_unfinished(worker)
        raise


class _Tally:
    """What a progress bar shows."""

    def __init__(self, study: Study, before: list[Point], total: int, report: Report) -> None:
        self._study, self._total, self._report = study, total, report
        self._done, self._best = len(before), dict[str, float]()
        self._evaluated, self._seconds = 0, 0.0
        for point in before:
            if point.feasible:
                self._compare(point.values)
        report(self._done, total, self._best)

    @property
    def seconds_per_point(self) -> float:
        return self._seconds / self._evaluated if self._evaluated else 0.0

    def finished(self, done: Done, outcome: Outcome) -> None:
        self._done += 1
        self._evaluated += 1
        self._seconds += done.seconds
        if outcome.reason is None and self._study.is_feasible(outcome.values):
            self._compare(outcome.values)
        self._report(self._done, self._total, self._best)

    def _compare(self, values: Mapping[str, float]) -> None:
        for name, goal in self._study.objectives.items():
            better = min if goal == "min" else max
            self._best[name] = better(self._best.get(name, values[name]), values[name])


def _accuracy(study: Study, store: Store, say: Callable[[str], None]) -> _Finish:
    """What adds the metrics that points of the same formats share."""
    workload = study.workload
    if not any(name.startswith("accuracy") for name in study.asked):
        return lambda done: done.outcome
    assert isinstance(workload, NetworkWorkload)
    assert workload.encoder is not None
    accuracy = Accuracy(
        workload.encoder, workload.texts, store.accuracies, store.keep_accuracy, say
    )

    def add(done: Done) -> Outcome:
        if done.outcome.reason is not None:
            return done.outcome
        try:
            found = accuracy.measure(formats_of(study, done.point))
        except DesignFault as error:
            return Outcome({}, str(error))
        if found.reason is not None:
            return found
        return Outcome({**done.outcome.values, **found.values})

    return add


def _point(study: Study, store: Store, index: int) -> dict[str, Any]:
    return study.space.point(index) if study.sampler == "grid" else store.drawn(index)


def _exploration(study: Study, store: Store) -> Exploration:
    return Exploration(study, tuple(_points(study, store)))


def _points(study: Study, store: Store) -> list[Point]:
    """In order of their numbers, each once."""
    found: dict[int, Point] = {}
    for trial in store.trials():
        number = trial.user_attrs.get("point", trial.number)
        if number in found:  # the same share was run twice at once, on two machines
            continue
        values = trial.user_attrs.get("metrics", {})
        reason = trial.user_attrs.get("reason")
        found[number] = Point(
            number,
            study.space.meant(trial.params),
            values,
            reason is None and study.is_feasible(values),
            "complete" if reason is None else "failed",
            reason,
        )
    return [found[number] for number in sorted(found)]
