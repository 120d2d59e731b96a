# amaranth: UnusedElaboratable=no
"""The 16EDP against numpy in Amaranth's simulator; the whole core is tested in Verilator."""

import numpy as np
from amaranth.sim import Simulator
from mma_cases import OPCODES, random_operand

from oleaster.hw.tensor_core.edp import EDP16
from oleaster.hw.tensor_core.fetch import InstructionWord
from oleaster.models.mmaovp import Instruction, Opcode
from oleaster.models.tensor_core import EDP_DEPTH

# One for each way in which the circuit reads its operands.
READ = [o for o in OPCODES if not {"int4", "flint4", "int8"} & {o.format_a, o.format_b}]


def kind(fmt):
    return {"flint": "flint" in fmt.name, "wide": fmt.code_bits == 8}


def chunk(packed):
    return int.from_bytes(packed.tobytes(), "little")


def test_products_of_all_types_back_to_back():
    rng = np.random.default_rng(0)
    operations = []
    for index in range(200):
        opcode = READ[rng.integers(len(READ))]
        shape = (1, EDP_DEPTH[opcode.width])
        a, b = (random_operand(rng, f.name, shape) for f in opcode.formats)
        values = [f.decode(t.codes) for f, t in zip(opcode.formats, (a, b), strict=True)]
        c = int(rng.integers(-(1 << 31), 1 << 31))
        total = int((values[0].astype(np.int64) @ values[1].astype(np.int64).T)[0, 0])
        operations.append((opcode, chunk(a.packed), chunk(b.packed), total, c, index % 3 == 0))
    edp = EDP16()

    async def testbench(ctx):
        acc = 0
        for cycle in range(len(operations) + 3):
            if cycle < len(operations):
                opcode, a, b, *_ = operations[cycle]
                ctx.set(edp.a, a)
                ctx.set(edp.b, b)
                ctx.set(edp.a_type, kind(opcode.formats[0]))
                ctx.set(edp.b_type, kind(opcode.formats[1]))
            ctx.set(edp.en, cycle < len(operations))
            assert ctx.get(edp.illegal) == 0
            adds = 2 <= cycle < len(operations) + 2
            ctx.set(edp.add, adds)
            if adds:
                *_, total, c, first = operations[cycle - 2]
                ctx.set(edp.c, c)
                ctx.set(edp.first, first)
                exact = (c if first else acc) + total
                acc = (exact + (1 << 31)) % (1 << 32) - (1 << 31)
                assert ctx.get(edp.wraps) == (acc != exact)
            await ctx.tick()
            if adds:
                assert ctx.get(edp.acc) == acc, f"operation {cycle - 2}: {operations[cycle - 2][0]}"

    simulator = Simulator(edp)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_the_instruction_word_is_the_models():
    layout = InstructionWord(9)
    instruction = Instruction(Opcode("ovp8", "ovp4-flint"), 510, 3, 511, 508)
    fields = {
        "a_type": kind(instruction.opcode.formats[0]),
        "b_type": kind(instruction.opcode.formats[1]),
        "a": 3,
        "b": 511,
        "c": 254,
        "d": 255,
    }
    assert layout.const(fields).as_value().value == instruction.encode(9)
