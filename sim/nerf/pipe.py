"""When words pass a `Pipe`: accepted if there is room for the answer, in order, `latency` later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["PipeClock", "parts_cycles", "pipe_cycles", "pipe_depth"]


def pipe_depth(latency: int, interval: int = 1) -> int:
    """Words that a pipe holds at most, those on their way and those that wait."""
    return 1 << (-(-(latency + 1) // interval)).bit_length()


class PipeClock:
    """A pipe that is empty at first, word by word.

    ready: whether the receiver takes a word, cycle by cycle; always, beyond its end. An answer can
    be taken latency + 1 cycles after its word was accepted; the room that it leaves can be used
    one cycle after that. interval: cycles from one word to the next, at least.
    """

    def __init__(self, latency: int, ready: NDArray[np.bool_], interval: int = 1) -> None:
        self.latency = latency
        self.interval = interval
        self.accepted: list[int] = []
        self.taken: list[int] = []
        self._depth = pipe_depth(latency, interval)
        # The first cycle, from each on, in which the receiver takes a word.
        cycles: NDArray[np.int64] = np.where(ready, np.arange(len(ready)), len(ready))
        self._next_ready: list[int] = np.minimum.accumulate(cycles[::-1])[::-1].tolist()

    def offer(self, cycle: int, kept: bool = True) -> None:
        """The next word, which the sender has from that cycle on, once the one before is accepted.

        kept: the receiver gets to see its answer; others are dropped as soon as they can be taken.
        """
        accepted, taken = self.accepted, self.taken
        at = max(cycle, accepted[-1] + self.interval) if accepted else cycle
        if len(accepted) >= self._depth:
            at = max(at, taken[-self._depth] + 1)
        accepted.append(at)
        at += self.latency + 1
        if taken:
            at = max(at, taken[-1] + 1)
        taken.append(self._next_ready[at] if kept and at < len(self._next_ready) else at)


def pipe_cycles(
    offered: Sequence[int],
    latency: int,
    ready: NDArray[np.bool_],
    kept: NDArray[np.bool_] | None = None,
    interval: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each word is accepted, and in which its answer is taken.

    offered: cycle from which the sender has the word, if the words before are accepted; rising.
    ready, kept, interval: as in `PipeClock`; all are kept by default.
    """
    clock = PipeClock(latency, ready, interval)
    for i, cycle in enumerate(offered):
        clock.offer(cycle, kept is None or bool(kept[i]))
    return np.array(clock.accepted, np.int64), np.array(clock.taken, np.int64)


def parts_cycles(
    lengths: Sequence[int],
    kept: NDArray[np.bool_],
    offered: Sequence[int],
    ready: NDArray[np.bool_],
    latency: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `pipe_cycles`, for words that enter a pipe once for each of their parts.

    lengths: parts of each word, one after the other in a cycle each. kept: of each part. Returns
    when each word's last part is accepted, and when each answer that is kept is taken.
    """
    accepted, taken = pipe_cycles(np.repeat(offered, lengths).tolist(), latency, ready, kept)
    return accepted[np.cumsum(lengths) - 1], taken[kept]
