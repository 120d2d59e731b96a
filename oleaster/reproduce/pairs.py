"""How often outliers meet in a pair: weights of trained models, a border of 3 sigma."""

import numpy as np
from numpy.typing import NDArray

from oleaster.reproduce.published import Pairs

__all__ = ["pair_shares"]

SIGMAS = 3


def pair_shares(model: str, weights: list[NDArray[np.float32]]) -> Pairs:
    """Over all matrices (N, K) together; sigma of each, pairs (2i, 2i + 1) along K.

    An odd K's last element has no neighbour and is left out.
    """
    counts = np.zeros(3, np.int64)
    for weight in weights:
        outlier = np.abs(weight - weight.mean()) > SIGMAS * weight.std()
        even = weight.shape[1] // 2 * 2
        in_pair = outlier[:, 0:even:2].astype(np.int8) + outlier[:, 1:even:2]
        counts += np.bincount(in_pair.ravel(), minlength=3)
    shares = 100 * counts / counts.sum()
    return Pairs(model, *(float(share) for share in shares))
