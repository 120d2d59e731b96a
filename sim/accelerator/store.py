"""When the output stage does what: the cycles of `OutputStage` in hw/, row by row.

A row begins as soon as the row before has had its steps, its sums and channel words have come and
the write queue has room for its beats; nothing behind that makes it wait. So a row's cycles are
maxima over those of rows before it, and no cycle has to be walked through. Timing is ours.
"""

from __future__ import annotations

from typing import NamedTuple

from oleaster.models.accelerator.config import BOUNDARY, AcceleratorConfig
from oleaster.models.accelerator.descriptor import element_bits, row_bytes
from oleaster.sim.accelerator.memory import MemoryTiming

__all__ = ["StoreModel"]

START_CYCLES = 2
"""From `start` until the first row can begin."""

QUEUE_CYCLES = 2
"""From the step that completes a burst until its address can be taken; also through a queue."""

STEP_CYCLES = 9
"""From a step until its beat enters the write queue: memory 2, requantiser 6, packer 1."""


class _Row(NamedTuple):
    """A row by the cycles of its steps, counted from the one in which it begins.

    `cycles` that it takes; `read`, its last step that reads sums; `beats`; `bursts`: the steps
    that complete the beats of each.
    """

    cycles: int
    read: int
    beats: int
    bursts: tuple[tuple[int, ...], ...]


class StoreModel:
    """One GEMM's stores, tile by tile in the order in which the tiles are computed.

    m, n: size of C. wide_a, wide_b: elements of that operand take two lanes (ignored if no format
    of it does). c_address, c_stride: bytes. start_cycle: that of `start`, when nothing of an
    earlier GEMM is under way. All cycles are those of `timing`.

    aw, w, b: the cycles of these channels' handshakes so far. tiles: how many C has.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        timing: MemoryTiming,
        *,
        m: int,
        n: int,
        c_format: str,
        wide_a: bool,
        wide_b: bool,
        c_address: int,
        c_stride: int,
        start_cycle: int,
    ) -> None:
        wide_a &= config.lane_a.group == 2
        wide_b &= config.lane_b.group == 2
        self.aw: list[int] = []
        self.w: list[int] = []
        self.b: list[int] = []
        self._config = config
        self._m, self._n = m, n
        self._c_format = c_format
        self._c_address, self._c_stride = c_address, c_stride
        self._tile_rows = config.rows >> wide_a
        self._tile_cols = config.cols >> wide_b
        self._sum_cycles = 1 + wide_a
        self._across = -(-n // self._tile_cols)
        self.tiles = -(-m // self._tile_rows) * self._across
        self._latency = timing.latency
        # A channel without gaps takes a third of the time.
        self._gaps = {
            name: timing.channels[name].nth if getattr(timing, name).any() else None
            for name in ("aw", "w", "b")
        }
        self._free = start_cycle + START_CYCLES
        self._tile = 0
        self._plans: dict[tuple[int, int], _Row] = {}

    def tile(self, first_sum: int, channels_ready: int = 0) -> int:
        """The next tile's cycle of `slot_freed`, and of `channels_freed` unless C is int32.

        first_sum: the cycle of its first word of sums; the others each come 1 cycle later, 2 if A
        takes two lanes. channels_ready: cycle of its `channels_ready`; without meaning for int32.
        Raises ValueError for a tile more than C has.
        """
        if self._tile == self.tiles:
            raise ValueError(f"C has {self.tiles} tiles, and there is one more")
        strip, column = divmod(self._tile, self._across)
        self._tile += 1
        rows = min(self._tile_rows, self._m - strip * self._tile_rows)
        cols = min(self._tile_cols, self._n - column * self._tile_cols)
        address = self._c_address + strip * self._tile_rows * self._c_stride
        address += row_bytes(self._c_format, column * self._tile_cols)
        if self._c_format != "int32":
            self._free = max(self._free, channels_ready + 1)
        for row in range(rows):
            is_last = row == rows - 1
            word = self._tile_rows - 1 if is_last else row
            plan = self._plan(address % BOUNDARY, cols)
            begin = max(self._free, first_sum + word * self._sum_cycles + 1)
            excess = len(self.w) + plan.beats - self._config.write_queue_beats
            if excess > 0:
                begin = max(begin, self.w[excess - 1] + 1)
            self._store(begin, plan)
            self._free = begin + plan.cycles
            address += self._c_stride
        return begin + plan.read

    @property
    def done(self) -> int:
        """The first cycle in which `done` is high, after the last tile."""
        return self.b[-1] + 1

    def _store(self, begin: int, plan: _Row) -> None:
        aw, w, b = self.aw, self.w, self.b
        nth_aw, nth_w, nth_b = self._gaps["aw"], self._gaps["w"], self._gaps["b"]
        outstanding = self._config.outstanding
        for burst in plan.bursts:
            cycle = begin + burst[-1] + QUEUE_CYCLES
            if aw:
                cycle = max(cycle, aw[-1] + 1)
            if len(aw) >= outstanding:
                cycle = max(cycle, b[len(aw) - outstanding] + 1)
            if nth_aw:
                cycle = nth_aw(cycle)
            aw.append(cycle)
            if w:
                cycle = max(cycle, w[-1])
            offered = begin + STEP_CYCLES + QUEUE_CYCLES
            for step in burst:
                cycle += 1
                if cycle < offered + step:
                    cycle = offered + step
                if nth_w:
                    cycle = nth_w(cycle)
                w.append(cycle)
            cycle += self._latency
            if b:
                cycle = max(cycle, b[-1] + 1)
            b.append(nth_b(cycle) if nth_b else cycle)

    def _plan(self, place: int, cols: int) -> _Row:
        """The row of `cols` columns whose first byte is at `place` in its 4 kB."""
        key = place, cols
        if key not in self._plans:
            self._plans[key] = self._new_plan(place, cols)
        return self._plans[key]

    def _new_plan(self, place: int, cols: int) -> _Row:
        config = self._config
        beat_bytes, lanes = config.beat_bytes, config.out_lanes
        steps = -(-cols // lanes)
        step_bytes = lanes * element_bits(self._c_format) // 8
        end = place + row_bytes(self._c_format, cols)
        first, last = place // beat_bytes, (end - 1) // beat_bytes
        bursts: list[list[int]] = [[]]
        for beat in range(first, last + 1):
            page_begins = beat * beat_bytes % BOUNDARY == 0
            if bursts[-1] and (page_begins or len(bursts[-1]) == config.burst_beats):
                bursts.append([])
            # The step that brings the beat's last byte; what spills over follows the last step.
            filled = (beat + 1) * beat_bytes - place
            bursts[-1].append(-(-filled // step_bytes))
        spills = (place + (steps - 1) * step_bytes) // beat_bytes < last
        bursts[-1][-1] = steps + spills
        return _Row(steps + spills, steps, last - first + 1, tuple(map(tuple, bursts)))
