"""When a memory on AXI4 takes and gives what: the same rules as the RTL harness's memory.

All times are cycles since the accelerator became busy. In the cycles of a *gap* the memory holds
back on that channel: `ready` is low on ar, aw and w, `valid` on r and b.

- A read's first beat comes `latency` cycles after its address was taken or later; beats come in
  the order of the addresses, one a cycle, none in a gap.
- A write's response comes `latency` cycles after its last beat was taken or later; in order, one a
  cycle, none in a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral

import numpy as np

__all__ = ["PERIOD", "Channel", "MemoryTiming"]

PERIOD = 1024
"""Cycles after which gaps repeat."""


def _never() -> np.ndarray:
    return np.zeros(PERIOD, bool)


class Channel:
    """One channel of the bus: `gaps` is bool (PERIOD,), not all True."""

    def __init__(self, gaps: np.ndarray) -> None:
        if gaps.shape != (PERIOD,) or gaps.all():
            raise ValueError(f"gaps are bool ({PERIOD},) and not all of them, not {gaps.shape}")
        free = np.flatnonzero(~gaps)
        self._free: list[int] = free.tolist()
        self._before: list[int] = np.searchsorted(free, np.arange(PERIOD)).tolist()

    def nth(self, cycle: int, n: int = 1) -> int:
        """The n-th cycle, n >= 1, at or after `cycle` that is no gap."""
        period, phase = divmod(cycle, PERIOD)
        more, place = divmod(self._before[phase] + n - 1, len(self._free))
        return (period + more) * PERIOD + self._free[place]


@dataclass(frozen=True, eq=False)
class MemoryTiming:
    """latency: cycles, at least 1. ar, r, aw, w, b: gaps, bool (PERIOD,)."""

    latency: int = 100
    ar: np.ndarray = field(default_factory=_never)
    r: np.ndarray = field(default_factory=_never)
    aw: np.ndarray = field(default_factory=_never)
    w: np.ndarray = field(default_factory=_never)
    b: np.ndarray = field(default_factory=_never)

    def __post_init__(self) -> None:
        if not isinstance(self.latency, Integral) or self.latency < 1:
            raise ValueError(f"latency is {self.latency!r}; it must be an integer of at least 1")
        _ = self.channels

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """By name."""
        return {name: Channel(getattr(self, name)) for name in ("ar", "r", "aw", "w", "b")}

    @staticmethod
    def with_bandwidth(latency: int, read: float = 1.0, write: float = 1.0) -> MemoryTiming:
        """Evenly spread gaps so that r and w move `read` and `write` beats a cycle (0 to 1]."""
        return MemoryTiming(latency, r=_spread(read), w=_spread(write))

    @staticmethod
    def random(latency: int, share: float, seed: int) -> MemoryTiming:
        """Random gaps in that share of the cycles, on all five channels."""
        rng = np.random.default_rng(seed)
        gaps = rng.random((5, PERIOD)) < share
        gaps[:, 0] = False
        return MemoryTiming(latency, *gaps)


def _spread(rate: float) -> np.ndarray:
    if not 0 < rate <= 1:
        raise ValueError(f"a bandwidth is {rate} beats a cycle; it must be above 0, at most 1")
    beats = max(1, round(rate * PERIOD))
    moves = np.floor((np.arange(PERIOD) + 1) * beats / PERIOD) > np.floor(
        np.arange(PERIOD) * beats / PERIOD
    )
    return ~moves
