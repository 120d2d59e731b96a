"""When words pass a `Pipe`: accepted if there is room for the answer, in order, `latency` later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["PipeClock", "Receiver", "parts_cycles", "pipe_cycles", "pipe_depth", "receiver"]


def pipe_depth(latency: int, interval: int = 1) -> int:
    """Words that a pipe holds at most, those on their way and those that wait."""
    return 1 << (-(-(latency + 1) // interval)).bit_length()


Receiver = Callable[[int], int]
"""From the first cycle in which a word can be taken to that in which it is."""


def receiver(ready: NDArray[np.bool_]) -> Receiver:
    """Takes words in cycles in which it is ready; it always is beyond the array's end."""
    cycles: NDArray[np.int64] = np.where(ready, np.arange(len(ready)), len(ready))
    next_ready: list[int] = np.minimum.accumulate(cycles[::-1])[::-1].tolist()
    return lambda cycle: next_ready[cycle] if cycle < len(next_ready) else cycle


class PipeClock:
    """A pipe that is empty at first, word by word: `accept`, then `answer`.

    An answer can be taken latency + 1 cycles after its word was accepted; the room that it leaves
    can be used one cycle after that. interval: cycles from one word to the next, at least.
    """

    def __init__(self, latency: int, interval: int = 1) -> None:
        self.latency = latency
        self.interval = interval
        self.accepted = self.taken = -(1 << 62)
        """Cycles of the last word's handshakes."""
        # In which the words before made room.
        self._room = deque([self.taken] * pipe_depth(latency, interval))

    def accept(self, cycle: int) -> int:
        """When the next word is accepted, which its sender has from that cycle on."""
        self.accepted = max(cycle, self.accepted + self.interval, self._room.popleft() + 1)
        return self.accepted

    def answer(self, take: Receiver | None) -> None:
        """Its answer is taken, or, without a receiver, dropped as soon as it can be."""
        cycle = max(self.accepted + self.latency + 1, self.taken + 1)
        self.taken = take(cycle) if take else cycle
        self._room.append(self.taken)


def pipe_cycles(
    offered: Sequence[int],
    latency: int,
    ready: NDArray[np.bool_],
    kept: NDArray[np.bool_] | None = None,
    interval: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles in which each word is accepted, and in which its answer is taken.

    offered: cycle from which the sender has the word, if the words before are accepted; rising.
    ready: as in `receiver`. kept: answers that the receiver gets to see, all by default. latency,
    interval: as in `PipeClock`.
    """
    clock, take = PipeClock(latency, interval), receiver(ready)
    accepted = np.zeros(len(offered), np.int64)
    taken = np.zeros(len(offered), np.int64)
    for i, cycle in enumerate(offered):
        accepted[i] = clock.accept(cycle)
        clock.answer(take if kept is None or kept[i] else None)
        taken[i] = clock.taken
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
