"""Low-bit codes with a list of outliers beside them: OLAccel's 4 bits and GOBO's 3-bit dictionary.

OLAccel: Park, Kim and Yoo, ISCA 2018. Of every tensor the 3 % of largest magnitudes are 16-bit
integers on the grid of the 4-bit codes (our reading: OLAccel builds wide products from 4-bit ones,
so all values share a scale). GOBO: Zadeh, Edo, Awad and Moshovos, MICRO 2020. Weights far out in a
Gaussian fit stay float32, the others are entries of a dictionary of 8.

In both every element has a code, that of an outlier being 0, and the list holds an outlier's
position in the flattened tensor, in as many bits as the largest position needs (our reading).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.formats import FormatError
from oleaster.models.scale_search import QuantizeError, as_matrix

OUTLIER_SHARE = 0.03
"""OLAccel's share of outliers ("e.g. amounting to 3 % of total data", abstract)."""

LOG_DENSITY = -4.0
"""GOBO's threshold: a weight is an outlier if the fit's log density there is below it."""

_CODE_BITS = {"olaccel4": 4, "gobo3": 3}
_VALUE_TYPE: dict[str, type[np.generic]] = {"olaccel4": np.int16, "gobo3": np.float32}
_LARGEST_CODE = 7  # -8 is not used: codes are symmetric
_LARGEST_OUTLIER = 32767


@dataclass(frozen=True, eq=False)
class OutlierListTensor:
    """A tensor of `shape` as codes and a list of outliers.

    format: "olaccel4" or "gobo3".
    codes: uint8 of `shape`. olaccel4: two's complement, -7 .. 7; gobo3: 0 .. 7, a dictionary entry.
    positions: (n,) int64, rising; in the flattened tensor.
    outliers: (n,) int16 in units of the scale (olaccel4) or float32 values (gobo3).
    scale: () float32, positive, what an integer 1 stands for; 1 in gobo3.
    dictionary: (8,) float32, gobo3 only.
    Raises QuantizeError if these do not fit together.
    """

    format: str
    shape: tuple[int, ...]
    codes: NDArray[np.uint8]
    positions: NDArray[np.int64]
    outliers: NDArray[np.int16] | NDArray[np.float32]
    scale: NDArray[np.float32]
    dictionary: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _require_name(self.format)
        if self.codes.shape != self.shape or self.codes.dtype != np.uint8:
            found = f"{self.codes.dtype} {self.codes.shape}"
            raise QuantizeError(f"codes are {found}, expected uint8 {self.shape}")
        if self.codes.size == 0 or self.codes.max() >> self.code_bits:
            raise QuantizeError(f"codes of {self.format} are 0 .. {(1 << self.code_bits) - 1}")
        if self.scale.shape or self.scale.dtype != np.float32 or not self.scale > 0:
            raise QuantizeError(f"scale is {self.scale}, expected one positive float32")
        kind = _VALUE_TYPE[self.format]
        if self.outliers.dtype != kind or self.outliers.shape != self.positions.shape:
            raise QuantizeError(
                f"outliers are {self.outliers.dtype} {self.outliers.shape}, expected "
                f"{np.dtype(kind).name} {self.positions.shape}, one for each position"
            )
        places = np.concatenate([[-1], self.positions, [self.codes.size]])
        if (np.diff(places) <= 0).any():
            raise QuantizeError(
                f"positions of outliers must rise within 0 .. {self.codes.size - 1}"
            )
        if (self.dictionary is not None) != (self.format == "gobo3"):
            raise QuantizeError("a dictionary belongs to gobo3, and to no other format")
        if self.dictionary is not None and self.dictionary.shape != (1 << self.code_bits,):
            raise QuantizeError(f"a dictionary has 8 entries, not {self.dictionary.shape}")

    @property
    def code_bits(self) -> int:
        """Width of one code: 4 or 3."""
        return _CODE_BITS[self.format]

    @property
    def index_bits(self) -> int:
        """Width of an outlier's position."""
        return max(1, (self.codes.size - 1).bit_length())

    @property
    def stored_bits(self) -> int:
        """Bits of codes, outliers with their positions, and dictionary; a scale does not count."""
        entry = self.index_bits + 8 * self.outliers.dtype.itemsize
        dictionary = 0 if self.dictionary is None else 32 * len(self.dictionary)
        return self.codes.size * self.code_bits + dictionary + len(self.positions) * entry

    @property
    def bits_per_value(self) -> float:
        """`stored_bits` of one value."""
        return self.stored_bits / self.codes.size

    def dequantize(self) -> NDArray[np.float32]:
        """The values, float32 of `shape`."""
        if self.dictionary is not None:
            values = self.dictionary[self.codes]
            values.reshape(-1)[self.positions] = self.outliers
            return values
        integers = self.integers()
        return (integers * self.scale.astype(np.float64)).astype(np.float32)

    def integers(self) -> NDArray[np.int64]:
        """olaccel4: the values in units of the scale; QuantizeError in gobo3, which has none."""
        if self.dictionary is not None:
            raise QuantizeError("gobo3 holds real numbers, not integers")
        integers = (self.codes.astype(np.int64) ^ 8) - 8
        integers.reshape(-1)[self.positions] = self.outliers
        return integers

    def pack(self) -> NDArray[np.uint8]:
        """All stored bits as bytes, little-endian, padded with zeros: ceil(stored_bits / 8).

        First the codes, then the dictionary, then position and value of each outlier.
        """
        parts = [_bits(self.codes.reshape(-1), self.code_bits)]
        if self.dictionary is not None:
            parts.append(_bits(self.dictionary.view(np.uint32), 32))
        width = 8 * self.outliers.dtype.itemsize
        raw = self.outliers.view(np.dtype(f"u{width // 8}"))
        entries = [_bits(self.positions, self.index_bits), _bits(raw, width)]
        parts.append(np.concatenate(entries, axis=1))
        stream = np.concatenate([part.reshape(-1) for part in parts])
        return np.packbits(stream, bitorder="little")

    @classmethod
    def unpack(
        cls,
        format: str,
        shape: tuple[int, ...],
        scale: NDArray[np.float32],
        packed: NDArray[np.uint8],
    ) -> "OutlierListTensor":
        """The inverse of `pack`; QuantizeError if the bytes are no such tensor."""
        _require_name(format)
        size, kind = int(np.prod(shape)), _VALUE_TYPE[format]
        bits = np.unpackbits(packed, bitorder="little")
        index_bits, width = max(1, (size - 1).bit_length()), 8 * np.dtype(kind).itemsize
        codes_end = size * _CODE_BITS[format]
        start = codes_end + (32 << _CODE_BITS[format] if format == "gobo3" else 0)
        count, rest = divmod(len(bits) - start, index_bits + width)
        if count < 0 or rest >= 8 or bits[len(bits) - rest :].any():
            raise QuantizeError(f"{len(packed)} bytes are no {format} tensor of shape {shape}")
        codes = _numbers(bits[:codes_end].reshape(size, -1))
        dictionary = None
        if format == "gobo3":
            entries = _numbers(bits[codes_end:start].reshape(-1, 32))
            dictionary = entries.astype(np.uint32).view(np.float32)
        listed = bits[start : len(bits) - rest].reshape(count, index_bits + width)
        raw = _numbers(listed[:, index_bits:]).astype(np.dtype(f"u{width // 8}"))
        return cls(
            format,
            shape,
            codes.astype(np.uint8).reshape(shape),
            _numbers(listed[:, :index_bits]).astype(np.int64),
            raw.view(kind),
            scale,
            dictionary,
        )


def quantize_olaccel(x: ArrayLike, *, scale: ArrayLike | None = None) -> OutlierListTensor:
    """`x`, real and read as float32, as `olaccel4`.

    The integer x / scale, rounded, is a code if it lies in -7 .. 7; if not, it is an outlier and
    saturates at 16 bits. By default the scale is that with which `OUTLIER_SHARE` of the elements
    (fewer if magnitudes tie) are outliers; coarser if the largest did not fit 16 bits. Zeros only:
    scale 1.
    Raises QuantizeError for a tensor that is empty, 0-d, not real or not finite, or a bad scale.
    """
    matrix = as_matrix(x).astype(np.float32)
    chosen = np.asarray(_olaccel_scale(matrix) if scale is None else scale, np.float32)
    if chosen.shape or not (np.isfinite(chosen) and chosen > 0):
        raise QuantizeError(f"scale is {chosen}, expected one positive number")
    integers = np.rint(matrix / chosen.astype(np.float64)).reshape(np.shape(x))
    integers = integers.clip(-_LARGEST_OUTLIER, _LARGEST_OUTLIER).astype(np.int16)
    positions = np.flatnonzero(np.abs(integers) > _LARGEST_CODE)
    outliers = integers.reshape(-1)[positions]
    integers.reshape(-1)[positions] = 0
    codes = (integers & 15).astype(np.uint8)
    return OutlierListTensor("olaccel4", np.shape(x), codes, positions, outliers, chosen)


def quantize_gobo(x: ArrayLike) -> OutlierListTensor:
    """`x`, real and read as float32, as `gobo3`, the dictionary fitted to it.

    Outliers are elements at which the log density of the Gaussian with the tensor's mean and
    deviation, in the units of `x`, is below `LOG_DENSITY`. Raises as `quantize_olaccel`.
    """
    flat = as_matrix(x).astype(np.float32).reshape(-1)
    positions = np.flatnonzero(_log_density(flat) < LOG_DENSITY)
    normal = np.delete(flat, positions)
    dictionary = fit_dictionary(normal)
    codes = np.zeros(flat.size, np.uint8)
    codes[np.delete(np.arange(flat.size), positions)] = _nearest(normal, dictionary)
    return OutlierListTensor(
        "gobo3",
        np.shape(x),
        codes.reshape(np.shape(x)),
        positions,
        flat[positions],
        np.array(1, np.float32),
        dictionary,
    )


def fit_dictionary(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(8,) rising: GOBO's centroids of `values` (n,).

    The means of 8 bins of equal population; then values go to the nearest centroid and a centroid
    becomes the mean of its values, as long as the sum of absolute errors falls (GOBO, section 4).
    """
    entries = 1 << _CODE_BITS["gobo3"]
    if values.size == 0:
        return np.zeros(entries, np.float32)
    ordered = np.sort(values).astype(np.float64)
    running = np.concatenate([[0.0], np.cumsum(ordered)])
    edges = np.linspace(0, len(ordered), entries + 1).astype(np.int64)
    centroids = ordered[np.minimum(edges[:-1], len(ordered) - 1)]
    best, least = centroids, np.inf
    while True:
        count = np.diff(edges)
        means = np.diff(running[edges]) / np.maximum(count, 1)
        centroids = np.where(count > 0, means, centroids)
        middles = (centroids[1:] + centroids[:-1]) / 2
        inner = np.searchsorted(ordered, middles, side="right")
        edges = np.concatenate([[0], inner, [len(ordered)]])
        error = float(np.abs(ordered - np.repeat(centroids, np.diff(edges))).sum())
        if error >= least:
            return best.astype(np.float32)
        best, least = centroids, error


def outlier_list_stats(x: ArrayLike, q: OutlierListTensor) -> dict[str, float]:
    """As `quantization_stats`, with the list's elements for outliers."""
    exact = as_matrix(x).astype(np.float64).reshape(-1)
    if np.shape(x) != q.shape:
        raise QuantizeError(f"x has shape {np.shape(x)}, the quantised tensor {q.shape}")
    listed = np.zeros((exact.size // q.shape[-1], q.shape[-1] + q.shape[-1] % 2), bool)
    listed[np.divmod(q.positions, q.shape[-1])] = True
    pairs = np.bincount(listed.reshape(-1, 2).sum(axis=1), minlength=3)
    off = exact - q.dequantize().reshape(-1)
    signal, noise = float(exact @ exact), float(off @ off)
    return {
        "outlier_normal": float(pairs[1] / pairs.sum()),
        "outlier_outlier": float(pairs[2] / pairs.sum()),
        "sqnr_db": float(10 * np.log10(signal / noise)) if noise else float("inf"),
        "mse": noise / exact.size,
        "max_abs_error": float(np.abs(off).max()),
    }


def _olaccel_scale(matrix: NDArray[np.float32]) -> float:
    """The border 7.5 lies just above the largest magnitude that is not to be an outlier."""
    magnitudes = np.abs(matrix).reshape(-1)
    last = magnitudes.size - 1 - int(OUTLIER_SHARE * magnitudes.size)
    border, top = (float(v) for v in np.partition(magnitudes, [last, -1])[[last, -1]])
    scale = np.float32(max(border / (_LARGEST_CODE + 0.5), top / _LARGEST_OUTLIER))
    scale = max(scale, np.finfo(np.float32).tiny) if top else np.float32(1)
    while border / float(scale) >= _LARGEST_CODE + 0.5:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _log_density(flat: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = flat.astype(np.float64)
    deviation = float(wide.std())
    if deviation == 0:
        return np.full(flat.shape, np.inf)
    z = (wide - wide.mean()) / deviation
    return -0.5 * z * z - np.log(deviation) - 0.5 * np.log(2 * np.pi)


def _nearest(values: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    wide = levels.astype(np.float64)
    return np.searchsorted((wide[1:] + wide[:-1]) / 2, values, side="left").astype(np.uint8)


def _bits(numbers: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """(n, width) the bits of unsigned numbers, lowest first."""
    shifts = np.arange(width, dtype=np.uint64)
    return (numbers.astype(np.uint64)[:, None] >> shifts & np.uint64(1)).astype(np.uint8)


def _numbers(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The inverse of `_bits`."""
    shifts = np.arange(bits.shape[1], dtype=np.uint64)
    return (bits.astype(np.uint64) << shifts).sum(axis=1, dtype=np.uint64)


def _require_name(name: str) -> None:
    if name not in _CODE_BITS:
        raise FormatError(f"{name!r} keeps no list of outliers (known: {', '.join(_CODE_BITS)})")
