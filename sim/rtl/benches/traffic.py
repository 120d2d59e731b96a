"""Several streams of a unit at once, under gaps and stalls, cycle by cycle.

Not a bench itself: the bench of a unit hands over words, and compares with its cycle model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from numpy.typing import NDArray

__all__ = ["Received", "Sent", "reset_streams", "start_streams", "traffic"]

_PATIENCE = 5_000  # cycles without a word in or out
_QUIET = 40  # cycles after the last word, in which nothing may come


@dataclass
class Sent:
    """Cycles from which the sender had each word, and in which it was accepted."""

    words: Sequence[int]
    offered: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass
class Received:
    """Cycles in which words were taken, and the words. took: the receiver was ready, by cycle."""

    taken: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    took: list[bool] = field(default_factory=list)
    held: int | None = None

    @property
    def ready(self) -> NDArray[np.bool_]:
        return np.array(self.took, bool)


async def start_streams(dut: Any, *names: str) -> None:
    """Start the clock and reset."""
    Clock(dut.clk, 10, unit="ns").start()
    await reset_streams(dut, *names)


async def reset_streams(dut: Any, *names: str) -> None:
    """One cycle of reset. names: of signals that are low then, valids in and readies out."""
    dut.rst.value = 1
    for name in names:
        getattr(dut, name).value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def traffic(
    dut: Any,
    sends: Mapping[str, Sequence[int]],
    takes: Mapping[str, int],
    rng: np.random.Generator,
    busy: float,
    *,
    cycles: int | None = None,
    every_cycle: Callable[[int], None] = lambda cycle: None,
) -> tuple[dict[str, Sent], dict[str, Received]]:
    """From the cycle on in which it is called: send words, take so many, see that no more come.

    busy: how likely senders and receivers are ready in a cycle. cycles: stop after so many,
    whatever is still on its way. every_cycle: called when the cycle's signals are settled.
    """
    sent = {name: Sent(words) for name, words in sends.items()}
    received = {name: Received() for name in takes}
    cycle = quiet = 0

    def unfinished() -> bool:
        return any(len(each.accepted) < len(each.words) for each in sent.values()) or any(
            len(received[name].taken) < count for name, count in takes.items()
        )

    while (quiet < _QUIET or unfinished()) if cycles is None else cycle < cycles:
        for name, each in sent.items():
            done = len(each.accepted)
            if len(each.offered) == done < len(each.words) and rng.random() < busy:
                getattr(dut, f"{name}_payload").value = each.words[done]
                each.offered.append(cycle)
            getattr(dut, f"{name}_valid").value = int(len(each.offered) > done)
        for name, got in received.items():
            got.took.append(bool(rng.random() < busy))
            getattr(dut, f"{name}_ready").value = int(got.took[-1])
        await Timer(1, unit="ns")
        quiet += 1
        for name, each in sent.items():
            if len(each.offered) > len(each.accepted) and getattr(dut, f"{name}_ready").value:
                each.accepted.append(cycle)
                quiet = 0
        for name, got in received.items():
            valid = bool(getattr(dut, f"{name}_valid").value)
            word = getattr(dut, f"{name}_payload").value.to_unsigned() if valid else None
            assert got.held is None or word == got.held, f"{name} changed before it was taken"
            got.held = None if got.took[-1] else word
            if word is not None:
                quiet = 0
                if got.took[-1]:
                    got.taken.append(cycle)
                    got.words.append(word)
        assert quiet < _PATIENCE, "the unit is stuck"
        every_cycle(cycle)
        cycle += 1
        await FallingEdge(dut.clk)
    return sent, received
