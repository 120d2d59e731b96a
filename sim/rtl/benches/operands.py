"""Random operands for the benches of arrays, and the ports that the arrays share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.formats import CodebookFormat, Format, get_format
from oleaster.models.lane import Lane
from oleaster.sim.operand import Operand

__all__ = ["bench_format", "fill_tables", "illegal_code", "random_operand", "wrapped"]

TABLE = np.random.default_rng(9).integers(0, 256, (256, 2)).astype(np.uint8)


def bench_format(name: str) -> Format:
    """The format, a codebook bound to the table that `fill_tables` writes."""
    fmt = get_format(name)
    return fmt.with_table(TABLE) if isinstance(fmt, CodebookFormat) else fmt


def random_operand(
    rng: np.random.Generator, fmt: Format, elements: int, depth: int, window: int
) -> tuple[Operand, np.ndarray]:
    """A random operand of one tile, and what its lanes hold: (elements, lanes, depth)."""
    if isinstance(fmt, CodebookFormat):
        codes = rng.integers(0, 16, (elements, depth)).astype(np.uint8)
    else:
        codes = fmt.encode(rng.standard_t(1.5, (elements, depth)) * fmt.max_normal / 2)
    values = fmt.lane_values(codes).astype(object)
    if not fmt.block_size:
        return Operand(codes, fmt), values
    base = int(rng.integers(0, 255 - window))
    blocks = -(-depth // fmt.block_size)
    scales = rng.integers(max(0, base - 2), base + window + 1, (elements, blocks))
    shift = np.repeat(scales - base, fmt.block_size, axis=1)[:, :depth]
    for (row, k), s in np.ndenumerate(shift):
        values[row, 0, k] = values[row, 0, k] << int(s) if s >= 0 else 0
    return Operand(codes, fmt, scales.astype(np.uint8), np.array([base], np.uint8)), values


def illegal_code(fmt: Format) -> int | None:
    """A code that stands for no number, if there is one."""
    if isinstance(fmt, CodebookFormat):
        return None
    wrong = [row.code for row in fmt.table() if row.role in ("identifier", "disabled")]
    return wrong[0] if wrong else None


async def fill_tables(dut: Any, lanes: Mapping[str, Lane]) -> None:
    """Write the codebooks of operands "a" and "b"."""
    for side, lane in lanes.items():
        if lane.has_codebook:
            getattr(dut, f"{side}_table_write").value = 1
            for index, (even, odd) in enumerate(TABLE.tolist()):
                getattr(dut, f"{side}_table_index").value = index
                getattr(dut, f"{side}_table_entry").value = even | odd << 8
                await FallingEdge(dut.clk)
            getattr(dut, f"{side}_table_write").value = 0


def wrapped(value: int, bits: int) -> int:
    """As a signed accumulator of so many bits holds it."""
    limit = 1 << (bits - 1)
    return (value + limit) % (2 * limit) - limit
