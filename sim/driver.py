"""The accelerator's driver: what software does, whatever device is below. All of this is ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    DESCRIPTOR_BYTES,
    FORMAT_CODES,
    Descriptor,
    row_bytes,
)
from oleaster.models.accelerator.registers import (
    ID,
    Cause,
    ControlBit,
    InterruptBit,
    Status,
    register_offset,
)
from oleaster.models.accelerator.requantize import ChannelWords, channel_table
from oleaster.models.formats import get_format
from oleaster.models.quantize import QuantizedTensor

__all__ = [
    "AcceleratorError",
    "Device",
    "DeviceError",
    "DeviceTimeout",
    "Driver",
    "RunReport",
    "read_config",
]

_DOORBELL, _CLEAR = 1 << ControlBit.DOORBELL, 1 << ControlBit.CLEAR
_INTERRUPTS = 1 << InterruptBit.DONE | 1 << InterruptBit.ERROR


class DeviceError(RuntimeError):
    """The device does not do what the driver expects of it."""


class DeviceTimeout(DeviceError):
    """The interrupt did not come in time."""


class AcceleratorError(DeviceError):
    """A list stopped before its end.

    cause: why. address: that of the descriptor which it is about. place: its place in the list,
    from 0; None if it is none of the list's. completed: descriptors that were done before.
    """

    def __init__(
        self, message: str, cause: int, address: int, place: int | None, completed: int
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.address = address
        self.place = place
        self.completed = completed


class Device(Protocol):
    """An accelerator and the memory on its bus: simulated in whatever way, or real."""

    @property
    def memory(self) -> NDArray[np.uint8]:
        """(bytes,) of memory from address 0; read and written in place."""

    def read_register(self, offset: int) -> int:
        """The 32-bit register at a byte offset; 0 where there is none."""

    def write_register(self, offset: int, value: int) -> None:
        """Write it; what the bus refuses has no effect."""

    def wait(self, cycles: int) -> None:
        """Until the interrupt output is high; DeviceTimeout if it is not after so many cycles."""


@dataclass(frozen=True)
class RunReport:
    """A list's counters, which `REGISTERS` describes, and the flags of its status."""

    cycles: int
    words: int
    wait_data: int
    wait_output: int
    read_beats: int
    write_beats: int
    tiles: int
    overflow: bool
    illegal: bool


class Driver:
    """Places matrices in a device's memory and runs lists of descriptors on it.

    Memory is taken from its start on and given back all at once. Address 0 is never taken: it
    stands for no descriptor.

    device: reset and idle. Raises DeviceError if it is no accelerator of this version.
    config: what the registers say of it.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.config: AcceleratorConfig = read_config(device)
        self._end = min(device.memory.size, 1 << self.config.address_bits)
        self.reset_memory()

    def reset_memory(self) -> None:
        """Give back all memory; its contents stay."""
        self._next = DESCRIPTOR_BYTES
        self._list, self._list_bytes = 0, 0

    def allocate(self, nbytes: int, align: int = DESCRIPTOR_BYTES) -> int:
        """The address of so many bytes, a multiple of `align`.

        Raises ValueError if they do not fit, for fewer than 1 byte, or if `align` is no power of 2.
        """
        if nbytes < 1:
            raise ValueError(f"{nbytes} bytes cannot be allocated; at least 1 can")
        if align < 1 or align & (align - 1):
            raise ValueError(f"align is {align}; it must be a power of two")
        address = -(-self._next // align) * align
        if address + nbytes > self._end:
            free = max(0, self._end - address)
            raise ValueError(
                f"{nbytes} bytes do not fit into the device's memory: {free} of {self._end} are "
                "free; give the device more memory, or give back what is done with (reset_memory)"
            )
        self._next = address + nbytes
        return address

    def upload(
        self, data: NDArray[Any] | bytes | bytearray | memoryview, align: int = DESCRIPTOR_BYTES
    ) -> int:
        """Copy an array's bytes, in row-major order, or bytes to memory; their address.

        Raises ValueError as `allocate`.
        """
        array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        address = self.allocate(flat.size, align)
        self.device.memory[address : address + flat.size] = flat
        return address

    def download(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of (nbytes,) of memory; ValueError if they are not all within it."""
        if address < 0 or nbytes < 0 or address + nbytes > self.device.memory.size:
            raise ValueError(
                f"{nbytes} bytes from {address:#x} on are not within the memory, which ends at "
                f"{self.device.memory.size:#x}"
            )
        return self.device.memory[address : address + nbytes].copy()

    def upload_matrix(self, matrix: QuantizedTensor) -> tuple[int, int]:
        """Copy the codes of a matrix (rows, K) to memory: (address, stride in bytes).

        Every row begins on the bus's bytes, where it takes the fewest beats. Scales stay behind.
        Raises ValueError as `allocate`, for a tensor that is no matrix, or for a format that no
        descriptor has.
        """
        if len(matrix.shape) != 2:
            raise ValueError(f"a matrix has two axes, not the shape {matrix.shape}")
        if matrix.format not in FORMAT_CODES:
            known = ", ".join(name for name in FORMAT_CODES if name != "int32")
            raise ValueError(f"descriptors do not know {matrix.format}, only {known}")
        rows, size = matrix.packed.shape
        beat = self.config.beat_bytes
        stride = -(-size // beat) * beat
        padded = np.zeros((rows, stride), np.uint8)
        padded[:, :size] = matrix.packed
        return self.upload(padded), stride

    def gemm(
        self,
        a: QuantizedTensor,
        b: QuantizedTensor,
        c_format: str = "int32",
        channels: ChannelWords | None = None,
        relu: bool = False,
    ) -> Descriptor:
        """Upload A (M, K) and B (N, K), take memory for C, and say what is to be done.

        channels: the N channel words; neither they nor relu for int32. Raises ValueError as
        `upload_matrix`, if the shapes do not fit, for a format that C cannot have, for channel
        words that are missing, too many or too few.
        """
        if a.shape[1:] != b.shape[1:]:
            raise ValueError(f"A is {a.shape} and B is {b.shape}; they must be (M, K) and (N, K)")
        m, n = a.shape[0], b.shape[0]
        if c_format not in FORMAT_CODES or c_format == "fp4-e2m1":
            known = ", ".join(name for name in FORMAT_CODES if name != "fp4-e2m1")
            raise ValueError(f"C is {c_format!r}; it must be one of {known}")
        if relu and c_format == "int32":
            raise ValueError("int32 takes no ReLU: sums are written as they are")
        found = 0 if channels is None else len(channels.bias)
        wanted = 0 if c_format == "int32" else n
        if found != wanted:
            raise ValueError(f"C in {c_format} takes {wanted} channel words, not {found}")
        a_address, a_stride = self.upload_matrix(a)
        b_address, b_stride = self.upload_matrix(b)
        beat = self.config.beat_bytes
        c_stride = -(-row_bytes(c_format, n) // beat) * beat
        return Descriptor(
            a_address=a_address,
            b_address=b_address,
            c_address=self.allocate(m * c_stride),
            m=m,
            k=a.shape[1],
            n=n,
            a_stride=a_stride,
            b_stride=b_stride,
            c_stride=c_stride,
            a_format=a.format,
            b_format=b.format,
            c_format=c_format,
            channels_address=0 if channels is None else self.upload(channel_table(*channels)),
            relu=relu,
        )

    def download_c(self, descriptor: Descriptor) -> NDArray[Any]:
        """C of a descriptor that was run: int32 (M, N) sums, or uint8 (M, N padded to even) codes.

        Raises ValueError if it is not all within the memory.
        """
        size = row_bytes(descriptor.c_format, descriptor.n)
        stride = descriptor.c_stride if descriptor.m > 1 else size
        nbytes = (descriptor.m - 1) * stride + size
        flat = self.download(descriptor.c_address, nbytes)
        rows = np.lib.stride_tricks.as_strided(flat, (descriptor.m, size), (stride, 1)).copy()
        if descriptor.c_format == "int32":
            return rows.view("<i4")
        return get_format(descriptor.c_format).unpack(rows)

    def run(self, descriptors: Sequence[Descriptor], max_cycles: int | None = None) -> RunReport:
        """Link the descriptors into a list, run it, and wait for its end.

        max_cycles: before DeviceTimeout. None for a guess from the sizes alone; on a bus of
        thousands of cycles of latency, or with few of its beats, a list may take longer.
        Raises AcceleratorError if the list stops early: the device is then cleared and ready for
        the next one. DeviceError if a list runs already: nothing is written then. ValueError for
        no descriptors or a value that does not fit its field.
        """
        if not descriptors:
            raise ValueError("there is no descriptor to run")
        if self._status(Status.BUSY):
            raise DeviceError("a list runs already; wait for its end, or reset the device")
        first = self._write_list(descriptors)
        self._write("CONTROL", _CLEAR)
        self._write("INTERRUPT_ENABLE", _INTERRUPTS)
        self._write("LIST_LOW", first & 0xFFFF_FFFF)
        self._write("LIST_HIGH", first >> 32)
        self._write("CONTROL", _DOORBELL)
        if max_cycles is None:
            max_cycles = sum(self._patience(descriptor) for descriptor in descriptors)
        self.device.wait(max_cycles)
        if self._status(Status.ERROR):
            error = self._error(first, len(descriptors))
            self._write("CONTROL", _CLEAR)
            raise error
        if not self._status(Status.DONE):
            raise DeviceError("the interrupt came, but the list is neither done nor in error")
        report = RunReport(
            cycles=self._read("CYCLES_LOW") | self._read("CYCLES_HIGH") << 32,
            words=self._read("WORDS"),
            wait_data=self._read("WAIT_DATA"),
            wait_output=self._read("WAIT_OUTPUT"),
            read_beats=self._read("READ_BEATS"),
            write_beats=self._read("WRITE_BEATS"),
            tiles=self._read("TILES"),
            overflow=self._status(Status.OVERFLOW),
            illegal=self._status(Status.ILLEGAL),
        )
        self._write("CONTROL", _CLEAR)
        return report

    def _write_list(self, descriptors: Sequence[Descriptor]) -> int:
        """The address of the first one."""
        needed = DESCRIPTOR_BYTES * len(descriptors)
        if needed > self._list_bytes:
            # Twice as many, so that ever longer lists do not use up the memory.
            size = max(needed, 2 * self._list_bytes)
            self._list, self._list_bytes = self.allocate(size), size
        following = [
            self._list + DESCRIPTOR_BYTES * place for place in range(1, len(descriptors))
        ] + [0]
        data = b"".join(
            replace(descriptor, next_address=address).pack()
            for descriptor, address in zip(descriptors, following, strict=True)
        )
        self.device.memory[self._list : self._list + needed] = np.frombuffer(data, np.uint8)
        return self._list

    def _error(self, first: int, count: int) -> AcceleratorError:
        cause = self._read("CAUSE")
        address = self._read("DESCRIPTOR_LOW") | self._read("DESCRIPTOR_HIGH") << 32
        place, rest = divmod(address - first, DESCRIPTOR_BYTES)
        ours = not rest and 0 <= place < count
        who = f"descriptor {place + 1} of {count}" if ours else "a descriptor not of the list"
        why = {int(known): known.text for known in Cause}.get(cause, f"unknown cause {cause}")
        return AcceleratorError(
            f"{who}, at {address:#x}, stopped the list: {why}",
            cause,
            address,
            place if ours else None,
            self._read("COMPLETED"),
        )

    def _patience(self, descriptor: Descriptor) -> int:
        """Cycles for a descriptor: ample on usual buses, not a bound, as latency is not known."""
        # As if every element took two lanes.
        tiles_a = descriptor.m // (self.config.rows // 2) + 1
        tiles_b = descriptor.n // (self.config.cols // 2) + 1
        steps = tiles_a * tiles_b * (descriptor.k * (self.config.rows + self.config.cols) + 64)
        return 1_000_000 + 16 * steps

    def _read(self, name: str) -> int:
        return self.device.read_register(register_offset(name))

    def _write(self, name: str, value: int) -> None:
        self.device.write_register(register_offset(name), value)

    def _status(self, bit: Status) -> bool:
        return bool(self._read("STATUS") >> bit & 1)


def read_config(device: Device) -> AcceleratorConfig:
    """What a device's registers say of its parameters; formats in the order of `FORMAT_CODES`.

    Raises DeviceError if it is no accelerator of this version.
    """

    def halves(name: str) -> tuple[int, int]:
        value = device.read_register(register_offset(name))
        return value & 0xFFFF, value >> 16

    found = device.read_register(register_offset("ID"))
    if found != ID:
        raise DeviceError(
            f"the device's ID is {found:#010x}; an accelerator of this version has {ID:#010x}"
        )
    rows, cols = halves("ARRAY")
    data_bits, address_bits = halves("BUS")
    outstanding, burst_beats = halves("BURSTS")
    formats = [
        tuple(name for name, code in FORMAT_CODES.items() if mask >> code & 1)
        for mask in halves("FORMATS")
    ]
    return AcceleratorConfig(
        rows=rows,
        cols=cols,
        data_bits=data_bits,
        address_bits=address_bits,
        scratchpad_beats=device.read_register(register_offset("SCRATCHPAD")),
        outstanding=outstanding,
        burst_beats=burst_beats,
        formats_a=formats[0],
        formats_b=formats[1],
    )
