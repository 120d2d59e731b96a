"""Bench of a decoder of single codes: every code against `models.formats`."""

from typing import Any

import cocotb
from cocotb.triggers import Timer

from oleaster.models.formats import get_format
from oleaster.sim.rtl.cosim import bench_config

FORMAT = get_format(bench_config()["format"])


@cocotb.test
async def every_code(dut: Any) -> None:
    bits = FORMAT.integer_bits
    for code in range(1 << FORMAT.code_bits):
        dut.code.value = code
        await Timer(1, unit="ns")
        word = dut.pair.value.to_unsigned()
        integer = word & ((1 << bits) - 1)
        integer -= integer >> (bits - 1) << bits
        assert (word >> bits, integer) == (
            int(FORMAT.normal.exponents[code]),
            int(FORMAT.normal.integers[code]),
        ), f"code {code:#x}"
        assert bool(dut.illegal.value) != FORMAT.normal.usable[code], f"code {code:#x}: illegal"
