"""Accelerator bench: random lists, error responses on any beat, wrong lists, resets.

The memory and the host are cocotbext-axi's; what must come of a list is `run_list`'s to say.
"""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.accelerator.execute import run_list
from oleaster.models.accelerator.registers import Cause, ControlBit, Status
from oleaster.sim.rtl.accelerator_device import config_of
from oleaster.sim.rtl.benches.accelerator_lists import RandomList, random_list, wrong_lists
from oleaster.sim.rtl.benches.axi import Machine
from oleaster.sim.rtl.cosim import bench_config

CONFIG = config_of(bench_config())
MEMORY_BYTES = 1 << 20
DOORBELL, CLEAR = 1 << ControlBit.DOORBELL, 1 << ControlBit.CLEAR
LISTS = 12
FAULTS = 24
Placed = Sequence[tuple[int, Descriptor]]


async def _status(machine: Machine) -> set[Status]:
    bits = await machine.get("STATUS")
    return {bit for bit in Status if bits >> bit & 1}


async def _stopped_at(machine: Machine) -> int:
    return await machine.get("DESCRIPTOR_LOW") | await machine.get("DESCRIPTOR_HIGH") << 32


async def _complete(machine: Machine, made: RandomList, of: str) -> None:
    """Run a list that nothing is wrong with and check memory and registers."""
    machine.load(made.memory)
    expected = made.expect(CONFIG)
    assert await machine.start(made.address) == 0
    await machine.finish()
    found = await _status(machine)
    flags = {Status.OVERFLOW} if expected.overflow else set()
    flags |= {Status.ILLEGAL} if expected.illegal else set()
    assert found == {Status.DONE, Status.INTERRUPT, *flags}, f"{of}: {found}"
    assert await machine.get("COMPLETED") == len(made.placed), of
    assert await machine.get("CAUSE") == Cause.NONE, of
    assert await machine.get("READ_BEATS") == machine.read.beats, of
    wrong = np.flatnonzero(machine.writes[: made.memory.size] != expected.writes)
    assert not wrong.size, f"{of}: byte {wrong[0]:#x} was written {machine.writes[wrong[0]]} times"
    assert not machine.writes[made.memory.size :].any(), f"{of}: a write beyond all"
    wrong = np.flatnonzero(machine.memory[: made.memory.size] != expected.memory)
    assert not wrong.size, f"{of}: {wrong.size} bytes are wrong, the first is {wrong[0]:#x}"


async def _stop(
    machine: Machine,
    made: RandomList,
    cause: Cause,
    ran: Placed,
    stopped: tuple[int, Descriptor | None],
    of: str,
) -> None:
    """Check a list that stopped after `ran`, in or before `stopped`; then clear the error."""
    await machine.finish()
    found = await _status(machine)
    assert found - {Status.OVERFLOW, Status.ILLEGAL} == {Status.ERROR, Status.INTERRUPT}, of
    assert await machine.get("CAUSE") == cause, of
    assert await _stopped_at(machine) == stopped[0], of
    assert await machine.get("COMPLETED") == len(ran), of
    # All that ran is there; of the one that stopped some of C may be, and that must be right.
    before = made.expect(CONFIG, ran)
    after = before if stopped[1] is None else made.expect(CONFIG, [*ran, (0, stopped[1])])
    size = made.memory.size
    writes, memory = machine.writes[:size], machine.memory[:size]
    assert not machine.writes[size:].any(), f"{of}: a write beyond all"
    assert (writes >= before.writes).all(), f"{of}: a lost write"
    assert (writes <= after.writes).all(), f"{of}: a write too many"
    expected = np.where(writes == after.writes, after.memory, before.memory)
    assert (memory == expected).all(), f"{of}: wrong bytes"
    # An error must be cleared before anything runs.
    assert await machine.set("CONTROL", DOORBELL) != 0, f"{of}: a doorbell before the clear"
    await ClockCycles(machine.dut.clk, 10)
    assert not machine.dut.busy.value, of
    assert await machine.set("CONTROL", CLEAR) == 0, of
    assert not await _status(machine), of
    assert not machine.dut.interrupt.value, of


async def _machine(dut: Any) -> Machine:
    machine = Machine(dut, MEMORY_BYTES)
    await machine.reset()
    return machine


def _short(rng: np.random.Generator, count: int = 2) -> RandomList:
    return random_list(rng, CONFIG, count, largest=1, deepest=1)


@cocotb.test
@cocotb.parametrize(share=[0.0, 0.3, 0.8])
async def random_lists(dut: Any, share: float) -> None:
    machine = await _machine(dut)
    machine.pause(share)
    for seed in range(LISTS):
        rng = np.random.default_rng([seed, int(10 * share)])
        await _complete(machine, random_list(rng, CONFIG, largest=2, deepest=2), f"list {seed}")


@cocotb.test
@cocotb.parametrize(side=["read", "write"], share=[0.0, 0.5])
async def error_responses(dut: Any, side: str, share: float) -> None:
    """On reads of descriptors, of A, of B and of channel words, and on writes."""
    machine = await _machine(dut)
    machine.pause(share)
    rng = np.random.default_rng(int(10 * share))
    made = _short(rng, 2)
    while any(of.c_format == "int32" or of.m == 1 for _, of in made.placed):
        made = _short(rng, 2)
    await _complete(machine, made, "without an error")
    count = machine.read.beats if side == "read" else machine.write.pieces
    starts = {address: index for index, (address, _) in enumerate(made.placed)}
    for number in sorted({0, 1, *range(2, count, -(-count // FAULTS)), count - 1}):
        machine.load(made.memory)
        runs = [-1]

        def read_fault(index: int, address: int, runs: Any = runs, at: int = number) -> bool:
            runs[0] = starts.get(address, runs[0])
            return side == "read" and index == at

        def write_fault(index: int, _: int, at: int = number) -> bool:
            return side == "write" and index == at

        machine.read.fault, machine.write.fault = read_fault, write_fault
        assert await machine.start(made.address) == 0
        cause = Cause.READ_RESPONSE if side == "read" else Cause.WRITE_RESPONSE
        await machine.finish()
        stopped = runs[0]
        await _stop(
            machine,
            made,
            cause,
            made.placed[:stopped],
            made.placed[stopped],
            f"error {number} of {count}",
        )
    await _complete(machine, made, "after the errors")


@cocotb.test
async def wrong_descriptors(dut: Any) -> None:
    machine = await _machine(dut)
    machine.pause(0.2)
    for name, made, address, cause in wrong_lists(np.random.default_rng(3), CONFIG):
        machine.load(made.memory)
        outcome = run_list(made.memory.copy(), address, CONFIG)
        assert outcome.cause == cause, name
        assert await machine.start(address) == 0, name
        stopped = outcome.descriptor_address, None
        await _stop(machine, made, cause, outcome.ran, stopped, name)
    await _complete(machine, _short(np.random.default_rng(4)), "after the wrong descriptors")


@cocotb.test
async def doorbell_while_busy(dut: Any) -> None:
    machine = await _machine(dut)
    machine.pause(0.1)
    rng = np.random.default_rng(5)
    made = random_list(rng, CONFIG, 3, largest=2, deepest=2)
    await _complete(machine, made, "without a second doorbell")
    duration = await machine.get("CYCLES_LOW")
    for _ in range(FAULTS):
        machine.load(made.memory)
        assert await machine.start(made.address) == 0
        await ClockCycles(dut.clk, int(rng.integers(1, duration * 3 // 4)))
        assert await machine.set("CONTROL", DOORBELL) != 0, "a second doorbell was answered well"
        await machine.finish()
        # It may come as the last descriptor ends.
        completed = await machine.get("COMPLETED")
        stopped = made.placed[min(completed, len(made.placed) - 1)]
        await _stop(machine, made, Cause.DOORBELL, made.placed[:completed], stopped, "doorbell")
    await _complete(machine, made, "after the doorbells")


@cocotb.test
async def reset_in_flight(dut: Any) -> None:
    machine = await _machine(dut)
    machine.pause(0.3)
    rng = np.random.default_rng(6)
    made = random_list(rng, CONFIG, 2, largest=2, deepest=2)
    await _complete(machine, made, "without a reset")
    duration = await machine.get("CYCLES_LOW")
    for _ in range(FAULTS):
        machine.load(made.memory)
        assert await machine.start(made.address) == 0
        await ClockCycles(dut.clk, int(rng.integers(1, duration)))
        await machine.reset()
        assert not dut.busy.value
        assert not dut.interrupt.value
        assert not await _status(machine)
        await _complete(machine, _short(rng, 1), "after a reset")
