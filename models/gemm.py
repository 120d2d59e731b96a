"""The GEMM reference: exponent-integer products summed in a wrapping accumulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["GemmSums", "gemm"]

# A float64 sum of integers below this is exact, whatever the order of its terms.
_EXACT = 1 << 53


@dataclass(frozen=True)
class GemmSums:
    """`sums` (M, N) int64 within the accumulator's range; `overflow` (M, N) bool."""

    sums: np.ndarray
    overflow: np.ndarray


def gemm(a: np.ndarray, b: np.ndarray, acc_bits: int = 32) -> GemmSums:
    """C = A B^T on decoded operands, as the array's accumulators hold it.

    Parameters
    ----------
    a, b: integer arrays, (M, K) and (N, K)
        Decoded values (`integer << exponent`), of magnitude at most 2**15.
    acc_bits: int
        Width of the signed accumulator, which wraps.

    Returns
    -------
    GemmSums
        `overflow[m, n]` tells that some partial sum, k ascending, left the accumulator's range
        (DESIGN section 2; the flag is ours).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a is {a.shape} and b is {b.shape}; they must be (M, K) and (N, K)")
    limit = 1 << (acc_bits - 1)
    sums = _product(a, b)
    overflow = np.zeros(sums.shape, bool)
    if _peak(a, b) * a.shape[1] >= limit:
        suspects = _product(np.abs(a), np.abs(b)) >= limit
        # The accumulator first wraps where a partial sum first leaves its range.
        for m, n in np.argwhere(suspects):
            partial = np.cumsum(a[m].astype(np.int64) * b[n].astype(np.int64))
            overflow[m, n] = ((partial < -limit) | (partial >= limit)).any()
        sums = (sums + limit) % (2 * limit) - limit
    return GemmSums(sums, overflow)


def _peak(a: np.ndarray, b: np.ndarray) -> int:
    """No product is larger."""
    return int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Exact a @ b.T in int64, by the float64 of BLAS over as much of K as that holds exactly."""
    step = max(1, _EXACT // max(1, _peak(a, b)))
    sums = np.zeros((len(a), len(b)), np.int64)
    for k in range(0, a.shape[1], step):
        x, y = a[:, k : k + step].astype(np.float64), b[:, k : k + step].astype(np.float64)
        sums += (x @ y.T).astype(np.int64)
    return sums
