"""When words pass a `Pipe`: accepted if there is room for the answer, in order, `latency` later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["pipe_cycles", "pipe_depth"]


def pipe_depth(latency: int) -> int:
    """Words that a pipe holds at most, those on their way and those that wait."""
    return 1 << (latency + 1).bit_length()


def pipe_cycles(
    offered: Sequence[int], latency: int, ready: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each word is accepted, and in which its answer is taken.

    offered: cycle from which the sender has the word, if the words before are accepted; rising.
    ready: whether the receiver takes a word, cycle by cycle; always, beyond its end. An answer can
    be taken latency + 1 cycles after its word was accepted; the room that it leaves can be used
    one cycle after that.
    """
    depth = pipe_depth(latency)
    # The first cycle, from each on, in which the receiver takes a word.
    cycles: NDArray[np.int64] = np.where(ready, np.arange(len(ready)), len(ready))
    next_ready = np.minimum.accumulate(cycles[::-1])[::-1]
    accepted = np.zeros(len(offered), np.int64)
    taken = np.zeros(len(offered), np.int64)
    for i, cycle in enumerate(offered):
        at = max(cycle, accepted[i - 1] + 1 if i else 0)
        if i >= depth:
            at = max(at, taken[i - depth] + 1)
        accepted[i] = at
        at += latency + 1
        if i:
            at = max(at, taken[i - 1] + 1)
        taken[i] = next_ready[at] if at < len(ready) else at
    return accepted, taken
