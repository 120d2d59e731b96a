"""The write channels of the bus."""

from __future__ import annotations

from amaranth import Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from oleaster.hw.accelerator.layouts import AddressWord, WriteBeat
from oleaster.hw.accelerator.queue import Queue
from oleaster.hw.block import Block
from oleaster.hw.emit import place
from oleaster.models.accelerator.config import AcceleratorConfig

__all__ = ["OutputWrites"]


class OutputWrites(Block[AcceleratorConfig]):
    """Queues bursts and beats and offers them: a burst's beats once its address was taken. Ours.

    Members
    -------
    burst: In(AddressWord)
    burst_valid: In(1)
    beat: In(WriteBeat)
        In the bursts' order. Whoever sends it sees to it that no more than `write_queue_beats`
        are under way; bursts, which have a beat at least, then fit too.
    beat_valid: In(1)
    aw: stream of AddressWord, Out
        At most `outstanding` bursts are without an answer.
    w: stream of WriteBeat, Out
    b_valid: In(1)
        A burst was answered.
    answered: Out(1)
        There is no burst without an answer, here or on the bus.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            "output_writes",
            config,
            {
                "burst": In(AddressWord(config)),
                "burst_valid": In(1),
                "beat": In(WriteBeat(config)),
                "beat_valid": In(1),
                "aw": Out(stream.Signature(AddressWord(config))),
                "w": Out(stream.Signature(WriteBeat(config))),
                "b_valid": In(1),
                "answered": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, outstanding = self.config.write_queue_beats, self.config.outstanding
        unanswered = Signal(range(outstanding + 1))  # on the bus
        pending = Signal(range(depth + outstanding + 1))  # the same, and those that wait for it
        addressed = Signal(range(outstanding + 1))  # whose last beat was not taken
        may_address = unanswered != outstanding
        may_write = addressed != 0
        aw_taken = Signal()
        w_ends = Signal()

        bursts = Queue(self.burst.shape().size, depth, block_ram=True)
        beats = Queue(self.beat.shape().size, depth, block_ram=True)
        place(m, "bursts", bursts, platform)
        place(m, "beats", beats, platform)
        m.d.comb += [
            bursts.i.payload.eq(self.burst),
            bursts.i.valid.eq(self.burst_valid),
            bursts.o.ready.eq(self.aw.ready & may_address),
            beats.i.payload.eq(self.beat),
            beats.i.valid.eq(self.beat_valid),
            beats.o.ready.eq(self.w.ready & may_write),
        ]
        m.d.comb += [
            self.aw.payload.eq(bursts.o.payload),
            self.aw.valid.eq(bursts.o.valid & may_address),
            aw_taken.eq(self.aw.valid & self.aw.ready),
            self.w.payload.eq(beats.o.payload),
            self.w.valid.eq(beats.o.valid & may_write),
            w_ends.eq(self.w.valid & self.w.ready & self.w.payload.last),
            self.answered.eq(pending == 0),
        ]
        for counter, up, down in (
            (unanswered, aw_taken, self.b_valid),
            (pending, self.burst_valid, self.b_valid),
            (addressed, aw_taken, w_ends),
        ):
            count(m, counter, up, down)
        return m


def count(m: Module, counter: Signal, up: Value, down: Value) -> None:
    """`counter` goes up and down by so much."""
    m.d.sync += counter.eq(counter + up - down)
