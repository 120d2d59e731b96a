"""The output stage's surroundings: a source of tiles and channel words, and a memory on AXI."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from oleaster.hw.accelerator.output_stage import OutputStage
from oleaster.hw.emit import port_signals
from oleaster.models.accelerator.config import CHANNEL_SLOTS, OUTPUT_SLOTS
from oleaster.models.accelerator.descriptor import FORMAT_CODES, row_bytes
from oleaster.models.accelerator.requantize import channel_table, encode_output, requantize


@dataclass(frozen=True)
class Gemm:
    """What the output stage does for one descriptor; pad: of the stride, beyond a row."""

    m: int
    n: int
    c_format: str = "int32"
    relu: bool = False
    wide_a: bool = False
    wide_b: bool = False
    address: int = 0
    pad: int = 0
    seed: int = 0
    haste: float = 1.0  # odds that a tile or table that could come now does
    abort_at: int | None = None  # cycles after the start

    @property
    def is_raw(self):
        return self.c_format == "int32"

    @property
    def stride(self):
        return row_bytes(self.c_format, self.n) + self.pad


@dataclass
class Outcome:
    start: int
    first_sums: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    freed: list = field(default_factory=list)
    aw: list = field(default_factory=list)
    w: list = field(default_factory=list)
    b: list = field(default_factory=list)
    done: int = 0
    memory: dict = field(default_factory=dict)  # address -> byte


class Bus:
    """The memory behind the write channels: timing as in `MemoryTiming`, and AXI's rules."""

    def __init__(self, config, timing):
        self.config = config
        self.timing = timing
        self.bursts = []  # beats left to take, [address, beats]
        self.responses = []  # earliest cycles
        self.unanswered = 0
        self.offered = {}

    def inputs(self, cycle):
        gap = cycle % 1024
        answers = bool(self.responses) and self.responses[0] <= cycle
        self.answers = answers and not self.timing.b[gap]
        self.readies = {"aw": not self.timing.aw[gap], "w": not self.timing.w[gap]}
        return *self.readies.values(), self.answers

    def outputs(self, cycle, outcome, aw, w):
        config = self.config
        if self.answers:
            self.responses.pop(0)
            self.unanswered -= 1
            outcome.b.append(cycle)
        for name, payload in (("aw", aw), ("w", w)):
            assert self.offered.get(name) in (None, payload), f"{name} was withdrawn"
            self.offered[name] = None if self.readies[name] else payload
        if w is not None:
            assert self.bursts, "data before its address"
        if w is not None and self.readies["w"]:
            burst = self.bursts[0]
            data = (w & ((1 << config.data_bits) - 1)).to_bytes(config.beat_bytes, "little")
            strobe = w >> config.data_bits & ((1 << config.beat_bytes) - 1)
            for place in range(config.beat_bytes):
                if strobe >> place & 1:
                    assert burst[0] + place not in outcome.memory, "a byte was written twice"
                    outcome.memory[burst[0] + place] = data[place]
            assert strobe
            burst[0] += config.beat_bytes
            burst[1] -= 1
            assert (w >> (config.data_bits + config.beat_bytes)) == (burst[1] == 0)
            outcome.w.append(cycle)
            if not burst[1]:
                self.bursts.pop(0)
                self.responses.append(cycle + self.timing.latency)
        if aw is not None and self.readies["aw"]:
            address = aw & ((1 << config.address_bits) - 1)
            beats = (aw >> config.address_bits) + 1
            assert address % config.beat_bytes == 0
            assert beats <= config.burst_beats
            assert address // 4096 == (address + beats * config.beat_bytes - 1) // 4096
            self.bursts.append([address, beats])
            self.unanswered += 1
            assert self.unanswered <= config.outstanding
            outcome.aw.append(cycle)


class Feeder:
    """Gives one GEMM's sums and channel words to the output stage, as soon as there is a place."""

    def __init__(self, config, gemm):
        rng = np.random.default_rng(gemm.seed)
        self.config, self.gemm = config, gemm
        self.rng = random.Random(gemm.seed)
        size = rng.integers(0, 20, gemm.n)
        self.sums = rng.integers(-(1 << 31), 1 << 31, (gemm.m, gemm.n)) >> size
        bias = rng.integers(-(1 << 31), 1 << 31, gemm.n) >> size + 2
        shift = np.clip(40 - size + rng.integers(0, 8, gemm.n), 0, 63)
        self.words = bias, rng.integers(0, 1 << 16, gemm.n), shift
        self.tile_rows = config.rows >> gemm.wide_a
        self.tile_cols = config.cols >> gemm.wide_b
        self.tiles = [
            (i, j)
            for i in range(0, gemm.m, self.tile_rows)
            for j in range(0, gemm.n, self.tile_cols)
        ]
        self.begun = self.freed = self.tables_begun = self.tables_freed = 0
        self.sums_due = []  # what comes in the next cycles; None for a pause
        self.table_due = []
        self.stopped = False

    def expected(self):
        gemm = self.gemm
        values = self.sums if gemm.is_raw else requantize(self.sums, *self.words, gemm.relu)
        rows = encode_output(values, gemm.c_format)
        return {
            gemm.address + i * gemm.stride + place: int(byte)
            for i, row in enumerate(rows)
            for place, byte in enumerate(row)
        }

    def _tile_words(self, i, j):
        """As they leave the array; where C has no element, there is anything."""
        config, gemm = self.config, self.gemm
        words = []
        for row in range(self.tile_rows):
            sums = [self.rng.randrange(-9, 9) for _ in range(config.cols)]
            if i + row < gemm.m:
                for place, total in enumerate(self.sums[i + row, j : j + self.tile_cols]):
                    sums[place << gemm.wide_b] = int(total)
            words.append({"sums": sums, "overflow": 1, "last": row == self.tile_rows - 1})
            words += [None] * gemm.wide_a
        return words

    def _table(self, slot, j):
        bias, *others = (column[j : j + self.tile_cols] for column in self.words)
        raw = channel_table(bias, *others).tobytes()
        beat = self.config.beat_bytes
        raw += bytes(self.rng.randrange(256) for _ in range(-len(raw) % beat))
        for place in range(len(raw) // beat):
            data = int.from_bytes(raw[place * beat : (place + 1) * beat], "little")
            yield {"slot": slot, "beat": place, "data": data}
            yield from [None] * self.rng.choice([0, 0, 1])

    def inputs(self, cycle, outcome):
        """(sums word or None, beat of channel words or None, a table is ready)."""
        hasty = self.rng.random() < self.gemm.haste
        may_begin = not self.stopped and hasty and self.begun < len(self.tiles)
        if may_begin and not self.sums_due and self.begun - self.freed < OUTPUT_SLOTS:
            self.sums_due = self._tile_words(*self.tiles[self.begun])
            self.begun += 1
            outcome.first_sums.append(cycle)
        beat, ready = None, False
        if not self.gemm.is_raw:
            hasty = self.rng.random() < self.gemm.haste
            if self.table_due:
                beat = self.table_due.pop(0)
                ready = not self.table_due
            elif hasty and self.tables_begun < min(
                len(self.tiles), self.tables_freed + CHANNEL_SLOTS
            ):
                slot, j = self.tables_begun % CHANNEL_SLOTS, self.tiles[self.tables_begun][1]
                self.table_due = list(self._table(slot, j))
                self.tables_begun += 1
            if ready:
                outcome.tables.append(cycle)
        return self.sums_due.pop(0) if self.sums_due else None, beat, ready


def simulate(config, timing, gemms):
    """Run the GEMMs one after another: (outcome, feeder) of each."""
    dut = OutputStage(config)
    signals = {name: signal for name, (_, signal) in port_signals(dut).items()}
    results = []

    async def bench(ctx):
        bus = Bus(config, timing)
        cycle = 0
        before = {}

        def put(**values):
            # Setting a signal costs more than a cycle of the circuit.
            for name, value in values.items():
                if before.get(name) != value:
                    before[name] = value
                    ctx.set(signals[name], value)

        for gemm in gemms:
            feeder = Feeder(config, gemm)
            outcome = Outcome(start=cycle)
            results.append((outcome, feeder))
            put(
                c_format=FORMAT_CODES[gemm.c_format],
                c_address=gemm.address,
                c_stride=gemm.stride,
                **{name: getattr(gemm, name) for name in ("relu", "wide_a", "wide_b", "m", "n")},
            )
            while True:
                starts = cycle == outcome.start
                sums, beat, ready = (None, None, False) if starts else feeder.inputs(cycle, outcome)
                if sums is not None:
                    ctx.set(dut.sums.payload, sums)
                put(**{f"channels_{name}": value for name, value in (beat or {}).items()})
                aw_ready, w_ready, b_valid = bus.inputs(cycle)
                feeder.stopped = (
                    gemm.abort_at is not None and cycle - outcome.start >= gemm.abort_at
                )
                put(
                    start=starts,
                    abort=feeder.stopped,
                    sums_valid=sums is not None,
                    channels_write=beat is not None,
                    channels_ready=ready,
                    aw_ready=aw_ready,
                    w_ready=w_ready,
                    b_valid=b_valid,
                    b_error=cycle % 3 == 0,
                )
                (
                    _,
                    _,
                    aw_valid,
                    aw,
                    w_valid,
                    w,
                    freed,
                    channels,
                    error,
                    done,
                    idle,
                ) = await ctx.tick().sample(
                    dut.aw.valid,
                    dut.aw.payload.as_value(),
                    dut.w.valid,
                    dut.w.payload.as_value(),
                    dut.slot_freed,
                    dut.channels_freed,
                    dut.write_error,
                    dut.done,
                    dut.idle,
                )
                bus.outputs(cycle, outcome, aw if aw_valid else None, w if w_valid else None)
                assert channels == (freed and not gemm.is_raw)
                assert error == (b_valid and cycle % 3 == 0)
                assert idle or not done
                assert not idle or not bus.unanswered
                feeder.freed += freed
                feeder.tables_freed += channels
                if freed:
                    outcome.freed.append(cycle)
                cycle += 1
                assert cycle < outcome.start + 60000, "the output stage is stuck"
                if done and not starts:
                    outcome.done = cycle - 1
                    break
                if feeder.stopped and idle and not feeder.sums_due and not starts:
                    break

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results
