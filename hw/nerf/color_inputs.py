"""Products, and the colour network's inputs, to codes: a pair of elements every cycle."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from oleaster.hw.accelerator.layouts import ChannelLayout
from oleaster.hw.emit import Unit, named, place
from oleaster.hw.encoder import OVPEncoder
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Path
from oleaster.hw.nerf.waves import WaveTable
from oleaster.hw.rescaler import Rescaler
from oleaster.models.accelerator.requantize import SATURATION
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.widths import FixedConfig

__all__ = ["ColorInputs", "StepWord"]

_CODE_BITS = 8
_ENTRY = 7
"""Stage in which a product enters, and in which an input is fetched: steps, sources, choice, and
four for the wave."""


class StepWord(data.StructLayout):
    """row: of the batch. step: a pair of products, or behind these a pair of inputs."""

    def __init__(self, shape: NetworkShape, rows: int) -> None:
        super().__init__({"row": range(rows), "step": range(shape.words[0] + shape.words[1])})


class ColorInputs(Unit):
    """`Words` and `Rounding` of a batch's products, and of `encode_inputs` of its features.

    A step is a pair of neighbours of one row; its codes leave PRODUCT_LATENCY cycles later, or
    INPUT_LATENCY. Products and inputs must not be on their way at once.

    Parameters
    ----------
    config: FixedConfig
    shape: NetworkShape
    rows: int
        Samples of a batch.
    columns: int
        Features that are written at once, a power of two, at least 4.

    Members
    -------
    step: In(StepWord)
    product_valid, input_valid: In
        There is a step, of that kind.
    products: In(2 of signed(32))
        Of the step.
    store: In
        Write `values` as features `columns * slot` and on of `store_row`, or, with `slot` behind
        the last features, as its direction.
    store_row, slot, values: In
    write_enable, write_address, write_data: In
        The channel word of an element of a step, the two of step 0 first; `bias` does not count.
    codes: Out(16)
    codes_step: Out(StepWord)
    codes_product, codes_input: Out
        There are codes, of that kind.
    busy: Out
        Steps are on their way.
    """

    PRODUCT_LATENCY = 2 + Rescaler.LATENCY
    INPUT_LATENCY = PRODUCT_LATENCY + _ENTRY

    def __init__(self, config: FixedConfig, shape: NetworkShape, rows: int, columns: int) -> None:
        self.config = config
        self.shape = shape
        self.rows = rows
        self.columns = columns
        self.wave = WaveTable(config, shape.octaves)
        self.wave._MustUse__used = True  # each lane has one of its own
        self.slots = shape.tiles(columns)[0] + 1
        step = StepWord(shape, rows)
        self.step_count = shape.words[0] + shape.words[1]
        value = self.wave.i.payload.value.shape()
        super().__init__(
            {
                "step": In(step),
                "product_valid": In(1),
                "input_valid": In(1),
                "products": In(data.ArrayLayout(signed(Rescaler.SUM_BITS), 2)),
                "store": In(1),
                "store_row": In(range(rows)),
                "slot": In(range(self.slots)),
                "values": In(data.ArrayLayout(value, columns)),
                "write_enable": In(1),
                "write_address": In(range(2 * self.step_count)),
                "write_data": In(ChannelLayout()),
                "codes": Out(2 * _CODE_BITS),
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
        return f"color_inputs_{self.rows}x{self.columns}_{'_'.join(map(str, sizes))}_{widths}"

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
        encoder = OVPEncoder(_CODE_BITS, len(values[0]))
        place(m, "encoder", encoder, platform, even=values[0], odd=values[1])
        m.d.comb += [
            self.codes.eq(flow.step("codes", encoder.pair, last)),
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
        """Multiplier and shift of both elements, in the stage behind `_ENTRY`."""
        channel = ChannelLayout()
        fields = {name: channel[name].width for name in ("multiplier", "shift")}
        entry = data.StructLayout(fields)
        shape = data.ArrayLayout(entry, 2)
        m.submodules.scales = memory = Memory(shape=shape, depth=self.step_count, init=[])
        write = named(memory.write_port(granularity=1), "scales_write")
        read = named(memory.read_port(), "scales_read")
        word = Signal(entry, name="scale")
        m.d.comb += [
            word.multiplier.eq(self.write_data.multiplier),
            word.shift.eq(self.write_data.shift),
            write.addr.eq(self.write_address[1:]),
            write.data.eq(Cat(word, word)),
            write.en.eq(Mux(self.write_enable, Mux(self.write_address[0], 0b10, 0b01), 0)),
            read.addr.eq(flow.at("scaled_step", _ENTRY).step),
        ]
        return read.data

    def _fetched(self, m: Module, platform: object, flow: Flow) -> list[Any]:
        """Both elements of an input step, in stage `_ENTRY`."""
        value = self.values[0].shape()
        source = data.StructLayout(
            {
                "column": range(self.columns),
                "slot": range(self.slots),
                "direction": 1,
                "wave": 1,
                "octave": range(self.shape.octaves),
                "cosine": 1,
            }
        )
        slot_bits = ceil_log2(self.slots)
        m.submodules.kept_values = memory = Memory(
            shape=data.ArrayLayout(value, self.columns), depth=self.rows << slot_bits, init=[]
        )
        write = named(memory.write_port(), "values_write")
        m.d.comb += [
            write.addr.eq(Cat(self.slot, self.store_row)),
            write.data.eq(self.values),
            write.en.eq(self.store),
        ]
        m.submodules.sources = sources = Memory(
            shape=data.ArrayLayout(source, 2), depth=self.step_count, init=self._sources()
        )
        look = named(sources.read_port(), "sources_read")
        m.d.comb += look.addr.eq(self.step.step)
        found = []
        for lane in range(2):
            flow.add(f"source_{lane}", look.data[lane], 1)
            read = named(memory.read_port(), f"values_read_{lane}")
            m.d.comb += read.addr.eq(Cat(look.data[lane].slot, flow.at("step", 1).row))
            chosen = read.data[flow.at(f"source_{lane}", 2).column]
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
        """For each step where both elements come from; products come from elsewhere."""
        nothing = {"column": 0, "slot": 0, "direction": 0, "wave": 0, "octave": 0, "cosine": 0}
        elements = [nothing] * (2 * self.shape.words[0])
        for each in self.shape.sources():
            slot = self.slots - 1 if each.direction else each.element // self.columns
            elements.append(
                {
                    "column": each.element % self.columns,
                    "slot": slot,
                    "direction": int(each.direction),
                    "wave": int(each.wave),
                    "octave": each.octave,
                    "cosine": int(each.cosine),
                }
            )
        elements += [nothing] * (len(elements) % 2)
        return [elements[i : i + 2] for i in range(0, len(elements), 2)]
