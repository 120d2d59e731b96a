"""The colour network on the OVP array: a batch of samples through four products of matrices."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from oleaster.hw.array import SystolicArray
from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.color_inputs import ColorInputs
from oleaster.hw.nerf.color_operands import LANE, TABLE_BITS, ColorOperands
from oleaster.hw.nerf.color_outputs import ColorOutputs
from oleaster.hw.nerf.color_sums import ColorSums
from oleaster.hw.rescaler import Rescaler
from oleaster.models.nerf.fixed.network_shape import COLORS, NetworkShape
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields

__all__ = ["ColorUnit"]

_LAST_STAGE = 3


class State(enum.Enum):
    """What a batch is at. SETTLE: the last codes of its products or inputs are on their way."""

    LOAD = 0
    SETTLE = 1
    MULTIPLY = 2
    ENCODE = 3
    GIVE = 4


class ColorUnit(Unit):
    """`FixedNetwork` of `models/nerf/fixed/network.py`, with ovp8, `rows / 2` samples at once.

    Products become codes as samples come; then a batch passes basis, encoding of the inputs and
    three layers, one after the other. `sim/nerf/color.py` has the cycles and the tables.

    Parameters
    ----------
    config: FixedConfig
    shape: NetworkShape
    rows, cols: int
        PEs of the array, of which four make an element: `rows` even, at least 4, `cols` a power of
        two, at least 8.
    encoders: int
        Pairs of products, or of inputs, that become codes in a cycle: a power of two, at most
        `cols / 4`.
    tag_bits: int
        Of a sample's tag, which is handed through.

    Raises ValueError for `rows`, `cols` or `encoders` that cannot be.

    Members
    -------
    i: stream of (product: of signed(32), direction: 3, end, tag), In
        end: no sample; a batch that is not full need not wait for more. It leaves behind all
        samples before it.
    o: stream of (color: 3 of color_bits + 1, end, tag), Out
    write_enable, write_address, write_data: In
        A word of the tables (`NetworkShape.regions`), while no sample is in the unit.
    """

    def __init__(
        self,
        config: FixedConfig,
        shape: NetworkShape,
        rows: int,
        cols: int,
        encoders: int,
        tag_bits: int,
    ) -> None:
        if rows < 4 or rows % 2:
            raise ValueError(f"rows is {rows}; it must be even and at least 4")
        if cols < 8 or cols & (cols - 1):
            raise ValueError(f"cols is {cols}; it must be a power of two, at least 8")
        if not 1 <= encoders <= cols // 4 or encoders & (encoders - 1):
            raise ValueError(
                f"encoders is {encoders}; it must be a power of two, at most cols / 4 = {cols // 4}"
            )
        self.config = config
        self.shape = shape
        self.rows = rows
        self.cols = cols
        self.encoders = encoders
        self.steps = shape.steps(encoders)
        self.tag_bits = tag_bits
        self.samples = rows // LANE.group
        self.columns = cols // LANE.group
        self.tiles = shape.tiles(self.columns)
        self.regions = shape.regions(self.columns, config, encoders)
        self._products = data.ArrayLayout(signed(Rescaler.SUM_BITS), shape.products)
        self._direction = signed(ray_fields(config)["direction"].bits)
        sample = {
            "product": self._products,
            "direction": data.ArrayLayout(self._direction, COLORS),
            "end": 1,
            "tag": tag_bits,
        }
        color = data.ArrayLayout(config.color_bits + 1, COLORS)
        words = sum(region.size for region in self.regions.values())
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(sample))),
                "o": Out(
                    stream.Signature(data.StructLayout({"color": color, "end": 1, "tag": tag_bits}))
                ),
                "write_enable": In(1),
                "write_address": In(range(words)),
                "write_data": In(TABLE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        return f"color_unit_{'_'.join(str(value) for value in self.parameters.values())}"

    @property
    def parameters(self) -> dict[str, Any]:
        c, s = self.config, self.shape
        widths = (
            "feature_bits",
            "direction_bits",
            "wave_address_bits",
            "wave_bits",
            "logit_bits",
            "sigmoid_address_bits",
            "color_bits",
        )
        return {
            "rows": self.rows,
            "cols": self.cols,
            "encoders": self.encoders,
            "products": s.products,
            "features": s.features,
            "feature_octaves": s.feature_octaves,
            "direction_octaves": s.direction_octaves,
            "hidden": s.hidden,
            **{name: getattr(c, name) for name in widths},
            "tag_bits": self.tag_bits,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = ColorInputs(self.config, self.shape, self.samples, self.columns, self.encoders)
        operands = ColorOperands(self.shape.words, self.tiles, self.samples, self.columns)
        array = SystolicArray(LANE, LANE, self.rows, self.cols, Rescaler.SUM_BITS)
        sums = ColorSums(self.tiles, self.samples, self.columns)
        outputs = ColorOutputs(self.config, self.samples, self.tag_bits)
        place(m, "inputs", inputs, platform)
        place(m, "operands", operands, platform)
        place(m, "array", array, platform, clear=Const(0, 1))
        place(m, "sums", sums, platform)
        place(m, "outputs", outputs, platform)
        connect(m, operands.a, array.a)
        connect(m, operands.b, array.b)
        connect(m, array.sums, sums.sums)
        connect(m, outputs.o, flipped(self.o))
        self._write(m, weights=operands, channels=sums, inputs=inputs, sigmoid=outputs)
        self._store(m, inputs, operands, sums, outputs)

        state = Signal(State)
        stage = Signal(range(_LAST_STAGE + 1))
        count = Signal(range(self.samples + 1))
        has_end = Signal()
        end_tag = Signal(self.tag_bits, reset_less=True)
        m.d.comb += [
            operands.stage.eq(stage),
            outputs.run.eq(state == State.GIVE),
            outputs.count.eq(count),
            outputs.has_end.eq(has_end),
            outputs.end_tag.eq(end_tag),
        ]
        with m.Switch(state):
            with m.Case(State.LOAD):
                self._load(m, inputs, outputs, state, count, has_end, end_tag)
            with m.Case(State.SETTLE), m.If(~inputs.busy):
                m.d.comb += operands.start.eq(1)
                m.d.sync += state.eq(State.MULTIPLY)
            with m.Case(State.MULTIPLY), m.If(sums.ends):
                m.d.sync += stage.eq(stage + 1)
                with m.If(stage == 0):
                    m.d.sync += state.eq(State.ENCODE)
                with m.Elif(stage == _LAST_STAGE):
                    m.d.sync += state.eq(State.GIVE)
                with m.Else():
                    m.d.comb += operands.start.eq(1)
            with m.Case(State.ENCODE):
                self._encode(m, inputs, state, count)
            with m.Case(State.GIVE), m.If(outputs.done):
                m.d.sync += [state.eq(State.LOAD), count.eq(0), has_end.eq(0)]
        return m

    def _write(self, m: Module, **tables: Any) -> None:
        """Each region of the addresses to its table; they follow each other without a gap."""
        beyond: Any = 1
        last = [*tables][-1]
        for name, unit in tables.items():
            start, size = self.regions[name]
            here = Signal(name=f"{name}_here")
            offset = Signal(unit.write_address.shape(), name=f"{name}_offset")
            word = Value.cast(unit.write_data)
            below = self.write_address < start + size if name != last else 1
            m.d.comb += [
                here.eq(self.write_enable & beyond & below),
                offset.eq(self.write_address - start),
                unit.write_enable.eq(here),
                unit.write_address.eq(offset),
                word.eq(self.write_data[: len(word)]),
            ]
            beyond = self.write_address >= start + size

    def _store(
        self,
        m: Module,
        inputs: ColorInputs,
        operands: ColorOperands,
        sums: ColorSums,
        outputs: ColorOutputs,
    ) -> None:
        """Codes to the operand of the stage that reads them; logits to the outputs."""
        step = Signal(range(max(self.steps)), name="stored_step")
        coded = inputs.codes_step.step
        m.d.comb += step.eq(Mux(inputs.codes_input, coded - self.steps[0], coded))
        banks = operands.banks
        groups = banks // self.encoders
        group_bits = exact_log2(groups)
        group = Signal(groups, name="stored_group")
        m.d.comb += group.eq(1 << step[:group_bits])
        one = inputs.codes_product | inputs.codes_input
        every = sums.codes_valid & (sums.codes_stage != 0) & (sums.codes_stage != _LAST_STAGE)
        with m.If(one):
            m.d.comb += [
                operands.store.eq(Cat(bit.replicate(self.encoders) for bit in group)),
                operands.store_odd.eq(inputs.codes_input),
                operands.store_row.eq(inputs.codes_step.row),
                operands.store_place.eq(step[group_bits:]),
                operands.codes.eq(inputs.codes.replicate(groups)),
            ]
        with m.Else():
            m.d.comb += [
                operands.store.eq(every.replicate(banks)),
                operands.store_odd.eq(~sums.codes_stage[0]),
                operands.store_row.eq(sums.codes_row),
                operands.store_place.eq(sums.codes_tile),
                operands.codes.eq(sums.codes),
            ]
        m.d.comb += [
            outputs.store.eq(sums.value_valid & (sums.value_stage == _LAST_STAGE)),
            outputs.store_row.eq(sums.value_row),
            *(outputs.logits[i].eq(sums.values[i]) for i in range(COLORS)),
        ]
        with m.If(sums.value_valid & (sums.value_stage == 0)):
            m.d.comb += [
                inputs.store.eq(1),
                inputs.store_row.eq(sums.value_row),
                inputs.slot.eq(sums.value_tile),
                *(inputs.values[i].eq(sums.values[i]) for i in range(self.columns)),
            ]

    def _load(
        self,
        m: Module,
        inputs: ColorInputs,
        outputs: ColorOutputs,
        state: Signal,
        count: Signal,
        has_end: Signal,
        end_tag: Signal,
    ) -> None:
        """A sample, and its products in steps; all is ready when the batch is complete."""
        word = self.i.payload
        steps = self.steps[0]
        bits = len(inputs.products.as_value())
        filling = Signal()
        step = Signal(range(steps), name="product_step")
        products = Signal(steps * bits, reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~filling),
            inputs.product_valid.eq(filling),
            inputs.step.row.eq(count),
            inputs.step.step.eq(step),
            inputs.products.eq(products),
        ]
        with m.If(filling):
            m.d.sync += [step.eq(step + 1), products.eq(products >> bits)]
            with m.If(step == steps - 1):
                m.d.sync += [step.eq(0), filling.eq(0), count.eq(count + 1)]
                with m.If(count == self.samples - 1):
                    m.d.sync += state.eq(State.SETTLE)
        with m.Elif(self.i.valid):
            with m.If(word.end):
                m.d.sync += [has_end.eq(1), end_tag.eq(word.tag)]
                m.d.sync += state.eq(Mux(count == 0, State.GIVE, State.SETTLE))
            with m.Else():
                m.d.sync += [filling.eq(1), products.eq(word.product)]
                m.d.comb += [
                    outputs.tag_store.eq(1),
                    inputs.store.eq(1),
                    inputs.store_row.eq(count),
                    inputs.slot.eq(inputs.slots - 1),
                    *(inputs.values[i].eq(word.direction[i]) for i in range(COLORS)),
                ]
        m.d.comb += [outputs.tag_row.eq(count), outputs.tag.eq(word.tag)]

    def _encode(self, m: Module, inputs: ColorInputs, state: Signal, count: Signal) -> None:
        """The first layer's inputs, step by step and sample by sample."""
        first, steps = self.steps
        row = Signal(range(self.samples))
        step = Signal(range(steps), name="input_step")
        m.d.comb += [
            inputs.input_valid.eq(1),
            inputs.step.row.eq(row),
            inputs.step.step.eq(first + step),
        ]
        m.d.sync += step.eq(step + 1)
        with m.If(step == steps - 1):
            m.d.sync += [step.eq(0), row.eq(row + 1)]
            with m.If(row + 1 == count):
                m.d.sync += [row.eq(0), state.eq(State.SETTLE)]
