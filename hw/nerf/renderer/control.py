"""The renderer's registers on AXI4-Lite. All of this is ours; the bus rules are Arm's."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from oleaster.hw.axi import AXI_LITE_PORTS, RegisterWrite, read_registers, take_writes
from oleaster.hw.block import Block
from oleaster.hw.nerf.renderer.layouts import EventsWord
from oleaster.hw.nerf.renderer.loader import constants_beats
from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.events import EVENTS
from oleaster.models.nerf.renderer.registers import (
    CAUSE_BITS,
    ID,
    REGISTERS,
    Cause,
    ControlBit,
    InterruptBit,
    Status,
    event_register,
    register_offset,
)
from oleaster.models.nerf.renderer.scene_list import MOST_ENTRIES
from oleaster.models.nerf.renderer.targets import PAIRS

__all__ = ["COUNTED", "RenderControl"]

COUNTED = {"read_beat": "READ_BEATS", "write_beat": "WRITE_BEATS", "tile_done": "TILES"}
"""Input port -> the register that counts the cycles in which it is high, beside `EVENTS`."""

_ADDRESSES = {"scene": "SCENE", "frame": "FRAME", "output": "OUTPUT"}


class RenderControl(Block[RendererConfig]):
    """Identification, addresses, commands, status, counters, interrupt.

    The bus side is as in the accelerator's Control. SLVERR and no effect: an unmapped address, a
    write to a read-only register, a command while `busy` or while STATUS.ERROR is set, a clear
    while `busy`. Bits 1:0 of an address are not looked at.

    Parameters
    ----------
    config: RendererConfig

    Members
    -------
    s_axi_*: the AXI4-Lite port
    scene, frame, output: Out
        Addresses, as written.
    width, height: Out(32)
    load, render: Out(1)
        Pulses: a command begins. `busy` must rise in the next cycle.
    clear: Out(1)
        Pulse: with commands, too. Faults are forgotten.
    interrupt: Out(1)
        Level, from the cycle after `done` or `error` on.
    busy, loaded: In(1)
    done, error: In(1)
        Pulses: the command has come to its end, or has stopped for `cause`.
    cause: In
        With `error`.
    entry: In
        What ENTRY shows.
    faults: In
        What FAULTS shows.
    read_beat, write_beat, tile_done: In(1)
    events: In(EventsWord)
        Each is counted in every cycle in which it is high; `load` and `render` zero all counters.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__(
            "render_control",
            config,
            {
                **AXI_LITE_PORTS,
                **{name: Out(config.address_bits) for name in _ADDRESSES},
                "width": Out(32),
                "height": Out(32),
                "load": Out(1),
                "render": Out(1),
                "clear": Out(1),
                "interrupt": Out(1),
                "busy": In(1),
                "loaded": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(CAUSE_BITS),
                "entry": In(range(MOST_ENTRIES)),
                "faults": In(2 * PAIRS * len(Fault)),
                **{port: In(1) for port in COUNTED},
                "events": In(EventsWord()),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        of = self.config
        writable = {"INTERRUPT_ENABLE": Signal(len(InterruptBit), name="interrupt_enable")}
        for port, name in _ADDRESSES.items():
            low = Signal(32, name=f"{port}_low")
            high = Signal(of.address_bits - 32, name=f"{port}_high")
            writable |= {f"{name}_LOW": low, f"{name}_HIGH": high}
            m.d.comb += getattr(self, port).eq(Cat(low, high))
        for port in ("width", "height"):
            writable[port.upper()] = getattr(self, port)
        done = Signal(name="status_done")
        failed = Signal(name="status_error")
        cause = Signal(CAUSE_BITS, name="stopped_by")
        self._writes(m, take_writes(m, self), writable, failed)

        # Software's reset comes first, so that an event of the same cycle is not lost.
        with m.If(self.clear):
            m.d.sync += [done.eq(0), failed.eq(0), cause.eq(Cause.NONE)]
        with m.If(self.done):
            m.d.sync += done.eq(1)
        with m.If(self.error):
            m.d.sync += [failed.eq(1), cause.eq(self.cause)]
        enable = writable["INTERRUPT_ENABLE"]
        m.d.comb += self.interrupt.eq(
            (done & enable[InterruptBit.DONE]) | (failed & enable[InterruptBit.ERROR])
        )
        bits = {
            Status.BUSY: self.busy,
            Status.DONE: done,
            Status.ERROR: failed,
            Status.INTERRUPT: self.interrupt,
            Status.LOADED: self.loaded,
        }
        read_registers(
            m,
            self,
            REGISTERS,
            {
                **writable,
                **self._counters(m),
                "ID": Const(ID, 32),
                "BUS": _halves(of.data_bits, of.address_bits),
                "BURSTS": _halves(OUTSTANDING, BURST_BEATS),
                "TILE": Const(1 << of.tile_bits, 32),
                "NETWORK": Const(self._network(), 32),
                "LATTICE": _halves(of.axis_bits, of.cell_bits),
                "CUBES": Const(of.cube_depth | of.cube_word << 24, 32),
                "BLOCKS": Const(of.block_depth | of.block_word << 24, 32),
                "DENSITY_WORDS": Const(of.density_words, 32),
                "COLOR_WORDS": Const(of.color_words, 32),
                "COMPONENTS": _halves(of.density_components, of.color_components),
                "CONSTANTS": Const(constants_beats(of), 32),
                "STATUS": Cat(bits[bit] for bit in Status),
                "CAUSE": cause,
                "FAULTS": self.faults,
                "ENTRY": self.entry,
            },
        )
        return m

    def _network(self) -> int:
        of = self.config
        encoders = exact_log2(of.color_encoders)
        return of.color_rows | of.color_cols << 10 | encoders << 20 | of.networks << 24

    def _writes(
        self, m: Module, write: RegisterWrite, writable: dict[str, Signal], failed: Signal
    ) -> None:
        with m.Switch(write.word):
            for name, signal in writable.items():
                with m.Case(register_offset(name) >> 2):
                    write.into(m, signal)
            with m.Case(register_offset("CONTROL") >> 2), m.If(write.strobe[0]):
                begins = write.act & ~write.refused
                with m.If(write.data[ControlBit.LOAD]):
                    m.d.comb += [write.refused.eq(self.busy | failed), self.load.eq(begins)]
                with m.Elif(write.data[ControlBit.RENDER]):
                    m.d.comb += [write.refused.eq(self.busy | failed), self.render.eq(begins)]
                with m.Elif(write.data[ControlBit.CLEAR]):
                    m.d.comb += write.refused.eq(self.busy)
                m.d.comb += self.clear.eq(begins & write.data[: len(ControlBit)].any())
            with m.Default():
                m.d.comb += write.refused.eq(1)

    def _counters(self, m: Module) -> dict[str, Value]:
        counted = {name: getattr(self, port) for port, name in COUNTED.items()}
        counted |= {event_register(event): self.events[event] for event in EVENTS}
        counters: dict[str, Value] = {}
        begins = self.load | self.render
        for name, event in counted.items():
            counter = Signal(32, name=f"count_of_{name.lower()}")
            with m.If(event):
                m.d.sync += counter.eq(counter + 1)
            with m.If(begins):
                m.d.sync += counter.eq(0)
            counters[name] = counter
        cycles = Signal(64)
        with m.If(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(begins):
            m.d.sync += cycles.eq(0)
        return {**counters, "CYCLES_LOW": cycles[:32], "CYCLES_HIGH": cycles[32:]}


def _halves(low: int, high: int) -> Const:
    return Const(low | high << 16, 32)
