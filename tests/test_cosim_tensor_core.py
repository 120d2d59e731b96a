"""Model = cycle model = RTL of the tensor core: values, flags, every port in every cycle."""

import numpy as np
import pytest
from mma_cases import OPCODES, every_product, random_operand

from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit
from oleaster.models.mmaovp import Instruction, Opcode
from oleaster.models.tensor_core import REGISTER_BYTES, execute, fragments, gemm
from oleaster.sim.rtl.mma_engine import build_tensor_core, run_gemm, run_program
from oleaster.sim.rtl.toolchain import ToolError
from oleaster.sim.tensor_core import Program, gemm_cycles, gemm_program, step

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="module")
def executable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensor-core")
    return build_tensor_core(*write_design(build_unit("tensor-core"), folder))


def edges(trace):
    """The harness's trace words from the cycle model's trace."""
    low = trace.read_address << 5
    names = ("valid", "taken", "busy", "read_enable", "write_enable")
    for bit, name in enumerate(names):
        low |= getattr(trace, name).astype(np.int64) << bit
    return np.stack([low, trace.write_address], axis=1).astype(np.uint32)


def test_every_product_of_two_codes(executable):
    memory, instructions, expected = [np.zeros((1, REGISTER_BYTES), np.uint8)], [], []
    loads = [(0, 0, 0), (0, 1, 0)]
    at = 1
    for opcode in OPCODES:
        codes_a, values_a, codes_b, values_b = every_product(opcode)
        for codes, fmt in zip((codes_a, codes_b), opcode.formats, strict=True):
            packed = fmt.pack(codes)
            memory.append(
                np.concatenate([fragments(p, fmt.code_bits, opcode.width)[0] for p in packed])
            )
        count = len(codes_a)
        for index in range(count):
            a, b = (2, 3) if len(instructions) % 2 else (4, 5)
            loads += [
                (len(instructions), a, at + index),
                (len(instructions), b, at + count + index),
            ]
            instructions.append(Instruction(opcode, 6, a, b, 0))
        at += 2 * count
        expected.append(values_a @ values_b.transpose(0, 2, 1))
    program = Program(instructions, np.array(loads), np.ones(len(instructions), bool))
    result = run_program(executable, program, np.concatenate(memory))
    np.testing.assert_array_equal(result.results, np.concatenate(expected).astype(np.int32))
    assert "illegal" not in result.flags
    assert result.cycles == 8 * len(instructions) + 7


@pytest.mark.parametrize("seed", range(20))
def test_random_gemms(executable, seed):
    rng = np.random.default_rng(seed)
    for _ in range(3):
        opcode = OPCODES[rng.integers(len(OPCODES))]
        m, n = rng.choice([1, 2, 7, 8, 9, 13, 31, 64, 127], 2).tolist()
        k = int(rng.choice([1, 2, 15, 16, 17, 31, 33, 61, 127, 128]))
        a = random_operand(rng, opcode.format_a, (m, k))
        b = random_operand(rng, opcode.format_b, (n, k))
        gaps = rng.random(1024) < rng.choice([0, 0, 0.3, 0.9])
        reference = gemm(a.codes, b.codes, opcode)
        found = run_gemm(executable, a.packed, b.packed, k, opcode, gaps=gaps)
        case = f"{m} x {k} x {n} {opcode}"
        np.testing.assert_array_equal(found.sums, reference.sums, case)
        assert found.overflow == reference.overflow.any(), case
        program = gemm_program(m, k, n, opcode)
        assert found.cycles == step(program.instructions, gaps).cycles, case
        if not gaps.any():
            assert found.cycles == gemm_cycles(m, k, n, opcode.width), case


def test_sums_that_wrap(executable):
    opcode = Opcode("ovp8", "ovp8")
    fmt = opcode.formats[0]
    rng = np.random.default_rng(1)
    values = 32768.0 * rng.choice([-1, 0, 1], (19, 66))
    values[:, 1::2] = 0
    codes = fmt.encode(values)
    reference = gemm(codes, codes, opcode)
    found = run_gemm(executable, fmt.pack(codes), fmt.pack(codes), 66, opcode)
    assert found.overflow
    assert 0 < reference.overflow.sum() < reference.overflow.size
    np.testing.assert_array_equal(found.sums, reference.sums)


@pytest.mark.parametrize("seed", range(20))
def test_random_streams_agree_at_every_port(executable, seed):
    rng = np.random.default_rng(seed)
    memory = rng.integers(0, 256, (12, REGISTER_BYTES)).astype(np.uint8)
    registers = np.zeros((512, REGISTER_BYTES), np.uint8)
    used = rng.choice(256, 6, replace=False) * 2
    used = np.concatenate([used, used + 1])
    registers[used] = memory
    instructions = [
        Instruction(
            OPCODES[rng.integers(len(OPCODES))],
            *(int(rng.choice(c)) for c in (used[:6], used, used, used[:6])),
        )
        for _ in range(50)
    ]
    loads = np.array([(0, register, index) for index, register in enumerate(used)])
    gaps = rng.random(1024) < rng.choice([0, 0.5, 0.95])
    program = Program(instructions, loads, np.ones(50, bool))
    found = run_program(executable, program, memory, gaps=gaps, trace=True)
    expected, flags = [], []
    for instruction in instructions:
        flags.append(execute(registers, instruction))
        d = registers[instruction.d : instruction.d + 2]
        expected.append(d.reshape(-1).view("<i4").reshape(8, 8).copy())
    np.testing.assert_array_equal(found.results, expected)
    assert found.flags == {
        name for name in ("overflow", "illegal") if any(getattr(f, name) for f in flags)
    }
    trace = step(instructions, gaps)
    np.testing.assert_array_equal(found.trace, edges(trace))
    assert found.cycles == trace.cycles


def test_progress_and_a_run_that_is_given_up(executable):
    opcode = Opcode("int4", "int4")
    ones = np.full((100, 256), 0x11, np.uint8)
    seen = []
    result = run_gemm(executable, ones, ones, 512, opcode, progress=lambda *done: seen.append(done))
    np.testing.assert_array_equal(result.sums, 512)
    assert seen[-1] == (2704, 2704)
    never = np.arange(1024) > 0
    program = gemm_program(8, 32 * 40, 8, opcode)
    memory = np.zeros((81, REGISTER_BYTES), np.uint8)
    with pytest.raises(ToolError, match="the simulation did not finish: stuck"):
        run_program(executable, program, memory, gaps=never, expected_cycles=1)
