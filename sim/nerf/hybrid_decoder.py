"""When look-ups pass the hybrid decoder, and sums its tree; the words that it is told with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.encoding import Encoded
from oleaster.models.nerf.layout import COORDINATES, DENSE
from oleaster.models.nerf.lookup import (
    CELL_BITS,
    ELEMENT_BITS,
    GROUP_BITS,
    LANES,
    LOG_BITS,
    TENSOR_BITS,
    UNIT_BITS,
    WORD_BYTES,
    LookUp,
    TensorRow,
    splits,
)
from oleaster.sim.nerf.latency import hybrid_decoder_latency, search_tree_latency
from oleaster.sim.nerf.pipe import pipe_depth
from oleaster.sim.nerf.words import packed

__all__ = [
    "Handshakes",
    "Passage",
    "found_word",
    "modes_read",
    "passage",
    "request_word",
    "row_word",
]

_HEAD_THERE = 12  # cycles after a look-up entered, in which its chunk's head goes to the tree


@dataclass
class Handshakes:
    """Cycles in which words are accepted, and in which their answers are taken."""

    accepted: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


@dataclass
class Passage:
    """look_ups: of each lane."""

    look_ups: list[Handshakes]
    sums: Handshakes


def passage(
    offered: Sequence[Sequence[int]],
    modes: Sequence[Sequence[Sequence[int]]],
    ready: Sequence[NDArray[np.bool_]],
    sums_offered: Sequence[int],
    sums_ready: NDArray[np.bool_],
    leaves: int,
) -> Passage:
    """Cycles of all handshakes, the first of them after a reset.

    offered: for each lane, cycles from which the sender has its requests, once those before are
    accepted. modes: for each lane and request those of the chunks that it reads (`modes_read`).
    ready: for each lane, whether the receiver takes an answer, cycle by cycle; always, beyond its
    end. sums_offered, sums_ready: the same of sums. leaves: of the tree.
    """
    latency = hybrid_decoder_latency(leaves)
    sum_latency = search_tree_latency(leaves) + 1
    lanes = [_Lane(each, latency, took) for each, took in zip(offered, ready, strict=True)]
    sums = _Lane(sums_offered, sum_latency, sums_ready)
    parts = [0] * LANES  # of the next request, that have entered
    searching: set[int] = set()
    turn, cycle = 0, 0
    while not all(each.done for each in (*lanes, sums)):
        # What is taken in this cycle leaves room for the next one.
        wants = [each.wants(cycle) for each in lanes]
        enters = next((i for i in (turn, 1 - turn) if wants[i]), None)
        sum_enters = sums.wants(cycle) and cycle not in searching
        for each in (*lanes, sums):
            each.take(cycle)
        if enters is not None:
            turn = 1 - enters
            read = modes[enters][len(lanes[enters].found.accepted)]
            if read[parts[enters]] == COORDINATES:
                searching.add(cycle + _HEAD_THERE)
            parts[enters] += 1
            if parts[enters] == len(read):
                parts[enters] = 0
                lanes[enters].accept(cycle)
        if sum_enters:
            sums.accept(cycle)
        cycle += 1
    return Passage([each.found for each in lanes], sums.found)


class _Lane:
    """A stream in and its answers out: as many on their way as the queue will have room for."""

    def __init__(self, offered: Sequence[int], latency: int, ready: NDArray[np.bool_]) -> None:
        self._offered, self._latency, self._ready = offered, latency, ready
        self._depth = pipe_depth(latency)
        self.found = Handshakes()

    @property
    def done(self) -> bool:
        return len(self.found.taken) == len(self._offered)

    def wants(self, cycle: int) -> bool:
        entered = len(self.found.accepted)
        return (
            entered < len(self._offered)
            and self._offered[entered] <= cycle
            and entered - len(self.found.taken) < self._depth
        )

    def accept(self, cycle: int) -> None:
        self.found.accepted.append(cycle)

    def take(self, cycle: int) -> None:
        accepted, taken = self.found.accepted, self.found.taken
        if len(taken) == len(accepted) or accepted[len(taken)] + self._latency >= cycle:
            return
        if cycle >= len(self._ready) or self._ready[cycle]:
            taken.append(cycle)


def modes_read(row: TensorRow, encoded: Encoded, v: int, u: int, group: int) -> tuple[int, ...]:
    """Of the chunks that hold cells u and u + 1; a plain tensor counts as dense."""
    if not row.chunk_log:
        return (DENSE,)
    ends = (u, u + 1) if splits(row, u) else (u,)
    return tuple(int(encoded.modes[v, at >> row.chunk_log, group]) for at in ends)


def request_word(tensor: int, v: int, u: int, group: int) -> int:
    """Payload of a request."""
    return packed([(tensor, TENSOR_BITS), (v, CELL_BITS), (u, CELL_BITS), (group, GROUP_BITS)])


def found_word(found: LookUp, element_bits: int) -> int:
    """Payload of an answer."""
    return packed(
        [
            (found.hit, 1),
            (found.next_hit, 1),
            (found.first, element_bits),
            (found.second, element_bits),
        ]
    )


def row_word(row: TensorRow, words: int) -> int:
    """Payload of a row of the table of a decoder with so many words of memory."""
    address_bits = (words - 1).bit_length()
    return packed(
        [
            (row.directory, address_bits),
            (row.payload, address_bits),
            (row.payload_bytes, (words * WORD_BYTES).bit_length()),
            (row.stride, CELL_BITS),
            (row.groups, GROUP_BITS),
            (row.element, ELEMENT_BITS),
            (row.chunk_log, LOG_BITS),
            (row.unit, UNIT_BITS),
        ]
    )
