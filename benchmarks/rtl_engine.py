"""Speed of the RTL engine against a plain Verilator loop around the same array.

All in one run: a cold build, the engine on a 512x512x512 GEMM three times, the plain loop
(benchmarks/plain_main.cpp) before and after each, and the cocotb bench of the same GEMM three
times; rates are medians.

    python benchmarks/rtl_engine.py [--size 16] [--gemm 512] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from oleaster.designs import design_files
from oleaster.models.quantize import quantize
from oleaster.sim.operand import array_operand
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.cosim import run_cocotb
from oleaster.sim.rtl.engine import (
    HARNESS,
    build_array,
    harness_arguments,
    harness_build,
    run_array,
)
from oleaster.sim.systolic import gemm_cycles

BOUNDS = {
    "cold_build_s": ("<=", 60),
    "engine_to_plain": (">=", 0.5),
    "cocotb_cycles_per_s": (">=", 100_000),
    "utilization": (">=", 0.99),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=16, help="rows and columns, a multiple of 4")
    parser.add_argument("--gemm", type=int, default=512, help="M = K = N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size, n = options.size, options.gemm

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OLEASTER_CACHE"] = scratch  # nothing built before counts
        formats = {"formats_a": "olive4", "formats_b": "olive4"}
        verilog, manifest = design_files("systolic", rows=size, cols=size, **formats)
        started = time.perf_counter()
        simulator = build_array(verilog, manifest)
        cold_build = time.perf_counter() - started
        plain = build_native(
            [verilog],
            Path(__file__).with_name("plain_main.cpp"),
            top=verilog.stem,
            arguments=["-CFLAGS", f"-DLANE_WORDS={size // 4}"],
        )

        rng = np.random.default_rng(0)
        a, b = (quantize(rng.standard_t(3, (n, n)).astype(np.float32)) for _ in "ab")
        operands = array_operand(a, size)[0], array_operand(b, size)[0]
        cycles = gemm_cycles(simulator.tiling(*operands))

        def plain_rate() -> float:
            command = [str(plain), str(cycles)]
            return float(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])

        rates, engine_rates = [plain_rate()], []
        for _ in range(3):
            started = time.perf_counter()
            run = run_array(simulator, *operands)
            engine_rates.append(run.cycles / (time.perf_counter() - started))
            rates.append(plain_rate())

        folder = Path(scratch) / "cocotb"
        folder.mkdir()
        plusargs = harness_arguments(folder, simulator, *operands, gaps=None)
        parameters, defines = harness_build(verilog, manifest)
        cocotb_rates = []
        for _ in range(3):
            bench = run_cocotb(
                "oleaster.sim.rtl.benches.gemm",
                top="gemm_harness",
                sources=[HARNESS, verilog],
                config={"cycles": cycles},
                parameters=parameters,
                defines=defines,
                plusargs=plusargs,
                run_folder=folder,
            )
            line = next(x for x in bench.log.read_text().splitlines() if "cycles/s" in x)
            cocotb_rates.append(float(line.split()[-2]))

    figures = {
        "cold_build_s": cold_build,
        "plain_cycles_per_s": float(np.median(rates)),
        "engine_cycles_per_s": float(np.median(engine_rates)),
        "engine_to_plain": float(np.median(engine_rates) / np.median(rates)),
        "cocotb_cycles_per_s": float(np.median(cocotb_rates)),
        "cycles_rtl": run.cycles,
        "cycles_model": cycles,
        "utilization": n**3 / (size * size * run.cycles),
    }
    holds = {
        name: figures[name] <= bound if sign == "<=" else figures[name] >= bound
        for name, (sign, bound) in BOUNDS.items()
    }
    if options.json:
        print(json.dumps({**figures, "holds": holds}, indent=2))
    else:
        print(f"{size}x{size} array, {n}x{n}x{n} GEMM")
        for name, value in figures.items():
            sign, bound = BOUNDS.get(name, ("", ""))
            verdict = "" if holds.get(name, True) else "MISSED"
            print(f"{name:24} {value:14.4g}   {sign} {bound} {verdict}")
    return 0 if all(holds.values()) and cycles == run.cycles else 1


if __name__ == "__main__":
    sys.exit(main())
