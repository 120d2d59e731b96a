"""Decoder bench: every pair of codes against `models.formats`."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import Timer

from oleaster.models.formats import get_format
from oleaster.sim.rtl.cosim import bench_config

CODE_BITS = bench_config()["code_bits"]
FORMATS = {4: ["ovp4-int", "ovp4-flint"], 8: ["ovp8"]}[CODE_BITS]


def _fields(word: int, integer_bits: int) -> tuple[int, int]:
    integer = word & ((1 << integer_bits) - 1)
    return word >> integer_bits, integer - ((integer >> (integer_bits - 1)) << integer_bits)


@cocotb.test
@cocotb.parametrize(name=FORMATS)
async def every_pair(dut: Any, name: str) -> None:
    fmt = get_format(name)
    if CODE_BITS == 4:
        dut.flint.value = int("flint" in name)
    count = 1 << (2 * CODE_BITS)
    pairs = np.arange(count)
    codes = np.stack([pairs & ((1 << CODE_BITS) - 1), pairs >> CODE_BITS], axis=1).astype(np.uint8)
    expected = fmt.decode_pairs_lenient(codes)
    identifier = 1 << (CODE_BITS - 1)
    illegal = (codes == identifier).all(axis=1)
    for pair in range(count):
        dut.pair.value = pair
        await Timer(1, unit="ns")
        for port, want in zip((dut.even, dut.odd), expected[pair], strict=True):
            exponent, integer = _fields(port.value.to_unsigned(), CODE_BITS)
            assert integer << exponent == want, f"pair {pair:#x}: {port._name}"
        assert bool(dut.illegal.value) == illegal[pair], f"pair {pair:#x}: illegal"
