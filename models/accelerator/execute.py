"""What a list of descriptors does to memory: the accelerator without time. All of this is ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    CHANNEL_BYTES,
    DESCRIPTOR_BYTES,
    FIELDS,
    FORMAT_CODES,
    MAX_SIZE,
    Descriptor,
    row_bytes,
    unpack_fields,
)
from oleaster.models.accelerator.registers import Cause
from oleaster.models.accelerator.requantize import (
    OUTPUT_FORMATS,
    encode_output,
    read_channel_table,
    requantize,
)
from oleaster.models.formats import get_format
from oleaster.models.formats.normal import identifier
from oleaster.models.gemm import gemm_on_lanes

__all__ = [
    "BusError",
    "Executed",
    "ListOutcome",
    "check",
    "check_address",
    "execute",
    "run_list",
]

Memory = NDArray[np.uint8]

_NAMES = {code: name for name, code in FORMAT_CODES.items()}
_ADDRESSES = tuple(field.name for field in FIELDS if field.name.endswith("address"))
_RESERVED = tuple(field.name for field in FIELDS if field.name.startswith("reserved"))


class BusError(ValueError):
    """The accelerator reaches beyond the memory, which the bus answers with an error: `cause`."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class Executed:
    """overflow: some sum wrapped. illegal: some pair held two identifiers, and counted as 0."""

    overflow: bool
    illegal: bool


@dataclass(frozen=True)
class ListOutcome:
    """What the registers say after a list.

    descriptor_address: that of the descriptor which the error is about; without an error, of the
    last. ran: the descriptors that were completed, each with its address, in order. overflow,
    illegal: of these.
    """

    cause: Cause
    descriptor_address: int
    overflow: bool
    illegal: bool
    ran: tuple[tuple[int, Descriptor], ...]

    @property
    def completed(self) -> int:
        """Descriptors that were completed."""
        return len(self.ran)


def check_address(address: int, config: AcceleratorConfig) -> Cause:
    """What is wrong with a descriptor's own address, known before it is fetched."""
    if address >> config.address_bits:
        return Cause.RESERVED
    if address == 0 or address % DESCRIPTOR_BYTES:
        return Cause.ALIGNMENT
    return Cause.NONE


def check(data: bytes, config: AcceleratorConfig) -> Cause:
    """What is wrong with the descriptor of these 64 bytes.

    The first of RESERVED, FORMAT, SIZE and ALIGNMENT that holds.
    """
    of = unpack_fields(FIELDS, data)
    if any(of[name] for name in _RESERVED):
        return Cause.RESERVED
    if any(of[name] >> config.address_bits for name in _ADDRESSES):
        return Cause.RESERVED
    a, b, c = (_NAMES.get(of[f"{matrix}_format"], "") for matrix in "abc")
    if a not in config.formats_a or b not in config.formats_b or c not in OUTPUT_FORMATS:
        return Cause.FORMAT
    if not all(1 <= of[size] <= MAX_SIZE for size in "mkn"):
        return Cause.SIZE
    if of["m"] > 1 and of["c_stride"] < row_bytes(c, of["n"]):
        return Cause.SIZE
    if c == "int32":
        misplaced = of["c_address"] % 4 or of["c_stride"] % 4
    else:
        misplaced = of["channels_address"] % config.beat_bytes
    return Cause.ALIGNMENT if misplaced else Cause.NONE


def execute(descriptor: Descriptor, memory: Memory, config: AcceleratorConfig) -> Executed:
    """Do what one descriptor says that `check` finds nothing wrong with.

    memory: uint8 (bytes,); C's rows are written in place, and no other byte. All reads come before
    the first write; where C lies over A, B or the channel words, the circuit's order is not told.
    Raises BusError, before anything is written, for what lies beyond the memory, A first and C
    last; beats of `config` are read and written whole.
    """
    a, b = (_operand(descriptor, side, memory, config) for side in "ab")
    lanes, illegal = [], False
    for packed, name in ((a, descriptor.a_format), (b, descriptor.b_format)):
        fmt = get_format(name)
        codes = fmt.unpack(packed)
        if fmt.outlier is not None:
            victims = codes == identifier(fmt.code_bits)
            illegal |= bool((victims[:, 0::2] & victims[:, 1::2]).any())
        lanes.append(fmt.lane_values(codes))
    sums = gemm_on_lanes(lanes[0], lanes[1])
    values = sums.sums
    if descriptor.c_format != "int32":
        address, size = descriptor.channels_address, CHANNEL_BYTES * descriptor.n
        where = _Rows.of(Cause.READ_RESPONSE, address, 0, 1, size, memory, config)
        values = requantize(values, *read_channel_table(where.read(memory)), descriptor.relu)
    c = _Rows.of(
        Cause.WRITE_RESPONSE,
        descriptor.c_address,
        descriptor.c_stride,
        descriptor.m,
        row_bytes(descriptor.c_format, descriptor.n),
        memory,
        config,
    )
    c.write(memory, encode_output(values, descriptor.c_format))
    return Executed(bool(sums.overflow.any()), illegal)


def run_list(memory: Memory, address: int, config: AcceleratorConfig) -> ListOutcome:
    """Run the list whose first descriptor lies at `address`, in place.

    memory: uint8 (bytes,). A descriptor that reaches beyond it leaves C as it was; of the
    circuit's C some rows may be written by then. If more than one of A, B, channel words and C lie
    beyond, the cause is that of the first; the circuit tells what its bus answers first, which may
    be another. Wrapped sums and pairs of two identifiers are told of the descriptors that were
    completed; the circuit may also have seen some of the one that stopped.
    """
    ran: list[tuple[int, Descriptor]] = []
    overflow = illegal = False
    remembered, power, length = address, 1, 0

    def stop(cause: Cause) -> ListOutcome:
        return ListOutcome(cause, address, overflow, illegal, tuple(ran))

    while True:
        if cause := check_address(address, config):
            return stop(cause)
        if address + DESCRIPTOR_BYTES > memory.size:
            return stop(Cause.READ_RESPONSE)
        data = memory[address : address + DESCRIPTOR_BYTES].tobytes()
        if cause := check(data, config):
            return stop(cause)
        descriptor = Descriptor.unpack(data)
        try:
            done = execute(descriptor, memory, config)
        except BusError as error:
            return stop(error.cause)
        overflow |= done.overflow
        illegal |= done.illegal
        ran.append((address, descriptor))
        if not descriptor.next_address:
            return stop(Cause.NONE)
        address = descriptor.next_address
        # Brent's algorithm, as the sequencer has it: one remembered address finds every loop.
        if address == remembered:
            return stop(Cause.LOOP)
        length += 1
        if length == power:
            remembered, power, length = address, 2 * power, 0


@dataclass(frozen=True)
class _Rows:
    """Rows of `size` bytes that begin at `starts`, int64 (rows,)."""

    starts: NDArray[np.int64]
    size: int

    @staticmethod
    def of(
        cause: Cause,
        address: int,
        stride: int,
        rows: int,
        size: int,
        memory: Memory,
        config: AcceleratorConfig,
    ) -> _Rows:
        """Raises BusError(cause) if a beat of them lies beyond the memory."""
        # Addresses wrap, so that a stride just below 2^32 is negative on a bus of 32 bits.
        starts = (address + np.arange(rows) * stride) % (1 << config.address_bits)
        beyond = -(-(starts + size) // config.beat_bytes) * config.beat_bytes > memory.size
        if beyond.any():
            row = int(np.argmax(beyond))
            first = int(starts[row])
            matter = "read" if cause == Cause.READ_RESPONSE else "written"
            raise BusError(
                cause,
                f"row {row} is {matter} at {first:#x} to {first + size - 1:#x}, but the memory "
                f"ends at {memory.size:#x}",
            )
        return _Rows(starts, size)

    def read(self, memory: Memory) -> Memory:
        """uint8 (rows, size)"""
        return np.stack([memory[start : start + self.size] for start in self.starts.tolist()])

    def write(self, memory: Memory, data: Memory) -> None:
        for start, row in zip(self.starts.tolist(), data, strict=True):
            memory[start : start + self.size] = row


def _operand(
    descriptor: Descriptor, side: str, memory: Memory, config: AcceleratorConfig
) -> Memory:
    """The packed rows of A or B, uint8 (rows, bytes); an odd K ends with its pad code."""
    rows = _Rows.of(
        Cause.READ_RESPONSE,
        getattr(descriptor, f"{side}_address"),
        getattr(descriptor, f"{side}_stride"),
        descriptor.m if side == "a" else descriptor.n,
        row_bytes(getattr(descriptor, f"{side}_format"), descriptor.k),
        memory,
        config,
    )
    return rows.read(memory)
