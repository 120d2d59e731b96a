"""GEMMs between matrices in the accelerator's memory: a descriptor list before it has addresses.

Whoever runs such lists is an `Executor`: `ModelExecutor` here, in numpy; through descriptors, the
one in `oleaster.device_executor`. Both leave the same bytes. All of this is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.accelerator.descriptor import FORMAT_CODES, row_bytes
from oleaster.models.accelerator.requantize import (
    ChannelWords,
    encode_output,
    multiplier_of,
    requantize,
)
from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm_on_lanes
from oleaster.models.quantize import QuantizedTensor

__all__ = ["Executor", "Gemm", "Matrix", "ModelExecutor", "Part", "as_sums", "words_for"]

Packed = NDArray[np.uint8]

_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Matrix:
    """rows x columns values in a format of `FORMAT_CODES`, each row packed by itself.

    packed: what it always holds, uint8 (rows, `row_bytes`), such as weights; None if the host or a
    GEMM writes it.
    Raises ValueError for an unknown format, no elements, or bytes of another shape.
    """

    format: str
    rows: int
    columns: int
    packed: Packed | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMAT_CODES:
            known = ", ".join(FORMAT_CODES)
            raise ValueError(f"the format is {self.format!r}; it must be one of {known}")
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"a matrix of {self.rows} x {self.columns} has no elements")
        if self.packed is not None:
            self.require_fit(self.packed)

    @staticmethod
    def constant(tensor: QuantizedTensor) -> Matrix:
        """The codes (rows, columns) of a quantised matrix; its scales stay with the caller."""
        rows, columns = tensor.shape
        return Matrix(tensor.format, rows, columns, tensor.packed)

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return row_bytes(self.format, self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.row_bytes

    def require_fit(self, packed: Packed) -> None:
        """ValueError unless `packed` is uint8 (rows, row_bytes)."""
        wanted = (self.rows, self.row_bytes)
        if packed.dtype != np.uint8 or packed.shape != wanted:
            found = f"{packed.dtype} {packed.shape}"
            raise ValueError(f"the packed rows are {found}; they must be uint8 {wanted}")

    def part(self, rows: slice = _ALL, columns: slice = _ALL) -> Part:
        """A rectangle; slices without steps. See `Part` for what it raises."""
        top, bottom, _ = rows.indices(self.rows)
        left, right, _ = columns.indices(self.columns)
        return Part(self, top, bottom - top, left, right - left)


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows and columns of a matrix, all of a row's pairs whole.

    Raises ValueError if it is empty, or if it begins or ends inside a pair.
    """

    matrix: Matrix
    top: int
    rows: int
    left: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"a part of {self.rows} x {self.columns} has no elements")
        inside = self.left + self.columns < self.matrix.columns
        if self.format != "int32" and (self.left % 2 or (inside and self.columns % 2)):
            raise ValueError(
                f"columns {self.left} to {self.left + self.columns - 1} of {self.format} cut a "
                "pair; they must begin at an even one, and end before one or with the row"
            )

    @property
    def format(self) -> str:
        """That of the matrix."""
        return self.matrix.format

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the part."""
        return row_bytes(self.format, self.columns)

    @property
    def offset(self) -> int:
        """Bytes from the start of the matrix to that of the part."""
        return self.top * self.matrix.row_bytes + row_bytes(self.format, self.left)

    def bytes_in(self, packed: Packed) -> Packed:
        """The view (rows, row_bytes) of the part within the packed rows of its matrix."""
        start = row_bytes(self.format, self.left)
        return packed[self.top : self.top + self.rows, start : start + self.row_bytes]


@dataclass(frozen=True, eq=False)
class Gemm:
    """c = a b^T: a (M, K), b (N, K), c (M, N); raw sums if c is int32, else by `channels`.

    name: says what it is, `layer.<i>.<kind>` in an encoder; any other does, and none is unique.
    Raises ValueError if the shapes differ, or channels are missing, too many or not for int32.
    """

    name: str
    a: Part
    b: Part
    c: Part
    channels: ChannelWords | None = None

    def __post_init__(self) -> None:
        if self.a.columns != self.b.columns or (self.a.rows, self.b.rows) != (
            self.c.rows,
            self.c.columns,
        ):
            shapes = ", ".join(f"{p.rows} x {p.columns}" for p in (self.a, self.b, self.c))
            raise ValueError(f"{self.name}: a, b and c are {shapes}; c must be a b^T")
        if (self.c.format == "int32") != (self.channels is None):
            raise ValueError(f"{self.name}: int32 has no channel words, every other format has")
        if self.channels is not None and len(self.channels.bias) != self.c.columns:
            found = len(self.channels.bias)
            raise ValueError(f"{self.name}: {found} channel words for {self.c.columns} columns")

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, K, N."""
        return self.a.rows, self.a.columns, self.b.rows

    @property
    def macs(self) -> int:
        """M * K * N."""
        return self.a.rows * self.a.columns * self.b.rows

    @property
    def lane_macs(self) -> int:
        """Multiplications of the PEs: a product of two lanes takes two of them, or four."""
        return self.macs * get_format(self.a.format).lanes * get_format(self.b.format).lanes


class Executor(Protocol):
    """Holds matrices by identity: constant ones for good, all others until `start`."""

    def start(self) -> None:
        """Forget all matrices but the constant ones: another text begins."""

    def run(
        self,
        name: str,
        gemms: Sequence[Gemm],
        inputs: Mapping[Matrix, Packed],
        outputs: Sequence[Matrix],
    ) -> list[Packed]:
        """Write `inputs`, run the GEMMs in order, and read `outputs`, uint8 (rows, row_bytes).

        A GEMM may read what an earlier one, of this list or another, has written. name:
        the list's, `layer.<i>.<list>` in an encoder.
        """


class ModelExecutor:
    """Runs lists in numpy, on the matrices' own bytes.

    overflows: names of the GEMMs in which a sum wrapped, once for each run.
    """

    def __init__(self) -> None:
        self.overflows: list[str] = []
        self._contents: dict[Matrix, Packed] = {}

    def start(self) -> None:
        self._contents.clear()

    def run(
        self,
        name: str,
        gemms: Sequence[Gemm],
        inputs: Mapping[Matrix, Packed],
        outputs: Sequence[Matrix],
    ) -> list[Packed]:
        for matrix, packed in inputs.items():
            matrix.require_fit(packed)
            self._contents[matrix] = packed.copy()
        for gemm in gemms:
            self._run_one(gemm)
        return [self._contents[matrix].copy() for matrix in outputs]

    def _run_one(self, gemm: Gemm) -> None:
        sums = gemm_on_lanes(self._lanes(gemm.a), self._lanes(gemm.b))
        if sums.overflow.any():
            self.overflows.append(gemm.name)
        values = sums.sums
        if gemm.channels is not None:
            values = requantize(values, *gemm.channels)
        matrix = gemm.c.matrix
        contents = self._contents.setdefault(
            matrix, np.zeros((matrix.rows, matrix.row_bytes), np.uint8)
        )
        gemm.c.bytes_in(contents)[:] = encode_output(values, matrix.format)

    def _lanes(self, part: Part) -> NDArray[np.integer]:
        """(rows, lanes, K padded to even)."""
        contents = part.matrix.packed
        if contents is None:
            if part.matrix not in self._contents:
                raise ValueError(f"a GEMM reads {part.matrix.format} that nothing has written")
            contents = self._contents[part.matrix]
        fmt = get_format(part.format)
        return fmt.lane_values(fmt.unpack(part.bytes_in(contents)))


def words_for(unit: ArrayLike, bias: ArrayLike, scale: ArrayLike) -> ChannelWords:
    """The channel words for sums in which 1 stands for `unit`, and codes in which it is `scale`.

    unit, bias, scale: (N,), or less to hold for all columns; what they measure is the same.
    Raises ValueError for a bias, or a ratio of the two, that the words cannot hold.
    """
    units, biases, scales = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (unit, bias, scale))
    )
    whole = np.rint(biases / units)
    worst = int(np.argmax(np.abs(whole)))
    if abs(whole[worst]) >= 1 << 31:
        raise ValueError(
            f"the bias of column {worst} is {whole[worst]:.3g} units of its sum, beyond int32"
        )
    return ChannelWords(whole.astype(np.int64), *multiplier_of(units / scales))


def as_sums(packed: Packed) -> NDArray[np.int32]:
    """The packed rows of an int32 matrix as numbers (rows, columns)."""
    return packed.view("<i4")
