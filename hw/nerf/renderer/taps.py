# amaranth: UnusedElaboratable=no
"""From a sample's cells to the codes around it: three decoders, and what is asked of them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.element_reader import TensorLayout
from oleaster.hw.nerf.features import CodesLayout
from oleaster.hw.nerf.hybrid_decoder import HybridDecoder
from oleaster.hw.nerf.renderer.layouts import PairWord
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.lookup import LARGEST_ELEMENT, Fault
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS

__all__ = ["CellsWord", "TapReader", "TapsWord"]

_QUEUE = 32  # samples whose codes are on their way
_NARROWEST = 2  # bits of a code


class CellsWord(data.StructLayout):
    """A sample's cells along x, y, z and its weights there, or, with `end`, none."""

    def __init__(self, config: RendererConfig, tag_bits: int) -> None:
        super().__init__(
            {
                "cell": data.ArrayLayout(config.cell_bits, 3),
                "weight": data.ArrayLayout(config.fixed.weight_bits + 1, 3),
                "end": 1,
                "tag": tag_bits,
            }
        )


class TapsWord(data.StructLayout):
    """Codes around a sample, of each pair's components, and its weights along x, y, z."""

    def __init__(self, config: RendererConfig, components: int, tag_bits: int) -> None:
        codes = data.ArrayLayout(CodesLayout(config.plane_bits, config.line_bits), components)
        super().__init__(
            {
                "codes": data.ArrayLayout(codes, PAIRS),
                "weight": data.ArrayLayout(config.fixed.weight_bits + 1, 3),
                "end": 1,
                "tag": tag_bits,
            }
        )


class TapReader(Unit):
    """Looks up the cells around samples, of all three pairs of plane and line at once (ours).

    Each pair has a decoder, whose tensor 0 is the plane and tensor 1 the line. Of a sample it is
    asked for one word after the other: for each group of components row v on lane 0 and row v + 1
    on lane 1, then for each group of the line on lane 0. The next sample is begun when all pairs
    have handed over their last request. Answers are gathered in the same order, a word a cycle, and
    leave when all pairs are complete; the next sample's first answers may come in that cycle.
    `sim/nerf/renderer/taps.py` has the cycles.

    Parameters
    ----------
    config: RendererConfig
    components: int
        Of each pair, at most.
    words: int
        Of a decoder's memory.
    tag_bits: int
        Of a sample's tag, which is handed through.

    Members
    -------
    pairs: 3 of PairWord, In
        Stable while samples are on their way.
    i: stream of CellsWord, In
        Words with `end` pass without look-ups.
    o: stream of TapsWord, Out
    blob_write, row_write: In(3)
        For each pair: write a row of its memory, or of its table.
    write_address, write_data: In
        Row, or tensor, and what to write.
    faults: Out
        Of each pair, as `Fault`; sticky. clear: In
    read: Out(1)
        The first pair's decoder takes a request in this cycle.
    """

    def __init__(self, config: RendererConfig, components: int, words: int, tag_bits: int) -> None:
        self.config = config
        self.components = components
        self.words = words
        self.tag_bits = tag_bits
        self._rows = words * 32 // ITEM_BITS[0]
        super().__init__(
            {
                "pairs": In(data.ArrayLayout(PairWord(), PAIRS)),
                "i": In(stream.Signature(CellsWord(config, tag_bits))),
                "o": Out(stream.Signature(TapsWord(config, components, tag_bits))),
                "blob_write": In(PAIRS),
                "row_write": In(PAIRS),
                "write_address": In(range(self._rows)),
                "write_data": In(ITEM_BITS[0]),
                "faults": Out(PAIRS * len(Fault)),
                "clear": In(1),
                "read": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        sizes = self.components, self.words, f"t{self.tag_bits}"
        return f"tap_reader_{self.config.name}_{'_'.join(map(str, sizes))}"

    @property
    def parameters(self) -> dict[str, Any]:
        names = ("components", "words", "tag_bits")
        return {**self.config.parameters, **{name: getattr(self, name) for name in names}}

    @property
    def element_bits(self) -> int:
        """Of the widest element that a decoder can be asked for."""
        return min(self.cell_bits, LARGEST_ELEMENT)

    @property
    def cell_bits(self) -> int:
        """Of all components of a cell."""
        return self.components * max(self.config.plane_bits, self.config.line_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, word = self.config, self.i.payload
        meta_layout = data.StructLayout(
            {name: word.shape()[name].shape for name in ("weight", "end", "tag")}
        )
        samples = Queue(meta_layout.size, _QUEUE)
        place(m, "samples", samples, platform)
        meta_i = data.View(meta_layout, samples.i.payload)
        meta = data.View(meta_layout, samples.o.payload)
        takes = Signal()
        emits = Signal()
        asked = Signal(PAIRS)
        full = Signal(PAIRS)
        m.d.comb += [
            *(getattr(meta_i, name).eq(getattr(word, name)) for name in meta_layout.members),
            self.i.ready.eq(samples.i.ready & (word.end | asked.all())),
            takes.eq(self.i.valid & self.i.ready),
            samples.i.valid.eq(takes),
            self.o.valid.eq(samples.o.valid & (meta.end | full.all())),
            self.o.payload.weight.eq(meta.weight),
            self.o.payload.end.eq(meta.end),
            self.o.payload.tag.eq(meta.tag),
            samples.o.ready.eq(self.o.ready & (meta.end | full.all())),
            emits.eq(self.o.valid & self.o.ready & ~meta.end),
        ]
        for pair in range(PAIRS):
            decoder = HybridDecoder(self.words, self.element_bits, config.leaves, config.sum_bits)
            place(
                m,
                f"decoder_{pair}",
                decoder,
                platform,
                write_enable=self.blob_write[pair],
                write_address=self.write_address,
                write_data=self.write_data,
                table_write=self.row_write[pair],
                table_index=self.write_address[: len(decoder.table_index)],
                table_row=data.View(
                    TensorLayout(self.words), self.write_data[: TensorLayout(self.words).size]
                ),
                clear=self.clear,
            )
            m.d.comb += self.faults.word_select(pair, len(Fault)).eq(decoder.faults)
            self._ask(m, pair, decoder, asked, takes)
            self._gather(m, pair, decoder, full, emits)
        return m

    def _ask(
        self, m: Module, pair: int, decoder: HybridDecoder, asked: Signal, takes: Signal
    ) -> None:
        """A sample's requests to one decoder."""
        word, (u, v), w = self.i.payload, PLANE_AXES[pair], LINE_AXES[pair]
        at = _Sequence(m, self.pairs[pair], self.cell_bits, f"ask_{pair}")
        done = Signal(name=f"asked_{pair}")
        wants = self.i.valid & ~word.end & ~done
        requests = [decoder.request_0, decoder.request_1]
        for lane, request in enumerate(requests):
            m.d.comb += [
                request.valid.eq(wants & (at.lane == lane)),
                request.payload.tensor.eq(at.line),
                request.payload.row.eq(Mux(at.line, 0, word.cell[v] + lane)),
                request.payload.cell.eq(Mux(at.line, word.cell[w], word.cell[u])),
                request.payload.group.eq(at.group),
            ]
        taken = Signal(name=f"request_taken_{pair}")
        m.d.comb += [
            taken.eq(Cat(each.valid & each.ready for each in requests).any()),
            asked[pair].eq(done | (taken & at.last)),
        ]
        with m.If(taken):
            at.step(m)
        with m.If(takes):
            m.d.sync += done.eq(0)
        with m.Elif(taken & at.last):
            m.d.sync += done.eq(1)
        if pair == 0:
            m.d.comb += self.read.eq(taken)

    def _gather(
        self, m: Module, pair: int, decoder: HybridDecoder, full: Signal, emits: Signal
    ) -> None:
        """A sample's answers of one decoder, put together."""
        config = self.config
        at = _Sequence(m, self.pairs[pair], self.cell_bits, f"gather_{pair}")
        found = [decoder.found_0, decoder.found_1]
        free = ~full[pair] | emits
        taken = Signal(name=f"answer_taken_{pair}")
        m.d.comb += [
            *(each.ready.eq(free & (at.lane == lane)) for lane, each in enumerate(found)),
            taken.eq(Cat(each.valid & each.ready for each in found).any()),
        ]
        with m.If(taken):
            at.step(m)
        with m.If(taken & at.last):
            m.d.sync += full[pair].eq(1)
        with m.Elif(emits):
            m.d.sync += full[pair].eq(0)
        names = ("bottom_left", "bottom_right", "top_left", "top_right", "line_low", "line_high")
        widths = [config.plane_bits] * 4 + [config.line_bits] * 2
        codes = self.o.payload.codes[pair]
        for tap, (name, width) in enumerate(zip(names, widths, strict=True)):
            line = tap >= 4
            payload = found[0 if line else tap // 2].payload
            element = payload.second if tap % 2 else payload.first
            mine = (at.line == line) & (line or at.lane == tap // 2)
            values = Signal(self.components * width, name=f"{name}_{pair}", reset_less=True)
            placed = (element << at.offset)[: len(values)]
            with m.If(taken & mine):
                m.d.sync += values.eq(Mux(at.group == 0, placed, values | placed))
            tensor = self.pairs[pair].line if line else self.pairs[pair].plane
            for i in range(self.components):
                target = codes[i].line[tap - 4] if line else codes[i].plane[tap]
                m.d.comb += target.eq(_code(m, values, tensor.bits, i, width, f"{name}_{pair}_{i}"))


class _Sequence:
    """Where a sample's look-ups of one pair are: plane group by group and row by row, then line."""

    def __init__(self, m: Module, pair: Any, bits: int, name: str) -> None:
        """bits: of a tensor's cell, at most."""
        self.line = Signal(name=f"{name}_line")
        self.lane = Signal(name=f"{name}_lane")
        self.group = Signal(len(pair.plane.groups), name=f"{name}_group")
        self.offset = Signal(range(bits), name=f"{name}_offset")
        self.last = Signal(name=f"{name}_last")
        self._element = Signal(len(pair.plane.element), name=f"{name}_element")
        self._last_group = Signal(name=f"{name}_last_group")
        groups = Mux(self.line, pair.line.groups, pair.plane.groups)
        m.d.comb += [
            self._element.eq(Mux(self.line, pair.line.element, pair.plane.element)),
            self._last_group.eq(self.group + 1 == groups),
            self.last.eq(self.line & self._last_group),
        ]

    def step(self, m: Module) -> None:
        with m.If(~self.line & ~self.lane):
            m.d.sync += self.lane.eq(1)
        with m.Else():
            m.d.sync += self.lane.eq(0)
            with m.If(self._last_group):
                m.d.sync += [self.line.eq(~self.line), self.group.eq(0), self.offset.eq(0)]
            with m.Else():
                m.d.sync += [
                    self.group.eq(self.group + 1),
                    self.offset.eq(self.offset + self._element),
                ]


def _code(m: Module, values: Signal, bits: Value, i: int, widest: int, name: str) -> Value:
    """The i-th of codes that lie one behind the other, of so many bits each."""
    code = Signal(signed(widest), name=name)
    with m.Switch(bits):
        for width in range(_NARROWEST, widest):
            with m.Case(width):
                m.d.comb += code.eq(values[i * width : (i + 1) * width].as_signed())
        with m.Default():
            m.d.comb += code.eq(values[i * widest : (i + 1) * widest].as_signed())
    return code
