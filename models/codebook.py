"""Fitting the codebook of a tensor: k-means on its pairs, centroids rounded to table entries."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.formats import CodebookFormat
from oleaster.models.scale_search import QuantizeError, blocks, float32_scale

_SAMPLE = 1 << 17  # pairs that the centroids are fitted to
_FIRST = 1 << 12  # of them, those that k-means++ starts from: its memory is 256 times that
_ITERATIONS = 15
_OUTLYING = 6.0  # root mean squares: by Chebyshev at most 1/36 of the elements
_SCALES = 8  # tried within an octave: entries have 3 to 4 bits after the leading one


def fit(
    matrix: NDArray[Any], groups: int, fmt: CodebookFormat
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A table, (256, 2) uint8, and scales, (groups,) float32, for a (rows, K) matrix, K even.

    One table serves all groups (1, or one a row), each divided by its root mean square. k-means
    (seeded, so the same tensor gives the same table) finds 255 centroids on a sample of pairs;
    entry 0 is (0, 0), so that code 0 is 0 as in every format. The largest centroid is put in the
    table's top octave, at the scale that loses least. A group of zeros has a scale like any other.

    Raises QuantizeError if scipy is not installed.
    """
    sizes = _root_mean_squares(matrix, groups)
    pairs = _sampled_pairs(matrix, sizes)
    centroids = _centroids(pairs)
    top = np.abs(centroids).max(initial=0)
    if top == 0:
        return np.zeros((256, 2), np.uint8), np.ones(groups, np.float32)
    units = top / fmt.max_normal * 2 ** (np.arange(_SCALES) / _SCALES)
    trial = pairs[:: max(1, len(pairs) // _FIRST)]
    tables = [_table(centroids / unit, fmt) for unit in units]
    lost = []
    for unit, table in zip(units, tables, strict=True):
        bound = fmt.with_table(table)
        lost.append(np.square(bound.decode(bound.encode(trial / unit)) * unit - trial).sum())
    best = int(np.argmin(lost))
    return tables[best], float32_scale(sizes * units[best], fmt)


def _root_mean_squares(matrix: NDArray[Any], groups: int) -> NDArray[np.float64]:
    """(groups,), 1 for a group of zeros."""
    squares = np.zeros(len(matrix))
    for rows, _, block in blocks(matrix):
        squares[rows] += np.square(block, dtype=np.float64).sum(axis=1)
    sizes = np.sqrt(squares.reshape(groups, -1).sum(axis=1) * groups / matrix.size)
    sizes[sizes == 0] = 1
    return sizes


def _sampled_pairs(matrix: NDArray[Any], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) pairs of the matrix, each divided by the size of its group.

    All of them, or of a large matrix one at random from each of _SAMPLE stretches, and all that
    reach _OUTLYING: these are few, but may hold most of the energy.
    """
    size = np.broadcast_to(sizes[:, None], (len(matrix), 1))
    count, half = matrix.size // 2, matrix.shape[1] // 2
    if count <= _SAMPLE:
        return (matrix.astype(np.float32) / size).reshape(-1, 2)
    jitter = np.random.default_rng(0).random(_SAMPLE)
    place = ((np.arange(_SAMPLE) + jitter) * (count / _SAMPLE)).astype(np.int64)
    row, column = np.divmod(place, half)
    pairs = np.stack([matrix[row, 2 * column], matrix[row, 2 * column + 1]], axis=1)
    sample = [pairs.astype(np.float32) / size[row]]
    for rows, _, block in blocks(matrix):
        scaled = (block / size[rows]).reshape(-1, 2)
        sample.append(scaled[np.abs(scaled).max(axis=1) > _OUTLYING])
    return np.concatenate(sample)


def _centroids(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 255; the pairs themselves if there are no more different ones."""
    distinct = np.unique(pairs.view(np.complex128)).view(np.float64).reshape(-1, 2)
    if len(distinct) <= 255:
        return distinct
    try:
        from scipy.cluster.vq import kmeans2
    except ImportError:
        raise QuantizeError(
            "format codebook needs scipy; install it with pip install 'oleaster[models]'"
        ) from None
    rng = np.random.default_rng(0)
    first = rng.choice(distinct, min(_FIRST, len(distinct)), replace=False)
    with warnings.catch_warnings():
        # An empty cluster keeps its place, which is right where many pairs are equal.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        start, _ = kmeans2(first, 255, iter=1, minit="++", rng=rng)
        centroids, _ = kmeans2(pairs, start, iter=_ITERATIONS, minit="matrix")
    found: NDArray[np.float64] = centroids
    return found


def _table(centroids: NDArray[np.float64], fmt: CodebookFormat) -> NDArray[np.uint8]:
    """(256, 2) entries, (0, 0) first and the rest in the order of their bytes."""
    entries = np.unique(fmt.nearest_entries(centroids), axis=0)
    entries = entries[entries.any(axis=1)]
    table = np.zeros((256, 2), np.uint8)
    table[1 : 1 + len(entries)] = entries
    return table
