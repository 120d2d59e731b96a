"""Operand fetch: takes instructions, reads their registers, keeps them from passing a write."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit
from oleaster.hw.tensor_core.edp import OperandType

__all__ = ["REGISTER_BITS", "InstructionWord", "OperandFetch"]

REGISTER_BITS = 1024

# Ages of an instruction, in cycles since it was taken.
_READ_A, _READ_B, _READ_C_LOW, _READ_C_HIGH = 1, 2, 4, 8
_SLOT = 8  # the next instruction may be taken
_WRITTEN = 14  # D is written; a read issued in a later cycle sees it
_IDLE = 15


class InstructionWord(data.StructLayout):
    """One `mmaovp`: `oleaster.models.mmaovp.Instruction.encode`.

    Fields: `a_type`, `b_type`; `a`, `b`, register numbers; `c`, `d`, numbers of register pairs
    (registers 2c and 2c + 1).
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "a_type": OperandType(),
                "b_type": OperandType(),
                "a": address_bits,
                "b": address_bits,
                "c": address_bits - 1,
                "d": address_bits - 1,
            }
        )


class OperandFetch(Unit):
    """Takes an instruction every 8 cycles and brings its operands (timing is ours).

    An instruction of age n was taken n cycles ago. Its registers are asked for at age 1 (A), 2 (B),
    4 and 8 (C). A and B are there from age 4, when `start` is high, to age 11; the lower register
    of C from age 6 to 9, the upper one from age 10 to 13. Its D is written at age 10 and 14.

    So an instruction may follow by 8 cycles and have its C in the D before it: it reads C late
    enough. One that has its A or B there waits until 14 cycles have passed.

    Parameters
    ----------
    address_bits: int
        The register file has 2**address_bits registers.

    Members
    -------
    instruction: stream of InstructionWord, In
    read_enable: Out(1); read_address: Out(address_bits); read_data: In(1024)
        The register file's answer comes one cycle after the question.
    start: Out(1)
        An instruction's first cycle with A and B; the outputs a, b, a_type, b_type and d hold for
        8 cycles.
    a, b: Out(1024)
    c: Out(1024)
    d: Out(address_bits - 1)
        Number of a register pair.
    busy: Out(1)
        Ages 1 to 14 of the last instruction.
    """

    def __init__(self, address_bits: int) -> None:
        self.address_bits = address_bits
        super().__init__(
            {
                "instruction": In(stream.Signature(InstructionWord(address_bits))),
                "read_enable": Out(1),
                "read_address": Out(address_bits),
                "read_data": In(REGISTER_BITS),
                "start": Out(1),
                "a_type": Out(OperandType()),
                "b_type": Out(OperandType()),
                "a": Out(REGISTER_BITS),
                "b": Out(REGISTER_BITS),
                "c": Out(REGISTER_BITS),
                "d": Out(address_bits - 1),
                "busy": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"operand_fetch_r{1 << self.address_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"address_bits": self.address_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offered = self.instruction.payload
        current = Signal(InstructionWord(self.address_bits), reset_less=True)
        age = Signal(range(_IDLE + 1), init=_IDLE)
        waits = Signal()
        m.d.comb += [
            waits.eq(
                (age < _WRITTEN) & ((offered.a[1:] == current.d) | (offered.b[1:] == current.d))
            ),
            self.instruction.ready.eq((age >= _SLOT) & ~waits),
            self.busy.eq(age != _IDLE),
        ]
        with m.If(self.instruction.valid & self.instruction.ready):
            m.d.sync += [age.eq(1), current.eq(offered)]
        with m.Elif(self.busy):
            m.d.sync += age.eq(age + 1)

        for when, address in (
            (_READ_A, current.a),
            (_READ_B, current.b),
            (_READ_C_LOW, Cat(Const(0, 1), current.c)),
            (_READ_C_HIGH, Cat(Const(1, 1), current.c)),
        ):
            with m.If(age == when):
                m.d.comb += [self.read_enable.eq(1), self.read_address.eq(address)]

        # A waits for B, or it would change under the last step of the instruction before.
        early_a = Signal(REGISTER_BITS, reset_less=True)
        with m.If(age == _READ_A + 1):
            m.d.sync += early_a.eq(self.read_data)
        m.d.sync += self.start.eq(age == _READ_B + 1)
        with m.If(age == _READ_B + 1):
            m.d.sync += [
                self.a.eq(early_a),
                self.b.eq(self.read_data),
                self.a_type.eq(current.a_type),
                self.b_type.eq(current.b_type),
                self.d.eq(current.d),
            ]
        # The next instruction may be 1 cycle old by now.
        c_high_comes = Signal()
        m.d.sync += c_high_comes.eq(age == _READ_C_HIGH)
        with m.If(c_high_comes | (age == _READ_C_LOW + 1)):
            m.d.sync += self.c.eq(self.read_data)
        return m
