# amaranth: UnusedElaboratable=no
"""Reads two neighbours of a chunk, whatever its mode: the pipeline behind the decoder's lanes."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.bitmap_search import BitmapSearch
from oleaster.hw.nerf.blob_memory import BANKS, READ_CYCLES, WORD_BITS, BlobMemory
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Path, delayed, queue_depth
from oleaster.hw.nerf.search_tree import SearchTree
from oleaster.models.nerf.layout import (
    BASE_AT,
    BASE_BITS,
    BITMAP,
    CHUNKS,
    COORDINATES,
    COUNT_AT,
    COUNT_BITS,
    DENSE,
    LARGEST_UNIT,
    index_bits,
)
from oleaster.models.nerf.lookup import (
    CELL_BITS,
    ELEMENT_BITS,
    GROUP_BITS,
    HEAD_BITS,
    LARGEST_ELEMENT,
    LOG_BITS,
    MOST_COORDINATES,
    UNIT_BITS,
    Fault,
)

__all__ = ["ElementReader", "FoundLayout", "TensorLayout"]

_INDEX_BITS = index_bits(CHUNKS[-1])
_POSITION = (WORD_BITS - 1).bit_length()  # bits of a position inside a word

_ENTRY_ASKED = 5  # stages; the first holds the look-up
_HEAD_ASKED = _ENTRY_ASKED + READ_CYCLES + 1
_SEARCH = _HEAD_ASKED + READ_CYCLES + 1
_TURN = 3  # from a found rank to its values' address


class TensorLayout(data.StructLayout):
    """What is to be known of a tensor in a memory of `words` words: `TensorRow`."""

    def __init__(self, words: int) -> None:
        super().__init__(
            {
                "directory": range(words),
                "payload": range(words),
                "payload_bytes": range(words * WORD_BITS // 8 + 1),
                "stride": CELL_BITS,
                "groups": GROUP_BITS,
                "element": ELEMENT_BITS,
                "chunk_log": LOG_BITS,
                "unit": UNIT_BITS,
            }
        )


class FoundLayout(data.StructLayout):
    """Two neighbours: whether they are stored, and their codes as in the payload, else 0."""

    def __init__(self, element_bits: int) -> None:
        super().__init__({"hit": 1, "next_hit": 1, "first": element_bits, "second": element_bits})


class ElementReader(Unit):
    """Directory, chunk's head, search, values: a look-up every cycle, `latency` cycles long.

    Registers never wait. With a tree of 32 leaves:

    1       the look-up                            13      map, coordinates
    2..5    (v * stride + chunk) * groups + group  14..19  search tree; search in map; or dense
    6..8    directory entry read                   20..22  head's end + rank * element
    9       mode, count, head's position           23..25  values read
    10..12  head read                              26..28  shifted, parted, masked

    A plain tensor's position comes out of 2..5 and passes 6..22 as element 0 of a dense chunk.
    Faults are found beside, and make all that is found in a chunk 0. Where a look-up does not need
    the search tree, it adds up a word of `sums_i`.

    Parameters
    ----------
    words, element_bits, leaves, sum_bits: int
        As in `HybridDecoder`.

    Members
    -------
    valid, tensor, row, cell, group: In
        A look-up. Its second element is that of cell + 1, if that is in the same chunk.
    found: Out
        Its answer, `latency` cycles later.
    sums_i: stream of leaves x sum_bits signed, In; sums_o: stream of signed, Out
    write_enable, write_address, write_data, faults, clear:
        As in `HybridDecoder`.
    """

    def __init__(self, words: int, element_bits: int, leaves: int, sum_bits: int) -> None:
        if not 2 <= element_bits <= LARGEST_ELEMENT:
            raise ValueError(f"element_bits is {element_bits}; it must be 2 to {LARGEST_ELEMENT}")
        if leaves < MOST_COORDINATES:
            raise ValueError(f"leaves is {leaves}; it must be at least {MOST_COORDINATES}")
        self.words = words
        self.element_bits = element_bits
        self.leaves = leaves
        self.sum_bits = sum_bits
        self._tree = Path(SearchTree(leaves, sum_bits, CHUNKS[-1]))
        self._map = Path(BitmapSearch(CHUNKS[-1]))
        self._memory = BlobMemory(words, (1, 1 + HEAD_BITS // WORD_BITS, BANKS))
        super().__init__(
            {
                "valid": In(1),
                "tensor": In(TensorLayout(words)),
                "row": In(CELL_BITS),
                "cell": In(CELL_BITS),
                "group": In(GROUP_BITS),
                "found": Out(FoundLayout(element_bits)),
                "sums_i": In(stream.Signature(self._tree.i["values"].shape())),
                "sums_o": Out(stream.Signature(self._tree.o["sum"].shape())),
                "write_enable": In(1),
                "write_address": In(range(words // BANKS)),
                "write_data": In(BANKS * WORD_BITS),
                "faults": Out(len(Fault)),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        sizes = (self.words, self.element_bits, self.leaves, self.sum_bits)
        return "_".join(map(str, ("element_reader", *sizes)))

    @property
    def parameters(self) -> dict[str, Any]:
        names = ("words", "element_bits", "leaves", "sum_bits")
        return {name: getattr(self, name) for name in names}

    @property
    def latency(self) -> int:
        return self._values_asked + READ_CYCLES + 3

    @property
    def _found_stage(self) -> int:
        return _SEARCH + self._tree.pipe.latency

    @property
    def _values_asked(self) -> int:
        return self._found_stage + _TURN

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = place(
            m,
            "memory",
            self._memory,
            platform,
            write_enable=self.write_enable,
            write_address=self.write_address,
            write_data=self.write_data,
        )
        flow = Flow(m)
        flow.add("valid", self.valid, 0, reset_less=False)
        for name, _ in self.tensor.shape():
            flow.add(name, self.tensor[name], 0)
        flow.add("row", self.row, 0)
        flow.add("cell", self.cell, 0)
        flow.add("group", self.group, 0)
        self._addresses(m, flow, memory)
        self._chunk(m, flow, memory)
        self._search(m, flow, memory, platform)
        self._values(m, flow, memory)
        return m

    def _addresses(self, m: Module, flow: Flow, memory: Any) -> None:
        """Stages 1 to 5: of the directory entry, or the position of a plain tensor's element."""
        position = len(memory.address_0) + _POSITION
        flow.add("plain", flow.at("chunk_log", 1) == 0, 1)
        cell = flow.at("cell", 1)
        chunk = Signal(CELL_BITS)
        index = Signal(_INDEX_BITS)
        with m.Switch(flow.at("chunk_log", 1)):
            for n in CHUNKS:
                with m.Case(index_bits(n)):
                    m.d.comb += [chunk.eq(cell >> index_bits(n)), index.eq(cell % n)]
            with m.Default():
                m.d.comb += chunk.eq(cell)
        flow.add("index", index, 1)
        flow.add("chunk", chunk, 1)
        product = (flow.at("row", 1) * flow.at("stride", 1))[:position]
        product = flow.step("line_start", product, 2)
        line = flow.step("line", (product + flow.at("chunk", 2))[:position], 3)
        plain = flow.at("plain", 3)
        width = Mux(plain, flow.at("element", 3), flow.at("groups", 3))
        number = flow.step("number", (line * width)[:position], 4)
        before = flow.step(
            "before",
            Mux(
                plain,
                flow.at("payload", 3) << _POSITION,
                flow.at("directory", 3) + flow.at("group", 3),
            )[:position],
            4,
        )
        asked = flow.step("where", (number + before)[:position], _ENTRY_ASKED)
        m.d.comb += memory.address_0.eq(asked)

    def _chunk(self, m: Module, flow: Flow, memory: Any) -> None:
        """Stages 8 to 12: the entry's fields, where head and values begin, and what is wrong."""
        at = _HEAD_ASKED - 1
        entry = memory.window_0
        plain = flow.at("plain", at)
        base_bytes = Signal(BASE_BITS + LARGEST_UNIT)
        m.d.comb += base_bytes.eq(entry[BASE_AT : BASE_AT + BASE_BITS] << flow.at("unit", at))
        head = Mux(
            plain, flow.at("where", at), (flow.at("payload", at) << _POSITION) + (base_bytes << 3)
        )
        head = flow.step("head", head[: flow.at("where", at).shape().width], _HEAD_ASKED)
        m.d.comb += memory.address_1.eq(head[_POSITION:])
        mode = flow.step("mode", Mux(plain, DENSE, entry[:COUNT_AT]), _HEAD_ASKED)
        count = entry[COUNT_AT : COUNT_AT + COUNT_BITS]
        count = flow.step("count", Mux(plain, 0, count), _HEAD_ASKED)
        base_bytes = flow.step("base_bytes", Mux(plain, 0, base_bytes), _HEAD_ASKED)

        at = _HEAD_ASKED
        log = flow.at("chunk_log", at)
        head_bytes = Signal(COUNT_BITS + LOG_BITS - 3)
        most = Signal(COUNT_BITS)
        with m.Switch(mode):
            with m.Case(BITMAP):
                m.d.comb += head_bytes.eq(Const(1) << (log - 3)[:LOG_BITS])
            with m.Case(COORDINATES):
                m.d.comb += head_bytes.eq((count * log + 7) >> 3)
        m.d.comb += most.eq(
            Mux(mode == COORDINATES, MOST_COORDINATES, (Const(1) << log)[:COUNT_BITS])
        )
        flow.step("wrong_mode", mode > COORDINATES, at + 1)
        flow.step("wrong_count", ~flow.at("plain", at) & (count > most), at + 1)
        head_bytes = flow.step("head_bytes", head_bytes, at + 1)
        value_bits = flow.step("value_bits", count * flow.at("element", at), at + 1)
        values = flow.at("head", at + 1) + (head_bytes << 3)
        flow.step("values", values[: len(head)], at + 2)
        end = flow.at("base_bytes", at + 1) + head_bytes + ((value_bits + 7) >> 3)
        end = flow.step("end", end, at + 2)
        outside = ~flow.at("plain", at + 2) & (end > flow.at("payload_bytes", at + 2))
        flow.step("outside", outside, at + 3)

    def _search(self, m: Module, flow: Flow, memory: Any, platform: object) -> None:
        """Stages 12 to 20: the chunk's head to both units, and what was found."""
        at = _SEARCH - 1
        head = Signal(HEAD_BITS)
        first_byte = flow.at("head", at)[3:_POSITION]
        m.d.comb += head.eq(memory.window_1 >> (first_byte << 3))
        log, index = flow.at("chunk_log", at), flow.at("index", at)
        coordinates = [Signal(_INDEX_BITS, name=f"place_{i}") for i in range(MOST_COORDINATES)]
        for i, coordinate in enumerate(coordinates):
            with m.Switch(log):
                for bits in map(index_bits, CHUNKS):
                    with m.Case(bits):
                        m.d.comb += coordinate.eq(head[i * bits : (i + 1) * bits])
        searches = Signal()
        m.d.comb += searches.eq(flow.at("valid", at) & (flow.at("mode", at) == COORDINATES))
        word = Signal(self._tree.i.shape(), name="word", reset_less=True)
        m.d.sync += [
            word.search.eq(searches),
            word.query.eq(index),
            word.count.eq(flow.at("count", at)),
        ]
        for i in range(self.leaves):
            coordinate = coordinates[i] if i < len(coordinates) else Const(0, _INDEX_BITS)
            m.d.sync += word["values"][i].eq(Mux(searches, coordinate, self.sums_i.payload[i]))
        tree = place(m, "tree", self._tree, platform)
        in_map = place(m, "map", self._map, platform)
        bitmap = flow.step("bits", head, _SEARCH)
        m.d.comb += [
            Value.cast(tree.i).eq(Value.cast(word)),
            in_map.i.map.eq(bitmap),
            in_map.i.index.eq(flow.at("index", _SEARCH)),
        ]
        self._sums(m, searches, tree, platform)

        stored = flow.at("count", _SEARCH)
        falls = [
            (stored > i + 1)
            & (word["values"][i][:_INDEX_BITS] >= word["values"][i + 1][:_INDEX_BITS])
            for i in range(MOST_COORDINATES - 1)
        ]
        flow.step(
            "falls", Cat(falls).any() & (flow.at("mode", _SEARCH) == COORDINATES), _SEARCH + 1
        )

        at = self._found_stage
        others = Cat(flow.at(name, at) for name in ("wrong_mode", "wrong_count", "outside"))
        faults = Cat(others, flow.at("falls", at) & ~others.any())
        bad = faults.any()
        valid = flow.at("valid", at)
        m.d.sync += self.faults.eq(Mux(self.clear, 0, self.faults | Mux(valid, faults, 0)))
        flow.add("map_answer", in_map.o, _SEARCH + self._map.pipe.latency)
        from_map = flow.at("map_answer", at)
        hit = Signal()
        next_hit = Signal()
        rank = Signal(_INDEX_BITS)
        m.d.comb += [hit.eq(1), next_hit.eq(1), rank.eq(flow.at("index", at))]
        with m.Switch(flow.at("mode", at)):
            with m.Case(BITMAP):
                m.d.comb += [
                    hit.eq(from_map.hit),
                    next_hit.eq(from_map.next_hit),
                    rank.eq(from_map.rank),
                ]
            with m.Case(COORDINATES):
                m.d.comb += [
                    hit.eq(tree.o.hit),
                    next_hit.eq(tree.o.next_hit),
                    rank.eq(tree.o.rank),
                ]
        flow.step("hit", hit & ~bad, at + 1)
        flow.step("next_hit", next_hit & ~bad, at + 1)
        flow.step("rank", rank, at + 1)

    def _sums(self, m: Module, searches: Value, tree: Any, platform: object) -> None:
        """The tree's other use, in cycles that no search has."""
        latency = 1 + self._tree.pipe.latency
        sums = Queue(len(self.sums_o.payload), queue_depth(latency))
        place(m, "sums", sums, platform)
        room = Signal(range(sums.depth + 1), init=sums.depth, name="room_sums")
        takes, gives = Signal(name="takes_sums"), Signal(name="gives_sums")
        there = delayed(m, takes, latency, "sum_on_the_way", reset_less=False)
        m.d.comb += [
            self.sums_i.ready.eq((room != 0) & ~searches),
            takes.eq(self.sums_i.valid & self.sums_i.ready),
            gives.eq(self.sums_o.valid & self.sums_o.ready),
            sums.i.payload.eq(tree.o["sum"]),
            sums.i.valid.eq(there),
            self.sums_o.payload.eq(sums.o.payload),
            self.sums_o.valid.eq(sums.o.valid),
            sums.o.ready.eq(self.sums_o.ready),
        ]
        m.d.sync += room.eq(room + gives - takes)

    def _values(self, m: Module, flow: Flow, memory: Any) -> None:
        """From a rank to both elements."""
        at = self._found_stage + 1
        offset = flow.step("offset", flow.at("rank", at) * flow.at("element", at), at + 1)
        position = (flow.at("values", at + 1) + offset)[: flow.at("values", at + 1).shape().width]
        position = flow.step("position", position, self._values_asked)
        m.d.comb += memory.address_2.eq(position[_POSITION:])
        at = self._values_asked + READ_CYCLES
        both = memory.window_2 >> flow.at("position", at)[:_POSITION]
        both = flow.step("both", both[: 2 * self.element_bits], at + 1)
        element = flow.at("element", at + 1)
        # The second comes behind the first, or first if that is not stored.
        second = Mux(flow.at("hit", at + 1), both >> element, both)
        flow.step("second", second[: self.element_bits], at + 2)
        flow.add("first", both[: self.element_bits], at + 1)
        flow.step("mask", ((Const(1) << element) - 1)[: self.element_bits], at + 2)
        at = self.latency - 1
        hit, next_hit, mask = flow.at("hit", at), flow.at("next_hit", at), flow.at("mask", at)
        answer = Signal(self.found.shape(), reset_less=True)
        m.d.sync += [
            answer.hit.eq(hit),
            answer.next_hit.eq(next_hit),
            answer.first.eq(Mux(hit, flow.at("first", at) & mask, 0)),
            answer.second.eq(Mux(next_hit, flow.at("second", at) & mask, 0)),
        ]
        m.d.comb += self.found.eq(answer)
