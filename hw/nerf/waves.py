"""Sine and cosine of a colour feature, or of a direction's component."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory

from oleaster.hw.emit import named
from oleaster.hw.nerf.flow import Flow
from oleaster.hw.nerf.pipe import Pipe
from oleaster.hw.nerf.rounding import rounded
from oleaster.models.nerf.fixed.network import FEATURE_WIDTH
from oleaster.models.nerf.fixed.tables import TURN, TURN_BITS, sines
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields

__all__ = ["WaveTable"]


class WaveTable(Pipe):
    """`wave` of `models/nerf/fixed/tables.py`: the product by 1 / (2 pi), then a table of sines.

    The table is over the whole circle: a quarter would do, and cost an adder before it and one
    behind it.

    Parameters
    ----------
    config: FixedConfig
        feature_bits, direction_bits, wave_address_bits and wave_bits count.
    octaves: int
        Powers of two that an angle may be multiplied by: 2^0 to 2^(octaves - 1).

    Members
    -------
    i: stream of (value: signed, octave, cosine, direction), In
        direction: the value has direction_bits of fraction; else it is a feature of 16 bits, with
        feature_bits of fraction.
    o: stream of signed(wave_bits + 2), Out
    """

    def __init__(self, config: FixedConfig, octaves: int) -> None:
        self.config = config
        self.octaves = octaves
        value = signed(max(FEATURE_WIDTH, ray_fields(config)["direction"].bits))
        super().__init__(
            data.StructLayout(
                {"value": value, "octave": range(octaves), "cosine": 1, "direction": 1}
            ),
            signed(config.wave_bits + 2),
            latency=4,
        )

    @property
    def module_name(self) -> str:
        c = self.config
        widths = c.feature_bits, c.direction_bits, c.wave_address_bits, c.wave_bits, self.octaves
        return f"wave_table_{'_'.join(map(str, widths))}"

    @property
    def parameters(self) -> dict[str, Any]:
        c = self.config
        return {
            "feature_bits": c.feature_bits,
            "direction_bits": c.direction_bits,
            "wave_address_bits": c.wave_address_bits,
            "wave_bits": c.wave_bits,
            "octaves": self.octaves,
        }

    def compute(self, m: Module, platform: object, word: Any) -> Any:
        c = self.config
        bits = c.wave_address_bits
        # Whole turns do not count, so neither do the product's bits above its fraction.
        fraction = c.direction_bits + TURN_BITS
        m.submodules.sines = table = Memory(
            shape=self.o.payload.shape(), depth=1 << bits, init=sines(bits, c.wave_bits).tolist()
        )
        read = named(table.read_port(domain="sync"), "read")
        flow = Flow(m)
        flow.add("octave", word.octave, 0)
        flow.add("cosine", word.cosine, 0)
        feature = word.value[:FEATURE_WIDTH].as_signed()
        feature = feature.shift_left(c.direction_bits - c.feature_bits)
        value = flow.step("value", Mux(word.direction, word.value, feature), 1)
        turns = flow.step("turns", (value * TURN)[:fraction], 2)
        angle = Signal(fraction)
        m.d.comb += angle.eq(turns << flow.at("octave", 2))
        quarter = flow.at("cosine", 2) << (bits - 2)
        phase = (rounded(angle, fraction - bits) + quarter)[:bits]
        m.d.comb += read.addr.eq(flow.step("phase", phase, 3))
        return read.data
