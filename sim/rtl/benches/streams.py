"""Words into stream `i` and out of stream `o` of a unit, under gaps and stalls, cycle by cycle.

Not a bench itself: the bench of a unit hands over words, and compares with its cycle model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge, Timer
from numpy.typing import NDArray

__all__ = ["Exchange", "exchange"]

_PATIENCE = 20_000  # cycles without a word in or out
_QUIET = 40  # cycles after the last word, in which nothing may come


@dataclass
class Exchange:
    """Cycles of handshakes, and what came. offered: from when the sender had each word."""

    offered: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    payloads: list[int] = field(default_factory=list)
    took: list[bool] = field(default_factory=list)

    @property
    def ready(self) -> NDArray[np.bool_]:
        """Whether the receiver took words, cycle by cycle; it did after these."""
        return np.array(self.took, bool)


async def exchange(
    dut: Any,
    words: Sequence[int],
    count: int,
    rng: np.random.Generator,
    busy: float,
    every_cycle: Callable[[], Mapping[str, int]] = dict,
) -> Exchange:
    """Send `words` and take `count`, then see that no more come.

    busy: how likely sender and receiver are ready in a cycle. every_cycle: called when the cycle's
    signals are settled; gives the values of other inputs in the next one.
    """
    done = Exchange()
    cycle, quiet, held = 0, 0, None
    while quiet < _QUIET or len(done.taken) < count or len(done.accepted) < len(words):
        has_word = len(done.offered) > len(done.accepted)
        if not has_word and len(done.offered) < len(words) and rng.random() < busy:
            dut.i_payload.value = words[len(done.offered)]
            done.offered.append(cycle)
            has_word = True
        dut.i_valid.value = int(has_word)
        ready = bool(rng.random() < busy) or len(done.taken) >= count
        done.took.append(ready)
        dut.o_ready.value = int(ready)
        await Timer(1, unit="ns")
        accepts = has_word and bool(dut.i_ready.value)
        valid = bool(dut.o_valid.value)
        payload = dut.o_payload.value.to_unsigned() if valid else None
        assert held is None or payload == held, "a word changed before it was taken"
        held = payload if valid and not ready else None
        if accepts:
            done.accepted.append(cycle)
        if valid and ready:
            assert payload is not None
            done.taken.append(cycle)
            done.payloads.append(payload)
        quiet = 0 if accepts or valid else quiet + 1
        assert quiet < _PATIENCE, "the unit is stuck"
        others = every_cycle()
        cycle += 1
        await FallingEdge(dut.clk)
        for name, value in others.items():
            getattr(dut, name).value = value
    dut.i_valid.value = dut.o_ready.value = 0
    return done
