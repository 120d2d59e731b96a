# amaranth: UnusedElaboratable=no
"""The renderer: AXI4-Lite in, AXI4 out, a scene's image made in between."""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out, connect

from oleaster.hw.axi import AXI_LITE_PORTS, axi_ports, drive_bursts
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.hw.nerf.renderer.control import RenderControl
from oleaster.hw.nerf.renderer.layouts import ConstantsWord
from oleaster.hw.nerf.renderer.loader import ListLoader, constants_beats
from oleaster.hw.nerf.renderer.sequencer import RenderSequencer
from oleaster.hw.nerf.renderer.tile import TileRenderer
from oleaster.hw.nerf.renderer.writer import PixelWriter
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, Target

__all__ = ["NerfRenderer"]


class NerfRenderer(Block[RendererConfig]):
    """Renders images of a scene that it keeps (DESIGN section 4; ours).

    The data sheet, docs/nerf-accelerator.md, gives registers and lists; `TileRenderer` is what
    computes.

    Parameters
    ----------
    config: RendererConfig

    Members
    -------
    s_axi_*: AXI4-Lite, 32 bits
        Registers.
    m_axi_*: AXI4 master
        INCR bursts of whole beats; ID 0; answers are taken at any time.
    interrupt: Out(1)
        Level.
    busy: Out(1)
        A command runs.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__(
            "nerf_renderer",
            config,
            {
                **AXI_LITE_PORTS,
                **axi_ports(config.data_bits, config.address_bits),
                "interrupt": Out(1),
                "busy": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        # Units need each other's outputs, so all are there before the first is placed.
        control = RenderControl(config)
        sequencer = RenderSequencer(config)
        loader = ListLoader(config)
        renderer = TileRenderer(config)
        writer = PixelWriter(config)
        pixel_taken = Signal()
        m.d.comb += pixel_taken.eq(renderer.pixel.valid & renderer.pixel.ready)

        place(
            m,
            "control",
            control,
            platform,
            **{
                name: getattr(self, name)
                for name, port in AXI_LITE_PORTS.items()
                if port.flow == In
            },
            busy=sequencer.busy,
            loaded=sequencer.loaded,
            done=sequencer.done,
            error=sequencer.error,
            cause=sequencer.cause,
            entry=loader.entry,
            faults=renderer.faults,
            read_beat=self.m_axi_rvalid,
            write_beat=self.m_axi_wvalid & self.m_axi_wready,
            tile_done=sequencer.tile_done,
            events=renderer.events,
        )
        m.d.comb += [
            *(
                getattr(self, name).eq(getattr(control, name))
                for name, port in AXI_LITE_PORTS.items()
                if port.flow == Out
            ),
            self.interrupt.eq(control.interrupt),
            self.busy.eq(sequencer.busy),
        ]
        place(
            m,
            "sequencer",
            sequencer,
            platform,
            load=control.load,
            render=control.render,
            output=control.output,
            width=control.width,
            height=control.height,
            list_done=loader.done,
            list_error=loader.error,
            list_cause=loader.cause,
            pixel_taken=pixel_taken,
            fault=renderer.faults.any(),
            writes_idle=writer.idle,
            writes_error=writer.error,
        )
        list_address = Signal(config.address_bits)
        with m.If(sequencer.list_frame):
            m.d.comb += list_address.eq(control.frame)
        with m.Else():
            m.d.comb += list_address.eq(control.scene)
        place(
            m,
            "loader",
            loader,
            platform,
            start=sequencer.list_start,
            list_address=list_address,
            frame=sequencer.list_frame,
            beat_valid=self.m_axi_rvalid,
            beat=Cat(self.m_axi_rdata, self.m_axi_rresp[1], self.m_axi_rlast),
        )
        place(
            m,
            "renderer",
            renderer,
            platform,
            constants=self._constants(m, loader),
            write=loader.write,
            write_valid=loader.write_valid,
            clear=control.clear,
        )
        place(
            m,
            "writer",
            writer,
            platform,
            start=sequencer.frame_start,
            output=control.output,
            tiles_across=sequencer.tiles_across,
            b_valid=self.m_axi_bvalid,
            b_error=self.m_axi_bresp[1],
        )
        connect(m, sequencer.tile, renderer.tile)
        connect(m, renderer.pixel, writer.pixel)
        self._bus(m, loader, writer)
        return m

    def _constants(self, m: Module, loader: ListLoader) -> Value:
        """Registers that the loader fills, beat by beat."""
        beats = []
        layout = ConstantsWord(self.config)
        is_ours = loader.write_valid & (loader.write.target == Target.CONSTANTS)
        for number in range(constants_beats(self.config)):
            size = min(ITEM_BITS[0], layout.size - number * ITEM_BITS[0])
            beat = Signal(size, name=f"constants_{number}", reset_less=True)
            with m.If(is_ours & (loader.write.address == number)):
                m.d.sync += beat.eq(loader.write.data)
            beats.append(beat)
        return Cat(beats)

    def _bus(self, m: Module, loader: ListLoader, writer: PixelWriter) -> None:
        m.d.comb += [
            self.m_axi_arvalid.eq(loader.ar.valid),
            self.m_axi_araddr.eq(loader.ar.payload.address),
            self.m_axi_arlen.eq(loader.ar.payload.length),
            loader.ar.ready.eq(self.m_axi_arready),
            self.m_axi_rready.eq(1),
            self.m_axi_awvalid.eq(writer.aw.valid),
            self.m_axi_awaddr.eq(writer.aw.payload.address),
            self.m_axi_awlen.eq(writer.aw.payload.length),
            writer.aw.ready.eq(self.m_axi_awready),
            self.m_axi_wvalid.eq(writer.w.valid),
            self.m_axi_wdata.eq(writer.w.payload.data),
            self.m_axi_wstrb.eq(writer.w.payload.strobe),
            self.m_axi_wlast.eq(writer.w.payload.last),
            writer.w.ready.eq(self.m_axi_wready),
            self.m_axi_bready.eq(1),
        ]
        drive_bursts(m, self)
