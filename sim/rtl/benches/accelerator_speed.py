"""How fast the accelerator runs beside cocotbext-axi's AxiRam: one GEMM, nothing held back."""

import logging
import time
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from oleaster.models.accelerator.descriptor import Descriptor, row_bytes
from oleaster.models.accelerator.registers import Status, register_offset
from oleaster.sim.rtl.cosim import bench_config

SIZE: int = bench_config()["gemm"]
FORMAT = "ovp4-flint"


@cocotb.test
async def gemm(dut: Any) -> None:
    """M = K = N = `gemm` of the configuration; the log says `cycles/s`."""
    logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    stride = row_bytes(FORMAT, SIZE)
    a, b, c = (0x1000 + i * SIZE * stride for i in range(3))
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=c + 4 * SIZE * SIZE)
    # Whole bursts in its queues: fewer switches between its tasks.
    for channel in (ram.read_if.r_channel, ram.write_if.w_channel):
        channel.queue_occupancy_limit = 64
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    ones = bytes([0x11]) * (SIZE * stride)
    ram.write(a, ones)
    ram.write(b, ones)
    of = Descriptor(a, b, c, SIZE, SIZE, SIZE, stride, stride, 4 * SIZE, FORMAT, FORMAT, "int32")
    ram.write(0x40, of.pack())
    for name, value in (("LIST_LOW", 0x40), ("INTERRUPT_ENABLE", 3), ("CONTROL", 1)):
        await host.write_dword(register_offset(name), value)
    started = time.perf_counter()
    await RisingEdge(dut.interrupt)
    wall = time.perf_counter() - started
    assert await host.read_dword(register_offset("STATUS")) >> Status.DONE & 1
    cycles = await host.read_dword(register_offset("CYCLES_LOW"))
    assert bytes(ram.read(c, 4)) == SIZE.to_bytes(4, "little"), "a sum of ones is wrong"
    cocotb.log.info("%d cycles, %.0f cycles/s", cycles, cycles / wall)
