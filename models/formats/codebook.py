"""Vector quantisation: an 8-bit index for two elements, to a table of pairs (`codebook`)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from oleaster.models.formats.codec import Codec, FormatError
from oleaster.models.formats.format import Format, Rule

TABLE_SHAPE = (256, 2)

_FAR = float(1 << 20)  # far outside every table, and its square is still exact
_AT_ONCE = 1 << 7  # pairs whose distances to all entries are held together: stays in cache


def pair8() -> Codec:
    """An element of a table entry: exponent in the top 3 bits, integer -16 .. 15 below (ours)."""
    codes = np.arange(256)
    return Codec(
        "pair8",
        8,
        (codes >> 5).astype(np.uint8),
        (((codes & 31) ^ 16) - 16).astype(np.int8),
        np.ones(256, bool),
    )


@dataclass(frozen=True, eq=False)
class CodebookFormat(Format):
    """Elements 2i and 2i+1 share an index to a table of pairs (ours).

    As codes of 4 bits: element 2i has the low nibble of the index, 2i+1 the high one, so the index
    is the byte that they pack to. `normal` is the codec of a table's bytes, not of the codes;
    `table()` lists that. Encoding takes the nearest pair of the table by squared distance, on a tie
    the lowest index; magnitudes above 2**20 count as 2**20.

    entries: (256, 2) uint8, the two elements of every index; None in the registry, where encoding
    and decoding raise FormatError.
    """

    entries: NDArray[np.uint8] | None = None

    @property
    def code_bits(self) -> int:
        """Width of one code: half an index."""
        return 4

    def with_table(self, entries: NDArray[np.uint8]) -> "CodebookFormat":
        """This format bound to `entries`, (256, 2) uint8; FormatError if they are not that."""
        if entries.dtype != np.uint8 or entries.shape != TABLE_SHAPE:
            found = f"{entries.dtype} {entries.shape}"
            raise FormatError(f"a codebook is {found}, expected uint8 {TABLE_SHAPE}")
        return replace(self, entries=entries)

    def nearest_entries(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Table bytes of the nearest values; ties to the larger magnitude, saturating."""
        level = np.searchsorted(self._encoder.thresholds, values, side="right")
        return self._encoder.codes[level]

    def _encoded(self, numbers: NDArray[np.float64], rule: Rule) -> NDArray[np.uint8]:
        entries = self._values[self._table()].astype(np.float64)
        pairs = numbers.reshape(-1, 2).clip(-_FAR, _FAR)
        index = np.empty(len(pairs), np.uint8)
        for start in range(0, len(pairs), _AT_ONCE):
            part = pairs[start : start + _AT_ONCE]
            distance = np.square(part[:, :1] - entries[:, 0])
            distance += np.square(part[:, 1:] - entries[:, 1])
            index[start : start + _AT_ONCE] = distance.argmin(axis=1)
        return np.stack([index & 15, index >> 4], axis=-1).reshape(numbers.shape)

    def _slots(self, codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
        index = codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)
        return self._table()[index].reshape(codes.shape).astype(np.uint16)

    def _table(self) -> NDArray[np.uint8]:
        if self.entries is None:
            raise FormatError(
                f"{self.name} has no values of its own, its table comes with a tensor; "
                "use the tensor's number_format, or with_table"
            )
        return self.entries
