"""What a command of the renderer does, step by step."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.block import Block
from oleaster.hw.nerf.renderer.layouts import TileWord
from oleaster.models.nerf.fixed.widths import PIXEL_BITS
from oleaster.models.nerf.renderer.bus import ALIGNMENT
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.registers import CAUSE_BITS, LARGEST_SIDE, Cause

__all__ = ["RenderSequencer"]


class RenderSequencer(Block[RendererConfig]):
    """Loads a scene; or a frame's constants, then renders tile after tile, row by row. Ours.

    A tile begins when the pixels of the one before are all handed over. After a decoder's fault or
    a write's error none begins; the command ends when all writes are answered.

    Parameters
    ----------
    config: RendererConfig

    Members
    -------
    load, render: In(1)
        Pulses, while not `busy`.
    output, width, height: In
        Of the frame; from `render` on until `busy` falls.
    busy, loaded: Out(1)
        A command runs; a scene is loaded.
    done, error: Out(1)
        Pulses in the last cycle of `busy`.
    cause: Out
        With `error`.
    list_start, list_frame: Out(1)
        The loader is to read the scene's list, or the frame's.
    list_done, list_error, list_cause: In
        As in ListLoader.
    frame_start: Out(1)
        The writer is to begin.
    tiles_across: Out
        While a frame is rendered.
    tile: stream of TileWord, Out
    pixel_taken: In(1)
    tile_done: Out(1)
        Pulse: a tile's pixels were all taken.
    fault: In(1)
        A decoder has found one.
    writes_idle, writes_error: In(1)
        As in PixelWriter.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__(
            "render_sequencer",
            config,
            {
                "load": In(1),
                "render": In(1),
                "output": In(config.address_bits),
                "width": In(32),
                "height": In(32),
                "busy": Out(1),
                "loaded": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
                "list_start": Out(1),
                "list_frame": Out(1),
                "list_done": In(1),
                "list_error": In(1),
                "list_cause": In(CAUSE_BITS),
                "frame_start": Out(1),
                "tiles_across": Out(PIXEL_BITS + 1 - config.tile_bits),
                "tile": Out(stream.Signature(TileWord())),
                "pixel_taken": In(1),
                "tile_done": Out(1),
                "fault": In(1),
                "writes_idle": In(1),
                "writes_error": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.tile_bits
        side = 1 << bits
        tiles_down = Signal(len(self.tiles_across))
        column = Signal(len(self.tiles_across))
        row = Signal(len(self.tiles_across))
        pixels = Signal(2 * bits)
        last_column = Signal()
        last_row = Signal()
        m.d.comb += [
            last_column.eq(column + 1 == self.tiles_across),
            last_row.eq(row + 1 == tiles_down),
            self.tile.payload.left.eq(column << bits),
            self.tile.payload.top.eq(row << bits),
        ]

        def out_of_range(side: Signal) -> Signal:
            return (side == 0) | (side > LARGEST_SIDE)

        is_bad = Signal()
        m.d.comb += is_bad.eq(
            out_of_range(self.width)
            | out_of_range(self.height)
            | self.output[: (ALIGNMENT - 1).bit_length()].any()
        )

        def stop(cause: object) -> None:
            m.d.comb += [self.error.eq(1), self.cause.eq(cause)]
            m.next = "IDLE"

        m.d.comb += self.busy.eq(1)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.load):
                    m.d.sync += self.loaded.eq(0)
                    m.next = "LOAD"
                with m.Elif(self.render):
                    m.next = "JUDGE"
            with m.State("LOAD"):
                m.d.comb += self.list_start.eq(1)
                m.next = "LOADING"
            with m.State("LOADING"):
                with m.If(self.list_error):
                    stop(self.list_cause)
                with m.Elif(self.list_done):
                    m.d.sync += self.loaded.eq(1)
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("JUDGE"):
                m.d.sync += [
                    self.tiles_across.eq((self.width + (side - 1)) >> bits),
                    tiles_down.eq((self.height + (side - 1)) >> bits),
                    column.eq(0),
                    row.eq(0),
                    pixels.eq(0),
                ]
                with m.If(~self.loaded):
                    stop(Cause.SCENE)
                with m.Elif(is_bad):
                    stop(Cause.SIZE)
                with m.Else():
                    m.next = "CONSTANTS"
            with m.State("CONSTANTS"):
                m.d.comb += [
                    self.list_start.eq(1),
                    self.list_frame.eq(1),
                    self.frame_start.eq(1),
                ]
                m.next = "READING"
            with m.State("READING"):
                with m.If(self.list_error):
                    stop(self.list_cause)
                with m.Elif(self.list_done):
                    m.next = "TILE"
            with m.State("TILE"):
                m.d.comb += self.tile.valid.eq(1)
                with m.If(self.tile.ready):
                    m.next = "PIXELS"
            with m.State("PIXELS"), m.If(self.pixel_taken):
                m.d.sync += pixels.eq(pixels + 1)
                with m.If(pixels.all()):
                    m.d.comb += self.tile_done.eq(1)
                    m.d.sync += [
                        column.eq(Mux(last_column, 0, column + 1)),
                        row.eq(row + last_column),
                    ]
                    with m.If(self.fault | self.writes_error | (last_column & last_row)):
                        m.next = "WRITES"
                    with m.Else():
                        m.next = "TILE"
            with m.State("WRITES"), m.If(self.writes_idle):
                with m.If(self.fault):
                    stop(Cause.FAULT)
                with m.Elif(self.writes_error):
                    stop(Cause.WRITE_RESPONSE)
                with m.Else():
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m
