"""A whole GEMM through gemm_harness: cocotb clocks it and waits, the harness does the rest."""

import time
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ValueChange, with_timeout

from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()


@cocotb.test
async def whole_gemm(dut: Any) -> None:
    dut.rst.value = 1
    Clock(dut.clk, 2, unit="ns").start()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    started = time.perf_counter()
    await with_timeout(ValueChange(dut.done), 2 * (8 * CONFIG["cycles"] + 10_000), "ns")
    wall = time.perf_counter() - started
    cycles = dut.cycles.value.to_unsigned()
    cocotb.log.info("%d cycles, %.0f cycles/s", cycles, cycles / wall)
    assert cycles == CONFIG["cycles"], f"{cycles} cycles, the cycle model says {CONFIG['cycles']}"
    assert not dut.flags.value
