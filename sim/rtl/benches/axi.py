"""An accelerator between bus models by others, cocotbext-axi: with pauses, faults and counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRamRead, AxiRamWrite

from oleaster.models.accelerator.registers import register_offset

__all__ = ["Machine"]

PERIOD_NS = 2
Fault = Callable[[int, int], bool]


class _Read(AxiRamRead):
    """`fault(index, address)`: whether that beat, the index-th of all, comes with an error."""

    beats = 0
    fault: Fault | None = None

    async def _read(self, address: int, length: int) -> bytes:
        index, self.beats = self.beats, self.beats + 1
        if address + length > self.size or (self.fault and self.fault(index, address)):
            raise IndexError("SLVERR")
        return self.read(address, length)


class _Write(AxiRamWrite):
    """Counts the `writes` of each byte. `fault(index, address)`: whether the index-th piece that is
    written, of bytes side by side, makes its burst answer with an error."""

    pieces = 0
    fault: Fault | None = None
    writes: np.ndarray

    async def _write(self, address: int, data: bytes) -> None:
        index, self.pieces = self.pieces, self.pieces + 1
        if address + len(data) > self.size or (self.fault and self.fault(index, address)):
            raise IndexError("SLVERR")
        self.write(address, data)
        self.writes[address : address + len(data)] += 1


class Machine:
    """`dut`, a memory on its m_axi and a host on its s_axi.

    offset_of: from a register's name to its address; the accelerator's by default.

    memory, writes: uint8 (memory_bytes,), what the memory holds and how often each byte was
    written. read, write: the memory's sides of the bus.
    """

    def __init__(
        self, dut: Any, memory_bytes: int, offset_of: Callable[[str], int] = register_offset
    ) -> None:
        self._offset_of = offset_of
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)
        self.dut = dut
        raw = bytearray(memory_bytes)
        self.memory = np.frombuffer(raw, np.uint8)
        self.writes = np.zeros(memory_bytes, np.uint8)
        Clock(dut.clk, PERIOD_NS, unit="ns").start()
        dut.rst.value = 1
        bus = AxiBus.from_prefix(dut, "m_axi")
        self.read = _Read(bus.read, dut.clk, dut.rst, mem=raw)
        self.write = _Write(bus.write, dut.clk, dut.rst, mem=raw)
        self.write.writes = self.writes
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)

    @property
    def _channels(self) -> list[Any]:
        host_read, host_write = self.host.read_if, self.host.write_if
        return [
            *(self.read.ar_channel, self.read.r_channel),
            *(self.write.aw_channel, self.write.w_channel, self.write.b_channel),
            *(host_read.ar_channel, host_read.r_channel),
            *(host_write.aw_channel, host_write.w_channel, host_write.b_channel),
        ]

    def pause(self, share: float, seed: int = 0) -> None:
        """Hold back in that share of the cycles, on each of the ten channels by itself."""
        for number, channel in enumerate(self._channels):
            rng = np.random.default_rng([seed, number])
            channel.set_pause_generator(_pauses(rng, share) if share else None)
            channel.pause = False

    def load(self, memory: np.ndarray) -> None:
        """Begin with this memory, zeros above; nothing is written yet, and no fault lies ahead."""
        self.memory[: memory.size] = memory
        self.memory[memory.size :] = 0
        self.writes[:] = 0
        self.read.fault = self.write.fault = None
        self.read.beats = self.write.pieces = 0

    async def reset(self, cycles: int = 4) -> None:
        """Reset the circuit and the bus models."""
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await FallingEdge(self.dut.clk)

    async def set(self, name: str, value: int) -> int:
        """Write a register; the response, 0 if all is well."""
        answer = await self.host.write(self._offset_of(name), value.to_bytes(4, "little"))
        return int(answer.resp)

    async def get(self, name: str) -> int:
        """Read a register, which must be answered well."""
        answer = await self.host.read(self._offset_of(name), 4)
        assert answer.resp == 0, f"a read of {name} was answered with {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def start(self, address: int) -> int:
        """Ring the doorbell for the list at `address`, with all interrupts on; the response."""
        for name, value in (
            ("LIST_LOW", address & 0xFFFFFFFF),
            ("LIST_HIGH", address >> 32),
            ("INTERRUPT_ENABLE", 3),
        ):
            assert await self.set(name, value) == 0, name
        return await self.set("CONTROL", 1)

    async def finish(self, cycles: int = 200_000) -> None:
        """Until the interrupt; then the bus must be still."""
        if not self.dut.interrupt.value:
            await with_timeout(RisingEdge(self.dut.interrupt), cycles * PERIOD_NS, "ns")
        moved = self.read.beats, self.write.pieces
        for _ in range(30):
            await FallingEdge(self.dut.clk)
            assert not self.dut.busy.value, "busy after the interrupt"
            for channel in ("ar", "aw", "w"):
                valid = getattr(self.dut, f"m_axi_{channel}valid")
                assert not valid.value, f"{channel} is valid after the interrupt"
        assert (self.read.beats, self.write.pieces) == moved, "the bus moved after the interrupt"


def _pauses(rng: np.random.Generator, share: float) -> Iterator[bool]:
    while True:
        yield from (rng.random(512) < share).tolist()
