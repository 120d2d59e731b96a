"""The accelerator as a device without a circuit: the models' bytes, the cycle model's counters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.execute import run_list
from oleaster.models.accelerator.registers import (
    ID,
    REGISTERS,
    Cause,
    ControlBit,
    InterruptBit,
    Status,
)
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import list_timing
from oleaster.sim.driver import DeviceTimeout

__all__ = ["PAGE", "CycleDevice"]

_NAMES = {register.offset: register.name for register in REGISTERS}
_COUNTERS = {
    "WORDS": "words",
    "WAIT_DATA": "wait_data",
    "WAIT_OUTPUT": "wait_output",
    "READ_BEATS": "read_beats",
    "WRITE_BEATS": "write_beats",
    "TILES": "tiles",
}
_WRITABLE = {"LIST_LOW": 32, "LIST_HIGH": 16, "INTERRUPT_ENABLE": 2}
PAGE = 4096
"""Memory of a device comes in multiples of so many bytes."""


class CycleDevice:
    """A `Device` for `sim.driver.Driver`, with all registers of the circuit.

    A list is done as soon as the doorbell rings; its cycles pass in `wait`. So the status is never
    busy, and no doorbell can ring meanwhile. After an error the counters are those of the
    descriptors before, and C of the failing one is as it was, whatever the circuit had written.
    `run_list` says how cause and flags may then differ from the circuit's.

    Parameters
    ----------
    config: AcceleratorConfig
    timing: MemoryTiming
        `MemoryTiming()` if None.
    memory_bytes: int
        A multiple of 4096; accesses beyond are errors of the bus.

    Attributes
    ----------
    memory: uint8 (memory_bytes,), zeros at first
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        timing: MemoryTiming | None = None,
        memory_bytes: int = 1 << 26,
    ) -> None:
        if memory_bytes < 1 or memory_bytes % PAGE:
            raise ValueError(f"memory_bytes is {memory_bytes}; it must be a multiple of {PAGE}")
        self.config = config
        self.timing = MemoryTiming() if timing is None else timing
        self.memory: NDArray[np.uint8] = np.zeros(memory_bytes, np.uint8)
        self._remaining = 0
        self._registers = dict.fromkeys(_NAMES.values(), 0)
        self._registers |= {
            "ID": ID,
            "ARRAY": config.rows | config.cols << 16,
            "BUS": config.data_bits | config.address_bits << 16,
            "SCRATCHPAD": config.scratchpad_beats,
            "BURSTS": config.outstanding | config.burst_beats << 16,
            "FORMATS": config.formats_mask,
        }

    def read_register(self, offset: int) -> int:
        """See `Device`."""
        name = _NAMES.get(offset)
        if name == "STATUS":
            return self._registers["STATUS"] | self._interrupt() << Status.INTERRUPT
        return 0 if name is None else self._registers[name]

    def write_register(self, offset: int, value: int) -> None:
        """See `Device`."""
        name = _NAMES.get(offset)
        if name in _WRITABLE:
            self._registers[name] = value & ((1 << _WRITABLE[name]) - 1)
        elif name == "CONTROL" and value >> ControlBit.DOORBELL & 1:
            if not self._registers["STATUS"] >> Status.ERROR & 1:
                self._run()
        elif name == "CONTROL" and value >> ControlBit.CLEAR & 1:
            self._registers |= {"STATUS": 0, "CAUSE": Cause.NONE}

    def wait(self, cycles: int) -> None:
        """See `Device`."""
        if not self._interrupt() or self._remaining > cycles:
            self._remaining = max(0, self._remaining - cycles)
            raise DeviceTimeout(f"no interrupt within {cycles} cycles")
        self._remaining = 0

    def _interrupt(self) -> bool:
        status, enable = self._registers["STATUS"], self._registers["INTERRUPT_ENABLE"]
        return any(
            status >> event & enable >> bit & 1
            for event, bit in (
                (Status.DONE, InterruptBit.DONE),
                (Status.ERROR, InterruptBit.ERROR),
            )
        )

    def _run(self) -> None:
        first = self._registers["LIST_LOW"] | self._registers["LIST_HIGH"] << 32
        outcome = run_list(self.memory, first, self.config)
        ran = [descriptor for _, descriptor in outcome.ran]
        timing = list_timing(ran, self.config, self.timing)
        self._remaining = timing.cycles
        address = outcome.descriptor_address
        self._registers |= {
            "STATUS": (
                1 << (Status.ERROR if outcome.cause else Status.DONE)
                | outcome.overflow << Status.OVERFLOW
                | outcome.illegal << Status.ILLEGAL
            ),
            "CAUSE": int(outcome.cause),
            "DESCRIPTOR_LOW": address & 0xFFFF_FFFF,
            "DESCRIPTOR_HIGH": address >> 32,
            "COMPLETED": outcome.completed,
            "CYCLES_LOW": timing.cycles & 0xFFFF_FFFF,
            "CYCLES_HIGH": timing.cycles >> 32,
            **{name: getattr(timing, counter) & 0xFFFF_FFFF for name, counter in _COUNTERS.items()},
        }
