"""Output stationary against weight stationary: cycles, traffic and registers over GEMM shapes.

Exact figures of the cycle models, which equal the RTL.

    python benchmarks/dataflows.py [--rows 16] [--cols 16] [--format ovp4-int] [--json]
"""

import argparse
import json
import sys

from oleaster.models.formats import get_format
from oleaster.models.lane import FORMAT_SETS, Lane
from oleaster.sim import systolic, weight_stationary
from oleaster.sim.dataflows import (
    output_stationary_register_bits,
    output_stationary_traffic,
    partial_buffer_bits,
    weight_stationary_register_bits,
    weight_stationary_traffic,
)
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_tiling import WeightTiling

SHAPES = {
    "square": (512, 512, 512),
    "BERT attention": (128, 768, 768),
    "BERT intermediate": (128, 768, 3072),
    "BERT output": (128, 3072, 768),
    "decode, one token": (1, 768, 3072),
    "decode, 8 tokens": (8, 768, 3072),
    "tall": (4096, 64, 64),
    "wide": (64, 64, 4096),
    "tiny": (4, 4, 4),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--cols", type=int, default=16)
    parser.add_argument("--format", default="ovp4-int", help="of both operands, in OliVe's lanes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, cols, fmt = options.rows, options.cols, get_format(options.format)
    lane = next((Lane(s) for s in FORMAT_SETS.values() if fmt.name in s), Lane((fmt.name,)))

    def run(dataflow: str, m: int, k: int, n: int) -> dict[str, object]:
        if dataflow == "output":
            tiling = Tiling(m, k, n, rows, cols, fmt.lanes, fmt.lanes, lane.group == 2)
            cycles = systolic.gemm_cycles(tiling)
            traffic, buffer = output_stationary_traffic(tiling, lane, lane), 0
        else:
            passes = WeightTiling(m, k, n, rows, cols, fmt.lanes, fmt.lanes)
            cycles = weight_stationary.gemm_cycles(passes)
            traffic = weight_stationary_traffic(passes, lane, lane)
            buffer = partial_buffer_bits(passes)
        macs = m * k * n * fmt.lanes**2
        return {
            "cycles": cycles,
            "utilization": macs / (rows * cols * cycles),
            "a_bits": traffic.a,
            "b_bits": traffic.b,
            "partial_bits": traffic.partial,
            "sums_bits": traffic.sums,
            "buffer_bits": buffer,
        }

    results = {
        name: {"m": m, "k": k, "n": n, **{d: run(d, m, k, n) for d in ("output", "weight")}}
        for name, (m, k, n) in SHAPES.items()
    }
    registers = {
        "output": output_stationary_register_bits(lane, lane, rows, cols),
        "weight": weight_stationary_register_bits(lane, lane, rows, cols),
    }
    if options.json:
        print(json.dumps({"shapes": results, "register_bits": registers}, indent=2))
        return 0
    print(f"{rows} x {cols} PEs, {fmt.name}; traffic and buffer in kbit\n")
    heads = ("cycles", "util.", "A", "B", "partial", "sums", "all", "buffer")
    widths = (10, 7, 9, 9, 10, 9, 10, 8)
    titles = " ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    print(f"{'GEMM':18} {'M x K x N':>16} {'stationary':10} {titles}")
    for name, result in results.items():
        for dataflow in ("output", "weight"):
            r = result[dataflow]
            bits = [r[f"{part}_bits"] for part in ("a", "b", "partial", "sums")]
            kbits = [f"{b / 1000:,.1f}" for b in (*bits, sum(bits), r["buffer_bits"])]
            cells = [f"{r['cycles']:,}", f"{r['utilization']:.1%}", *kbits]
            line = " ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
            shape = "{m} x {k} x {n}".format(**result)
            print(f"{name:18} {shape:>16} {dataflow:10} {line}")
            name = shape = ""
    for dataflow, bits in registers.items():
        print(f"\nregisters of the {dataflow}-stationary array: {bits:,} bits", end="")
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
