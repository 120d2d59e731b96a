"""The accelerator: AXI4-Lite in, AXI4 out, a list of GEMMs done in between."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out, connect

from oleaster.hw.accelerator.control import Control
from oleaster.hw.accelerator.feeder import Feeder
from oleaster.hw.accelerator.loader import Loader
from oleaster.hw.accelerator.output_stage import OutputStage
from oleaster.hw.accelerator.scratchpad import ScratchpadLane
from oleaster.hw.accelerator.sequencer import Sequencer
from oleaster.hw.array import SystolicArray
from oleaster.hw.axi import AXI_LITE_PORTS, axi_ports, drive_bursts
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.models.accelerator.config import AcceleratorConfig

__all__ = ["OliveAccelerator"]


class OliveAccelerator(Block[AcceleratorConfig]):
    """A systolic array that runs a linked list of GEMM descriptors (DESIGN section 3; ours).

    The data sheet, docs/accelerator.md, gives registers, descriptors and timing.

    Parameters
    ----------
    config: AcceleratorConfig

    Members
    -------
    s_axi_*: AXI4-Lite, 32 bits
        Registers.
    m_axi_*: AXI4 master
        INCR bursts of whole beats; ID 0; answers are taken at any time.
    interrupt: Out(1)
        Level.
    busy: Out(1)
        A list runs.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "olive_accelerator",
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
        control = Control(config)
        sequencer = Sequencer(config)
        loader = Loader(config)
        feeder = Feeder(config)
        array = SystolicArray(config.lane_a, config.lane_b, config.rows, config.cols)
        output = OutputStage(config)
        plan = sequencer.plan
        run = {"reset": sequencer.reset, "start": sequencer.start, "abort": sequencer.abort}
        beat = {
            "beat_valid": self.m_axi_rvalid,
            "beat": Cat(self.m_axi_rdata, self.m_axi_rresp[1], self.m_axi_rlast),
        }

        place(
            m,
            "control",
            control,
            platform,
            **_of(self, [name for name, port in AXI_LITE_PORTS.items() if port.flow == In]),
            **_of(sequencer, ["busy", "done", "error", "cause", "descriptor_address"]),
            **_of(sequencer, ["overflow", "illegal", "completed"]),
            **_of(feeder, ["wait_data", "wait_output"]),
            word_taken=feeder.a.valid & array.a.ready,
            read_beat=self.m_axi_rvalid,
            write_beat=self.m_axi_wvalid & self.m_axi_wready,
            tile_done=output.slot_freed,
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
            **_of(control, ["doorbell", "doorbell_busy", "list_address"]),
            **beat,
            read_error=loader.read_error,
            write_error=output.write_error,
            quiet=loader.quiet & output.idle,
            finished=output.done,
            array_overflow=array.overflow,
            array_illegal=array.illegal,
        )
        place(
            m,
            "loader",
            loader,
            platform,
            plan=plan,
            **run,
            **beat,
            **_of(feeder, ["tail_a", "tail_b", "left_a", "left_b"]),
            channels_freed=output.channels_freed,
        )
        place(
            m,
            "feeder",
            feeder,
            platform,
            plan=plan,
            **run,
            **_of(loader, ["arrived_a", "arrived_b"]),
            codes_a=self._scratchpad(m, platform, "a", plan.a_wide, loader, feeder),
            codes_b=self._scratchpad(m, platform, "b", plan.b_wide, loader, feeder),
            slot_freed=output.slot_freed,
        )
        place(m, "array", array, platform, reset=sequencer.reset)
        connect(m, feeder.a, array.a)
        connect(m, feeder.b, array.b)
        place(
            m,
            "output",
            output,
            platform,
            **run,
            **_of(plan, ["c_address", "c_stride", "relu", "m", "n"]),
            c_format=plan.c_format[: len(output.c_format)],
            wide_a=plan.a_wide,
            wide_b=plan.b_wide,
            **_of(loader, ["channels_write", "channels_slot", "channels_beat", "channels_ready"]),
            channels_data=self.m_axi_rdata,
            b_valid=self.m_axi_bvalid,
            b_error=self.m_axi_bresp[1],
        )
        m.d.comb += [
            output.sums.valid.eq(array.sums.valid),
            output.sums.payload.eq(array.sums.payload),
            array.sums.ready.eq(1),
        ]
        self._bus(m, sequencer, loader, output)
        return m

    def _scratchpad(
        self,
        m: Module,
        platform: object,
        side: str,
        wide: Value,
        loader: Loader,
        feeder: Feeder,
    ) -> Value:
        """The lanes of operand "a" or "b": the bytes that were read."""
        config = self.config
        lanes = config.rows if side == "a" else config.cols
        position = getattr(feeder, f"position_{side}")
        odd_position = Signal.like(position, name=f"odd_position_{side}")
        m.d.comb += odd_position.eq(position + wide)
        codes = []
        for i in range(lanes):
            lane = ScratchpadLane(config.scratchpad_beats, config.beat_bytes)
            place(
                m,
                f"scratchpad_{side}{i}",
                lane,
                platform,
                **_of(loader, ["write_beat", "write_slot", "write_offset"]),
                write=getattr(loader, f"write_{side}")[i],
                write_data=self.m_axi_rdata,
                read=feeder.read,
                read_slot=getattr(feeder, f"slot_{side}"),
                read_position=odd_position if i % 2 else position,
            )
            codes.append(lane.code)
        return Cat(codes)

    def _bus(self, m: Module, sequencer: Sequencer, loader: Loader, output: OutputStage) -> None:
        # The sequencer asks only while the loader is idle.
        ar_valid, ar = sequencer.ar.valid | loader.ar.valid, sequencer.ar.payload
        m.d.comb += [
            self.m_axi_arvalid.eq(ar_valid),
            self.m_axi_araddr.eq(Mux(sequencer.ar.valid, ar.address, loader.ar.payload.address)),
            self.m_axi_arlen.eq(Mux(sequencer.ar.valid, ar.length, loader.ar.payload.length)),
            sequencer.ar.ready.eq(self.m_axi_arready),
            loader.ar.ready.eq(self.m_axi_arready),
            self.m_axi_rready.eq(1),
            self.m_axi_awvalid.eq(output.aw.valid),
            self.m_axi_awaddr.eq(output.aw.payload.address),
            self.m_axi_awlen.eq(output.aw.payload.length),
            output.aw.ready.eq(self.m_axi_awready),
            self.m_axi_wvalid.eq(output.w.valid),
            self.m_axi_wdata.eq(output.w.payload.data),
            self.m_axi_wstrb.eq(output.w.payload.strobe),
            self.m_axi_wlast.eq(output.w.payload.last),
            output.w.ready.eq(self.m_axi_wready),
            self.m_axi_bready.eq(1),
        ]
        drive_bursts(m, self)


def _of(unit: Any, names: list[str]) -> dict[str, Any]:
    """Ports or fields by name."""
    return {name: getattr(unit, name) for name in names}
