"""Tensor core bench: random instructions with hazards on a register file in Python, resets, flags.

Every port is compared with the cycle model in every cycle, every register with the numpy reference
at the end.
"""

from itertools import product
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.mmaovp import TYPES, Instruction, Opcode
from oleaster.models.tensor_core import DEPTH, REGISTER_BYTES, SIDE, Flags, execute, fragments
from oleaster.sim.rtl.cosim import bench_config
from oleaster.sim.tensor_core import step

ADDRESS_BITS = bench_config()["address_bits"]
OPCODES = [Opcode(a, b) for a, b in product(TYPES.values(), repeat=2)]
PAIRS = {width: depth // 2 for width, depth in DEPTH.items()}  # in a row of an operand


def _operand(rng: np.random.Generator, opcode: Opcode, side: int) -> np.ndarray:
    """A register of legal codes; what the instruction does not read is full of illegal pairs."""
    fmt = opcode.formats[side]
    row = 16 if opcode.width == fmt.code_bits else 8  # bytes
    values = rng.standard_t(1.5, (SIDE, row * 8 // fmt.code_bits)) * fmt.max_normal / 2
    codes = fmt.encode(np.clip(values, -fmt.max_magnitude, fmt.max_magnitude))
    register = fragments(fmt.pack(codes), fmt.code_bits, opcode.width).reshape(SIDE, -1)
    register[:, row:] = 0x88
    return register.reshape(-1)


def _wild(rng: np.random.Generator, count: int) -> tuple[list[Instruction], np.ndarray]:
    """Any bits in any register, and so few registers that most instructions depend on others."""
    registers = rng.integers(0, 256, (1 << ADDRESS_BITS, REGISTER_BYTES)).astype(np.uint8)
    pairs = 2 * rng.choice(1 << (ADDRESS_BITS - 1), 4, replace=False)
    pool = [*pairs, *(pairs + 1)]
    instructions = [
        Instruction(
            OPCODES[rng.integers(len(OPCODES))],
            *(int(rng.choice(choices)) for choices in (pairs, pool, pool, pairs)),
        )
        for _ in range(count)
    ]
    return instructions, registers


def _tame(rng: np.random.Generator, count: int) -> tuple[list[Instruction], np.ndarray]:
    """Legal operands of one opcode, sums that do not overflow, chains through C."""
    opcode = OPCODES[rng.integers(len(OPCODES))]
    registers = np.zeros((1 << ADDRESS_BITS, REGISTER_BYTES), np.uint8)
    numbers = rng.permutation(1 << (ADDRESS_BITS - 1))[:4].tolist()
    sums = [2 * n for n in numbers[:2]]
    a, b = ([2 * n, 2 * n + 1] for n in numbers[2:])
    for side, pair in enumerate((a, b)):
        for number in pair:
            registers[number] = _operand(rng, opcode, side)
    choices = rng.integers(0, 2, (count, 4)).tolist()
    instructions = [Instruction(opcode, sums[w], a[x], b[y], sums[z]) for w, x, y, z in choices]
    return instructions, registers


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    dut.clear.value = 0
    dut.instruction_valid.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def _run(
    dut: Any,
    rng: np.random.Generator,
    instructions: list[Instruction],
    registers: np.ndarray,
    gaps: np.ndarray | None = None,
    stop: int | None = None,
) -> None:
    """From the first cycle after reset to the last write, or for `stop` cycles; in place.

    Inputs change at falling edges and outputs are read just after them.
    """
    trace = step(instructions, gaps)
    words = [instruction.encode(ADDRESS_BITS) for instruction in instructions]
    taken = 0
    for cycle in range(len(trace.valid) if stop is None else min(stop, len(trace.valid))):
        dut.instruction_valid.value = int(trace.valid[cycle])
        dut.instruction_payload.value = words[min(taken, len(words) - 1)]
        await Timer(1, unit="ns")
        read, write = bool(dut.read_enable.value), bool(dut.write_enable.value)
        take = bool(dut.instruction_ready.value) and bool(trace.valid[cycle])
        found = take, bool(dut.busy.value), read, write
        names = "taken", "busy", "read_enable", "write_enable"
        expected = tuple(bool(getattr(trace, name)[cycle]) for name in names)
        assert found == expected, f"cycle {cycle}: {names} are {found}, not {expected}"
        # Without a question, the register file answers anything.
        data = rng.bytes(REGISTER_BYTES)
        if read:
            address = dut.read_address.value.to_unsigned()
            assert address == trace.read_address[cycle], f"cycle {cycle}: read_address"
            data = registers[address].tobytes()
        if write:
            address = dut.write_address.value.to_unsigned()
            assert address == trace.write_address[cycle], f"cycle {cycle}: write_address"
            word = dut.write_data.value.to_unsigned().to_bytes(REGISTER_BYTES, "little")
            registers[address] = np.frombuffer(word, np.uint8)
        taken += take
        await FallingEdge(dut.clk)
        dut.read_data.value = int.from_bytes(data, "little")
    dut.instruction_valid.value = 0


def _expect(instructions: list[Instruction], registers: np.ndarray) -> tuple[np.ndarray, Flags]:
    """Registers and flags after the instructions, one after the other."""
    registers = registers.copy()
    flags = [execute(registers, instruction) for instruction in instructions]
    return registers, Flags(any(f.overflow for f in flags), any(f.illegal for f in flags))


def _check(dut: Any, found: np.ndarray, expected: np.ndarray, flags: Flags) -> None:
    wrong = np.flatnonzero((found != expected).any(axis=1))
    assert not wrong.size, f"wrong registers: {wrong.tolist()}"
    assert bool(dut.overflow.value) == flags.overflow, "overflow"
    assert bool(dut.illegal.value) == flags.illegal, "illegal"


@cocotb.test
@cocotb.parametrize(stream=[_wild, _tame], busy=[1.0, 0.5, 0.05])
async def random_instructions(dut: Any, stream: Any, busy: float) -> None:
    rng = np.random.default_rng([int(100 * busy), stream is _wild])
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(4):
        await _reset(dut)
        instructions, registers = stream(rng, 25)
        expected, flags = _expect(instructions, registers)
        await _run(dut, rng, instructions, registers, rng.random(1024) >= busy)
        _check(dut, registers, expected, flags)
        assert stream is _wild or flags == Flags(False, False)


@cocotb.test
async def reset_in_flight(dut: Any) -> None:
    rng = np.random.default_rng(2)
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    for stop in range(1, 32):
        instructions, registers = _wild(rng, 3)
        await _run(dut, rng, instructions, registers, stop=stop)
        await _reset(dut)
        # From the first cycle on, so any late read or write would be seen.
        instructions, registers = _tame(rng, 2)
        expected, flags = _expect(instructions, registers)
        await _run(dut, rng, instructions, registers)
        _check(dut, registers, expected, flags)
        await _reset(dut)


@cocotb.test
async def flags_and_clear(dut: Any) -> None:
    rng = np.random.default_rng(3)
    Clock(dut.clk, 10, unit="ns").start()
    for opcode in OPCODES:
        for side, flag in ((0, "illegal"), (1, "illegal"), (0, "overflow")):
            await _reset(dut)
            registers = np.zeros((1 << ADDRESS_BITS, REGISTER_BYTES), np.uint8)
            if flag == "illegal":
                bits = opcode.formats[side].code_bits
                row, pair = rng.integers(8), rng.integers(PAIRS[opcode.width])
                at = 16 * row + pair * bits // 4
                registers[side, at : at + bits // 4] = 0x88 if bits == 4 else 0x80
            else:
                # 1 * 1 on top of the largest sum, or -1 * 1 on top of the smallest.
                last = int(rng.integers(PAIRS[opcode.width]))
                minus = rng.random() < 0.5
                for number, fmt in enumerate(opcode.formats):
                    values = np.zeros((SIDE, 2 * PAIRS[opcode.width]))
                    values[7, 2 * last] = -1 if minus and number == 0 else 1
                    packed = fmt.pack(fmt.encode(values))
                    registers[number] = fragments(packed, fmt.code_bits, opcode.width).reshape(-1)
                edge = np.full(64, -(1 << 31) if minus else (1 << 31) - 1, "<i4")
                registers[4:6] = edge.view(np.uint8).reshape(2, -1)
            instructions = [Instruction(opcode, 2, 0, 1, 4)]
            expected, flags = _expect(instructions, registers)
            assert flags == Flags(flag == "overflow", flag == "illegal")
            await _run(dut, rng, instructions, registers)
            _check(dut, registers, expected, flags)
            dut.clear.value = 1
            await FallingEdge(dut.clk)
            dut.clear.value = 0
            assert not getattr(dut, flag).value, "clear did not clear"
