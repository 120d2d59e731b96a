"""Lists of descriptors, and the items that they name, into the renderer's memories."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from oleaster.hw.accelerator.layouts import AddressWord, ReadBeat
from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.hw.nerf.renderer.layouts import ConstantsWord, WriteWord
from oleaster.models.nerf.renderer.bus import ALIGNMENT, BURST_BEATS, OUTSTANDING
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.registers import CAUSE_BITS, Cause
from oleaster.models.nerf.renderer.scene_list import (
    FIELDS,
    LIST_ENTRY_BYTES,
    MOST_ENTRIES,
    capacities,
)
from oleaster.models.nerf.renderer.targets import ITEM_BITS, TARGET_BITS, WRITE_ADDRESS_BITS, Target

__all__ = ["EntryLayout", "ListLoader", "constants_beats"]

_PARTS = ITEM_BITS[0] // ITEM_BITS[1]


class EntryLayout(data.StructLayout):
    """A descriptor as it lies in memory."""

    def __init__(self) -> None:
        super().__init__({field.name: field.bits for field in FIELDS})


def constants_beats(config: RendererConfig) -> int:
    """Items of the target CONSTANTS."""
    return int(-(-ConstantsWord(config).size // ITEM_BITS[0]))


class ListLoader(Block[RendererConfig]):
    """Reads a list and hands over its items, one a cycle. Ours; `scene_list.py` has the list.

    One descriptor after the other: it is read by itself, checked, then its items are asked for in
    bursts of up to `BURST_BEATS` beats. A burst is asked for only if the queue will have room for
    it, so that beats are never held back.

    The list stops with LIST at a target that is unknown, or other than CONSTANTS in a frame's list;
    at items beyond the end of their memory; at reserved bits, a list's address that is no multiple
    of 32 or items' that is none of 512, or wider than the bus; where none of the first
    `MOST_ENTRIES` ends it. It stops with READ_RESPONSE at a beat with an error; memories may then
    have taken items of that descriptor.

    Parameters
    ----------
    config: RendererConfig
        Its bus has the width of an item.

    Members
    -------
    start: In(1)
        Begin; only while idle.
    list_address: In
    frame: In(1)
        The list may write constants, and nothing else. Both as they are with `start`.
    ar: stream of AddressWord, Out
    beat_valid, beat: In
        A beat that was read.
    write_valid, write: Out
        An item.
    entry: Out
        Number of the descriptor that is read, or stopped the list.
    done, error: Out(1)
        Pulses: the list is read, all its items are handed over, and no burst is in flight; or the
        same, because it had to stop.
    cause: Out
        With `error`.
    """

    def __init__(self, config: RendererConfig) -> None:
        if config.data_bits != ITEM_BITS[0]:
            raise ValueError(f"the bus has {config.data_bits} bits; it must have {ITEM_BITS[0]}")
        super().__init__(
            "renderer_loader",
            config,
            {
                "start": In(1),
                "list_address": In(config.address_bits),
                "frame": In(1),
                "ar": Out(stream.Signature(AddressWord(config))),
                "beat_valid": In(1),
                "beat": In(ReadBeat(config)),
                "write_valid": Out(1),
                "write": Out(WriteWord()),
                "entry": Out(range(MOST_ENTRIES)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        depth = OUTSTANDING * BURST_BEATS
        queue = place(m, "queue", Queue(ITEM_BITS[0], depth, block_ram=True), platform)
        address = Signal(config.address_bits)  # of the descriptor, then of the next burst
        next_entry = Signal(config.address_bits)
        is_frame = Signal()
        descriptor = Signal(EntryLayout())
        is_bad = self._judge(m, descriptor, is_frame)

        beats_left = Signal(WRITE_ADDRESS_BITS + 1)
        items_left = Signal(WRITE_ADDRESS_BITS + 1)
        kept = Signal(range(depth + 1))  # beats asked for, until they have left the queue
        in_items = Signal()
        failed = Signal()
        held = Signal()  # an address that was shown must stay until it is taken
        beats = Signal(range(BURST_BEATS + 1))
        taken = Signal()
        m.d.comb += [
            beats.eq(Mux(beats_left < BURST_BEATS, beats_left, BURST_BEATS)),
            taken.eq(self.ar.valid & self.ar.ready),
            self.ar.payload.address.eq(address),
        ]
        m.d.sync += held.eq(self.ar.valid & ~self.ar.ready)
        with m.If(self.beat_valid & self.beat.error):
            m.d.sync += failed.eq(1)

        def stop(cause: Cause) -> None:
            m.d.comb += [self.error.eq(1), self.cause.eq(cause)]
            m.next = "IDLE"

        with m.FSM(name="state"):
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    address.eq(self.list_address),
                    is_frame.eq(self.frame),
                    self.entry.eq(0),
                    failed.eq(0),
                ]
                m.next = "ASK"
            with m.State("ASK"):
                with m.If(address[: (LIST_ENTRY_BYTES - 1).bit_length()].any()):
                    stop(Cause.LIST)
                with m.Else():
                    m.d.comb += self.ar.valid.eq(1)
                    with m.If(taken):
                        m.d.sync += next_entry.eq(address + LIST_ENTRY_BYTES)
                        m.next = "ENTRY"
            with m.State("ENTRY"), m.If(self.beat_valid):
                m.d.sync += descriptor.eq(self.beat.data)
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [
                    address.eq(descriptor.source),
                    items_left.eq(descriptor.items),
                    beats_left.eq(descriptor.items),
                ]
                with m.If(descriptor.target[:TARGET_BITS] >= Target.CUBES):
                    m.d.sync += beats_left.eq(
                        (descriptor.items + (_PARTS - 1)) >> exact_log2(_PARTS)
                    )
                with m.If(failed):
                    stop(Cause.READ_RESPONSE)
                with m.Elif(descriptor.items == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                with m.Elif(is_bad | (self.entry == MOST_ENTRIES - 1)):
                    stop(Cause.LIST)
                with m.Else():
                    m.next = "ITEMS"
            with m.State("ITEMS"):
                m.d.comb += [
                    in_items.eq(1),
                    self.ar.valid.eq(
                        (beats_left != 0) & (kept <= depth - BURST_BEATS) & (held | ~failed)
                    ),
                    self.ar.payload.length.eq((beats - 1)[: len(beats)]),
                ]
                with m.If(taken):
                    m.d.sync += [
                        address.eq(address + ALIGNMENT),
                        beats_left.eq(beats_left - beats),
                    ]
                # Nothing is under way, nor left to ask for.
                with m.If((kept == 0) & ~self.ar.valid):
                    with m.If(failed):
                        stop(Cause.READ_RESPONSE)
                    with m.Else():
                        m.d.sync += [address.eq(next_entry), self.entry.eq(self.entry + 1)]
                        m.next = "ASK"
        self._hand_over(m, queue, descriptor, items_left, in_items)
        gives = queue.o.valid & queue.o.ready
        m.d.sync += kept.eq(kept + Mux(taken & in_items, beats, 0) - gives)
        return m

    def _judge(self, m: Module, descriptor: data.View, is_frame: Signal) -> Signal:
        """Whether a descriptor cannot be."""
        config = self.config
        room = {**capacities(config), int(Target.CONSTANTS): constants_beats(config)}
        most = Signal(range(max(room.values()) + 1))
        with m.Switch(descriptor.target[:TARGET_BITS]):
            for target, items in room.items():
                with m.Case(target):
                    m.d.comb += most.eq(items)
        high = Cat(
            descriptor.target[TARGET_BITS:],
            descriptor.reserved0,
            descriptor.reserved1,
            descriptor.reserved2,
            descriptor.source[config.address_bits :],
            descriptor.source[: (ALIGNMENT - 1).bit_length()],
        )
        is_bad = Signal()
        m.d.comb += is_bad.eq(
            high.any()
            | (is_frame & (descriptor.target != Target.CONSTANTS))
            # 0 for a target that is not there, where nothing fits.
            | (descriptor.address + descriptor.items > most)
        )
        return is_bad

    def _hand_over(
        self,
        m: Module,
        queue: Queue,
        descriptor: data.View,
        items_left: Signal,
        in_items: Signal,
    ) -> None:
        """Beats through the queue, and items out of them."""
        part = Signal(range(_PARTS))
        number = Signal(len(self.write.address))
        is_small = Signal()
        is_last = Signal()
        beat = queue.o.payload
        m.d.comb += [
            queue.i.payload.eq(self.beat.data),
            queue.i.valid.eq(self.beat_valid & in_items),
            is_small.eq(descriptor.target[:TARGET_BITS] >= Target.CUBES),
            is_last.eq(items_left == 1),
            queue.o.ready.eq(~is_small | is_last | (part == _PARTS - 1)),
        ]
        with m.If(~in_items):
            m.d.sync += [number.eq(descriptor.address), part.eq(0)]
        with m.Elif(queue.o.valid):
            m.d.sync += [
                number.eq(number + 1),
                part.eq(Mux(queue.o.ready, 0, part + 1)),
                items_left.eq(items_left - 1),
            ]
        # A stage of its own: it goes to all memories.
        m.d.sync += [
            self.write_valid.eq(queue.o.valid),
            self.write.target.eq(descriptor.target),
            self.write.address.eq(number),
            self.write.data.eq(Mux(is_small, beat.word_select(part, ITEM_BITS[1]), beat)),
        ]
