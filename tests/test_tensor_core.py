"""mmaovp as text, the tensor core's numpy reference, its cycle model and the program of a GEMM."""

import re

import numpy as np
import pytest
from mma_cases import OPCODES, every_product, random_operand

from oleaster.models.gemm import gemm as gemm_of_values
from oleaster.models.mmaovp import Instruction, Opcode
from oleaster.models.tensor_core import (
    DEPTH,
    REGISTER_BYTES,
    Flags,
    execute,
    fragments,
    gemm,
    mma,
    operand_codes,
)
from oleaster.sim.tensor_core import assemble, gemm_cycles, gemm_program, step

# Text


def test_the_papers_instruction():
    opcode = Opcode.parse("mmaovp.s32.ovpi4.ovpf4.s32.s4")
    assert opcode == Opcode("ovp4-int", "ovp4-flint")
    assert (opcode.width, DEPTH[opcode.width]) == (4, 32)


@pytest.mark.parametrize("opcode", OPCODES, ids=str)
def test_text_round_trip(opcode):
    assert Opcode.parse(str(opcode)) == opcode
    instruction = Instruction(opcode, 8, 0, 511, 10)
    assert str(instruction) == f"{opcode} r8, r0, r511, r10"
    assert Instruction.parse(str(instruction)) == instruction
    assert str(opcode).endswith(".s8" if "8" in opcode.format_a + opcode.format_b else ".s4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mma.s32.s4.s4.s32",
            "'mma.s32.s4.s4.s32' is no opcode; expected mmaovp.s32.A.B.s32.WIDTH",
        ),
        ("mma.s32.s4.s4.s32.s4", "name is 'mma'; expected mmaovp"),
        ("mmaovp.f32.s4.s4.s32.s4", "type of D is 'f32'; expected s32"),
        ("mmaovp.s32.u4.s4.s32.s4", "type of A is 'u4'; expected s4 or f4 or s8 or ovpi4 or"),
        ("mmaovp.s32.s4.ovp4.s32.s4", "type of B is 'ovp4'; expected s4 or f4 or s8 or ovpi4 or"),
        ("mmaovp.s32.s4.s4.s16.s4", "type of C is 's16'; expected s32"),
        ("mmaovp.s32.s4.s4.s32.s16", "width is 's16'; expected s4 or s8"),
        ("mmaovp.s32.ovpi8.s4.s32.s4", "width is 's4'; expected s8 for ovpi8 and s4"),
        ("mmaovp.s32.s4.f4.s32.s8", "width is 's8'; expected s4 for s4 and f4"),
    ],
)
def test_wrong_opcodes(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Opcode.parse(text)


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        ("", "registers are ''; expected four, as in r8, r0, r1, r8"),
        (" r0, r1, r2", "registers are 'r0, r1, r2'; expected four"),
        (" r1, r1, r2, r4", "register d is 1; a pair begins at an even number"),
        (" r0, r1, r2, r5", "register c is 5; a pair begins at an even number"),
    ],
)
def test_wrong_registers(registers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Instruction.parse("mmaovp.s32.s4.s4.s32.s4" + registers)


def test_formats_and_registers_that_do_not_exist():
    with pytest.raises(ValueError, match="no type for format 'fp4' of B; it takes int4, flint4"):
        Opcode("int4", "fp4")
    with pytest.raises(ValueError, match="register b is 8; the highest is 7"):
        Instruction(OPCODES[0], 0, 7, 8, 6).encode(3)
    with pytest.raises(ValueError, match="register a is -1"):
        Instruction(OPCODES[0], 0, -1, 0, 0)


def test_the_instruction_word():
    word = Instruction(Opcode("ovp4-flint", "ovp8"), 6, 1, 2, 4).encode(3)
    assert word == 0b11_10_010_001_10_01


# Values


@pytest.mark.parametrize("opcode", OPCODES, ids=str)
def test_every_product_of_two_codes(opcode):
    codes_a, values_a, codes_b, values_b = every_product(opcode)
    registers = np.zeros((4, REGISTER_BYTES), np.uint8)
    fmt_a, fmt_b = opcode.formats
    for a, x, b, y in zip(codes_a, values_a, codes_b, values_b, strict=True):
        registers[0] = fragments(fmt_a.pack(a), fmt_a.code_bits, opcode.width)
        registers[1] = fragments(fmt_b.pack(b), fmt_b.code_bits, opcode.width)
        np.testing.assert_array_equal(operand_codes(registers[0], fmt_a, opcode.width), a)
        registers[2:] = 0
        flags = execute(registers, Instruction(opcode, 2, 0, 1, 2))
        exact = x @ y.T
        found = registers[2:].reshape(-1).view("<i4").reshape(8, 8)
        np.testing.assert_array_equal(found, exact.astype(np.int32))
        assert not flags.illegal


def test_steps_are_exact_and_the_accumulator_wraps():
    top = (1 << 31) - 1
    a, b = np.zeros((2, 8, 16), int)
    a[0, [0, 1]] = 1, -1  # one step: the sum is 0
    a[1, [0, 8]] = 1, -1  # two steps: up and back
    b[:] = 1
    d, overflow = mma(a, b, np.full((8, 8), top), 8)
    np.testing.assert_array_equal(d, top)
    np.testing.assert_array_equal(overflow.any(axis=1), [False, True] + [False] * 6)
    d, overflow = mma(a * 0 - (1 << 15), b * 0 - (1 << 15), np.zeros((8, 8), int), 8)
    np.testing.assert_array_equal(d, 0)  # 16 * 2**30
    assert overflow.all()


def test_an_illegal_pair_reads_as_zeros():
    registers = np.zeros((4, REGISTER_BYTES), np.uint8)
    registers[:2] = 0x11
    registers[0, 0] = 0x88
    assert execute(registers, Instruction(Opcode("int4", "int4"), 2, 0, 1, 2)) == Flags(False, True)
    np.testing.assert_array_equal(registers[2].view("<i4"), [30] * 8 + [32] * 24)


def run(program, memory, address_bits):
    """The program's results (stores, 8, 8) and flags, one instruction after the other."""
    registers = np.zeros((1 << address_bits, REGISTER_BYTES), np.uint8)
    results, flags = [], []
    loads = program.loads.tolist()
    for index, (instruction, stores) in enumerate(
        zip(program.instructions, program.stores, strict=True)
    ):
        while loads and loads[0][0] == index:
            _, register, fragment = loads.pop(0)
            registers[register] = memory[fragment]
        flags.append(execute(registers, instruction))
        if stores:
            d = registers[instruction.d : instruction.d + 2]
            results.append(d.reshape(-1).view("<i4").reshape(8, 8).copy())
    return np.array(results), flags


@pytest.mark.parametrize("seed", range(12))
def test_program_model_and_exact_sums_agree(seed):
    rng = np.random.default_rng(seed)
    opcode = OPCODES[rng.integers(len(OPCODES))]
    m, n = rng.choice([1, 7, 8, 13, 17, 31], 2).tolist()
    k = int(rng.choice([1, 2, 15, 31, 37, 97]))
    address_bits = int(rng.integers(3, 10))
    a = random_operand(rng, opcode.format_a, (m, k))
    b = random_operand(rng, opcode.format_b, (n, k))
    reference = gemm(a.codes, b.codes, opcode)
    fmt_a, fmt_b = opcode.formats
    exact = gemm_of_values(fmt_a.decode(a.codes), fmt_b.decode(b.codes))
    np.testing.assert_array_equal(reference.sums, exact.sums)

    memory = [
        fragments(t.packed, fmt.code_bits, opcode.width).reshape(-1, REGISTER_BYTES)
        for t, fmt in ((a, fmt_a), (b, fmt_b))
    ]
    program = gemm_program(m, k, n, opcode, address_bits)
    zeros = np.zeros((1, REGISTER_BYTES), np.uint8)
    results, flags = run(program, np.concatenate([*memory, zeros]), address_bits)
    np.testing.assert_array_equal(assemble(results, m, n, address_bits), reference.sums)
    assert any(f.overflow for f in flags) == reference.overflow.any()
    assert not any(f.illegal for f in flags)


def test_overflow_of_a_gemm_is_that_of_its_steps():
    rng = np.random.default_rng(0)
    values = 32768.0 * rng.choice([-1, 0, 0, 1], (16, 64))
    values[:, 1::2] = 0
    opcode = Opcode("ovp8", "ovp8")
    fmt = opcode.formats[0]
    codes = fmt.encode(values)
    found = gemm(codes, codes, opcode)
    overflow = np.zeros((16, 16), bool)
    total = np.zeros((16, 16), np.int64)
    for k in range(0, 64, 16):
        for i in (0, 8):
            for j in (0, 8):
                at = np.s_[i : i + 8, j : j + 8]
                x, y = (fmt.decode(codes[s : s + 8, k : k + 16]) for s in (i, j))
                total[at], wrapped = mma(x, y, total[at], 8)
                overflow[at] |= wrapped
    np.testing.assert_array_equal(found.sums, total)
    np.testing.assert_array_equal(found.overflow, overflow)
    assert 0 < overflow.sum() < overflow.size


# Cycles


def program(*registers):
    return [Instruction.parse(f"mmaovp.s32.s4.s4.s32.s4 {r}") for r in registers]


@pytest.mark.parametrize(
    ("registers", "taken"),
    [
        (("r8, r0, r1, r8", "r8, r0, r1, r8", "r10, r0, r1, r8"), [0, 8, 16]),
        (("r8, r0, r1, r8", "r10, r8, r1, r8"), [0, 14]),
        (("r8, r0, r1, r8", "r10, r0, r9, r8"), [0, 14]),
        (("r8, r0, r1, r8", "r10, r0, r1, r8", "r12, r9, r1, r8"), [0, 8, 16]),
        (("r0, r0, r1, r0", "r2, r0, r1, r0", "r0, r3, r2, r0"), [0, 14, 28]),
    ],
)
def test_an_instruction_waits_for_a_and_b_but_not_for_c(registers, taken):
    trace = step(program(*registers))
    assert np.flatnonzero(trace.taken).tolist() == taken
    assert trace.cycles == taken[-1] + 15
    assert trace.busy.sum() == taken[-1] + 14


def test_reads_and_writes():
    trace = step(program("r8, r0, r1, r6"))
    reads, writes = np.flatnonzero(trace.read_enable), np.flatnonzero(trace.write_enable)
    assert reads.tolist() == [1, 2, 4, 8]
    assert trace.read_address[reads].tolist() == [0, 1, 6, 7]
    assert writes.tolist() == [10, 14]
    assert trace.write_address[writes].tolist() == [8, 9]


def test_gaps_delay_the_offer_only():
    gaps = np.arange(16) < 10
    trace = step(program("r8, r0, r1, r6", "r8, r0, r1, r6"), gaps)
    assert np.flatnonzero(trace.taken).tolist() == [10, 18]
    assert np.flatnonzero(trace.valid).tolist() == list(range(10, 19))
    with pytest.raises(ValueError, match="no cycle"):
        step(program("r8, r0, r1, r6"), np.ones(4, bool))


@pytest.mark.parametrize("address_bits", [3, 6, 9])
@pytest.mark.parametrize("opcode", [OPCODES[0], OPCODES[-1]], ids=str)
def test_a_gemms_program_never_stalls_and_fits(opcode, address_bits):
    for m, k, n in ((1, 1, 1), (8, 33, 8), (130, 97, 121)):
        made = gemm_program(m, k, n, opcode, address_bits)
        trace = step(made.instructions)
        assert (np.diff(np.flatnonzero(trace.taken)) == 8).all()
        assert trace.cycles == gemm_cycles(m, k, n, opcode.width)
        highest = max(max(i.a, i.b, i.c + 1, i.d + 1) for i in made.instructions)
        assert highest < 1 << address_bits
        # No load may hit what the instruction before, which may only just be taken, still reads.
        for index, register, _ in made.loads:
            if index:
                before = made.instructions[index - 1]
                assert register not in (before.a, before.b, before.c, before.c + 1)
        assert made.stores.sum() == -(-m // 8) * -(-n // 8)


def test_half_the_rate_at_8_bits():
    # 16 x 16 x 64: 256 multipliers at 4 bits, 128 at 8.
    assert gemm_cycles(16, 64, 16, 4) - 7 == 16 * 16 * 64 // 256
    assert gemm_cycles(16, 64, 16, 8) - 7 == 16 * 16 * 64 // 128


def test_gemms_that_cannot_be():
    with pytest.raises(ValueError, match="address_bits is 2; it must be at least 3"):
        gemm_program(1, 1, 1, OPCODES[0], 2)
    with pytest.raises(ValueError, match="k is 0; it must be at least 1"):
        gemm_program(1, 0, 1, OPCODES[0])
