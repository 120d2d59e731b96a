"""The GEMM reference beside numpy's matmul in float64 on the same shapes, and in int32.

Operands are integers as formats decode them: of 4 bits, of 4 bits with outliers, of 8 bits with
outliers so large that sums of 32 bits may wrap. `rate` is float64's time over ours, each the best
of `--rounds`, by turns, with the BLAS threads of the environment. Exits 1 if a sum differs or a
rate is below one half. numpy's int32 has no BLAS, so it is timed on a small shape only.

    python benchmarks/gemm_reference.py [--rounds N] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from oleaster.models.gemm import gemm

SHAPES = ((1024, 1024, 1024), (4096, 768, 3072))
SMALL = (256, 256, 256)
ACC_BITS = 32
LEAST_RATE = 0.5

# Name -> largest normal value, largest outlier; OliVe clips outliers of 8 bits at 2^15.
OPERANDS = {"int4": (7, 7), "ovp4": (7, 192), "ovp8": (127, 1 << 15)}
OUTLIERS = 0.005  # of the elements: OliVe, section 2


def operands(name: str, rows: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, k) int64, an outlier's magnitude being anything up to the largest."""
    normal, largest = OPERANDS[name]
    values = rng.integers(-normal, normal + 1, (rows, k))
    outliers = rng.integers(-largest, largest + 1, (rows, k))
    return np.where(rng.random((rows, k)) < OUTLIERS, outliers, values)


def wrap(exact: np.ndarray) -> np.ndarray:
    """As a signed accumulator of `ACC_BITS` holds it."""
    limit = 1 << (ACC_BITS - 1)
    return (exact + limit) % (2 * limit) - limit


def best_of(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Seconds of each, the best of `rounds`, taking turns so that a busy machine is so for all."""
    seconds = [float("inf")] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            started = time.perf_counter()
            run()
            seconds[index] = min(seconds[index], time.perf_counter() - started)
    return seconds


def measure(name: str, shape: tuple[int, int, int], rounds: int) -> dict:
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = operands(name, m, k, rng), operands(name, n, k, rng)
    x, y = a.astype(np.float64), b.astype(np.float64)
    float_s, ours_s = best_of(rounds, lambda: x @ y.T, lambda: gemm(a, b, ACC_BITS))
    result = gemm(a, b, ACC_BITS)
    return {
        "operands": name,
        "m": m,
        "k": k,
        "n": n,
        "float64_s": float_s,
        "gemm_s": ours_s,
        "rate": float_s / ours_s,
        "macs_per_s": m * k * n / ours_s,
        "wrapped": int(result.overflow.sum()),
        "exact": bool(np.array_equal(result.sums, wrap((x @ y.T).astype(np.int64)))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(name, shape, options.rounds) for shape in SHAPES for name in OPERANDS]

    m, k, n = SMALL
    rng = np.random.default_rng(0)
    a, b = operands("int4", m, k, rng), operands("int4", n, k, rng)
    narrow = [x.astype(np.int32) for x in (a, b)]
    wide = [x.astype(np.float64) for x in (a, b)]
    int32_s, float_s, ours_s = best_of(
        options.rounds,
        lambda: narrow[0] @ narrow[1].T,
        lambda: wide[0] @ wide[1].T,
        lambda: gemm(a, b, ACC_BITS),
    )
    exact = bool(np.array_equal(gemm(a, b, ACC_BITS).sums, narrow[0] @ narrow[1].T))
    small = {"int32_s": int32_s, "float64_s": float_s, "gemm_s": ours_s, "exact": exact}

    holds = exact and all(r["exact"] and r["rate"] >= LEAST_RATE for r in results)
    if options.json:
        print(json.dumps({"gemms": results, "small": small, "holds": holds}, indent=2))
        return 0 if holds else 1
    print(
        f"{'M x K x N':>18} {'operands':>9} {'float64 ms':>11} {'ours ms':>9} {'rate':>6} "
        f"{'GMAC/s':>7} {'wrapped':>8} exact"
    )
    for r in results:
        shape = f"{r['m']} x {r['k']} x {r['n']}"
        print(
            f"{shape:>18} {r['operands']:>9} {r['float64_s'] * 1e3:>11.1f} "
            f"{r['gemm_s'] * 1e3:>9.1f} {r['rate']:>6.2f} {r['macs_per_s'] / 1e9:>7.1f} "
            f"{r['wrapped']:>8} {'yes' if r['exact'] else 'NO'}"
        )
    print(
        f"\n{m} x {k} x {n}: numpy int32 {int32_s * 1e3:.1f} ms, float64 {float_s * 1e3:.1f} ms "
        f"(int32 takes {int32_s / float_s:.0f} times as long), ours {ours_s * 1e3:.1f} ms, "
        f"{'equal' if exact else 'NOT EQUAL'}"
    )
    print(f"every sum exact and every rate at least {LEAST_RATE}: {'yes' if holds else 'NO'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
