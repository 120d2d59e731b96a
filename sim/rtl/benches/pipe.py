"""Any `Pipe` against its reference and its cycle model, under gaps and stalls, and after a reset.

Not a bench itself: the bench of a unit hands over words and answers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.sim.nerf.pipe import pipe_cycles

_PATIENCE = 2000  # cycles without a word in or out


async def start_pipe(dut: Any) -> None:
    """Start the clock and reset."""
    Clock(dut.clk, 10, unit="ns").start()
    await reset_pipe(dut)


async def reset_pipe(dut: Any) -> None:
    """One cycle of reset, nothing offered and nothing taken."""
    dut.rst.value = 1
    dut.i_valid.value = dut.o_ready.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def reset_midway(dut: Any, words: Sequence[int]) -> None:
    """Offer a word in every cycle, taken or not, and reset while they are on their way."""
    for word in words:
        dut.i_payload.value = word
        dut.i_valid.value = 1
        await FallingEdge(dut.clk)
    await reset_pipe(dut)


async def check_pipe(
    dut: Any,
    words: Sequence[int],
    answers: Sequence[int],
    latency: int,
    rng: np.random.Generator,
    *,
    busy: float = 1.0,
    interval: int = 1,
) -> None:
    """Every answer, and the cycle of every handshake, for a pipe that is empty.

    words, answers: payloads. busy: how likely sender and receiver are ready in a cycle; with 1 the
    pipe must take a word in every cycle, or every `interval` cycles.
    """
    offered: list[int] = []
    accepted: list[int] = []
    taken: list[int] = []
    ready: list[bool] = []
    cycle, quiet, held = 0, 0, None
    while len(taken) < len(words):
        if len(offered) == len(accepted) < len(words) and rng.random() < busy:
            dut.i_payload.value = words[len(offered)]
            offered.append(cycle)
        dut.i_valid.value = int(len(offered) > len(accepted))
        ready.append(bool(rng.random() < busy))
        dut.o_ready.value = int(ready[-1])
        await Timer(1, unit="ns")
        accepts = len(offered) > len(accepted) and bool(dut.i_ready.value)
        valid = bool(dut.o_valid.value)
        if valid:
            got = dut.o_payload.value.to_unsigned()
            want = answers[len(taken)]
            assert got == want, f"word {words[len(taken)]:#x}: {got:#x}, want {want:#x}"
        else:
            assert held is None, "valid fell before the word was taken"
        held = True if valid and not ready[-1] else None
        if accepts:
            accepted.append(cycle)
        if valid and ready[-1]:
            taken.append(cycle)
        quiet = 0 if accepts or valid else quiet + 1
        assert quiet < _PATIENCE, "the pipe is stuck"
        cycle += 1
        await FallingEdge(dut.clk)
    dut.i_valid.value = dut.o_ready.value = 0
    model = pipe_cycles(offered, latency, np.array(ready), interval=interval)
    assert (accepted, taken) == (model[0].tolist(), model[1].tolist())
    if busy == 1.0:
        assert np.all(np.diff(taken) == interval), "a cycle was lost"
