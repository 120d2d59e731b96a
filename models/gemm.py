"""The GEMM reference: exponent-integer products summed in a wrapping accumulator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_ACC_BITS", "GemmSums", "gemm", "gemm_on_lanes", "gemm_weight_stationary"]

MAX_ACC_BITS = 62
"""The widest accumulator: four sums of 62 bits still add up in int64."""

# A sum of integers up to this is exact in float32 and float64, whatever the order of its terms.
_EXACT_IN_32, _EXACT_IN_64 = 1 << 24, 1 << 53
_SHIFTED = 1 << 52  # from here to twice as far, a float64's unit is 1
_BLOCK = 16  # elements of K
_FITS = 1 << 62  # a sum below this, and the range that it may leave, fit int64


@dataclass(frozen=True)
class GemmSums:
    """`sums` (M, N) int64 within the accumulator's range; `overflow` (M, N) bool."""

    sums: np.ndarray
    overflow: np.ndarray


def gemm(a: np.ndarray, b: np.ndarray, acc_bits: int = 32, step: int = 1) -> GemmSums:
    """C = A B^T on decoded operands, as the accumulators hold it.

    Parameters
    ----------
    a, b: integer arrays, (M, K) and (N, K)
        Decoded values (`integer << exponent`); no product needs more than 61 bits.
    acc_bits: int
        Width of the signed accumulator, which wraps; at most `MAX_ACC_BITS`.
    step: int
        So many products are summed exactly before they enter the accumulator: 1 in the array's
        PEs.

    Returns
    -------
    GemmSums
        `overflow[m, n]` tells that some partial sum in the accumulator, k ascending, left its
        range (DESIGN section 2; the flag is ours).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a is {a.shape} and b is {b.shape}; they must be (M, K) and (N, K)")
    limit = 1 << (acc_bits - 1)
    peak = _peak(a, b)
    if peak * a.shape[1] >= _FITS:
        return _gemm_in_python(a, b, limit, step)
    # Small sums in float32, which takes half the time.
    kind = np.float32 if peak * a.shape[1] <= _EXACT_IN_32 else np.float64
    x: NDArray[Any] = a.astype(kind)
    y: NDArray[Any] = b.astype(kind)
    if peak > _EXACT_IN_64:
        sums = a.astype(np.int64) @ b.astype(np.int64).T
    else:
        sums = _product(x, y, max(1, peak))
    overflow = np.zeros(sums.shape, bool)
    if peak * a.shape[1] >= limit:
        # Flat indices: numpy finds a few among many in a tenth of the time.
        suspects = np.flatnonzero(_may_reach(x, y, limit))
        if len(suspects):
            rows, columns = np.divmod(suspects, len(b))
            overflow[rows, columns] = _leaves_range(a, b, rows, columns, limit, step)
        if overflow.any():
            sums = ((sums + limit) & (2 * limit - 1)) - limit
    return GemmSums(sums, overflow)


def _may_reach(x: NDArray[Any], y: NDArray[Any], limit: int) -> np.ndarray:
    """(M, N) bool: whether products of floats, all added up in magnitude, may reach `limit`.

    By Cauchy and Schwarz in blocks along K, short ones, as outliers are rare and large.
    """
    norms = [_block_norms(x), _block_norms(y)]
    rounding = 1 + (x.shape[1] + 16) * 2.0**-23  # of float32, many times over
    return norms[0] @ norms[1].T >= np.float32(limit / rounding)


def _block_norms(x: NDArray[Any]) -> NDArray[np.float32]:
    """Euclidean norms of the rows' blocks, (rows, blocks)."""
    if short := -x.shape[1] % _BLOCK:
        x = np.pad(x, ((0, 0), (0, short)))
    blocks = x.reshape(len(x), -1, _BLOCK)
    return np.sqrt(np.einsum("rbk,rbk->rb", blocks, blocks)).astype(np.float32)


def _leaves_range(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray, limit: int, step: int
) -> np.ndarray:
    """Whether a partial sum of a[row] b[column] does, for each pair of the two."""
    k = a.shape[1]
    entering = [*range(step - 1, k, step), k - 1]
    leaves = np.zeros(len(rows), bool)
    pairs = max(1, (1 << 20) // k)  # 8 MB at once
    for start in range(0, len(rows), pairs):
        part = slice(start, start + pairs)
        # The accumulator first wraps where a partial sum first leaves its range.
        partial = np.cumsum(
            a[rows[part]].astype(np.int64) * b[columns[part]].astype(np.int64), axis=1
        )[:, entering]
        leaves[part] = ((partial < -limit) | (partial >= limit)).any(axis=1)
    return leaves


def _gemm_in_python(a: np.ndarray, b: np.ndarray, limit: int, step: int) -> GemmSums:
    """For sums that int64 may not hold."""
    sums = np.zeros((len(a), len(b)), np.int64)
    overflow = np.zeros(sums.shape, bool)
    for m, n in np.ndindex(sums.shape):
        partial = np.cumsum(a[m].astype(object) * b[n].astype(object))
        partial = np.append(partial[step - 1 :: step], partial[-1])
        overflow[m, n] = any(not -limit <= value < limit for value in partial)
        sums[m, n] = (partial[-1] + limit) % (2 * limit) - limit
    return GemmSums(sums, overflow)


def gemm_on_lanes(a: np.ndarray, b: np.ndarray, acc_bits: int = 32) -> GemmSums:
    """C = A B^T where an element is the sum of what its lanes hold, as the array computes it.

    Every pair of lanes has a PE with an accumulator of its own; those of an element are added at
    the end (OliVe, section 4.3).

    Parameters
    ----------
    a, b: integer arrays, (M, lanes, K) and (N, lanes, K)
        From `Format.lane_values`; one lane or two.
    acc_bits: int
        As in `gemm`.

    Returns
    -------
    GemmSums
        `overflow[m, n]` tells that some PE's accumulator wrapped or that their sum does not fit.
    """
    m, lanes_a, k = a.shape
    n, lanes_b, _ = b.shape
    limit = 1 << (acc_bits - 1)
    if lanes_a * lanes_b == 1 or lanes_a * lanes_b * _peak(a, b) * k < limit:
        return gemm(a.sum(axis=1), b.sum(axis=1), acc_bits)
    parts = gemm(a.reshape(m * lanes_a, k), b.reshape(n * lanes_b, k), acc_bits)
    sums = parts.sums.reshape(m, lanes_a, n, lanes_b).sum(axis=(1, 3))
    overflow = parts.overflow.reshape(m, lanes_a, n, lanes_b).any(axis=(1, 3))
    overflow |= (sums < -limit) | (sums >= limit)
    return GemmSums((sums + limit) % (2 * limit) - limit, overflow)


def gemm_weight_stationary(a: np.ndarray, b: np.ndarray, acc_bits: int = 32) -> GemmSums:
    """C = A B^T where an element is the sum of its lanes, as the weight-stationary array has it.

    A sum passes the PEs of K's last element first. Where elements of A take two lanes, it passes
    those of a pair, k and k + 1, in the order low k + 1, low k, high k + 1, high k. Each lane of an
    element of B has a column with a sum of its own; the two are added at the end (all ours).

    Parameters
    ----------
    a, b: integer arrays, (M, lanes, K) and (N, lanes, K), K even
        From `Format.lane_values`; one lane or two.
    acc_bits: int
        As in `gemm`.

    Returns
    -------
    GemmSums
        `overflow[m, n]` tells that the sum wrapped at some PE of either column, or that the sums
        of both columns do not fit together.
    """
    m, lanes_a, k = a.shape
    n, lanes_b, _ = b.shape
    if lanes_a * lanes_b * _peak(a, b) * k < 1 << (acc_bits - 1):  # whatever the order
        return gemm(a.sum(axis=1), b.sum(axis=1), acc_bits)
    a_by_pe = a.reshape(m, lanes_a, k // 2, 2).transpose(0, 2, 1, 3).reshape(m, -1)
    b_by_pe = b.reshape(n * lanes_b, k // 2, 1, 2).repeat(lanes_a, axis=2).reshape(n * lanes_b, -1)
    columns = gemm(a_by_pe[:, ::-1], b_by_pe[:, ::-1], acc_bits)
    limit = 1 << (acc_bits - 1)
    sums = columns.sums.reshape(m, n, lanes_b).sum(axis=2)
    overflow = columns.overflow.reshape(m, n, lanes_b).any(axis=2)
    overflow |= (sums < -limit) | (sums >= limit)
    return GemmSums((sums + limit) % (2 * limit) - limit, overflow)


def _peak(a: np.ndarray, b: np.ndarray) -> int:
    """No product is larger."""
    highest = (max(int(x.max(initial=0)), -int(x.min(initial=0))) for x in (a, b))
    return math.prod(highest)


def _product(x: NDArray[Any], y: NDArray[Any], peak: int) -> np.ndarray:
    """Exact x @ y.T in int64 of whole floats whose products are at most `peak`.

    By BLAS over as much of K as can be summed exactly.
    """
    k = x.shape[1]
    if x.dtype == np.float64 and k * peak < _SHIFTED // 2:
        # Where a float's unit is 1, its bits are an integer: no second array has to be filled.
        found = x @ y.T
        found += 1.5 * _SHIFTED
        sums: np.ndarray = found.view(np.int64)
        sums -= np.float64(1.5 * _SHIFTED).view(np.int64)
        return sums
    step = _EXACT_IN_64 // peak
    if k <= step:
        return (x @ y.T).astype(np.int64)
    sums = np.zeros((len(x), len(y)), np.int64)
    for start in range(0, k, step):
        part = slice(start, start + step)
        sums += (x[:, part] @ y[:, part].T).astype(np.int64)
    return sums
