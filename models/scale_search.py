"""The search for the scale that loses least: 88 candidates, the whole tensor for each of them.

A candidate's squared error is a sum over the intervals between rounding midpoints, so sorted
magnitudes and their running sums answer all candidates at once. In a pair with an outlier it is
the larger magnitude that stays: the larger ones are summed over the whole grid, the smaller ones
over the normal values, and the few that are victims are corrected candidate by candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oleaster.models.formats import AdaptivFloat, CodebookFormat, Format, Rule, any_format

Granularity = Literal["tensor", "channel"]

CANDIDATES = 88
_BLOCK = 1 << 18  # elements looked at together: small temporaries; whole blocks of MX formats

_TINY, _HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


class QuantizeError(ValueError):
    """A tensor, scale or file that cannot be quantised or read."""


@dataclass(frozen=True, eq=False)
class ScaleSearch:
    """What a search tried and chose; L is () per tensor and shape[:-1] per channel.

    scale: L float32, the best; squared_error: L float64, its error summed over the tensor or
    channel; alphas, errors: (*L, 88) float64, every candidate (scale * largest normal value).
    """

    scale: NDArray[np.float32]
    squared_error: NDArray[np.float64]
    alphas: NDArray[np.float64]
    errors: NDArray[np.float64]


def search_scale(
    x: ArrayLike,
    format: str,
    *,
    granularity: Granularity = "tensor",
    rule: Rule = "paper",
) -> ScaleSearch:
    """The scale of least squared error over the whole fake-quantised `x`, victims included.

    x: (..., K) real, read as float32; pairs along K, padded with a zero if K is odd.
    alpha0 = max(|mu + 3 sigma|, |mu - 3 sigma|) with the population's sigma. With outliers, alpha
    is alpha0 * i/100 for i = 75, 77 .. 249, as in the authors' artifact. Without, it runs
    geometrically from min(0.75 alpha0, max|x| / 2) to max|x| (ours: reaches both clipping and
    plain absolute-maximum scaling). The least alpha wins a tie. Zeros only: scale 1.

    Raises QuantizeError for what `quantize` refuses in `x` and for a format that finds its own
    scales (MX formats, `codebook`, `adafloat8`), FormatError for an unknown format.
    """
    fmt = any_format(format)
    if fmt.block_size or isinstance(fmt, CodebookFormat | AdaptivFloat):
        raise QuantizeError(f"{fmt.name} has no scale to search; quantise with it instead")
    matrix = as_matrix(x)
    groups = group_count(matrix, granularity)
    alphas = _candidates(matrix, groups, fmt)
    scales = float32_scale(alphas / fmt.max_normal, fmt)
    errors = _squared_errors(matrix, groups, scales.astype(np.float64), fmt, rule)
    best = np.argmin(errors, axis=1)[:, None]
    lead = np.shape(x)[:-1] if granularity == "channel" else ()
    return ScaleSearch(
        np.take_along_axis(scales, best, 1).reshape(lead),
        np.take_along_axis(errors, best, 1).reshape(lead),
        alphas.reshape(*lead, CANDIDATES),
        errors.reshape(*lead, CANDIDATES),
    )


def as_matrix(x: ArrayLike) -> NDArray[Any]:
    """`x` as (rows, K), not copied if it is contiguous; QuantizeError unless real and finite."""
    array = np.asarray(x)
    if array.dtype.kind not in "iuf":
        raise QuantizeError(f"a tensor of real numbers is needed, not {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise QuantizeError(f"a tensor of shape {array.shape} has nothing to quantise")
    matrix = array.reshape(-1, array.shape[-1])
    for rows, columns, block in blocks(matrix):
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0] + (rows.start, columns.start)
            at = (*np.unravel_index(row, array.shape[:-1]), column)
            where = ", ".join(str(int(i)) for i in at)
            raise QuantizeError(f"{matrix[row, column]} at [{where}] is not a finite float32")
    return matrix


def group_count(matrix: NDArray[Any], granularity: Granularity) -> int:
    """How many scales a (rows, K) matrix gets."""
    if granularity not in get_args(Granularity):
        known = ", ".join(get_args(Granularity))
        raise QuantizeError(f"unknown granularity {granularity!r} (known: {known})")
    return len(matrix) if granularity == "channel" else 1


def largest_scale(fmt: Format) -> float:
    """The largest scale with which every value still fits float32."""
    return float(_HUGE) / fmt.max_magnitude


def float32_scale(scale: NDArray[np.float64], fmt: Format) -> NDArray[np.float32]:
    """The nearest scale that float32 and the format's largest value allow."""
    return scale.clip(_TINY, largest_scale(fmt)).astype(np.float32)


def spans(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of a matrix piece by piece: whole rows if short, else parts of one row.

    Parts start at even columns.
    """
    height, width = shape
    rows_at_once = max(1, _BLOCK // width)
    for top in range(0, height, rows_at_once):
        for left in range(0, width, _BLOCK):
            rows = slice(top, min(top + rows_at_once, height))
            yield rows, slice(left, min(left + _BLOCK, width))


def blocks(matrix: NDArray[Any]) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """The spans of a (rows, K) matrix with their contents, padded with a zero to even width."""
    for rows, columns in spans(matrix.shape):
        with np.errstate(over="ignore"):  # as_matrix reports what float32 cannot hold
            block = matrix[rows, columns].astype(np.float32)
        if block.shape[1] % 2:
            block = np.pad(block, ((0, 0), (0, 1)))
        yield rows, columns, block


def _candidates(matrix: NDArray[Any], groups: int, fmt: Format) -> NDArray[np.float64]:
    """(groups, 88) candidates for alpha; those of a group of zeros make every scale 1."""
    total, squares, top = np.zeros((3, len(matrix)))
    for rows, _, block in blocks(matrix):
        wide = block.astype(np.float64)
        total[rows] += wide.sum(axis=1)
        squares[rows] += (wide * wide).sum(axis=1)
        top[rows] = np.maximum(top[rows], np.abs(block).max(axis=1))
    size = matrix.size // groups
    mean = total.reshape(groups, -1).sum(axis=1) / size
    variance = squares.reshape(groups, -1).sum(axis=1) / size - mean * mean
    start = np.abs(mean) + 3 * np.sqrt(variance.clip(0))
    top = top.reshape(groups, -1).max(axis=1)
    start[top == 0] = 1
    if fmt.has_outliers:
        alphas = start[:, None] * np.arange(75, 250, 2) / 100
    else:
        top[top == 0] = 1
        alphas = np.geomspace(np.minimum(0.75 * start, top / 2), top, CANDIDATES, axis=1)
    alphas[squares.reshape(groups, -1).sum(axis=1) == 0] = fmt.max_normal
    return alphas


def _squared_errors(
    matrix: NDArray[Any], groups: int, scales: NDArray[np.float64], fmt: Format, rule: Rule
) -> NDArray[np.float64]:
    """(groups, 88) squared error of every candidate scale."""
    grid = fmt.magnitudes.astype(np.float64)
    normal = grid[grid <= fmt.max_normal]
    least_border = fmt.outlier_border * scales.min(axis=1, keepdims=True)
    errors = np.zeros(scales.shape)
    for rows, _, block in blocks(matrix):
        group = rows if groups > 1 else slice(0, 1)
        magnitudes = np.abs(block).reshape(group.stop - group.start, -1)
        even, odd = magnitudes[:, 0::2], magnitudes[:, 1::2]
        single = np.zeros(even.shape, bool)
        if magnitudes.shape[1] < len(grid):  # fewer elements than intervals: sums save nothing
            single[:] = True
        elif fmt.has_outliers and rule == "artifact":  # where it keeps the smaller outlier
            single = (least_border[group] <= even) & (even < odd)
        if single.any():
            owner, _ = np.nonzero(single)
            pairs = np.stack([even[single], odd[single]], axis=1)
            errors[group] += _encoded(pairs, owner, scales[group], fmt, rule)
            even[single] = odd[single] = 0  # a zero adds nothing to any of the sums
        if fmt.has_outliers:
            larger, smaller = np.maximum(even, odd), np.minimum(even, odd)
            errors[group] += _summed(larger, scales[group], grid)
            errors[group] += _summed(smaller, scales[group], normal)
            reach = larger >= least_border[group]
            owner, _ = np.nonzero(reach)
            border = fmt.outlier_border * scales[group]
            errors[group] += _victims(
                larger[reach], smaller[reach], owner, scales[group], border, normal
            )
        else:
            errors[group] += _summed(magnitudes, scales[group], normal)
    return errors.clip(0)


def _encoded(
    pairs: NDArray[np.float32],
    owner: NDArray[np.int64],
    scales: NDArray[np.float64],
    fmt: Format,
    rule: Rule,
) -> NDArray[np.float64]:
    """(groups, 88) error of `pairs`, (n, 2) of group owner[n], by encoding them."""
    errors = np.empty(scales.shape)
    for candidate in range(CANDIDATES):
        scale = scales[owner, candidate, None]
        off = pairs - fmt.decode(fmt.encode(pairs / scale, rule)) * scale
        errors[:, candidate] = np.bincount(owner, (off * off).sum(axis=1), len(scales))
    return errors


def _victims(
    larger: NDArray[np.float32],
    smaller: NDArray[np.float32],
    owner: NDArray[np.int64],
    scales: NDArray[np.float64],
    border: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(groups, 88) what is lost by zeroing `smaller` wherever `larger` reaches the border."""
    errors = np.empty(scales.shape)
    middles = (normal[1:] + normal[:-1]) / 2
    for candidate in range(CANDIDATES):
        outlier = larger >= border[owner, candidate]
        group, victim = owner[outlier], smaller[outlier]
        scale = scales[group, candidate]
        off = victim - normal[np.searchsorted(middles, victim / scale, side="right")] * scale
        lost = np.square(victim, dtype=np.float64) - off * off
        errors[:, candidate] = np.bincount(group, lost, len(scales))
    return errors


def _summed(
    magnitudes: NDArray[np.float32], scales: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(groups, 88) error of `magnitudes`, (groups, n), each rounded to the nearest level.

    With A(j), N(j) the sum and the number of magnitudes from edge j up, the error is
    sum x^2 - 2 s sum_j (level_j - level_j-1) A(j) + s^2 sum_j (level_j^2 - level_j-1^2) N(j).
    """
    middles = (levels[1:] + levels[:-1]) / 2
    steps, square_steps = np.diff(levels), np.diff(levels**2)
    # In float64 the edges are exact: a few bits times a float32.
    ordered = np.sort(magnitudes, axis=1).astype(np.float64)
    running = np.pad(np.cumsum(ordered, axis=1), ((0, 0), (1, 0)))
    errors = np.empty(scales.shape)
    errors[:] = np.einsum("ij,ij->i", ordered, ordered)[:, None]
    for row, sums, scale, error in zip(ordered, running, scales, errors, strict=True):
        place = np.searchsorted(row, np.multiply.outer(scale, middles))
        linear = (sums[-1] - sums[place]) @ steps
        quadratic = (len(row) - place) @ square_steps
        error += scale**2 * quadratic - 2 * scale * linear
    return errors
