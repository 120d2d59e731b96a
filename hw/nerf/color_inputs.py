"""Products, and the colour network's inputs, to codes: some pairs of elements every cycle."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from oleaster.hw.accelerator.layouts import ChannelLayout
from oleaster.hw.emit import Unit, named, place
from oleaster.hw.encoder import OVPEncoder
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Path
from oleaster.hw.nerf.waves import WaveTable
from oleaster.hw.rescaler import Rescaler
from oleaster.models.accelerator.requantize import SATURATION
from oleaster.models.nerf.fixed.network_shape import COLORS, NetworkShape
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = ["ColorInputs", "StepWord"]

_CODE_BITS = 8
_ENTRY = 7
"""Stage in which a product enters, and in which an input is fetched: steps, sources, choice, and
four for the wave."""


class StepWord(data.StructLayout):
    """row: of the batch. step: of products, or behind these of inputs."""

    def __init__(self, shape: NetworkShape, rows: int, encoders: int) -> None:
        super().__init__({"row": range(rows), "step": range(sum(shape.steps(encoders)))})


class ColorInputs(Unit):
    """`Words` and `Rounding` of a batch's products, and of `encode_inputs` of its features.

    A step is `encoders` pairs of neighbours of one row; its codes leave PRODUCT_LATENCY cycles
    later, or INPUT_LATENCY. Those beyond the last product or input mean nothing. Products and
    inputs must not be on their way at once.

    Parameters
    ----------
    config: FixedConfig
    shape: NetworkShape
    rows: int
        Samples of a batch.
    columns: int
        Features that are written at once, a power of two, at least 4.
    encoders: int
        A power of two.

    Members
    -------
    step: In(StepWord)
    product_valid, input_valid: In
        There is a step, of that kind.
    products: In(2 encoders of signed(32))
        Of the step.
    store: In
        Write `values` as features `columns * slot` and on of `store_row`, or, with `slot` behind
        the last features, as its direction.
    store_row, slot, values: In
    write_enable, write_address, write_data: In
        The channel word of an element of a step, those of step 0 first; `bias` does not count.
    codes: Out(16 encoders)
    codes_step: Out(StepWord)
    codes_product, codes_input: Out
        There are codes, of that kind.
    busy: Out
        Steps are on their way.
    """

    PRODUCT_LATENCY = 2 + Rescaler.LATENCY
    INPUT_LATENCY = PRODUCT_LATENCY + _ENTRY

    def __init__(
        self, config: FixedConfig, shape: NetworkShape, rows: int, columns: int, encoders: int
    ) -> None:
        self.config = config
        self.shape = shape
        self.rows = rows
        self.columns = columns
        self.encoders = encoders
        self.lanes = 2 * encoders
        self.wave = WaveTable(config, shape.octaves)
        self.wave._MustUse__used = True  # each lane has one of its own
        self.slots = shape.tiles(columns)[0] + 1
        step = StepWord(shape, rows, encoders)
        self.step_count = sum(shape.steps(encoders))
        value = self.wave.i.payload.value.shape()
        super().__init__(
            {
                "step": In(step),
                "product_valid": In(1),
                "input_valid": In(1),
                "products": In(data.ArrayLayout(signed(Rescaler.SUM_BITS), self.lanes)),
                "store": In(1),
                "store_row": In(range(rows)),
                "slot": In(range(self.slots)),
                "values": In(data.ArrayLayout(value, columns)),
                "write_enable": In(1),
                "write_address": In(range(self.lanes * self.step_count)),
                "write_data": In(ChannelLayout()),
                "codes": Out(self.lanes * _CODE_BITS),
                "codes_step": Out(step),
                "codes_product": Out(1),
                "codes_input": Out(1),
                "busy": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        s = self.shape
        sizes = s.products, s.features, s.feature_octaves, s.direction_octaves
        widths = self.wave.module_name.removeprefix("wave_table_")
        lanes = f"{self.rows}x{self.columns}x{self.encoders}"
        return f"color_inputs_{lanes}_{'_'.join(map(str, sizes))}_{widths}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            **self.wave.parameters,
            "products": self.shape.products,
            "features": self.shape.features,
            "feature_octaves": self.shape.feature_octaves,
            "direction_octaves": self.shape.direction_octaves,
            "rows": self.rows,
            "columns": self.columns,
            "encoders": self.encoders,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow = Flow(m)
        last = _ENTRY + self.PRODUCT_LATENCY
        flow.add("step", self.step, 0)
        flow.add("input_valid", self.input_valid, 0, reset_less=False)
        is_input = flow.at("input_valid", _ENTRY)
        flow.add("product_valid", self.product_valid, _ENTRY, reset_less=False)
        # Products skip the stages that fetch an input.
        scaled = Mux(is_input, flow.at("step", _ENTRY), self.step)
        flow.add("scaled_step", data.View(self.step.shape(), scaled), _ENTRY)

        scales = self._scales(m, flow)
        values = []
        for lane, fetched in enumerate(self._fetched(m, platform, flow)):
            chosen = Mux(is_input, fetched, self.products[lane])
            operand = flow.step(f"operand_{lane}", chosen, _ENTRY + 1)
            rescaler = Rescaler()
            place(
                m,
                f"rescaler_{lane}",
                rescaler,
                platform,
                sum=operand,
                bias=Const(0, rescaler.bias.shape()),
                multiplier=scales[lane].multiplier,
                shift=scales[lane].shift,
                limit=Const(SATURATION, rescaler.limit.shape()),
                relu=Const(0, 1),
            )
            values.append(rescaler.value)
        pairs = []
        for i in range(self.encoders):
            encoder = OVPEncoder(_CODE_BITS, len(values[0]))
            even, odd = values[2 * i : 2 * i + 2]
            place(m, f"encoder_{i}", encoder, platform, even=even, odd=odd)
            pairs.append(encoder.pair)
        m.d.comb += [
            self.codes.eq(flow.step("codes", Cat(pairs), last)),
            self.codes_step.eq(flow.at("scaled_step", last)),
            self.codes_product.eq(flow.at("product_valid", last)),
            self.codes_input.eq(flow.at("input_valid", last)),
            self.busy.eq(
                Cat(
                    *(flow.at("input_valid", stage) for stage in range(1, last + 1)),
                    *(flow.at("product_valid", stage) for stage in range(_ENTRY + 1, last + 1)),
                ).any()
            ),
        ]
        return m

    def _scales(self, m: Module, flow: Flow) -> Any:
        """Multiplier and shift of each element, in the stage behind `_ENTRY`."""
        channel = ChannelLayout()
        fields = {name: channel[name].width for name in ("multiplier", "shift")}
        entry = data.StructLayout(fields)
        shape = data.ArrayLayout(entry, self.lanes)
        lane_bits = exact_log2(self.lanes)
        m.submodules.scales = memory = Memory(shape=shape, depth=self.step_count, init=[])
        write = named(memory.write_port(granularity=1), "scales_write")
        read = named(memory.read_port(), "scales_read")
        word = Signal(entry, name="scale")
        m.d.comb += [
            word.multiplier.eq(self.write_data.multiplier),
            word.shift.eq(self.write_data.shift),
            write.addr.eq(self.write_address[lane_bits:]),
            write.data.eq(word.as_value().replicate(self.lanes)),
            write.en.eq(Mux(self.write_enable, 1 << self.write_address[:lane_bits], 0)),
            read.addr.eq(flow.at("scaled_step", _ENTRY).step),
        ]
        return read.data

    def _fetched(self, m: Module, platform: object, flow: Flow) -> list[Any]:
        """The elements of a step of inputs, in stage `_ENTRY`."""
        value = self.values[0].shape()
        source = data.StructLayout(
            {
                "value": range(self.shape.features + COLORS),
                "direction": 1,
                "wave": 1,
                "octave": range(self.shape.octaves),
                "cosine": 1,
            }
        )
        slot = data.ArrayLayout(value, self.columns)
        m.submodules.kept_values = memory = Memory(
            shape=data.ArrayLayout(slot, self.slots), depth=self.rows, init=[]
        )
        write = named(memory.write_port(granularity=1), "values_write")
        read = named(memory.read_port(), "values_read")
        m.d.comb += [
            write.addr.eq(self.store_row),
            write.data.eq(self.values.as_value().replicate(self.slots)),
            write.en.eq(Mux(self.store, 1 << self.slot, 0)),
        ]
        m.submodules.sources = sources = Memory(
            shape=data.ArrayLayout(source, self.lanes), depth=self.step_count, init=self._sources()
        )
        look = named(sources.read_port(), "sources_read")
        m.d.comb += [look.addr.eq(self.step.step), read.addr.eq(flow.at("step", 1).row)]
        # A row's features, then its direction.
        kept = [read.data[i // self.columns][i % self.columns] for i in range(self.shape.features)]
        kept += [read.data[self.slots - 1][i] for i in range(COLORS)]
        found = []
        for lane in range(self.lanes):
            flow.add(f"source_{lane}", look.data[lane], 1)
            chosen = Array(kept)[flow.at(f"source_{lane}", 2).value]
            fetched = flow.step(f"value_{lane}", chosen, 3)
            wave = Path(WaveTable(self.config, self.shape.octaves))
            place(m, f"wave_{lane}", wave, platform)
            at = flow.at(f"source_{lane}", 3)
            m.d.comb += [
                wave.i.value.eq(fetched),
                *(wave.i[name].eq(at[name]) for name in ("octave", "cosine", "direction")),
            ]
            is_wave = flow.at(f"source_{lane}", _ENTRY).wave
            found.append(Mux(is_wave, wave.o, flow.at(f"value_{lane}", _ENTRY)))
        return found

    def _sources(self) -> list[Any]:
        """For each step where its elements come from; products come from elsewhere."""
        nothing = {"value": 0, "direction": 0, "wave": 0, "octave": 0, "cosine": 0}
        elements = [nothing] * (self.lanes * self.shape.steps(self.encoders)[0])
        for each in self.shape.sources():
            elements.append(
                {
                    "value": each.element + self.shape.features * each.direction,
                    "direction": int(each.direction),
                    "wave": int(each.wave),
                    "octave": each.octave,
                    "cosine": int(each.cosine),
                }
            )
        elements += [nothing] * (-len(elements) % self.lanes)
        return [elements[i : i + self.lanes] for i in range(0, len(elements), self.lanes)]
