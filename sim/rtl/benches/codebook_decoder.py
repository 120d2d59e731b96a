"""Codebook bench: tables written, read back, and written over in part."""

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.formats import CodebookFormat, get_format


@cocotb.test
async def tables(dut: Any) -> None:
    rng = np.random.default_rng(1)
    Clock(dut.clk, 10, unit="ns").start()
    book = get_format("codebook")
    assert isinstance(book, CodebookFormat)
    table = np.zeros((256, 2), np.uint8)
    index = np.arange(256)
    codes = np.stack([index & 15, index >> 4], axis=1).astype(np.uint8)
    for rewritten in (256, 256, 40):
        chosen = rng.permutation(256)[:rewritten]
        table[chosen] = rng.integers(0, 256, (rewritten, 2))
        await FallingEdge(dut.clk)
        for entry in chosen.tolist():
            dut.table_write.value = 1
            dut.table_index.value = entry
            dut.table_entry.value = int(table[entry, 0]) | int(table[entry, 1]) << 8
            await FallingEdge(dut.clk)
        dut.table_write.value = 0
        dut.table_entry.value = int(rng.integers(1 << 16))
        await FallingEdge(dut.clk)
        values = book.with_table(table).decode(codes)
        for i in range(256):
            dut.index.value = i
            await Timer(1, unit="ns")
            for port, want in ((dut.even, values[i, 0]), (dut.odd, values[i, 1])):
                word = port.value.to_unsigned()
                integer = (word & 31) - ((word & 16) << 1)
                assert integer << (word >> 5) == want, f"entry {i}: {port._name}"
