"""When samples pass the tap readers and the colour features, sample by sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from oleaster.models.nerf.lookup import LANES, TensorRow, splits
from oleaster.models.nerf.renderer.targets import PAIRS
from oleaster.sim.nerf.latency import LATENCY, hybrid_decoder_latency
from oleaster.sim.nerf.pipe import PipeClock, Receiver

__all__ = ["TAP_QUEUE", "ColorFeaturesClock", "Request", "TapClock", "requests"]

TAP_QUEUE = 32
"""Samples whose codes are on their way, at most."""

_LONG_AGO = -(1 << 62)


class Request(NamedTuple):
    """lane: of the decoder. parts: reads of each kind, 2 if its cells are in two chunks."""

    lane: int
    parts: int


def requests(plane: TensorRow, line: TensorRow, u: int, w: int) -> list[Request]:
    """What a pair's decoder is asked for a sample in cell u of the plane's row, w of the line."""
    of_plane, of_line = 1 + splits(plane, u), 1 + splits(line, w)
    return [
        *(Request(lane, of_plane) for _ in range(plane.groups) for lane in range(LANES)),
        *(Request(0, of_line) for _ in range(line.groups)),
    ]


class _PairClock:
    """A decoder that is asked for one word at a time, and the gathering of its answers."""

    def __init__(self, leaves: int) -> None:
        latency = hybrid_decoder_latency(leaves)
        self._lanes = [PipeClock(latency) for _ in range(LANES)]
        self._asked = self.gathered = _LONG_AGO

    def read(self, cycle: int, wanted: Sequence[Request], free: int) -> int:
        """A sample's requests, the first of which can be made from `cycle` on.

        Returns the cycle of the last one's handshake; `gathered` is that of its answer. free: from
        when the sample's first answer can be gathered.
        """
        for lane, parts in wanted:
            clock = self._lanes[lane]
            clock.accept(max(cycle, self._asked + 1))
            clock.accepted += parts - 1
            self._asked = clock.accepted
            clock.answer(partial(max, free, self.gathered + 1))
            self.gathered = clock.taken
        return self._asked


class TapClock:
    """A `TapReader` that is idle at first, word by word: `accept`, then `answer`.

    - A sample's requests to each pair's decoder are made one after the other, the first as soon as
      the sample is there and the one before was accepted. A request is accepted if its lane's queue
      has room for the answer (`PipeClock`, latency of the decoder), one cycle later if it has two
      parts. The sample is accepted with the last request of all pairs, if fewer than TAP_QUEUE
      samples are on their way; the room that one leaves can be used in the cycle after.
    - A pair's answers are gathered in order, one a cycle, from the cycle in which the sample before
      leaves. A sample can leave in the cycle after its last answer, and after it was accepted.
    - A word with `end` waits for room and its turn only.
    """

    def __init__(self, leaves: int) -> None:
        self._pairs = [_PairClock(leaves) for _ in range(PAIRS)]
        self._room = deque([_LONG_AGO] * TAP_QUEUE)
        self._complete = _LONG_AGO
        # When the last word left, and the last sample.
        self.accepted = self.taken = self._left = _LONG_AGO
        self._sample = False

    def accept(self, cycle: int, wanted: Sequence[Sequence[Request]] | None) -> int:
        """When the next word is accepted, which its sender has from that cycle on.

        wanted: of each pair, or None for a word with `end`.
        """
        first = max(cycle, self.accepted + 1)
        asked = [first]
        if wanted:
            asked += [
                pair.read(first, each, self._left)
                for pair, each in zip(self._pairs, wanted, strict=True)
            ]
            self._complete = max(pair.gathered for pair in self._pairs)
        self._sample = bool(wanted)
        self.accepted = max(*asked, self._room.popleft() + 1)
        return self.accepted

    def answer(self, take: Receiver) -> None:
        """The word leaves."""
        cycle = max(self.accepted + 1, self.taken + 1)
        if self._sample:
            cycle = max(cycle, self._complete + 1)
        self.taken = take(cycle)
        if self._sample:
            self._left = self.taken
        self._room.append(self.taken)


class ColorFeaturesClock:
    """A `ColorFeatures` that is idle at first, word by word: `accept`, then `answer`.

    A sample enters the pipe of products as `parts` words, an `end` as one; it is accepted with the
    last of them. The first of the products is gathered from the cycle in which the word before
    leaves, the others as they come; the word can leave in the cycle after the last.
    """

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._products = PipeClock(LATENCY["color-products"])
        self._complete = _LONG_AGO
        self.accepted = self.taken = _LONG_AGO

    def accept(self, cycle: int, end: bool) -> int:
        """When the next word is accepted, which its sender has from that cycle on."""
        for _ in range(1 if end else self._parts):
            self._products.accept(cycle)
            # Only the first one may have to wait.
            self._products.answer(partial(max, self.taken))
        self.accepted = self._products.accepted
        self._complete = self._products.taken
        return self.accepted

    def answer(self, take: Receiver) -> None:
        """The word leaves."""
        self.taken = take(self._complete + 1)
