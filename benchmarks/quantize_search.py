"""The scale search against brute force: the same 88 errors, time and memory.

    python benchmarks/quantize_search.py [--format ovp4-int] [--granularity tensor] [--json]

Both sides work on a seeded heavy-tailed 4096x4096 float32 tensor (Student's t, 5 degrees of
freedom) with all 88 candidates. Brute force finds, for every candidate and element, the nearest
value of the grid with `searchsorted`, applies the victim rule and sums the squared error, in
chunks that fit the cache. Times are CPU seconds. Memory is the growth of the peak resident set
of a fresh process. The errors are compared on the first 64 rows, where brute force works in
float64: in float32 a quotient now and then rounds across the outlier border.
Exits 1 if a bound does not hold. Takes about two minutes.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.formats import FORMATS, get_format
from oleaster.models.quantize import quantize, search_scale
from oleaster.models.scale_search import Granularity

SIZE = 4096
LEAST_RATIO = 20.0
MOST_TENSORS = 3.0
MOST_DIFFERENCE = 1e-9


def tensor() -> NDArray[np.float32]:
    """(4096, 4096) float32, made row by row so that making it takes no memory of its own."""
    rng = np.random.default_rng(2023)
    x = np.empty((SIZE, SIZE), np.float32)
    for row in x:
        row[:] = rng.standard_t(5, SIZE)
    return x


def brute_force(x: NDArray[Any], alphas: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """(groups, 88) squared errors in the type of x; alphas: (1 or rows, 88)."""
    fmt = get_format(name)
    scales = (alphas / fmt.max_normal).astype(np.float32).astype(x.dtype)
    grid = fmt.magnitudes.astype(x.dtype)
    middles = (grid[1:] + grid[:-1]) / 2
    errors = np.zeros(scales.shape)
    rows_at_once = 32
    for candidate in range(scales.shape[1]):
        for top in range(0, len(x), rows_at_once):
            rows = slice(top, top + rows_at_once) if len(scales) > 1 else slice(0, 1)
            scale = scales[rows, candidate, None]
            block = np.abs(x[top : top + rows_at_once]) / scale
            stored = grid[np.searchsorted(middles, block, side="right")]
            even, odd = block[:, 0::2], block[:, 1::2]
            odd_stays = (odd >= fmt.outlier_border) & (odd >= even)
            even_stays = (even >= fmt.outlier_border) & ~odd_stays
            stored[:, 0::2][odd_stays] = 0
            stored[:, 1::2][even_stays] = 0
            off = (stored - block) * scale
            by_row = np.einsum("ij,ij->i", off, off, dtype=np.float64)
            errors[rows, candidate] += by_row if len(scales) > 1 else by_row.sum()
    return errors


def peak_mib() -> float:
    """The peak resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(name: str, granularity: Granularity) -> tuple[float, float]:
    """Growth of the peak by tensor and search, and by tensor, search and encoding; in MiB."""
    quantize(np.ones((2, 4)), name)  # what is loaded on first use is not the tensor's
    before = peak_mib()
    x = tensor()
    scale = search_scale(x, name, granularity=granularity).scale
    searched = peak_mib() - before
    quantize(x, name, granularity=granularity, scale=scale)
    return searched, peak_mib() - before


def measure(name: str, granularity: Granularity) -> dict[str, float | str | bool]:
    """Every figure, by name, with the bounds and whether they hold."""
    # Before this process grows: a child's peak starts from that of its parent.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        searched, encoded = pool.submit(memory, name, granularity).result()
    x = tensor()
    times = []
    for _ in range(3):
        start = time.process_time()
        alphas = search_scale(x, name, granularity=granularity).alphas.reshape(-1, 88)
        times.append(time.process_time() - start)
    start = time.process_time()
    brute_force(x, alphas, name)
    brute_s = time.process_time() - start
    few = search_scale(x[:64], name, granularity=granularity)
    expected = brute_force(x[:64].astype(np.float64), few.alphas.reshape(-1, 88), name)
    difference = float((np.abs(few.errors.reshape(-1, 88) - expected) / expected).max())
    tensors = max(searched, encoded) / (x.nbytes / 2**20)
    ratio = brute_s / float(np.median(times))
    return {
        "format": name,
        "granularity": granularity,
        "search_s": float(np.median(times)),
        "brute_force_s": brute_s,
        "ratio": ratio,
        "least_ratio": LEAST_RATIO,
        "search_peak_mib": searched,
        "search_and_encode_peak_mib": encoded,
        "peak_in_tensors": tensors,
        "most_tensors": MOST_TENSORS,
        "largest_relative_difference": difference,
        "most_difference": MOST_DIFFERENCE,
        "holds": ratio >= LEAST_RATIO and tensors < MOST_TENSORS and difference < MOST_DIFFERENCE,
    }


def main() -> int:
    """Parse, measure, print; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    searched = [
        fmt.name for fmt in FORMATS.values() if not fmt.block_size and fmt.name != "codebook"
    ]
    parser.add_argument("--format", default="ovp4-int", choices=searched)
    parser.add_argument("--granularity", default="tensor", choices=["tensor", "channel"])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = measure(options.format, options.granularity)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['format']} per {found['granularity']}, {SIZE}x{SIZE} float32, 88 candidates")
        tensors, difference = found["peak_in_tensors"], found["largest_relative_difference"]
        print(f"search       {found['search_s']:8.2f} s  (median of 3)")
        print(f"brute force  {found['brute_force_s']:8.2f} s")
        print(f"ratio        {found['ratio']:8.1f}    at least {LEAST_RATIO:g}")
        print(f"peak memory  {tensors:8.2f} tensors, below {MOST_TENSORS:g}")
        print(f"difference   {difference:8.1e} of the error, below {MOST_DIFFERENCE:g}")
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
