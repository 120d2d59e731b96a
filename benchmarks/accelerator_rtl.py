"""Speed of the accelerator's Verilog: beside a native memory, and beside cocotbext-axi's AxiRam.

Both run the same GEMM three times; rates are medians, without the builds. What bounds the latter
is Python's work for each beat of the bus; the circuit alone runs several times as fast.

    python benchmarks/accelerator_rtl.py [--rows 16] [--cols 16] [--gemm 256] [--json]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from oleaster.hw.accelerator.top import OliveAccelerator
from oleaster.hw.emit import write_design
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor, row_bytes
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import Driver
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_accelerator
from oleaster.sim.rtl.cosim import run_cocotb

AXI_RAM_BOUND = 10_000  # cycles/s
FORMAT = "ovp4-flint"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--cols", type=int, default=16)
    parser.add_argument("--gemm", type=int, default=256, help="M = K = N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size = options.gemm

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = AcceleratorConfig(options.rows, options.cols)
        verilog, manifest = write_design(OliveAccelerator(config), folder)
        started = time.perf_counter()
        executable = build_accelerator(verilog, manifest)
        build = time.perf_counter() - started
        native, axi_ram = [], []
        for _ in range(3):
            with RtlDevice(executable, MemoryTiming(1)) as device:
                driver = Driver(device)
                stride = row_bytes(FORMAT, size)
                a, b = (driver.upload(np.full(size * stride, 0x11, np.uint8)) for _ in "ab")
                c = driver.allocate(4 * size * size)
                of = Descriptor(
                    *(a, b, c, size, size, size, stride, stride, 4 * size, FORMAT, FORMAT)
                )
                started = time.perf_counter()
                report = driver.run([of])
                native.append(report.cycles / (time.perf_counter() - started))
            bench = run_cocotb(
                "oleaster.sim.rtl.benches.accelerator_speed",
                top=verilog.stem,
                sources=[verilog],
                config={"gemm": size},
                run_folder=folder,
            )
            lines = [x for x in bench.log.read_text().splitlines() if x.endswith("cycles/s")]
            axi_ram.append(float(lines[0].split()[-2]))

    beats = (report.read_beats + report.write_beats) / report.cycles
    figures = {
        "build_s": build,
        "native_cycles_per_s": float(np.median(native)),
        "axi_ram_cycles_per_s": float(np.median(axi_ram)),
        "cycles": report.cycles,
        "bus_beats_per_cycle": beats,
        "axi_ram_us_per_beat": 1e6 / float(np.median(axi_ram)) / beats,
    }
    holds = figures["axi_ram_cycles_per_s"] >= AXI_RAM_BOUND
    if options.json:
        print(json.dumps({**figures, "holds": holds}, indent=2))
    else:
        print(f"{options.rows}x{options.cols} accelerator, {size}x{size}x{size} GEMM")
        for name, value in figures.items():
            print(f"{name:24} {value:14.4g}")
        print(f"AxiRam: at least {AXI_RAM_BOUND} cycles/s: {'holds' if holds else 'MISSED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
