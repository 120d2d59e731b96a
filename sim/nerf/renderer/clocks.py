"""Clocks of single units, compiled: `PipeClock` of `sim/nerf/pipe.py` and what is like it.

A pipe is a row of integers; the constants below say what is where in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oleaster.sim.nerf.pipe import pipe_depth
from oleaster.sim.nerf.renderer.jit import kernel

__all__ = [
    "ACCEPTED_AT",
    "LONG_AGO",
    "PLACE_AT",
    "Clock",
    "accept",
    "answered",
    "new_pipe",
    "new_pipes",
    "offers",
    "take_slot",
]

Clock = NDArray[np.int64]

LATENCY_AT, INTERVAL_AT, DEPTH_AT, PLACE_AT, ACCEPTED_AT, TAKEN_AT, ROOM_AT = range(7)
LONG_AGO = -(1 << 40)


def new_pipe(latency: int, interval: int = 1, depth: int | None = None) -> Clock:
    """An empty pipe; depth: words that it holds at most, by default as many as a `Pipe`."""
    if depth is None:
        depth = pipe_depth(latency, interval)
    row = np.full(ROOM_AT + depth, LONG_AGO, np.int64)
    row[[LATENCY_AT, INTERVAL_AT, DEPTH_AT, PLACE_AT]] = latency, interval, depth, 0
    return row


def new_pipes(pipes: list[Clock]) -> NDArray[np.int64]:
    """One below the other."""
    found = np.full((len(pipes), max(map(len, pipes))), LONG_AGO, np.int64)
    for row, pipe in zip(found, pipes, strict=True):
        row[: len(pipe)] = pipe
    return found


@kernel
def accept(pipe: Clock, cycle: int) -> int:
    """As `PipeClock.accept`."""
    found = max(cycle, pipe[ACCEPTED_AT] + pipe[INTERVAL_AT], pipe[ROOM_AT + pipe[PLACE_AT]] + 1)
    pipe[ACCEPTED_AT] = found
    return found


@kernel
def offers(pipe: Clock) -> int:
    """The first cycle in which the answer to the word last accepted can be taken."""
    return max(pipe[ACCEPTED_AT] + pipe[LATENCY_AT] + 1, pipe[TAKEN_AT] + 1)


@kernel
def answered(pipe: Clock, cycle: int) -> None:
    """It is taken; exactly one answer follows each word that is accepted."""
    pipe[TAKEN_AT] = cycle
    place = pipe[PLACE_AT]
    pipe[ROOM_AT + place] = cycle
    place += 1
    pipe[PLACE_AT] = 0 if place == pipe[DEPTH_AT] else place


@kernel
def take_slot(slots: Clock) -> int:
    """The index of the slot that is free first; each is free from its cycle on."""
    found = 0
    for i in range(1, len(slots)):
        if slots[i] < slots[found]:
            found = i
    return found
