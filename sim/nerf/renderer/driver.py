"""The renderer's driver: what software does, whatever device is below. All of this is ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.renderer.bus import ALIGNMENT
from oleaster.models.nerf.renderer.events import EVENTS
from oleaster.models.nerf.renderer.frame_buffer import PIXEL_BYTES, frame_bytes, image_of
from oleaster.models.nerf.renderer.registers import (
    ID,
    LARGEST_SIDE,
    Cause,
    ControlBit,
    InterruptBit,
    Status,
    event_register,
    register_offset,
)
from oleaster.models.nerf.renderer.scene_list import (
    LIST_ENTRY_BYTES,
    ListEntry,
    list_bytes,
    target_name,
)
from oleaster.models.nerf.renderer.targets import PAIRS, Target, item_bits
from oleaster.sim.driver import Device, DeviceError, DeviceTimeout

__all__ = ["Frame", "LoadReport", "Part", "RendererDriver", "RendererError", "list_block"]

_INTERRUPTS = 1 << InterruptBit.DONE | 1 << InterruptBit.ERROR
_CYCLES_AT_LEAST = 1_000_000
_CYCLES_A_BEAT = 1_000
_CYCLES_A_PIXEL = 100_000
_CYCLES_AT_ONCE = 200_000  # between reports


class RendererError(DeviceError):
    """A command stopped before its end.

    cause: why. entry: number of the descriptor in its list. faults: of each decoder, those of
    density first.
    """

    def __init__(self, message: str, cause: int, entry: int, faults: tuple[Fault, ...]) -> None:
        super().__init__(message)
        self.cause = cause
        self.entry = entry
        self.faults = faults


@dataclass(frozen=True)
class Part:
    """Items for one memory, from its first one on. data: whole items as they lie in memory."""

    target: int
    data: bytes

    @property
    def items(self) -> int:
        return len(self.data) * 8 // item_bits(self.target)


@dataclass(frozen=True)
class LoadReport:
    """cycles, read_beats: of the command. bytes: of lists and items in memory."""

    cycles: int
    read_beats: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Frame:
    """image: (height, width, 3) uint8. events: by name of `EVENTS`."""

    image: NDArray[np.uint8]
    cycles: int
    read_beats: int
    write_beats: int
    tiles: int
    events: dict[str, int]


class RendererDriver:
    """Puts a scene into a device's memory, has it loaded, and images rendered.

    Lies in memory, from address 0 on: the scene's list and items, the frame's, the frame buffer.

    device: reset and idle. Raises DeviceError if it is no renderer of this version.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        found = self._read("ID")
        if found != ID:
            raise DeviceError(
                f"the device's ID is {found:#010x}; a renderer of this version has {ID:#010x}"
            )
        self.tile_bits = self._read("TILE").bit_length() - 1
        self._scene_end = 0

    def load(self, parts: Sequence[Part], max_cycles: int | None = None) -> LoadReport:
        """Write the scene's parts into the renderer's memories.

        max_cycles: before DeviceTimeout; None for a guess that is ample on usual buses. Raises
        RendererError if the command stops early, ValueError if the parts do not fit the memory.
        """
        self._scene_end = self._place(0, parts)
        self._write_address("SCENE", 0)
        self._run(ControlBit.LOAD, max_cycles or self._patience(self._scene_end))
        report = LoadReport(self._cycles(), self._read("READ_BEATS"), self._scene_end)
        self._clear()
        return report

    def render(
        self,
        constants: bytes,
        width: int,
        height: int,
        max_cycles: int | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Frame:
        """An image of the scene that is loaded. constants: whole beats, as `constants_word` packs.

        report: is told from time to time how many tiles are done, and of how many. Raises as
        `load`, and ValueError for sizes that cannot be.
        """
        for name, side in (("width", width), ("height", height)):
            if not 1 <= side <= LARGEST_SIDE:
                raise ValueError(f"{name} is {side}; it must be 1 to {LARGEST_SIDE}")
        frame = self._scene_end
        output = self._place(frame, [Part(Target.CONSTANTS, constants)])
        size = frame_bytes(width, height, self.tile_bits)
        self._require(output + size)
        self._write_address("FRAME", frame)
        self._write_address("OUTPUT", output)
        self._write("WIDTH", width)
        self._write("HEIGHT", height)
        tiles = size // PIXEL_BYTES >> 2 * self.tile_bits
        self._run(
            ControlBit.RENDER,
            max_cycles or self._patience(output + size, size // PIXEL_BYTES),
            lambda: report(self._read("TILES"), tiles),
        )
        report(tiles, tiles)
        buffer = self.device.memory[output : output + size]
        found = Frame(
            image_of(buffer, width, height, self.tile_bits),
            self._cycles(),
            self._read("READ_BEATS"),
            self._read("WRITE_BEATS"),
            self._read("TILES"),
            {event: self._read(event_register(event)) for event in EVENTS},
        )
        self._clear()
        return found

    def _place(self, at: int, parts: Sequence[Part]) -> int:
        """A list and its items from `at` on; the first aligned byte behind them."""
        data = list_block(at, parts)
        self._require(at + len(data))
        self.device.memory[at : at + len(data)] = np.frombuffer(data, np.uint8)
        return at + len(data)

    def _require(self, size: int) -> None:
        if size > self.device.memory.size:
            raise ValueError(
                f"scene and frame take {size} bytes; the device's memory has"
                f" {self.device.memory.size}"
            )

    def _patience(self, size: int, pixels: int = 0) -> int:
        beats = size // (ALIGNMENT // 16)
        return _CYCLES_AT_LEAST + _CYCLES_A_BEAT * beats + _CYCLES_A_PIXEL * pixels

    def _run(
        self, command: ControlBit, max_cycles: int, report: Callable[[], None] = lambda: None
    ) -> None:
        if self._status(Status.BUSY):
            raise DeviceError("a command runs already; wait for its end, or reset the device")
        self._clear()
        self._write("INTERRUPT_ENABLE", _INTERRUPTS)
        self._write("CONTROL", 1 << command)
        self._wait(max_cycles, report)
        if self._status(Status.ERROR):
            error = self._error(command)
            self._clear()
            raise error
        if not self._status(Status.DONE):
            raise DeviceError("the interrupt came, but the command is neither done nor in error")

    def _wait(self, cycles: int, report: Callable[[], None]) -> None:
        while cycles > _CYCLES_AT_ONCE:
            try:
                return self.device.wait(_CYCLES_AT_ONCE)
            except DeviceTimeout:
                cycles -= _CYCLES_AT_ONCE
                report()
        self.device.wait(cycles)

    def _error(self, command: ControlBit) -> RendererError:
        cause, entry, bits = self._read("CAUSE"), self._read("ENTRY"), self._read("FAULTS")
        width = len(Fault)
        mask = (1 << width) - 1
        faults = tuple(Fault(bits >> width * i & mask) for i in range(2 * PAIRS))
        why = {int(known): known.text for known in Cause}.get(cause, f"unknown cause {cause}")
        if cause == Cause.FAULT:
            names = [target_name(first + m) for first in (0, 3) for m in range(PAIRS)]
            found = [
                f"{name.lower()}: {_fault_names(fault)}"
                for name, fault in zip(names, faults, strict=True)
                if fault
            ]
            why += f" ({'; '.join(found)})"
        if cause in (Cause.LIST, Cause.READ_RESPONSE):
            why += f" (descriptor {entry})"
        return RendererError(f"{command.name} stopped: {why}", cause, entry, faults)

    def _cycles(self) -> int:
        return self._read("CYCLES_LOW") | self._read("CYCLES_HIGH") << 32

    def _clear(self) -> None:
        self._write("CONTROL", 1 << ControlBit.CLEAR)

    def _write_address(self, name: str, address: int) -> None:
        self._write(f"{name}_LOW", address & 0xFFFF_FFFF)
        self._write(f"{name}_HIGH", address >> 32)

    def _read(self, name: str) -> int:
        return self.device.read_register(register_offset(name))

    def _write(self, name: str, value: int) -> None:
        self.device.write_register(register_offset(name), value)

    def _status(self, bit: Status) -> bool:
        return bool(self._read("STATUS") >> bit & 1)


def list_block(at: int, parts: Sequence[Part]) -> bytes:
    """A list of all parts, and their items behind it, as they lie from the address `at` on.

    ValueError if there are more parts than a list can have.
    """
    data = bytearray(_aligned(LIST_ENTRY_BYTES * (len(parts) + 1)))
    entries = []
    for part in parts:
        entries.append(ListEntry(part.target, 0, part.items, at + len(data)))
        data += part.data + bytes(_aligned(len(part.data)) - len(part.data))
    listed = list_bytes(entries)
    data[: len(listed)] = listed
    return bytes(data)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _fault_names(fault: Fault) -> str:
    return ", ".join(str(each.name).lower() for each in Fault if each in fault)
