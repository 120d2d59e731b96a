"""Encoder bench against `Format.encode`.

Inputs of up to 8 bits: every pair. Wider ones: all pairs around every border (4-bit codes), every
magnitude up to beyond saturation in either slot (8-bit codes), and random pairs.
"""

import itertools
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import Timer

from oleaster.models.formats import Format, get_format
from oleaster.sim.rtl.cosim import bench_config

CODE_BITS = bench_config()["code_bits"]
VALUE_BITS = bench_config()["value_bits"]
FORMATS = {4: ["ovp4-int", "ovp4-flint"], 8: ["ovp8"]}[CODE_BITS]


def _values(fmt: Format) -> list[int]:
    """Both signs of every representable value and every rounding border, one off each way."""
    limit = (1 << (VALUE_BITS - 1)) - 1
    magnitudes = sorted({abs(row.value) for row in fmt.table()})
    borders = {(low + high) // 2 for low, high in itertools.pairwise(magnitudes)}
    near = {m + d for m in (*magnitudes, *borders, 1 << 15, limit) for d in (-1, 0, 1)}
    return sorted({sign * m for m in near if 0 <= m <= limit for sign in (-1, 1)})


@cocotb.test
@cocotb.parametrize(name=FORMATS)
async def borders_and_random(dut: Any, name: str) -> None:
    fmt = get_format(name)
    rng = np.random.default_rng(1)
    if CODE_BITS == 4:
        dut.flint.value = int("flint" in name)
    limit = 1 << (VALUE_BITS - 1)
    values = np.array(_values(fmt))
    if VALUE_BITS <= 8:
        pairs = np.array(list(itertools.product(range(-limit, limit), repeat=2)))
    elif CODE_BITS == 4:
        pairs = np.array(list(itertools.product(values, repeat=2)))
    else:
        sweep = np.arange(34_000) * rng.choice([-1, 1], 34_000)
        other = rng.integers(-200, 201, 34_000)
        alone = np.stack([sweep, np.zeros_like(sweep)], axis=1)
        pairs = np.concatenate(
            [
                alone,
                alone[:, ::-1],
                np.stack([other, sweep], axis=1),
                rng.choice(values, (9_000, 2)),
            ]
        )
    spread = rng.integers(1, VALUE_BITS, (20_000, 2))
    wide = (rng.integers(-limit, limit, (20_000, 2)) >> spread).astype(np.int64)
    pairs = np.concatenate([pairs, wide, [[-limit, -limit], [-limit, limit - 1]]])
    expected = fmt.encode(pairs.astype(np.float64)).astype(int)
    mask = (1 << VALUE_BITS) - 1
    for (even, odd), want in zip(pairs.tolist(), expected.tolist(), strict=True):
        dut.even.value = even & mask
        dut.odd.value = odd & mask
        await Timer(1, unit="ns")
        got = dut.pair.value.to_unsigned()
        assert got == want[0] | want[1] << CODE_BITS, f"({even}, {odd}): {got:#x}, want {want}"
