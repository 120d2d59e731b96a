# amaranth: UnusedElaboratable=no
"""Several colour networks side by side, batch after batch."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place
from oleaster.hw.nerf.color import ColorUnit
from oleaster.models.nerf.renderer.config import RendererConfig

__all__ = ["ColorBank"]


class ColorBank(Unit):
    """`networks` colour units, which take a batch each in turn, and give them back in that order.

    A tile's end goes where the batch before it went, unless that was full. So a unit never waits
    for a sample that another one has, and no sample overtakes another (ours).

    Parameters
    ----------
    config: RendererConfig
    tag_bits: int
        Of a sample's tag, which is handed through.

    Members
    -------
    i, o, write_enable, write_address, write_data:
        As in ColorUnit; all units have the same tables.
    """

    def __init__(self, config: RendererConfig, tag_bits: int) -> None:
        self.config = config
        self.tag_bits = tag_bits
        self._units = [
            ColorUnit(
                config.fixed,
                config.network,
                config.color_rows,
                config.color_cols,
                config.color_encoders,
                tag_bits,
            )
            for _ in range(config.networks)
        ]
        unit = self._units[0]
        self.samples = unit.samples
        super().__init__(
            {
                "i": In(stream.Signature(unit.i.payload.shape())),
                "o": Out(stream.Signature(unit.o.payload.shape())),
                "write_enable": In(1),
                "write_address": In(len(unit.write_address)),
                "write_data": In(len(unit.write_data)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"color_bank_{self.config.name}_t{self.tag_bits}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.config.parameters, "tag_bits": self.tag_bits}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i, unit in enumerate(self._units):
            place(
                m,
                f"network_{i}",
                unit,
                platform,
                write_enable=self.write_enable,
                write_address=self.write_address,
                write_data=self.write_data,
            )
        takes = self._turn(m, "takes", self.i)
        gives = self._turn(m, "gives", self.o)
        for i, unit in enumerate(self._units):
            m.d.comb += [
                unit.i.payload.eq(self.i.payload),
                unit.i.valid.eq(self.i.valid & (takes == i)),
                unit.o.ready.eq(self.o.ready & (gives == i)),
            ]
        m.d.comb += [
            self.i.ready.eq(Array(unit.i.ready for unit in self._units)[takes]),
            self.o.valid.eq(Array(unit.o.valid for unit in self._units)[gives]),
            Value.cast(self.o.payload).eq(
                Array(Value.cast(unit.o.payload) for unit in self._units)[gives]
            ),
        ]
        return m

    def _turn(self, m: Module, name: str, words: Any) -> Signal:
        """Whose batch a stream's next word belongs to."""
        turn = Signal(range(self.config.networks), name=name)
        place_in_batch = Signal(range(self.samples), name=f"{name}_place")
        last = words.payload.end | (place_in_batch == self.samples - 1)
        with m.If(words.valid & words.ready):
            m.d.sync += place_in_batch.eq(Mux(last, 0, place_in_batch + 1))
            with m.If(last):
                m.d.sync += turn.eq(Mux(turn == self.config.networks - 1, 0, turn + 1))
        return turn
