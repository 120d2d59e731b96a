"""Lists of GEMMs on a device: matrices get places in its memory, GEMMs become descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.descriptor import Descriptor
from oleaster.models.accelerator.gemm_list import Executor, Gemm, Matrix
from oleaster.models.accelerator.requantize import channel_table
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import list_timing
from oleaster.sim.driver import Driver

__all__ = ["DeviceExecutor", "GemmCost", "ListCost"]

_ALIGNMENT = 64
_SLACK = 10_000
"""Cycles beyond twice the model's, so that a short list may begin late."""

Packed = NDArray[np.uint8]


@dataclass(frozen=True)
class GemmCost:
    """GEMMs of one kind that follow each other in a list, such as one for each head.

    kind: their name, without the `layer.<i>.` of an encoder's. count: how many, each M x K x N.
    macs: M * K * N of all. lane_macs: the PEs' multiplications in them (`Gemm.lane_macs`). By the
    cycle model: cycles, from the end of the kind before, or the list's start, to the last response,
    and beats on the bus.
    """

    kind: str
    count: int
    shape: tuple[int, int, int]
    macs: int
    lane_macs: int
    cycles: int
    read_beats: int
    write_beats: int


@dataclass(frozen=True)
class ListCost:
    """A descriptor list: what the accelerator's counters said of it, and its GEMMs.

    name: as `Executor.run` got it. model_cycles: what the cycle model says for `cycles`.
    wait_data, wait_output: cycles in which the array waited for words, or for room for sums.
    """

    name: str
    cycles: int
    model_cycles: int
    words: int
    wait_data: int
    wait_output: int
    read_beats: int
    write_beats: int
    tiles: int
    overflow: bool
    illegal: bool
    gemms: list[GemmCost]

    @property
    def layer(self) -> int:
        """Of the encoder, whose lists are named `layer.<i>.<list>`."""
        return int(self.name.split(".")[1])


class DeviceExecutor(Executor):
    """Runs lists as descriptors; constant matrices are uploaded once, before the first.

    timing: of the device's memory; a list that takes more than twice the cycles that the model
    says for it raises DeviceTimeout. workspace: bytes for a text's matrices and channel words, used
    again for the next. costs: of the lists that were run, for each text. Raises what the driver
    raises, and ValueError for a constant matrix that is not among `constants`, or for a text that
    the workspace cannot hold.
    """

    def __init__(
        self, driver: Driver, constants: Sequence[Matrix], timing: MemoryTiming, workspace: int
    ) -> None:
        self.costs: list[list[ListCost]] = []
        self._driver = driver
        self._timing = timing
        self._memory = driver.device.memory
        self._constants = {matrix: driver.upload(_packed(matrix)) for matrix in constants}
        self._space = _Workspace(driver, workspace)
        self._places: dict[Matrix, int] = {}

    def start(self) -> None:
        self.costs.append([])
        self._places.clear()
        self._space.give_back()

    def run(
        self,
        name: str,
        gemms: Sequence[Gemm],
        inputs: Mapping[Matrix, Packed],
        outputs: Sequence[Matrix],
    ) -> list[Packed]:
        for matrix, packed in inputs.items():
            matrix.require_fit(packed)
            self._bytes(matrix)[:] = packed
        tables = [self._upload_table(gemm) for gemm in gemms]
        descriptors = [self._descriptor(g, at) for g, at in zip(gemms, tables, strict=True)]
        costs = self._costs(gemms, descriptors)
        cycles = sum(cost.cycles for cost in costs)
        report = self._driver.run(descriptors, max_cycles=2 * cycles + _SLACK)
        self.costs[-1].append(
            ListCost(
                name=name,
                cycles=report.cycles,
                model_cycles=cycles,
                words=report.words,
                wait_data=report.wait_data,
                wait_output=report.wait_output,
                read_beats=report.read_beats,
                write_beats=report.write_beats,
                tiles=report.tiles,
                overflow=report.overflow,
                illegal=report.illegal,
                gemms=costs,
            )
        )
        return [self._bytes(matrix).copy() for matrix in outputs]

    def _costs(self, gemms: Sequence[Gemm], descriptors: Sequence[Descriptor]) -> list[GemmCost]:
        """By the cycle model. Descriptors run one after the other, so a list's start tells when."""
        costs: list[GemmCost] = []
        end, cycles, read, written = 0, 0, 0, 0
        for kind, group in groupby(gemms, key=lambda gemm: gemm.name.split(".", 2)[-1]):
            own = list(group)
            end += len(own)
            upto = list_timing(descriptors[:end], self._driver.config, self._timing)
            costs.append(
                GemmCost(
                    kind=kind,
                    count=len(own),
                    shape=own[0].shape,
                    macs=sum(gemm.macs for gemm in own),
                    lane_macs=sum(gemm.lane_macs for gemm in own),
                    cycles=upto.cycles - cycles,
                    read_beats=upto.read_beats - read,
                    write_beats=upto.write_beats - written,
                )
            )
            cycles, read, written = upto.cycles, upto.read_beats, upto.write_beats
        return costs

    def _descriptor(self, gemm: Gemm, table: int) -> Descriptor:
        a, b, c = gemm.a, gemm.b, gemm.c
        m, k, n = gemm.shape
        return Descriptor(
            a_address=self._address(a.matrix) + a.offset,
            b_address=self._address(b.matrix) + b.offset,
            c_address=self._address(c.matrix) + c.offset,
            m=m,
            k=k,
            n=n,
            a_stride=a.matrix.row_bytes,
            b_stride=b.matrix.row_bytes,
            c_stride=c.matrix.row_bytes,
            a_format=a.format,
            b_format=b.format,
            c_format=c.format,
            channels_address=table,
        )

    def _upload_table(self, gemm: Gemm) -> int:
        """Its address, 0 for raw sums."""
        if gemm.channels is None:
            return 0
        table = channel_table(*gemm.channels).reshape(-1)
        address = self._space.take(table.size)
        self._memory[address : address + table.size] = table
        return address

    def _address(self, matrix: Matrix) -> int:
        if matrix in self._constants:
            return self._constants[matrix]
        if matrix.packed is not None:
            raise ValueError("a constant matrix was not among those that were uploaded")
        if matrix not in self._places:
            self._places[matrix] = self._space.take(matrix.nbytes)
        return self._places[matrix]

    def _bytes(self, matrix: Matrix) -> Packed:
        """Its rows in the memory, not a copy."""
        address = self._address(matrix)
        flat = self._memory[address : address + matrix.nbytes]
        return flat.reshape(matrix.rows, matrix.row_bytes)


class _Workspace:
    """A block of the driver's memory, handed out from its start on and given back all at once."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        self._start = driver.allocate(nbytes, _ALIGNMENT)
        self._nbytes = nbytes
        self._used = 0

    def take(self, nbytes: int) -> int:
        """The address of so many bytes, aligned for whatever needs it; ValueError if there are
        fewer."""
        address = self._start + self._used
        if self._used + nbytes > self._nbytes:
            raise ValueError(
                f"a text's matrices and channel words do not fit into the workspace of "
                f"{self._nbytes} bytes; give it a larger one, or shorten the text"
            )
        self._used += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        return address

    def give_back(self) -> None:
        """All of it; its contents stay."""
        self._used = 0


def _packed(matrix: Matrix) -> Packed:
    assert matrix.packed is not None
    return matrix.packed
