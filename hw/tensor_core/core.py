"""The tensor core: D = A B + C on 8 x 8 sums, 256 multipliers, 8 cycles an instruction."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.tensor_core.edp import CHUNK_BITS, EDP16
from oleaster.hw.tensor_core.fetch import REGISTER_BITS, InstructionWord, OperandFetch

__all__ = ["TensorCore"]

_SIDE = 8  # rows of A, columns of B
_ROW_BITS = REGISTER_BITS // _SIDE
_EDP_ROWS = 2  # sixteen EDPs make two rows of D at a time


class TensorCore(Unit):
    """Operand fetch, then 2 x 8 EDPs (OliVe's tensor core; schedule and timing are ours).

    The 8 steps of an instruction: for each pair of rows of D, the lower half of K, then the upper.
    Ages as in `OperandFetch`: step s is decoded at age 4 + s, summed at 5 + s and accumulated at
    6 + s; rows 2g and 2g + 1 are finished at age 8 + 2g. D is written at age 10 (rows 0 to 3) and
    14 (rows 4 to 7).

    Parameters
    ----------
    address_bits: int
        The register file, which is outside, has 2**address_bits registers of 128 bytes.

    Members
    -------
    instruction: stream of InstructionWord(address_bits), In
    read_enable: Out(1); read_address: Out(address_bits); read_data: In(1024)
        The register file's answer comes one cycle after the question.
    write_enable: Out(1); write_address: Out(address_bits); write_data: Out(1024)
        Written at the end of the cycle.
    busy: Out(1)
        From the cycle after an instruction was taken to that of its last write.
    clear: In(1)
        Clears both flags, also against an event in the same cycle.
    overflow: Out(1)
        Sticky: a sum left the range of signed 32 bits. Set no later than D's last write.
    illegal: Out(1)
        Sticky: an operand held two identifiers in a pair, which decode to 0.
    """

    def __init__(self, address_bits: int = 9) -> None:
        self.address_bits = address_bits
        super().__init__(
            {
                "instruction": In(stream.Signature(InstructionWord(address_bits))),
                "read_enable": Out(1),
                "read_address": Out(address_bits),
                "read_data": In(REGISTER_BITS),
                "write_enable": Out(1),
                "write_address": Out(address_bits),
                "write_data": Out(REGISTER_BITS),
                "busy": Out(1),
                "clear": In(1),
                "overflow": Out(1),
                "illegal": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"tensor_core_r{1 << self.address_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"address_bits": self.address_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetch = OperandFetch(self.address_bits)
        place(m, "fetch", fetch, platform, read_data=self.read_data)
        m.d.comb += [
            fetch.instruction.payload.eq(self.instruction.payload),
            fetch.instruction.valid.eq(self.instruction.valid),
            self.instruction.ready.eq(fetch.instruction.ready),
            self.read_enable.eq(fetch.read_enable),
            self.read_address.eq(fetch.read_address),
            self.busy.eq(fetch.busy),
        ]

        step = Signal(3)
        active = Signal()
        m.d.comb += active.eq(fetch.start | (step != 0))
        with m.If(active):
            m.d.sync += step.eq(step + 1)
        # By stage: decode, sum, accumulate, finished.
        active_at: list[Signal] = [active]
        step_at: list[Signal] = [step]
        d_at: list[Value] = [fetch.d]
        for stage in (1, 2, 3):
            active_at.append(Signal(name=f"active_{stage}"))
            step_at.append(Signal(3, name=f"step_{stage}", reset_less=True))
            d_at.append(Signal(self.address_bits - 1, name=f"d_{stage}", reset_less=True))
            m.d.sync += [s[-1].eq(s[-2]) for s in (active_at, step_at, d_at)]

        edps = self._edps(m, platform, fetch, active_at, step_at)
        with m.If(Cat(edp.wraps for edp in edps).any()):
            m.d.sync += self.overflow.eq(1)
        with m.If(active & Cat(edp.illegal for edp in edps).any()):
            m.d.sync += self.illegal.eq(1)
        with m.If(self.clear):
            m.d.sync += [self.overflow.eq(0), self.illegal.eq(0)]

        finished = Cat(edp.acc for edp in edps)
        upper_k, upper_rows, upper_half = step_at[3]
        kept = Signal(REGISTER_BITS // 2, reset_less=True)
        with m.If(active_at[3] & upper_k & ~upper_rows):
            m.d.sync += kept.eq(finished)
        m.d.comb += [
            self.write_enable.eq(active_at[3] & upper_k & upper_rows),
            self.write_address.eq(Cat(upper_half, d_at[3])),
            self.write_data.eq(Cat(kept, finished)),
        ]
        return m

    def _edps(
        self,
        m: Module,
        platform: object,
        fetch: OperandFetch,
        active_at: list[Signal],
        step_at: list[Signal],
    ) -> list[EDP16]:
        """The EDPs in the order of D: row by row."""
        upper_k, rows = step_at[0][0], step_at[0][1:]
        a_narrow = Signal()
        b_narrow = Signal()
        m.d.comb += [
            a_narrow.eq(fetch.b_type.wide & ~fetch.a_type.wide),
            b_narrow.eq(fetch.a_type.wide & ~fetch.b_type.wide),
        ]
        a_chunks = []
        for i in range(_EDP_ROWS):
            row = Signal(_ROW_BITS, name=f"a_row{i}")
            with m.Switch(rows):
                for group in range(_SIDE // _EDP_ROWS):
                    with m.Case(group):
                        m.d.comb += row.eq(fetch.a.word_select(_EDP_ROWS * group + i, _ROW_BITS))
            a_chunks.append(_chunk(m, f"a{i}", row, a_narrow, upper_k))
        b_chunks = [
            _chunk(m, f"b{j}", fetch.b.word_select(j, _ROW_BITS), b_narrow, upper_k)
            for j in range(_SIDE)
        ]
        first = Signal()
        c = Signal(REGISTER_BITS // 2)
        m.d.comb += [
            first.eq(~step_at[2][0]),
            c.eq(Mux(step_at[2][1], fetch.c[len(c) :], fetch.c[: len(c)])),
        ]
        edps = []
        for i in range(_EDP_ROWS):
            for j in range(_SIDE):
                edp = EDP16()
                place(
                    m,
                    f"edp{i}_{j}",
                    edp,
                    platform,
                    en=active_at[0],
                    a=a_chunks[i],
                    b=b_chunks[j],
                    a_type=fetch.a_type,
                    b_type=fetch.b_type,
                    add=active_at[2],
                    first=first,
                    c=c.word_select(_SIDE * i + j, 32),
                )
                edps.append(edp)
        return edps


def _chunk(m: Module, name: str, row: Value, narrow: Value, upper: Value) -> Signal:
    """Half of a row: of its lower 8 bytes if it is narrow, otherwise of all 16."""
    chunk = Signal(CHUNK_BITS, name=f"{name}_chunk")
    half = CHUNK_BITS // 2
    with m.If(narrow):
        m.d.comb += chunk.eq(Mux(upper, row[half:CHUNK_BITS], row[:half]))
    with m.Else():
        m.d.comb += chunk.eq(Mux(upper, row[CHUNK_BITS:], row[:CHUNK_BITS]))
    return chunk
