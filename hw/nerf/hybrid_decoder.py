# amaranth: UnusedElaboratable=no
"""The hybrid decoder: two neighbours of an encoded tensor, asked for on two lanes."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.emit import Unit, named, place
from oleaster.hw.nerf.element_reader import ElementReader, FoundLayout, TensorLayout
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import queue_depth
from oleaster.models.nerf.layout import CHUNKS, index_bits
from oleaster.models.nerf.lookup import CELL_BITS, GROUP_BITS, LANES, TENSOR_BITS

__all__ = ["HybridDecoder"]


class HybridDecoder(Unit):
    """Elements u and u + 1 of a row, for two lanes: a look-up every cycle, in turn if both ask.

    RT-NeRF's abstract names a hybrid encoding and two search units for it; this circuit is ours.
    `models/nerf/lookup.py` is the reference, `sim/nerf/hybrid_decoder.py` the cycle model.

    Both lanes share one `ElementReader`, so that no two look-ups ever want one search unit in one
    cycle. A look-up enters only if its lane's queue will have room for the answer: a lane that
    stalls leaves every cycle to the other. Where u and u + 1 are in different chunks two look-ups
    enter, one after the other, and their answers are joined.

    Parameters
    ----------
    words: int
        Words of 32 bits of the memory that holds the blob, a power of two.
    element_bits: int
        Of the widest element, at most `LARGEST_ELEMENT`.
    leaves, sum_bits: int
        Values of a sum, 32 or more, and their bits, 8 or more.

    Members
    -------
    request_0, request_1: stream of (tensor, row, cell, group), In
        Two neighbours of one group of components; cell + 1 must be inside the row, too.
    found_0, found_1: stream of (hit, next_hit, first, second: element_bits), Out
        In the order of requests: whether elements are stored, and their codes as in the payload;
        of one that is not stored 0.
    sums_i: stream of leaves x sum_bits signed, In; sums_o: stream of signed, Out
        Taken in cycles in which no look-up needs the tree.
    write_enable, write_address, write_data: In
        A row of eight words of the memory.
    table_write, table_index, table_row: In
        A row of the table, as `TensorRow`.
    faults: Out
        Sticky, as `Fault`. clear: In
    """

    def __init__(self, words: int, element_bits: int, leaves: int, sum_bits: int) -> None:
        self._reader = reader = ElementReader(words, element_bits, leaves, sum_bits)
        self._request = request = data.StructLayout(
            {"tensor": TENSOR_BITS, "row": CELL_BITS, "cell": CELL_BITS, "group": GROUP_BITS}
        )
        found = FoundLayout(element_bits)
        passed = (
            "sums_i",
            "sums_o",
            "write_enable",
            "write_address",
            "write_data",
            "faults",
            "clear",
        )
        members = reader.signature.members
        super().__init__(
            {
                **{f"request_{i}": In(stream.Signature(request)) for i in range(LANES)},
                **{f"found_{i}": Out(stream.Signature(found)) for i in range(LANES)},
                "table_write": In(1),
                "table_index": In(TENSOR_BITS),
                "table_row": In(TensorLayout(words)),
                **{name: members[name] for name in passed},
            }
        )

    @property
    def module_name(self) -> str:
        return "_".join(map(str, ("hybrid_decoder", *self.parameters.values())))

    @property
    def parameters(self) -> dict[str, Any]:
        return self._reader.parameters

    @property
    def depth(self) -> int:
        """Look-ups of a lane that are on their way or wait, at most: a power of two."""
        return queue_depth(self._reader.latency)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reader = place(
            m,
            "reader",
            self._reader,
            platform,
            write_enable=self.write_enable,
            write_address=self.write_address,
            write_data=self.write_data,
            clear=self.clear,
        )
        m.d.comb += self.faults.eq(reader.faults)
        connect(m, flipped(self.sums_i), reader.sums_i)
        connect(m, reader.sums_o, flipped(self.sums_o))
        flow = Flow(m)
        room = [
            Signal(range(self.depth + 1), init=self.depth, name=f"room_{i}") for i in range(LANES)
        ]
        takes = self._front(m, flow, reader, room)
        self._answers(m, flow, reader, platform, room, takes)
        return m

    def _front(self, m: Module, flow: Flow, reader: Any, room: list[Signal]) -> list[Value]:
        """Stage 0: whose look-up enters, and which half of it if its cells are in two chunks."""
        m.submodules.table = table = Memory(
            shape=self.table_row.shape(), depth=1 << TENSOR_BITS, init=[]
        )
        write = named(table.write_port(), "write")
        m.d.comb += [
            write.en.eq(self.table_write),
            write.addr.eq(self.table_index),
            write.data.eq(self.table_row),
        ]
        requests = [self.request_0, self.request_1]
        turn = Signal()
        lane = Signal()
        wants = Signal(LANES)
        splits = Signal(LANES)
        second = Signal(LANES)
        rows = []
        for i, request in enumerate(requests):
            read = named(table.read_port(domain="comb"), f"tensor_{i}")
            cell, chunk_log = request.payload.cell, read.data.chunk_log
            last = [cell[: index_bits(n)].all() & (chunk_log == index_bits(n)) for n in CHUNKS]
            m.d.comb += [
                read.addr.eq(request.payload.tensor),
                wants[i].eq(request.valid & (room[i] != 0)),
                splits[i].eq(Cat(last).any()),
                request.ready.eq(wants[i] & (lane == i) & (~splits[i] | second[i])),
            ]
            rows.append(read.data)
        enters = Signal()
        m.d.comb += [
            enters.eq(wants.any()),
            # A lane that wants in alone need not wait for its turn.
            lane.eq(Mux(turn, wants[1], ~wants[0])),
        ]
        here = second.bit_select(lane, 1)
        parts = splits.bit_select(lane, 1)
        with m.If(enters):
            m.d.sync += [turn.eq(~lane), second.bit_select(lane, 1).eq(parts & ~here)]
        request = Signal(self._request)
        payloads = [Value.cast(each.payload) for each in requests]
        m.d.comb += [
            Value.cast(request).eq(Mux(lane, payloads[1], payloads[0])),
            reader.valid.eq(enters),
            reader.tensor.eq(Mux(lane, Value.cast(rows[1]), Value.cast(rows[0]))),
            reader.row.eq(request.row),
            reader.cell.eq(request.cell + here),
            reader.group.eq(request.group),
        ]
        flow.add("enters", enters, 0, reset_less=False)
        flow.add("lane", lane, 0)
        flow.add("opens", parts & ~here, 0)
        flow.add("closes", parts & here, 0)
        return [each.valid & each.ready for each in requests]

    def _answers(
        self,
        m: Module,
        flow: Flow,
        reader: Any,
        platform: object,
        room: list[Signal],
        takes: list[Value],
    ) -> None:
        """The lanes' queues; of a look-up in two parts one answer."""
        at = self._reader.latency
        for i, found in enumerate((self.found_0, self.found_1)):
            queue = Queue(found.payload.shape().size, self.depth)
            place(m, f"queue_{i}", queue, platform)
            mine = flow.at("enters", at) & (flow.at("lane", at) == i)
            opened = Signal(found.payload.shape(), name=f"opened_{i}", reset_less=True)
            with m.If(mine & flow.at("opens", at)):
                m.d.sync += opened.eq(reader.found)
            word = Signal(found.payload.shape(), name=f"word_{i}")
            gives = Signal(name=f"gives_{i}")
            m.d.comb += word.eq(reader.found)
            with m.If(flow.at("closes", at)):
                m.d.comb += [
                    word.hit.eq(opened.hit),
                    word.first.eq(opened.first),
                    word.next_hit.eq(reader.found.hit),
                    word.second.eq(reader.found.first),
                ]
            m.d.comb += [
                queue.i.payload.eq(word),
                queue.i.valid.eq(mine & ~flow.at("opens", at)),
                Value.cast(found.payload).eq(queue.o.payload),
                found.valid.eq(queue.o.valid),
                queue.o.ready.eq(found.ready),
                gives.eq(found.valid & found.ready),
            ]
            m.d.sync += room[i].eq(room[i] + gives - takes[i])
