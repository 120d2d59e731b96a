"""The post-training quantiser: a float tensor to packed codes and scales, and its file."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models import codebook as codebooks
from oleaster.models.formats import (
    MX_BLOCK,
    AdaptivFloat,
    CodebookFormat,
    Format,
    FormatError,
    Rule,
    any_format,
)
from oleaster.models.microscaling import E8M0_NAN, block_exponents, block_factors
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
    "ADAPTIVE",
    "QuantizeError",
    "QuantizedTensor",
    "ScaleSearch",
    "load_quantized",
    "quantization_stats",
    "quantize",
    "save_quantized",
    "search_scale",
]

_LEAVE_OUT = "leave out scale and granularity"
ADAPTIVE = {"auto": ("ovp4-int", "ovp4-flint"), "ant4": ("int4", "flint4", "pot4")}
"""Names that stand for whichever of several formats loses least of a tensor."""

_OPTIONAL = ("block_exponents", "codebook")
_SCHEMA = 2  # 1 had neither block exponents nor codebooks


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor of `shape` (..., K) as packed codes.

    value = code's value * scale, in MX formats times 2**(block exponent - 127).

    packed: uint8, leading axes of `shape`, then the bytes of K codes (padded to an even K).
    scale: float32, positive; shape () per tensor or shape[:-1] per channel. In MX formats shape ()
    and the unit of the elements, 2**unit_exponent.
    block_exponents: MX formats only, (*shape[:-1], ceil(K / 32)) uint8, E8M0 without NaN (255).
    codebook: format `codebook` only, (256, 2) uint8, see `CodebookFormat`; K is even.
    Raises QuantizeError if these do not fit together, FormatError for an unknown format.
    """

    format: str
    shape: tuple[int, ...]
    packed: NDArray[np.uint8]
    scale: NDArray[np.float32]
    block_exponents: NDArray[np.uint8] | None = None
    codebook: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        fmt = any_format(self.format)
        if not self.shape or min(self.shape) < 1:
            raise QuantizeError(f"shape {self.shape} is empty")
        expected = (*self.shape[:-1], fmt.packed_bytes(_even(self.shape[-1])))
        _require_uint8("packed codes are", self.packed, expected)
        if self.scale.dtype != np.float32:
            raise QuantizeError(f"scale is {self.scale.dtype}, expected float32")
        if self.scale.shape not in ((), self.shape[:-1]):
            wanted = f"() or {self.shape[:-1]}"
            raise QuantizeError(f"scale has shape {self.scale.shape}, expected {wanted}")
        if fmt.block_size:
            self._require_blocks(fmt)
        else:
            _require_scale(self.scale, fmt)
            if self.block_exponents is not None:
                raise QuantizeError(f"{fmt.name} has no block exponents, but some are given")
        if isinstance(fmt, CodebookFormat):
            _require_even(fmt, self.shape)
            if self.codebook is None:
                raise QuantizeError(f"{fmt.name} lacks its table of pairs, codebook")
            fmt.with_table(self.codebook)
        elif self.codebook is not None:
            raise QuantizeError(f"{fmt.name} has no codebook, but one is given")

    def _require_blocks(self, fmt: Format) -> None:
        unit = 2.0**fmt.normal.unit_exponent
        if self.scale.shape or self.scale != unit:
            raise QuantizeError(f"scale is {self.scale}, but {fmt.name} has the unit {unit}")
        if self.block_exponents is None:
            raise QuantizeError(f"{fmt.name} lacks block_exponents")
        expected = (*self.shape[:-1], -(-self.shape[-1] // MX_BLOCK))
        _require_uint8("block exponents are", self.block_exponents, expected)
        nan = self.block_exponents == E8M0_NAN
        if nan.any():
            where = ", ".join(map(str, np.argwhere(nan)[0].tolist()))
            raise QuantizeError(f"the block exponent at [{where}] is {E8M0_NAN}, which is NaN")

    @cached_property
    def number_format(self) -> Format:
        """The format that reads `codes`: that of the name, bound to the codebook if it has one."""
        fmt = any_format(self.format)
        if isinstance(fmt, CodebookFormat) and self.codebook is not None:
            return fmt.with_table(self.codebook)
        return fmt

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes, (..., K padded to even)."""
        return self.number_format.unpack(self.packed)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of all that is needed to read them."""
        arrays = (self.packed, self.scale, self.block_exponents, self.codebook)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def bits_per_value(self) -> float:
        """Stored bits of one value: code and share of a block's exponent; scales do not count."""
        return any_format(self.format).bits_per_value

    def dequantize(self) -> NDArray[np.float32]:
        """The values, float32 of `shape`.

        Raises FormatError if the codes hold an illegal pair, NaN or infinity, QuantizeError if a
        value is beyond float32 (block exponents that no float32 tensor gives).
        """
        values = np.empty(self.shape, np.float32)
        flat = values.reshape(-1, self.shape[-1])
        with np.errstate(over="ignore", under="ignore"):
            for rows, columns, exact in _dequantized(self):
                flat[rows, columns] = exact[:, : columns.stop - columns.start]
        if self.block_exponents is not None and not np.isfinite(values).all():
            raise QuantizeError("a block exponent is so large that values are beyond float32")
        return values


def quantize(
    x: ArrayLike,
    format: str = "ovp4-int",
    *,
    granularity: Granularity = "tensor",
    scale: ArrayLike | None = None,
    rule: Rule = "paper",
) -> QuantizedTensor:
    """Quantise `x`, (..., K) real and read as float32; pairs and blocks lie along K.

    format: a format's name, or one of `ADAPTIVE` for that of its formats with the least squared
    error over the whole tensor: "auto" (OliVe, section 4), "ant4" (ANT, MICRO 2022).
    granularity: one scale for the tensor, or one for every channel, that is for every index of
    the leading axes. MX formats scale their blocks instead.
    scale: positive, of shape () or shape[:-1] by granularity; searched (`search_scale`) if None.
    MX formats and `codebook` find their own; that of `adafloat8` is a power of two, from the
    largest magnitude.
    rule: see `Format.encode`. The code is that of the exact quotient x / scale.

    Raises QuantizeError for a tensor that is empty, 0-d, not real or not finite, for a bad scale
    or granularity, or one that the format cannot have, and for an odd K in format `codebook`;
    FormatError for an unknown format or rule.
    """
    matrix = as_matrix(x)
    groups = group_count(matrix, granularity)
    shape = np.shape(x)
    if format in ADAPTIVE:
        if scale is not None:
            raise QuantizeError(f"format {format!r} searches the scale; name a format to give one")
        names = ADAPTIVE[format]
        searches = [search_scale(x, name, granularity=granularity, rule=rule) for name in names]
        best = int(np.argmin([search.squared_error.sum() for search in searches]))
        format, scale = names[best], searches[best].scale
    fmt = any_format(format)
    lead = shape[:-1] if granularity == "channel" else ()
    exponents = table = None
    if fmt.block_size:
        if granularity == "channel" or scale is not None:
            raise QuantizeError(f"{fmt.name} scales each block by itself; {_LEAVE_OUT}")
        chosen = np.array(2.0**fmt.normal.unit_exponent, np.float32)
        exponents = np.empty((len(matrix), -(-shape[-1] // MX_BLOCK)), np.uint8)
        for rows, columns, block in blocks(matrix):
            exponents[rows, _blocks_of(columns)] = block_exponents(block, fmt)
    elif isinstance(fmt, CodebookFormat):
        if scale is not None:
            raise QuantizeError(f"{fmt.name} finds its scale with its table; give none")
        _require_even(fmt, shape)
        table, scales = codebooks.fit(matrix, groups, fmt)
        fmt, chosen = fmt.with_table(table), scales.reshape(lead)
    elif isinstance(fmt, AdaptivFloat) and scale is None:
        chosen = fmt.scale_of(_largest(matrix, groups)).reshape(lead)
    elif scale is None:
        chosen = search_scale(x, format, granularity=granularity, rule=rule).scale
    else:
        chosen = _given_scale(scale, fmt, lead)
    codes = np.empty((len(matrix), _even(shape[-1])), np.uint8)
    for rows, columns, block in blocks(matrix):
        steps = _steps(chosen, exponents, rows, columns, len(matrix))
        codes[rows, columns.start : columns.start + block.shape[1]] = fmt.encode(
            block / steps, rule
        )
    packed = fmt.pack(codes).reshape(*shape[:-1], -1)
    if exponents is not None:
        exponents = exponents.reshape(*shape[:-1], -1)
    return QuantizedTensor(format, shape, packed, chosen, exponents, table)


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
    border = any_format(q.format).outlier_border
    exponents = _block_rows(q)
    pairs, signal, noise, worst = np.zeros(3, np.int64), 0.0, 0.0, 0.0
    for (rows, columns, block), (*_, exact) in zip(blocks(matrix), _dequantized(q), strict=True):
        reach = np.abs(block / _steps(q.scale, exponents, rows, columns, len(matrix))) >= border
        pairs += np.bincount(reach.reshape(-1, 2).sum(axis=1), minlength=3)
        off = np.abs(block - exact)
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
            optional = {name: getattr(q, name) for name in _OPTIONAL}
            np.savez(
                file,
                schema=np.int64(_SCHEMA),
                format=np.str_(q.format),
                shape=np.array(q.shape, np.int64),
                packed=q.packed,
                scale=q.scale,
                **{name: value for name, value in optional.items() if value is not None},
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
    kinds |= {name: "u" for name in _OPTIONAL if name in archive.files}
    members = {name: archive[name] for name in kinds}
    for name, kind in kinds.items():
        if not isinstance(members[name], np.ndarray):  # numpy hands over such members as bytes
            raise QuantizeError(f"{name} is no .npy array")
        dims = members[name].ndim
        if members[name].dtype.kind != kind:
            raise QuantizeError(f"{name} has type {members[name].dtype}")
        if dims != {"schema": 0, "format": 0, "shape": 1}.get(name, dims):
            raise QuantizeError(f"{name} has {dims} axes")
    if not 1 <= members["schema"] <= _SCHEMA:
        raise QuantizeError(f"schema {members['schema']} is not 1 to {_SCHEMA}, those known here")
    q = QuantizedTensor(
        str(members["format"]),
        tuple(members["shape"].tolist()),
        members["packed"],
        members["scale"],
        **{name: members.get(name) for name in _OPTIONAL},
    )
    for _, columns, values in _dequantized(q):
        if values[:, columns.stop - columns.start :].any():
            raise QuantizeError("the element that pads K to an even length is not zero")
    if not np.array_equal(q.number_format.pack(q.codes), q.packed):
        raise QuantizeError("the bits that pad the packed codes to a byte are not zero")
    return q


def _dequantized(q: QuantizedTensor) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The exact values, in the pieces in which `blocks` gives the tensor itself."""
    fmt, codes, exponents = q.number_format, q.codes, _block_rows(q)
    flat = codes.reshape(-1, codes.shape[-1])
    for rows, columns in spans((len(flat), q.shape[-1])):
        try:
            integers = fmt.decode(flat[rows, columns.start : _even(columns.stop)])
        except FormatError:
            fmt.decode(codes)  # says where in the tensor, not where in this piece
            raise
        yield rows, columns, integers * _steps(q.scale, exponents, rows, columns, len(flat))


def _steps(
    scale: NDArray[np.float32],
    exponents: NDArray[np.uint8] | None,
    rows: slice,
    columns: slice,
    height: int,
) -> NDArray[np.float64]:
    """What 1 stands for in a piece of a tensor of `height` rows, to be broadcast over it."""
    by_row = np.broadcast_to(scale.astype(np.float64).reshape(-1, 1), (height, 1))[rows]
    if exponents is None:
        return by_row
    width = _even(columns.stop - columns.start)
    return by_row * block_factors(exponents[rows, _blocks_of(columns)], width)


def _blocks_of(columns: slice) -> slice:
    return slice(columns.start // MX_BLOCK, -(-columns.stop // MX_BLOCK))


def _block_rows(q: QuantizedTensor) -> NDArray[np.uint8] | None:
    """(rows, B) of the block exponents."""
    if q.block_exponents is None:
        return None
    return q.block_exponents.reshape(-1, q.block_exponents.shape[-1])


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


def _largest(matrix: NDArray[Any], groups: int) -> NDArray[np.float64]:
    """(groups,) the largest magnitude of the tensor or of each channel."""
    largest = np.zeros(len(matrix))
    for rows, _, block in blocks(matrix):
        largest[rows] = np.maximum(largest[rows], np.abs(block).max(axis=1))
    return largest.reshape(groups, -1).max(axis=1)


def _require_scale(scale: NDArray[np.float32], fmt: Format) -> None:
    good = (scale > 0) & (scale <= largest_scale(fmt))
    if not good.all():
        bad = scale.flat[np.argmin(good)]
        raise QuantizeError(f"scale {bad} is not above 0 and at most {largest_scale(fmt):.4g}")
    if isinstance(fmt, AdaptivFloat):
        uneven = np.frexp(scale)[0] != 0.5
        if uneven.any():
            bad = scale.flat[np.argmax(uneven)]
            raise QuantizeError(f"scale {bad} is no power of two, as {fmt.name} needs")


def _require_uint8(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.dtype != np.uint8 or array.shape != shape:
        raise QuantizeError(f"{what} {array.dtype} {array.shape}, expected uint8 {shape}")


def _require_even(fmt: Format, shape: tuple[int, ...]) -> None:
    if shape[-1] % 2:
        raise QuantizeError(
            f"{fmt.name} indexes pairs along K, which must be even; K is {shape[-1]}"
        )


def _even(length: int) -> int:
    return length + length % 2
