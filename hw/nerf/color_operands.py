"""A batch's activations and the network's weights, as the array's operands."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from oleaster.hw.emit import Unit, named
from oleaster.hw.layouts import OperandWord
from oleaster.models.lane import Lane

__all__ = ["LANE", "PAIR_BITS", "TABLE_BITS", "ColorOperands"]

LANE = Lane(("ovp8",))
PAIR_BITS = 2 * LANE.code_bits * LANE.group
TABLE_BITS = 64
_AT_ONCE = TABLE_BITS // PAIR_BITS  # columns of a word of the table


class ColorOperands(Unit):
    """Reads a stage's words for the array: for each tile all of K, with the weights in their order.

    Activations are in two places by turns: a stage reads one, and its results go to the other. A
    pair is in bank `pair % (columns / 2)`, so that a row of a tile is stored in one cycle.

    Parameters
    ----------
    words: tuple of int
        Pairs of elements of K, of each stage.
    tiles: tuple of int
        Of each stage.
    samples, columns: int
        Rows and columns of elements of the array.

    Members
    -------
    start: In
    stage: In
        From the cycle of `start` on, until all of the stage's words are read. After the last stage
        the weights begin anew.
    store: In(columns / 2)
        Banks that get their `codes`, as pair `bank + columns / 2 * store_place` of sample
        `store_row`, for stages that are even or odd as `store_odd` says.
    store_odd, store_row, store_place, codes: In
    write_enable, write_address, write_data: In
        Weights: four columns' pairs.
    a, b: streams of OperandWord, Out
    """

    def __init__(
        self, words: tuple[int, ...], tiles: tuple[int, ...], samples: int, columns: int
    ) -> None:
        self.words = words
        self.tiles = tiles
        self.samples = samples
        self.columns = columns
        self.banks = columns // 2
        self.places = max(2, -(-max(words) // self.banks))
        self.weight_words = sum(t * w for t, w in zip(tiles, words, strict=True))
        super().__init__(
            {
                "start": In(1),
                "stage": In(range(len(words))),
                "store": In(self.banks),
                "store_odd": In(1),
                "store_row": In(range(samples)),
                "store_place": In(range(self.places)),
                "codes": In(data.ArrayLayout(PAIR_BITS, self.banks)),
                "write_enable": In(1),
                "write_address": In(range(self.weight_words * columns // _AT_ONCE)),
                "write_data": In(TABLE_BITS),
                "a": Out(stream.Signature(OperandWord(LANE, LANE.group * samples))),
                "b": Out(stream.Signature(OperandWord(LANE, LANE.group * columns))),
            }
        )

    @property
    def module_name(self) -> str:
        sizes = "_".join(map(str, (*self.words, *self.tiles)))
        return f"color_operands_{self.samples}x{self.columns}_{sizes}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "words": list(self.words),
            "tiles": list(self.tiles),
            "samples": self.samples,
            "columns": self.columns,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        running = Signal()
        bank = Signal(range(self.banks))
        place_ = Signal(range(self.places), name="place")
        word = Signal(range(max(self.words)))
        tile = Signal(range(max(self.tiles)))
        weight = Signal(range(self.weight_words))
        valid = Signal()
        last = Signal(reset_less=True)
        reads = Signal()
        last_word = Signal()
        last_tile = Signal()

        def of_stage(values: tuple[int, ...], shape: Any) -> Any:
            return Array(Const(value - 1, shape) for value in values)[self.stage]

        m.d.comb += [
            reads.eq(running & (~valid | self.a.ready)),
            last_word.eq(word == of_stage(self.words, word.shape())),
            last_tile.eq(tile == of_stage(self.tiles, tile.shape())),
            self.a.valid.eq(valid),
            self.b.valid.eq(valid),
            self.a.payload.last.eq(last),
            self.b.payload.last.eq(last),
        ]
        with m.If(reads):
            m.d.sync += [valid.eq(1), last.eq(last_word)]
            m.d.sync += [word.eq(word + 1), bank.eq(bank + 1), weight.eq(weight + 1)]
            with m.If(bank == self.banks - 1):
                m.d.sync += [bank.eq(0), place_.eq(place_ + 1)]
            with m.If(last_word):
                m.d.sync += [word.eq(0), bank.eq(0), place_.eq(0), tile.eq(tile + 1)]
                with m.If(last_tile):
                    m.d.sync += [tile.eq(0), running.eq(0)]
            with m.If(weight == self.weight_words - 1):
                m.d.sync += weight.eq(0)
        with m.Elif(self.a.ready):
            m.d.sync += valid.eq(0)
        with m.If(self.start):
            m.d.sync += running.eq(1)

        self._activations(m, reads, bank, place_)
        self._weights(m, reads, weight)
        return m

    def _activations(self, m: Module, reads: Signal, bank: Signal, place_: Signal) -> None:
        rows = data.ArrayLayout(PAIR_BITS, self.samples)
        place_bits = ceil_log2(self.places)
        m.submodules.activations = memory = Memory(
            shape=data.ArrayLayout(PAIR_BITS, self.banks * self.samples),
            depth=2 << place_bits,
            init=[],
        )
        write = named(memory.write_port(granularity=1), "activations_write")
        read = named(memory.read_port(), "activations_read")
        read_bank = Signal(range(self.banks), reset_less=True)
        row = Signal(self.samples)
        m.d.comb += [
            row.eq(1 << self.store_row),
            write.addr.eq(Cat(self.store_place, self.store_odd)),
            write.data.eq(Cat(code.replicate(self.samples) for code in self.codes)),
            write.en.eq(Cat(Mux(enable, row, 0) for enable in self.store)),
            read.addr.eq(Cat(place_, self.stage[0])),
            read.en.eq(reads),
            self.a.payload.codes.eq(
                data.View(data.ArrayLayout(rows, self.banks), read.data.as_value())[read_bank]
            ),
        ]
        with m.If(reads):
            m.d.sync += read_bank.eq(bank)

    def _weights(self, m: Module, reads: Signal, weight: Signal) -> None:
        parts = self.columns // _AT_ONCE
        part_bits = ceil_log2(parts)
        m.submodules.weights = memory = Memory(
            shape=data.ArrayLayout(TABLE_BITS, parts), depth=self.weight_words, init=[]
        )
        write = named(memory.write_port(granularity=1), "weights_write")
        read = named(memory.read_port(), "weights_read")
        part = Signal(parts)
        m.d.comb += [
            part.eq(1 << self.write_address[:part_bits]),
            write.addr.eq(self.write_address[part_bits:]),
            write.data.eq(self.write_data.replicate(parts)),
            write.en.eq(Mux(self.write_enable, part, 0)),
            read.addr.eq(weight),
            read.en.eq(reads),
            self.b.payload.codes.eq(read.data.as_value()),
        ]
