"""The accelerator's Verilog in Verilator as a device, with a memory of known timing on its bus."""

from __future__ import annotations

import json
import mmap
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import DeviceTimeout
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.toolchain import ToolError

__all__ = ["CHANNELS", "Counts", "RtlDevice", "build_accelerator", "build_device", "config_of"]

_MAIN = Path(__file__).with_name("accelerator_main.cpp")
_HEADER = Path(__file__).with_name("accelerator_memory.h")

CHANNELS = ("ar", "r", "aw", "w", "b")


class Counts(NamedTuple):
    """Since the start of the device, resets included: clocked cycles, and what the bus carried."""

    cycles: int
    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int


def config_of(parameters: Mapping[str, Any]) -> AcceleratorConfig:
    """The configuration that a manifest's `parameters` describe."""
    values = {field.name: parameters[field.name] for field in fields(AcceleratorConfig)}
    for name in ("formats_a", "formats_b"):
        values[name] = tuple(values[name])
    return AcceleratorConfig(**values)


def build_accelerator(verilog: Path, manifest: Path) -> Path:
    """The simulator of the accelerator in `verilog`; takes most of a minute the first time.

    Raises ToolError if Verilator fails.
    """
    config = config_of(json.loads(manifest.read_text())["parameters"])
    return build_device(verilog, config.data_bits, config.burst_beats, config.outstanding)


def build_device(verilog: Path, data_bits: int, burst_beats: int, outstanding: int) -> Path:
    """The simulator of any circuit with an accelerator's ports; what its bus is held to.

    Raises ToolError if Verilator fails.
    """
    defines = {"DATA_BITS": data_bits, "BURST_BEATS": burst_beats, "OUTSTANDING": outstanding}
    flags = " ".join(f"-D{name}={value}" for name, value in defines.items())
    return build_native(
        [verilog],
        _MAIN,
        top=verilog.stem,
        arguments=["-CFLAGS", flags],
        headers=[_HEADER],
    )


class RtlDevice:
    """A simulated accelerator and its memory; a `Device` for `sim.driver.Driver`.

    Parameters
    ----------
    executable: Path
        From `build_accelerator`.
    timing: MemoryTiming
        When the memory takes and gives what.
    memory_bytes: int
        A multiple of 4096; accesses beyond answer DECERR.

    Attributes
    ----------
    memory: uint8 (memory_bytes,)
        What the accelerator reads and writes, zeros at first. The same bytes, not a copy.
    writes: uint8 (memory_bytes,)
        How often the accelerator wrote each byte, up to 255; may be set back.

    Every method raises ToolError if the simulation is over: because the accelerator broke a rule of
    AXI, which the message names, or because the device was closed.
    """

    def __init__(
        self,
        executable: Path,
        timing: MemoryTiming | None = None,
        memory_bytes: int = 1 << 26,
    ) -> None:
        if memory_bytes < 1 or memory_bytes % 4096:
            raise ValueError(f"memory_bytes is {memory_bytes}; it must be a multiple of 4096")
        # Files without a name: nothing is left of them whatever happens.
        self.memory, memory = _shared(memory_bytes)
        self.writes, writes = _shared(memory_bytes)
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        numbers = [file.fileno() for file in (memory, writes, self._trace)]
        with memory, writes:
            self._process = subprocess.Popen(
                [str(executable), *map(str, numbers), str(memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=numbers,
            )
        try:
            self._answer()
            self.set_timing(MemoryTiming() if timing is None else timing)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RtlDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def close(self) -> None:
        """End the simulation; `memory` and `writes` can still be read."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._trace):
            assert stream is not None
            with suppress(BrokenPipeError):  # of a command that was not read any more
                stream.close()

    def read_register(self, offset: int) -> int:
        """The register at a byte offset; 0 where there is none."""
        return self.read(offset)[0]

    def write_register(self, offset: int, value: int) -> None:
        """Write a register; what is refused has no effect."""
        self.write(offset, value)

    def read(self, offset: int) -> tuple[int, int]:
        """A register and the bus's response, 0 if all is well."""
        value, response = self._command(f"read {offset}").split()
        return int(value), int(response)

    def write(self, offset: int, value: int) -> int:
        """Write a register; the bus's response, 0 if all is well."""
        return int(self._command(f"write {offset} {value}"))

    def wait(self, cycles: int) -> None:
        """Until the interrupt output is high. DeviceTimeout if it is not after `cycles`."""
        if not self.interrupt_within(cycles):
            raise DeviceTimeout(f"no interrupt within {cycles} cycles")

    def interrupt_within(self, cycles: int) -> bool:
        """Whether the interrupt output gets high within `cycles`; stops there."""
        return self._command(f"wait {cycles}").startswith("interrupt")

    def run(self, cycles: int) -> None:
        """Clock it."""
        self._command(f"run {cycles}")

    def reset(self, cycles: int = 2) -> None:
        """Reset accelerator and memory: what is in flight and injected faults are forgotten."""
        self._command(f"reset {cycles}")

    def set_timing(self, timing: MemoryTiming) -> None:
        """The memory's timing from now on; only between lists."""
        self._command(f"latency {timing.latency}")
        for name in CHANNELS:
            gaps = getattr(timing, name)
            self._command(f"gaps {name} {''.join('01'[int(gap)] for gap in gaps)}")

    def fail_read(self, index: int, response: int = 2) -> None:
        """The index-th beat read from now, the next is 0, comes with an error response."""
        self._command(f"fault read {index} {response}")

    def fail_write(self, index: int, response: int = 2) -> None:
        """The index-th write burst from now, the next is 0, does nothing but answer an error."""
        self._command(f"fault write {index} {response}")

    def record(self, on: bool = True) -> None:
        """Keep a trace of the lists that start from now on, or none any more."""
        self._command(f"trace {'on' if on else 'off'}")

    def trace(self) -> dict[str, np.ndarray]:
        """By channel the cycles, int64, in which it handed something over in the last list.

        Cycle 0 is the first in which `busy` was high.
        """
        self._command("run 0")  # a device that is over has no trace
        self._trace.seek(0)
        words = np.frombuffer(self._trace.read(), np.uint16)
        return {
            name: np.flatnonzero(words >> 2 * place & 3 == 3) for place, name in enumerate(CHANNELS)
        }

    def counts(self) -> Counts:
        """How much was clocked and moved."""
        return Counts(*map(int, self._command("counts").split()))

    def _command(self, line: str) -> str:
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.closed:
            raise ToolError("the simulation is over; make another device")
        with suppress(BrokenPipeError):  # then its last words tell why
            stdin.write(line + "\n")
            stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline().strip()
        if line and not line.startswith("error "):
            return line
        self.close()
        why = line.removeprefix("error ") or f"exit code {self._process.returncode}"
        raise ToolError(f"the simulation stopped: {why}")


def _shared(size: int) -> tuple[np.ndarray, IO[bytes]]:
    """Zeros that a process with the same open file shares, and that file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.truncate(size)
    return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8), file
