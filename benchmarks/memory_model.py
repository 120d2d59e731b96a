"""The real memory model beside the exact cycle model of our accelerator, and its time per GEMM.

The model is given the accelerator's array, buffers, blocking, beats and latency. Random GEMMs, in
three classes of K: in one chunk of a lane's scratchpad, in several whole chunks, or with a rest.
Errors are of the cycles without stores and descriptor: the accelerator writes by a channel of its
own, in the model reads and writes share a port. What that makes is seen in the second table, where
`no stores` leaves them out.

    python benchmarks/memory_model.py [--gemms 100] [--seed 1]
"""

import argparse
import math
import random
import sys
import time
from statistics import median

from oleaster.config import load_design
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.walk import Plan
from oleaster.sim.performance.accelerator import accelerator_gemm, accelerator_timing, array_of
from oleaster.sim.performance.real import real_timing
from oleaster.sim.performance.timing import Timing

SHARES = (1.0, 0.5, 0.25)
KINDS = ("one chunk", "whole chunks", "a rest")
FIXED = ((1024, 1024, 1024), (128, 768, 768), (128, 768, 3072), (128, 3072, 768), (1, 4096, 4096))


def both(
    config: AcceleratorConfig,
    m: int,
    k: int,
    n: int,
    operands: str,
    latency: int,
    share: float,
    write_share: float,
) -> tuple[Timing, Timing]:
    """(of the model, exact); shares: beats a cycle."""
    memory = MemoryTiming.with_bandwidth(latency, share, write_share)
    exact = accelerator_timing(config, m, k, n, operands, operands, "int32", memory)
    descriptor = accelerator_gemm(config, m, k, n, operands, operands, "int32")
    design, weights, activations, blocking = array_of(descriptor, config, latency, share)
    return real_timing(design, m, k, n, weights, activations, blocking), exact


def reads_error(model: Timing, exact: Timing) -> float:
    """Relative, of the cycles until the last sums leave if nothing ever waited for a store."""
    cycles, right = (t.cycles - t.overhead_cycles - t.stall_store_cycles for t in (model, exact))
    return cycles / right - 1


def chunk_of(config: AcceleratorConfig, operands: str) -> int:
    """Elements of K in a chunk."""
    probe = accelerator_gemm(config, 1, 1, 1, operands, operands, "int32")
    return 2 * Plan(probe, config).chunk_words


def random_gemm(rng: random.Random, kind: str, chunk: int) -> tuple[int, int, int]:
    """(M, K, N) log-uniform up to 512, K from 64 on, or up to 4 chunks of so many elements."""
    m, n = (int(2 ** rng.uniform(0, 9)) for _ in range(2))
    if kind == "one chunk":
        return m, int(2 ** rng.uniform(6, math.log2(chunk))), n
    whole = chunk * rng.randint(1, 3)
    return m, whole + chunk if kind == "whole chunks" else whole + rng.randint(1, chunk - 1), n


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gemms", type=int, default=100, help="of each kind and share")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    config = AcceleratorConfig()
    print(f"errors against the exact model, {config.name}, {options.gemms} GEMMs a line\n")
    print(f"{'K':>12} {'share':>6} {'median':>8} {'90 %':>8} {'worst':>8}")
    for kind in KINDS:
        for share in SHARES:
            rng = random.Random(options.seed)
            errors = []
            for _ in range(options.gemms):
                operands = rng.choice(("ovp4-flint", "ovp8"))
                m, k, n = random_gemm(rng, kind, chunk_of(config, operands))
                latency = rng.choice((20, 100, 200))
                errors.append(reads_error(*both(config, m, k, n, operands, latency, share, 1.0)))
            ninth = sorted(map(abs, errors))[len(errors) * 9 // 10]
            print(
                f"{kind:>12} {share:>6} {median(errors):>+8.2%} {ninth:>8.2%} "
                f"{max(errors, key=abs):>+8.2%}"
            )

    print("\nGEMMs of networks, ovp4-flint to int32, latency 100\n")
    print(
        f"{'M x K x N':>18} {'share':>6} {'exact':>12} {'model':>12} {'error':>8} {'no stores':>10}"
    )
    for m, k, n in FIXED:
        for share in SHARES:
            model, exact = both(config, m, k, n, "ovp4-flint", 100, share, share)
            print(
                f"{f'{m} x {k} x {n}':>18} {share:>6} {exact.cycles:>12,} {model.cycles:>12,} "
                f"{model.cycles / exact.cycles - 1:>+8.2%} {reads_error(model, exact):>+10.2%}"
            )

    print("\nprocessor time of the model for one GEMM\n")
    for name in ("olive-64x64", "ant-64x64-ws"):
        design = load_design(name)
        operands = design.precisions[-1]
        for m, k, n in (*FIXED, (2048, 4096, 16384)):
            real_timing.cache_clear()
            started, count = time.process_time(), 100
            for _ in range(count):
                real_timing.__wrapped__(design, m, k, n, operands.weights, operands.activations)
            spent_ms = 1000 * (time.process_time() - started) / count
            print(f"{name:>14} {f'{m} x {k} x {n}':>20} {spent_ms:>8.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
