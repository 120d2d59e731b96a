"""Cycle model of the tensor core, and the program of a whole GEMM.

Timing, as in hw/tensor_core: an instruction that is taken in cycle t asks for its registers in
cycles t + 1 (A), t + 2 (B), t + 4 and t + 8 (C), and D is written in t + 10 and t + 14. The next
instruction may be taken in t + 8; if its A or B is in the D of this one, in t + 14. No other
dependency costs time: C is read late enough to follow the D of the instruction before.

Equal to the RTL, port by port (tests/test_cosim_tensor_core.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from oleaster.models.mmaovp import Instruction, Opcode
from oleaster.models.tensor_core import DEPTH, SIDE

__all__ = [
    "MIN_ADDRESS_BITS",
    "Program",
    "Trace",
    "assemble",
    "gemm_cycles",
    "gemm_program",
    "step",
]

SLOT_CYCLES = 8
READ_CYCLES = (1, 2, 4, 8)  # a, b, c, c + 1 after the instruction was taken
WRITE_CYCLES = (10, 14)  # d, d + 1
MIN_ADDRESS_BITS = 3  # 8 registers hold the GEMM of one tile


@dataclass(frozen=True)
class Program:
    """Instructions, and what moves between memory and registers around them.

    loads: int (L, 3), rows (instruction, register, fragment) in rising order of instructions: the
    register is written just before that instruction is offered. Memory is ideal: loads take no
    time.
    stores: bool (I,), whether that instruction's D is a result.
    """

    instructions: Sequence[Instruction]
    loads: np.ndarray
    stores: np.ndarray


@dataclass(frozen=True)
class Trace:
    """The ports from the first cycle after reset to the last write; arrays of (cycles,).

    Addresses are 0 where their enable is low.
    """

    valid: np.ndarray
    taken: np.ndarray
    busy: np.ndarray
    read_enable: np.ndarray
    read_address: np.ndarray
    write_enable: np.ndarray
    write_address: np.ndarray

    @property
    def cycles(self) -> int:
        """From the first instruction taken to the last register written, inclusive."""
        return len(self.taken) - int(np.argmax(self.taken))


def step(instructions: Sequence[Instruction], gaps: np.ndarray | None = None) -> Trace:
    """The cycles of a stream of at least one instruction.

    gaps: bool, over cycles after reset, repeated at its end: no new instruction is offered in this
    cycle (one already offered stays until it is taken).
    """
    pattern = np.zeros(1, bool) if gaps is None else gaps
    if pattern.all():
        raise ValueError("gaps leaves no cycle in which an instruction is offered")
    offered: list[int] = []
    taken: list[int] = []
    for index, instruction in enumerate(instructions):
        cycle = taken[-1] + 1 if taken else 0
        while pattern[cycle % len(pattern)]:
            cycle += 1
        offered.append(cycle)
        if taken:
            reads_d = instructions[index - 1].d in (instruction.a & ~1, instruction.b & ~1)
            cycle = max(cycle, taken[-1] + (WRITE_CYCLES[-1] if reads_d else SLOT_CYCLES))
        taken.append(cycle)

    at = np.array(taken)
    length = taken[-1] + WRITE_CYCLES[-1] + 1
    flags = {name: np.zeros(length, bool) for name in ("valid", "taken", "busy", "read", "write")}
    addresses = {name: np.zeros(length, np.int64) for name in ("read", "write")}
    flags["taken"][at] = True
    for first, last in zip(offered, taken, strict=True):
        flags["valid"][first : last + 1] = True
        flags["busy"][last + 1 : last + WRITE_CYCLES[-1] + 1] = True
    registers = np.array([(i.a, i.b, i.c, i.c + 1, i.d, i.d + 1) for i in instructions])
    for column, (port, after) in enumerate(
        [("read", n) for n in READ_CYCLES] + [("write", n) for n in WRITE_CYCLES]
    ):
        flags[port][at + after] = True
        addresses[port][at + after] = registers[:, column]
    return Trace(
        flags["valid"],
        flags["taken"],
        flags["busy"],
        flags["read"],
        addresses["read"],
        flags["write"],
        addresses["write"],
    )


def gemm_cycles(m: int, k: int, n: int, width: int) -> int:
    """Cycles of a GEMM from the first instruction taken to the last D written, inclusive.

    width: 4 if both operands have 4 bits, otherwise 8. 8 cycles for each 8 x 8 tile and K step of
    32 or 16, and 7 more for the last one.
    """
    instructions = -(-m // SIDE) * -(-n // SIDE) * -(-k // DEPTH[width])
    return SLOT_CYCLES * (instructions - 1) + WRITE_CYCLES[-1] + 1


def gemm_program(m: int, k: int, n: int, opcode: Opcode, address_bits: int = 9) -> Program:
    """C (M, N) = A (M, K) B^T (N, K) in `mmaovp`, without a stall.

    Blocks of at most T x T tiles of C: for each K step, T registers of A and T of B are loaded, and
    all tiles of the block take them. Registers: 0, 1 zeros; then two sets of T for A and two for
    B, used in turn, so that one is loaded while the other is read; then the accumulators. T is
    the largest for which 2 + 4 T + 2 T**2 = 2 (T + 1)**2 registers are there: 15 of 512.

    Fragments are numbered: A's by tile and step, B's by tile and step, one of zeros.

    Raises ValueError for less than 8 registers or an empty GEMM.
    """
    if address_bits < MIN_ADDRESS_BITS:
        raise ValueError(f"address_bits is {address_bits}; it must be at least {MIN_ADDRESS_BITS}")
    for name, value in (("m", m), ("k", k), ("n", n)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    side = _block_side(address_bits)
    base_a, base_b, base_d = 2, 2 + 2 * side, 2 + 4 * side
    tiles_a, tiles_b = -(-m // SIDE), -(-n // SIDE)
    steps = -(-k // DEPTH[opcode.width])
    zeros = (tiles_a + tiles_b) * steps
    loads = [(0, 0, zeros), (0, 1, zeros)]
    instructions: list[Instruction] = []
    stores: list[bool] = []
    turn = 0
    for rows, cols in _blocks(tiles_a, tiles_b, side):
        for s in range(steps):
            first_a, first_b = base_a + turn * side, base_b + turn * side
            turn = 1 - turn
            at = len(instructions)
            loads += [(at, first_a + i, tile * steps + s) for i, tile in enumerate(rows)]
            loads += [
                (at, first_b + j, (tiles_a + tile) * steps + s) for j, tile in enumerate(cols)
            ]
            for i in range(len(rows)):
                for j in range(len(cols)):
                    d = base_d + 2 * (i * side + j)
                    c = d if s else 0
                    instructions.append(Instruction(opcode, d, first_a + i, first_b + j, c))
                    stores.append(s == steps - 1)
    return Program(instructions, np.array(loads), np.array(stores))


def assemble(results: np.ndarray, m: int, n: int, address_bits: int = 9) -> np.ndarray:
    """(T, 8, 8) results in the order of a `gemm_program` with these arguments -> (M, N)."""
    tiles_a, tiles_b = -(-m // SIDE), -(-n // SIDE)
    side = _block_side(address_bits)
    full = np.zeros((tiles_a, SIDE, tiles_b, SIDE), results.dtype)
    order = [(i, j) for rows, cols in _blocks(tiles_a, tiles_b, side) for i in rows for j in cols]
    for result, (i, j) in zip(results, order, strict=True):
        full[i, :, j, :] = result
    return full.reshape(tiles_a * SIDE, tiles_b * SIDE)[:m, :n]


def _block_side(address_bits: int) -> int:
    return isqrt(1 << (address_bits - 1)) - 1


def _blocks(tiles_a: int, tiles_b: int, side: int) -> list[tuple[range, range]]:
    return [
        (range(i, min(i + side, tiles_a)), range(j, min(j + side, tiles_b)))
        for i in range(0, tiles_a, side)
        for j in range(0, tiles_b, side)
    ]
