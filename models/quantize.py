"""The post-training quantiser: a float tensor to packed codes and scales, and its file."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.formats import Format, FormatError, Rule, get_format
from oleaster.models.scale_search import (
    Granularity,
    QuantizeError,
    ScaleSearch,
    as_matrix,
    blocks,
    group_count,
    largest_scale,
    search_scale,
    spans,
)

__all__ = [
    "QuantizeError",
    "QuantizedTensor",
    "ScaleSearch",
    "load_quantized",
    "quantization_stats",
    "quantize",
    "save_quantized",
    "search_scale",
]

_AUTO = ("ovp4-int", "ovp4-flint")
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor of `shape` (..., K) as packed codes; value = code's value * scale.

    packed: uint8, leading axes of `shape`, then the bytes of K codes (padded to an even K).
    scale: float32, positive; shape () per tensor or shape[:-1] per channel.
    Raises QuantizeError if these do not fit together, FormatError for an unknown format.
    """

    format: str
    shape: tuple[int, ...]
    packed: NDArray[np.uint8]
    scale: NDArray[np.float32]

    def __post_init__(self) -> None:
        fmt = get_format(self.format)
        if not self.shape or min(self.shape) < 1:
            raise QuantizeError(f"shape {self.shape} is empty")
        expected = (*self.shape[:-1], _even(self.shape[-1]) * fmt.code_bits // 8)
        if self.packed.dtype != np.uint8 or self.packed.shape != expected:
            found = f"{self.packed.dtype} {self.packed.shape}"
            raise QuantizeError(f"packed codes are {found}, expected uint8 {expected}")
        if self.scale.dtype != np.float32:
            raise QuantizeError(f"scale is {self.scale.dtype}, expected float32")
        if self.scale.shape not in ((), self.shape[:-1]):
            wanted = f"() or {self.shape[:-1]}"
            raise QuantizeError(f"scale has shape {self.scale.shape}, expected {wanted}")
        _require_scale(self.scale, fmt)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes, (..., K padded to even)."""
        return get_format(self.format).unpack(self.packed)

    def dequantize(self) -> NDArray[np.float32]:
        """The values, float32 of `shape`; FormatError if the codes hold an illegal pair."""
        values = np.empty(self.shape, np.float32)
        flat = values.reshape(-1, self.shape[-1])
        scale = _by_row(self.scale, len(flat))
        for rows, columns, integers in _decoded(self):
            flat[rows, columns] = integers[:, : columns.stop - columns.start] * scale[rows]
        return values


def quantize(
    x: ArrayLike,
    format: str = "ovp4-int",
    *,
    granularity: Granularity = "tensor",
    scale: ArrayLike | None = None,
    rule: Rule = "paper",
) -> QuantizedTensor:
    """Quantise `x`, (..., K) real and read as float32; pairs lie along K.

    format: a format's name, or "auto" for ovp4-int or ovp4-flint, whichever has the least squared
    error over the whole tensor (OliVe, section 4).
    granularity: one scale for the tensor, or one for every channel, that is for every index of
    the leading axes.
    scale: positive, of shape () or shape[:-1] by granularity; searched (`search_scale`) if None.
    rule: see `Format.encode`. The code is that of the exact quotient x / scale.

    Raises QuantizeError for a tensor that is empty, 0-d, not real or not finite, and for a bad
    scale or granularity; FormatError for an unknown format or rule.
    """
    matrix = as_matrix(x)
    groups = group_count(matrix, granularity)
    shape = np.shape(x)
    if format == "auto":
        if scale is not None:
            raise QuantizeError("format 'auto' searches the scale; name a format to give one")
        searches = [search_scale(x, name, granularity=granularity, rule=rule) for name in _AUTO]
        best = int(np.argmin([search.squared_error.sum() for search in searches]))
        format, chosen = _AUTO[best], searches[best].scale
    elif scale is None:
        chosen = search_scale(x, format, granularity=granularity, rule=rule).scale
    else:
        chosen = _given_scale(scale, get_format(format), shape[:-1] if groups > 1 else ())
    fmt = get_format(format)
    packed = np.empty((len(matrix), _even(shape[-1]) * fmt.code_bits // 8), np.uint8)
    by_row = _by_row(chosen, len(matrix)).astype(np.float64)
    for rows, columns, block in blocks(matrix):
        data = fmt.pack(fmt.encode(block / by_row[rows], rule))
        left = columns.start * fmt.code_bits // 8
        packed[rows, left : left + data.shape[1]] = data
    return QuantizedTensor(format, shape, packed.reshape(*shape[:-1], -1), chosen)


def quantization_stats(x: ArrayLike, q: QuantizedTensor) -> dict[str, float]:
    """What `q` loses of `x`, the tensor it was made from.

    outlier_normal, outlier_outlier: the share of pairs of which exactly one, or both, reach the
    outlier border of q's format and scale (0 for formats without outliers); sqnr_db: signal to
    quantisation noise, infinite if nothing is lost; mse and max_abs_error in units of x.
    Raises QuantizeError if the shapes differ or x is not finite.
    """
    matrix = as_matrix(x)
    if np.shape(x) != q.shape:
        raise QuantizeError(f"x has shape {np.shape(x)}, the quantised tensor {q.shape}")
    border = get_format(q.format).outlier_border
    scale = _by_row(q.scale, len(matrix)).astype(np.float64)
    pairs, signal, noise, worst = np.zeros(3, np.int64), 0.0, 0.0, 0.0
    for (rows, _, block), (*_, integers) in zip(blocks(matrix), _decoded(q), strict=True):
        reach = np.abs(block / scale[rows]) >= border
        pairs += np.bincount(reach.reshape(-1, 2).sum(axis=1), minlength=3)
        off = np.abs(block - integers * scale[rows])
        signal += float(np.square(block, dtype=np.float64).sum())
        noise += float(np.square(off).sum())
        worst = max(worst, float(off.max()))
    return {
        "outlier_normal": float(pairs[1] / pairs.sum()),
        "outlier_outlier": float(pairs[2] / pairs.sum()),
        "sqnr_db": float(10 * np.log10(signal / noise)) if noise else float("inf"),
        "mse": noise / matrix.size,
        "max_abs_error": worst,
    }


def save_quantized(path: str | os.PathLike[str], q: QuantizedTensor) -> None:
    """Write `q` to an .npz file, whole or not at all; raises OSError if it cannot be written."""
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(
                file,
                schema=np.int64(_SCHEMA),
                format=np.str_(q.format),
                shape=np.array(q.shape, np.int64),
                packed=q.packed,
                scale=q.scale,
            )
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def load_quantized(path: str | os.PathLike[str]) -> QuantizedTensor:
    """Read what `save_quantized` wrote; QuantizeError names the file and what is wrong with it."""
    try:
        with Path(path).open("rb") as file:
            return _from_members(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        raise QuantizeError(f"{path}: no such file") from None
    except (QuantizeError, FormatError) as error:
        raise QuantizeError(f"{path}: {error}") from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError is what zipfile says to flipped flags: encrypted, unknown compression.
        raise QuantizeError(f"{path}: not a whole .npz file ({error})") from error


def _from_members(archive: Any) -> QuantizedTensor:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise QuantizeError("holds a bare array, not the members of a quantised tensor")
    kinds = {"schema": "i", "format": "U", "shape": "i", "packed": "u", "scale": "f"}
    missing = [name for name in kinds if name not in archive.files]
    if missing:
        raise QuantizeError(f"lacks {', '.join(missing)}")
    members = {name: archive[name] for name in kinds}
    for name, kind in kinds.items():
        if not isinstance(members[name], np.ndarray):  # numpy hands over such members as bytes
            raise QuantizeError(f"{name} is no .npy array")
        dims = members[name].ndim
        if members[name].dtype.kind != kind:
            raise QuantizeError(f"{name} has type {members[name].dtype}")
        if dims != {"schema": 0, "format": 0, "shape": 1}.get(name, dims):
            raise QuantizeError(f"{name} has {dims} axes")
    if members["schema"] != _SCHEMA:
        raise QuantizeError(f"schema {members['schema']} is not {_SCHEMA}, the one known here")
    shape = tuple(members["shape"].tolist())
    q = QuantizedTensor(str(members["format"]), shape, members["packed"], members["scale"])
    for _, columns, integers in _decoded(q):
        if integers[:, columns.stop - columns.start :].any():
            raise QuantizeError("the element that pads K to an even length is not zero")
    return q


def _decoded(q: QuantizedTensor) -> Iterator[tuple[slice, slice, NDArray[np.int32]]]:
    """The codes' values, in the pieces in which `blocks` gives the tensor itself."""
    fmt = get_format(q.format)
    flat = q.packed.reshape(-1, q.packed.shape[-1])
    for rows, columns in spans((len(flat), q.shape[-1])):
        left, right = (_even(at) * fmt.code_bits // 8 for at in (columns.start, columns.stop))
        try:
            yield rows, columns, fmt.decode(fmt.unpack(flat[rows, left:right]))
        except FormatError:
            fmt.decode(q.codes)  # says where in the tensor, not where in this piece
            raise


def _given_scale(scale: ArrayLike, fmt: Format, shape: tuple[int, ...]) -> NDArray[np.float32]:
    given = np.asarray(scale)
    if given.dtype.kind not in "iuf":
        raise QuantizeError(f"scale is {given.dtype}, expected real numbers")
    if given.shape != shape:
        raise QuantizeError(f"scale has shape {given.shape}, expected {shape}")
    with np.errstate(over="ignore", under="ignore"):
        chosen = given.astype(np.float32)
    _require_scale(chosen, fmt)
    return chosen


def _require_scale(scale: NDArray[np.float32], fmt: Format) -> None:
    good = (scale > 0) & (scale <= largest_scale(fmt))
    if not good.all():
        bad = scale.flat[np.argmin(good)]
        raise QuantizeError(f"scale {bad} is not above 0 and at most {largest_scale(fmt):.4g}")


def _even(length: int) -> int:
    return length + length % 2


def _by_row(scale: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """(rows, 1) of the scales, as many rows as the tensor's leading axes have."""
    return np.broadcast_to(scale.reshape(-1, 1), (rows, 1))
