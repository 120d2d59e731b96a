"""When words pass a `Pipe`: accepted if there is room for the answer, in order, `latency` later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["parts_cycles", "pipe_cycles", "pipe_depth"]


def pipe_depth(latency: int, interval: int = 1) -> int:
    """Words that a pipe holds at most, those on their way and those that wait."""
    return 1 << (-(-(latency + 1) // interval)).bit_length()


def pipe_cycles(
    offered: Sequence[int],
    latency: int,
    ready: NDArray[np.bool_],
    kept: NDArray[np.bool_] | None = None,
    interval: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each word is accepted, and in which its answer is taken.

    offered: cycle from which the sender has the word, if the words before are accepted; rising.
    ready: whether the receiver takes a word, cycle by cycle; always, beyond its end. An answer can
    be taken latency + 1 cycles after its word was accepted; the room that it leaves can be used
    one cycle after that. kept: answers that the receiver gets to see, all by default; others are
    dropped as soon as they can be taken. interval: cycles from one word to the next, at least.
    """
    depth = pipe_depth(latency, interval)
    # The first cycle, from each on, in which the receiver takes a word.
    cycles: NDArray[np.int64] = np.where(ready, np.arange(len(ready)), len(ready))
    next_ready = np.minimum.accumulate(cycles[::-1])[::-1]
    accepted = np.zeros(len(offered), np.int64)
    taken = np.zeros(len(offered), np.int64)
    for i, cycle in enumerate(offered):
        at = max(cycle, accepted[i - 1] + interval if i else 0)
        if i >= depth:
            at = max(at, taken[i - depth] + 1)
        accepted[i] = at
        at += latency + 1
        if i:
            at = max(at, taken[i - 1] + 1)
        waits = at < len(ready) and (kept is None or kept[i])
        taken[i] = next_ready[at] if waits else at
    return accepted, taken


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
