"""Cycle model of the accelerator: the cycle of every event on its bus, without walking the cycles.

The circuit is built so that each event waits for earlier ones only: a burst for room, a chunk for
its bursts, a word for its chunk and for the array, a tile's end for the output stage. So one pass
over the steps of a GEMM gives all cycles as maxima of earlier ones, exactly (tests hold every bus
handshake against the RTL). Cycle 0 is the first in which `busy` is high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from oleaster.models.accelerator.config import (
    CHANNEL_SLOTS,
    CHUNK_SLOTS,
    OUTPUT_SLOTS,
    AcceleratorConfig,
    word_bytes,
)
from oleaster.models.accelerator.descriptor import (
    CHANNEL_BYTES,
    DESCRIPTOR_BYTES,
    Descriptor,
)
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.store import StoreModel
from oleaster.sim.accelerator.walk import Plan, Step

__all__ = ["ListTiming", "list_timing"]


@dataclass
class ListTiming:
    """What the counters say after a list, and the cycle of every handshake on the bus.

    cycles: from the first busy cycle to the last. words: pairs of operand words the array took, 2
    cycles each. wait_data, wait_output: cycles in which the array was idle for want of words, for
    want of room for a tile's sums. handshakes: by channel; of "r" only with `trace`.
    """

    cycles: int = 0
    words: int = 0
    wait_data: int = 0
    wait_output: int = 0
    read_beats: int = 0
    write_beats: int = 0
    tiles: int = 0
    handshakes: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in ("ar", "r", "aw", "w", "b")}
    )

    def bound(self, read: float = 1.0, write: float = 1.0) -> int:
        """Cycles that no accelerator with these transfers could beat.

        The array takes a pair of words in 2 cycles; the bus moves `read` and `write` beats a cycle.
        """
        return math.ceil(max(2 * self.words, self.read_beats / read, self.write_beats / write))


def list_timing(
    descriptors: Sequence[Descriptor],
    config: AcceleratorConfig,
    timing: MemoryTiming,
    *,
    trace: bool = False,
) -> ListTiming:
    """The cycles of a list that comes to its end, wherever its descriptors lie.

    trace: keep the handshakes of "r" too.
    """
    total = ListTiming()
    cycle = 0
    for descriptor in descriptors:
        cycle = _Run(descriptor, config, timing, total, trace).run(cycle)
    total.cycles = cycle
    return total


class _Run:
    """One descriptor."""

    def __init__(
        self,
        descriptor: Descriptor,
        config: AcceleratorConfig,
        timing: MemoryTiming,
        total: ListTiming,
        trace: bool,
    ) -> None:
        self.descriptor, self.config, self.total = descriptor, config, total
        self.plan = Plan(descriptor, config)
        self.latency = timing.latency
        self.timing = timing
        self.ar, self.r = timing.channels["ar"], timing.channels["r"]
        self.trace = trace
        self.last_beats: list[int] = []  # of each burst that the loader asked for
        self.beat = -1  # the last beat that was read
        self.kept = {side: _Ring(config.scratchpad_beats) for side in "ab"}
        self.freed: list[int] = []  # cycles in which a tile's sums had been read
        raw = descriptor.c_format == "int32"
        self.takes_channels = not raw

    def run(self, cycle: int) -> int:
        """From the cycle in which the descriptor's address is vetted to that of the next one's."""
        descriptor, total = self.descriptor, self.total
        beats = DESCRIPTOR_BYTES // self.config.beat_bytes
        asked = self.ar.nth(cycle + 1)
        total.handshakes["ar"].append(asked)
        self._receive(asked, beats)
        start = self.beat + 2
        store = StoreModel(
            self.config,
            self.timing,
            m=descriptor.m,
            n=descriptor.n,
            c_format=descriptor.c_format,
            wide_a=self.plan.wide_a,
            wide_b=self.plan.wide_b,
            c_address=descriptor.c_address,
            c_stride=descriptor.c_stride,
            start_cycle=start,
        )
        self._steps(store, start)
        for name in ("aw", "w", "b"):
            total.handshakes[name] += getattr(store, name)
        total.write_beats += len(store.w)
        total.tiles += len(self.freed)
        return store.done + 2

    def _steps(self, store: StoreModel, start: int) -> None:
        config, plan, total = self.config, self.plan, self.total
        rows = config.rows
        # From a tile's swap to its first word of sums.
        latency = config.cols + 2 + config.is_fusing + plan.wide_a
        planned = start + 1  # the loader plans its next chunk
        ready = {"a": 0, "b": 0}  # the chunk is complete
        wanted = start + 1  # the feeder looks for its next chunk
        taken = swap = start - rows  # long ago
        channels = 0
        for step in plan.steps():
            if step.takes_a:
                planned, ready["a"] = self._load_chunk("a", step, planned)
            else:
                planned += 1
            if step.takes_b:
                planned, ready["b"] = self._load_chunk("b", step, planned)
            else:
                planned += 1
            if step.first_chunk and self.takes_channels:
                planned, channels = self._load_channels(step, planned)
            else:
                planned += 1

            found = max(wanted, ready["a"] + 1, ready["b"] + 1)
            total.wait_data += max(0, found - max(wanted, taken + 2))
            read = max(found + 1, taken)
            first = max(read + 1, taken + 2)
            if step.first_chunk:
                first = max(first, swap)
            idle = max(read + 1, taken + 2)  # the array is, unless it takes the last word here
            if step.words > 1:
                read = first + 2 * (step.words - 2)
                idle = read + 2
                taken = read + 2
            else:
                taken = first
            if step.last_chunk:
                tile = len(self.freed)
                if tile >= OUTPUT_SLOTS:
                    has_room = self.freed[tile - OUTPUT_SLOTS] + 1
                    total.wait_output += max(0, has_room - idle)
                    taken = max(taken, has_room)
                swap = max(taken + 2, swap + rows)
                self.freed.append(store.tile(swap + latency, channels))
            total.words += step.words
            wanted = read + 1
            if step.drops_a:
                self.kept["a"].leave(plan.a_beats(step.words), wanted)
            if step.drops_b:
                self.kept["b"].leave(plan.b_beats(step.words), wanted)

    def _load_chunk(self, side: str, step: Step, planned: int) -> tuple[int, int]:
        """(cycle of the next plan, cycle of the chunk's last beat)."""
        d = self.descriptor
        if side == "a":
            first, stride, rows = d.a_address + step.row * d.a_stride, d.a_stride, step.rows
            beats, size = self.plan.a_beats(step.words), word_bytes(d.a_format)
        else:
            first, stride, rows = d.b_address + step.col * d.b_stride, d.b_stride, step.cols
            beats, size = self.plan.b_beats(step.words), word_bytes(d.b_format)
        cycle = self.kept[side].take(beats, planned) + 1
        first += step.word * size
        for row in range(rows):
            cycle = self._load(first + row * stride, step.words * size, cycle)
        return cycle, self.beat

    def _load_channels(self, step: Step, planned: int) -> tuple[int, int]:
        tile = len(self.freed)
        if tile >= CHANNEL_SLOTS:
            planned = max(planned, self.freed[tile - CHANNEL_SLOTS] + 1)
        first = self.descriptor.channels_address + step.col * CHANNEL_BYTES
        return self._load(first, step.cols * CHANNEL_BYTES, planned + 1), self.beat

    def _load(self, first: int, size: int, cycle: int) -> int:
        """Ask for a row from `cycle` on; returns the cycle after its last address was taken."""
        config = self.config
        beat, end = first // config.beat_bytes, -(-(first + size) // config.beat_bytes)
        limit = min(config.burst_beats, 4096 // config.beat_bytes)
        while beat < end:
            beats = min(end - beat, limit - beat % limit)
            if len(self.last_beats) >= config.outstanding:
                cycle = max(cycle, self.last_beats[-config.outstanding] + 1)
            cycle = self.ar.nth(cycle)
            self.total.handshakes["ar"].append(cycle)
            self._receive(cycle, beats)
            self.last_beats.append(self.beat)
            beat += beats
            cycle += 1
        return cycle

    def _receive(self, asked: int, beats: int) -> None:
        first = max(asked + self.latency, self.beat + 1)
        self.beat = self.r.nth(first, beats)
        self.total.read_beats += beats
        if self.trace:
            self.total.handshakes["r"] += [self.r.nth(first, i + 1) for i in range(beats)]


class _Ring:
    """When the ring of an operand's scratchpads has room for a chunk."""

    def __init__(self, beats: int) -> None:
        self.room, self.slots = beats, CHUNK_SLOTS
        self.left: list[tuple[int, int]] = []  # (beats, cycle in which they are seen to be free)
        self.next = 0

    def take(self, beats: int, cycle: int) -> int:
        """Room for a chunk of so many beats, wanted in `cycle`: the cycle in which there is."""
        while self.room < beats or not self.slots:
            freed, seen = self.left[self.next]
            self.next += 1
            self.room += freed
            self.slots += 1
            cycle = max(cycle, seen)
        self.room -= beats
        self.slots -= 1
        return cycle

    def leave(self, beats: int, seen: int) -> None:
        self.left.append((beats, seen))
