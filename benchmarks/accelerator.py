"""Cycles of whole GEMMs on the accelerator beside what its array and its bus allow.

Exact figures of the cycle model, which equals the RTL. `bound` is the larger of the array's cycles
and of the beats that were moved over the bandwidth; `rest` are the cycles that are neither the
array's work nor waits: descriptor, fill, drain, the last writes.

    python benchmarks/accelerator.py [--data-bits 128] [--latency 100] [--bandwidth 1.0] [--json]
"""

import argparse
import json
import sys
import time

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import CHANNEL_BYTES, Descriptor, row_bytes
from oleaster.models.formats import get_format
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import list_timing

GEMMS: tuple[tuple[int, int, int, str, str], ...] = (
    (1024, 1024, 1024, "ovp4-flint", "int32"),
    (1024, 1024, 1024, "ovp4-flint", "ovp4-flint"),
    (1024, 1024, 1024, "ovp8", "ovp8"),
    (256, 256, 256, "ovp4-flint", "int32"),
    (1024, 4096, 1024, "ovp4-flint", "ovp4-flint"),
    (4096, 64, 4096, "ovp4-flint", "int32"),
    (4096, 16, 4096, "ovp4-flint", "int32"),
    (128, 768, 3072, "ovp4-flint", "ovp4-flint"),
    (1, 768, 3072, "ovp4-flint", "ovp4-flint"),
    (1, 4096, 4096, "ovp8", "int32"),
    (16, 16, 16, "ovp4-flint", "int32"),
)


def descriptor_of(m: int, k: int, n: int, operands: str, c: str) -> Descriptor:
    """A GEMM whose matrices lie one after the other, each from a multiple of 4 kB on."""
    stride, c_stride = row_bytes(operands, k), row_bytes(c, n)
    places, free = [], 4096
    for size in (m * stride, n * stride, m * c_stride, n * CHANNEL_BYTES):
        places.append(free)
        free += -(-size // 4096) * 4096
    a, b, where, channels = places
    return Descriptor(
        a, b, where, m, k, n, stride, stride, c_stride, operands, operands, c, channels
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--cols", type=int, default=16)
    parser.add_argument("--data-bits", type=int, default=128)
    parser.add_argument("--latency", type=int, default=100, help="cycles")
    parser.add_argument("--bandwidth", type=float, default=1.0, help="beats a cycle, each way")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        config = AcceleratorConfig(options.rows, options.cols, options.data_bits)
        timing = MemoryTiming.with_bandwidth(options.latency, options.bandwidth, options.bandwidth)
    except ValueError as error:
        parser.error(str(error))

    results = []
    for m, k, n, operands, c in GEMMS:
        started = time.perf_counter()
        run = list_timing([descriptor_of(m, k, n, operands, c)], config, timing)
        wall_s = time.perf_counter() - started
        busy = 2 * run.words
        bound = run.bound(options.bandwidth, options.bandwidth)
        results.append(
            {
                "m": m,
                "k": k,
                "n": n,
                "operands": operands,
                "c": c,
                "cycles": run.cycles,
                "array_busy": busy / run.cycles,
                "pe_utilisation": m
                * k
                * n
                * get_format(operands).lanes ** 2
                / (run.cycles * options.rows * options.cols),
                "bound_cycles": bound,
                "bound_by": "array" if bound == busy else "bus",
                "of_bound": bound / run.cycles,
                "wait_data_cycles": run.wait_data,
                "wait_output_cycles": run.wait_output,
                "rest_cycles": run.cycles - busy - run.wait_data - run.wait_output,
                "read_beats": run.read_beats,
                "write_beats": run.write_beats,
                "model_wall_s": wall_s,
            }
        )
    if options.json:
        print(json.dumps({"options": vars(options), "gemms": results}, indent=2))
        return 0
    print(
        f"{options.rows}x{options.cols} PEs, {options.data_bits}-bit bus, latency "
        f"{options.latency}, {options.bandwidth} beats a cycle each way\n"
    )
    columns = ("cycles", "array", "PEs", "bound", "by", "of it", "no data", "no room", "rest")
    print(f"{'M x K x N':>16} {'A, B -> C':>24} " + " ".join(f"{c:>10}" for c in columns))
    for r in results:
        print(
            f"{r['m']:>5} x{r['k']:>4} x{r['n']:>4} {r['operands'] + ' -> ' + r['c']:>24} "
            f"{r['cycles']:>10,} {r['array_busy']:>10.2%} {r['pe_utilisation']:>10.2%} "
            f"{r['bound_cycles']:>10,} {r['bound_by']:>10} {r['of_bound']:>10.2%} "
            f"{r['wait_data_cycles']:>10,} {r['wait_output_cycles']:>10,} {r['rest_cycles']:>10,}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
