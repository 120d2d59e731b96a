"""Evaluates points in this process, or in several that die with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from oleaster.explore.error import StudyError
from oleaster.explore.evaluate import Outcome, evaluate
from oleaster.explore.study import Study

__all__ = ["Done", "Pool", "open_pool"]


class Done(NamedTuple):
    """key: what a point was handed over with. seconds: that it took."""

    key: int
    point: Mapping[str, Any]
    outcome: Outcome
    seconds: float


_Job = Sequence[tuple[int, Mapping[str, Any]]]


class Pool:
    """Of `jobs` processes; of one, this one."""

    def __init__(self, study: Study, jobs: int, executor: ProcessPoolExecutor | None) -> None:
        self.jobs = jobs
        self._study, self._executor = study, executor
        self._running: set[Future[list[Done]]] = set()
        self._ready: list[Done] = []

    @property
    def waiting(self) -> int:
        """Handed over, and not yet collected."""
        return len(self._running) + len(self._ready)

    def start(self, job: _Job) -> None:
        """Hand over points with their keys."""
        if self._executor is None:
            self._ready += _evaluate_all(self._study, job)
            return
        # Processes begin at need and inherit what is blocked: Ctrl-C is for this one alone.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._running.add(self._executor.submit(_in_process, job))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def collect(self, *, block: bool = True) -> list[Done]:
        """What is done, once something is; StudyError if a process has died."""
        if self._running:
            timeout = None if block else 0
            done, self._running = wait(self._running, timeout, return_when=FIRST_COMPLETED)
            try:
                self._ready += [each for future in done for each in future.result()]
            except BrokenProcessPool as error:
                raise StudyError(
                    "a process that evaluates points was killed, perhaps for want of memory; what "
                    "is finished is kept, so run the study again, with fewer --jobs"
                ) from error
        ready, self._ready = self._ready, []
        return ready


@contextmanager
def open_pool(study: Study, jobs: int) -> Iterator[Pool]:
    """Processes end with the context, at once if it is left by an error, or with this process."""
    if jobs == 1:
        yield Pool(study, 1, None)
        return
    context = multiprocessing.get_context("spawn")
    # Only this process has the end that is written to: when it closes, or dies, the others see it.
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(jobs, context, _begin, (study, theirs))
    try:
        yield Pool(study, jobs, executor)
    except BaseException:
        ours.close()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


_study: Study  # of a process of the pool


def _begin(study: Study, parent: Connection) -> None:
    global _study
    _study = study
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    parent.poll(None)
    os._exit(1)


def _in_process(job: _Job) -> list[Done]:
    return _evaluate_all(_study, job)


def _evaluate_all(study: Study, job: _Job) -> list[Done]:
    done = []
    for key, point in job:
        started = time.perf_counter()
        outcome = evaluate(study, point)
        done.append(Done(key, point, outcome, time.perf_counter() - started))
    return done
