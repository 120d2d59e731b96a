"""A function by a table, linear between its entries: alpha of a density, sigmoid of a logit."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from oleaster.hw.emit import named
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Pipe

__all__ = ["CurveTable"]


class CurveTable(Pipe):
    """`Curve` of `models/nerf/fixed/tables.py`; an input every cycle.

    Parameters
    ----------
    input_bits: int
        Of an input, signed.
    value_bits: int
        Of a value, unsigned.
    address_bits: int
        The table has 2^address_bits intervals.
    largest_shift: int
        An interval is 2^largest_shift inputs at most.

    Members
    -------
    i: stream of signed input_bits, In
    o: stream of value_bits, Out
    lowest: In(signed(input_bits))
        Input of the first entry.
    shift: In(range(largest_shift + 1))
        An interval is 2^shift inputs. As `lowest`, stable while inputs are on their way.
    write_enable, write_address, write_data: In
        Write an interval: its first `value`, and its `rise` to the next one's, signed. While inputs
        are on their way either the old or the new one is read. A curve with fewer intervals is
        filled up with ones that do not rise (`curve_words` of `sim/nerf/curve.py`).
    """

    def __init__(
        self,
        input_bits: int = 27,
        value_bits: int = 17,
        address_bits: int = 9,
        largest_shift: int = 5,
    ) -> None:
        self.input_bits = input_bits
        self.value_bits = value_bits
        self.address_bits = address_bits
        self.largest_shift = largest_shift
        self.entry = data.StructLayout({"value": value_bits, "rise": signed(value_bits + 1)})
        super().__init__(
            signed(input_bits),
            unsigned(value_bits),
            latency=5,
            members={
                "lowest": In(signed(input_bits)),
                "shift": In(range(largest_shift + 1)),
                "write_enable": In(1),
                "write_address": In(address_bits),
                "write_data": In(self.entry),
            },
        )

    @property
    def module_name(self) -> str:
        widths = self.input_bits, self.value_bits, self.address_bits, self.largest_shift
        return f"curve_table_{'_'.join(map(str, widths))}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "input_bits": self.input_bits,
            "value_bits": self.value_bits,
            "address_bits": self.address_bits,
            "largest_shift": self.largest_shift,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        m.submodules.entries = entries = Memory(
            shape=self.entry, depth=1 << self.address_bits, init=[]
        )
        write = named(entries.write_port(), "write")
        read = named(entries.read_port(domain="sync"), "read")
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
        ]
        flow = Flow(m)
        distance = flow.step("distance", word - self.lowest, 1)

        interval = Signal(self.input_bits)
        m.d.comb += interval.eq(distance >> self.shift)
        # Its width, which an input beyond the last interval is away from that one's start.
        size = Signal(self.largest_shift + 1)
        m.d.comb += size.eq(1 << self.shift)
        beyond = Signal()
        m.d.comb += beyond.eq(interval[self.address_bits :].any())
        address = Mux(beyond, (1 << self.address_bits) - 1, interval[: self.address_bits])
        away = Mux(beyond, size, distance & (size - 1))[: len(size)]
        before = distance[-1]
        m.d.comb += read.addr.eq(flow.step("address", Mux(before, 0, address), 2))
        flow.step("away", Mux(before, 0, away), 2)
        entry = data.View(self.entry, read.data)
        rise = flow.step("rise", entry.rise * flow.at("away", 3), 4)
        flow.add("value", entry.value, 3)
        value = flow.at("value", 4) + ((rise + (size >> 1)) >> self.shift)
        return flow.step("sum", value[: self.value_bits], self.latency)
