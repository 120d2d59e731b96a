"""Hybrid decoder: random tensors of all modes on two lanes, sums between; stalls, faults, reset."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.models.nerf.blob import write_blob
from oleaster.models.nerf.encoding import Encoded, encode
from oleaster.models.nerf.layout import (
    BASE_AT,
    BITMAP,
    COORDINATES,
    COUNT_AT,
    DENSE,
    PLAIN,
    Codes,
    Layout,
    in_units,
)
from oleaster.models.nerf.lookup import LANES, Fault, fault_of, look_up, tensor_rows
from oleaster.models.nerf.tensors import TENSORS
from oleaster.sim.nerf.hybrid_decoder import (
    found_word,
    modes_read,
    passage,
    request_word,
    row_word,
)
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.cosim import bench_config

CONFIG = bench_config()
WORDS, ELEMENT_BITS, LEAVES, SUM_BITS = (
    CONFIG[name] for name in ("words", "element_bits", "leaves", "sum_bits")
)
ROW_BYTES = 32
_PATIENCE = 500  # cycles without a word
_LAYOUTS = [PLAIN, *(Layout(n, group) for n in (32, 64, 128) for group in (1, 4, 0))]


@dataclass
class Scene:
    """tensors: in the order of the table. rows: theirs in it."""

    tensors: list[Encoded]
    blob: bytes

    def __post_init__(self) -> None:
        self.rows = tensor_rows(self.blob)


@dataclass
class Lane:
    """A stream of words, and the answers that shall come; what happened in which cycle."""

    name_in: str
    name_out: str
    words: list[int]
    answers: list[int]
    busy_in: float = 1.0
    busy_out: float = 1.0
    offered: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    took: list[bool] = field(default_factory=list)

    def offer(self, dut: Any, cycle: int, rng: np.random.Generator) -> None:
        waits = len(self.offered) > len(self.accepted)
        if not waits and len(self.offered) < len(self.words) and rng.random() < self.busy_in:
            getattr(dut, f"{self.name_in}_payload").value = self.words[len(self.offered)]
            self.offered.append(cycle)
        getattr(dut, f"{self.name_in}_valid").value = int(len(self.offered) > len(self.accepted))
        self.took.append(bool(rng.random() < self.busy_out))
        getattr(dut, f"{self.name_out}_ready").value = int(self.took[-1])

    def watch(self, dut: Any, cycle: int) -> bool:
        """Whether a word went in or out."""
        moves = False
        if len(self.offered) > len(self.accepted) and getattr(dut, f"{self.name_in}_ready").value:
            self.accepted.append(cycle)
            moves = True
        if self.took[-1] and getattr(dut, f"{self.name_out}_valid").value:
            at = len(self.taken)
            assert at < len(self.answers), f"{self.name_out}: an answer to nothing"
            got = getattr(dut, f"{self.name_out}_payload").value.to_unsigned()
            want = self.answers[at]
            assert got == want, (
                f"{self.name_out} {at}: {self.words[at]:#x}: {got:#x}, want {want:#x}"
            )
            self.taken.append(cycle)
            moves = True
        return moves


def _tensor(rng: np.random.Generator, layout: Layout, bits: int, components: int) -> Encoded:
    """Rows from nearly empty to full: all modes occur."""
    rows, cells = int(rng.integers(3, 6)), int(rng.integers(66, 200))
    if layout.group == 0 and layout.chunk:
        layout = Layout(layout.chunk, components)
    shares = np.linspace(0.02, 1.05, rows)[:, None, None] ** 2
    kept = rng.random((rows, cells, components // max(layout.group, 1))) < shares
    kept = np.repeat(kept, max(layout.group, 1), axis=2)
    codes = rng.integers(1, 1 << bits - 1, kept.shape) * rng.choice([-1, 1], kept.shape) * kept
    return encode(Codes(codes.astype(np.int16), bits, np.float32(1)), [layout])


def _in_larger_units(encoded: Encoded, unit: int) -> Encoded:
    """The same with bases that count 2^unit bytes, as only large tensors have it."""
    order = np.argsort(encoded.bases.ravel(), kind="stable")
    starts = encoded.bases.ravel()[order]
    sizes = np.diff(np.append(starts, len(encoded.payload)))
    spans = in_units(sizes, unit)
    bases, payload = np.zeros(len(order), np.int64), b""
    for at, start, size, span in zip(order, starts, sizes, spans, strict=True):
        bases[at] = len(payload) >> unit
        part = encoded.payload[start : start + size]
        payload += part + bytes((int(span) << unit) - len(part))
    fields = encoded.modes.ravel() | encoded.counts.ravel() << COUNT_AT | bases << BASE_AT
    return replace(encoded, unit=unit, directory=fields.astype(np.uint32), payload=payload)


def _scene(rng: np.random.Generator) -> Scene:
    """Twelve tensors of all layouts, as wide as fit."""
    tensors = []
    for i, _ in enumerate(TENSORS):
        layout = _LAYOUTS[i % len(_LAYOUTS)]
        bits = int(rng.integers(2, 10))
        whole = layout.group != 1 and layout.group != 4
        components = 4 * max(1, min(3, ELEMENT_BITS // (4 * bits) if whole else 2))
        if layout.group == 4 or whole:
            bits = min(bits, ELEMENT_BITS // 4)
        tensors.append(_tensor(rng, layout, bits, components))
    # The widest element that the decoder has room for: one code of its group is 16 bits wide.
    wide = ELEMENT_BITS // 16
    if wide:
        tensors[3] = _tensor(rng, Layout(64, wide), 16, wide)
    tensors[4] = _in_larger_units(tensors[4], 3)
    tensors[8] = _in_larger_units(tensors[8], 1)
    modes = {m for each in tensors if each.layout != PLAIN for m in each.modes.ravel().tolist()}
    assert modes == {DENSE, BITMAP, COORDINATES}
    return Scene(tensors, write_blob(dict(zip(TENSORS, tensors, strict=True))))


def _requests(
    rng: np.random.Generator, scene: Scene, count: int
) -> list[tuple[int, int, int, int]]:
    """Along rows as often as anywhere, so that cells at the end of a chunk occur."""
    found = []
    for _ in range(count):
        tensor = int(rng.integers(0, len(scene.tensors)))
        encoded = scene.tensors[tensor]
        u = int(rng.integers(0, encoded.cells - 1))
        if rng.random() < 0.25:
            u = min(u | 31, encoded.cells - 2)
        v, group = rng.integers(0, encoded.rows), rng.integers(0, max(encoded.groups, 1))
        found.append((tensor, int(v), u, int(group)))
    return found


def _look_ups(scene: Scene, requests: list[tuple[int, int, int, int]], lane: int) -> Lane:
    words = [request_word(*each) for each in requests]
    answers = [
        found_word(look_up(scene.tensors[tensor], v, u, group), ELEMENT_BITS)
        for tensor, v, u, group in requests
    ]
    return Lane(f"request_{lane}", f"found_{lane}", words, answers)


def _sums(rng: np.random.Generator, count: int) -> Lane:
    half = 1 << SUM_BITS - 1
    words, answers = [], []
    for _ in range(count):
        values = rng.integers(-half, half, LEAVES)
        if rng.random() < 0.2:
            values[:] = rng.choice([-half, half - 1])
        words.append(packed((value, SUM_BITS) for value in values.tolist()))
        answers.append(packed([(int(values.sum()), SUM_BITS + LEAVES.bit_length() - 1)]))
    return Lane("sums_i", "sums_o", words, answers)


async def _start(dut: Any, scene: Scene) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    await _load(dut, scene)


async def _reset(dut: Any) -> None:
    for name in ("request_0", "request_1", "sums_i"):
        getattr(dut, f"{name}_valid").value = 0
    for name in ("found_0", "found_1", "sums_o"):
        getattr(dut, f"{name}_ready").value = 0
    dut.write_enable.value = dut.table_write.value = dut.clear.value = 0
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def _load(dut: Any, scene: Scene) -> None:
    assert len(scene.blob) <= WORDS * ROW_BYTES // 8
    for i in range(0, len(scene.blob), ROW_BYTES):
        dut.write_enable.value = 1
        dut.write_address.value = i // ROW_BYTES
        dut.write_data.value = int.from_bytes(scene.blob[i : i + ROW_BYTES], "little")
        await FallingEdge(dut.clk)
    dut.write_enable.value = 0
    for i, row in enumerate(scene.rows):
        dut.table_write.value = 1
        dut.table_index.value = i
        dut.table_row.value = row_word(row, WORDS)
        await FallingEdge(dut.clk)
    dut.table_write.value = 0


async def _exchange(
    dut: Any,
    rng: np.random.Generator,
    lanes: list[Lane],
    every_cycle: Callable[[int], None] = lambda cycle: None,
) -> None:
    """All words of all lanes, and each answer."""
    cycle, quiet = 0, 0
    while any(len(each.taken) < len(each.words) for each in lanes):
        every_cycle(cycle)
        for each in lanes:
            each.offer(dut, cycle, rng)
        await Timer(1, unit="ns")
        moves = [each.watch(dut, cycle) for each in lanes]
        quiet = 0 if any(moves) else quiet + 1
        assert quiet < _PATIENCE, "the decoder is stuck"
        cycle += 1
        await FallingEdge(dut.clk)


async def _check(
    dut: Any,
    rng: np.random.Generator,
    scene: Scene,
    requests: list[list[tuple[int, int, int, int]]],
    sums: int,
    *,
    busy: float = 1.0,
) -> list[Lane]:
    """Values, and the cycle of every handshake, after a reset: the first turn is lane 0's."""
    await _reset(dut)
    lanes = [*(_look_ups(scene, each, i) for i, each in enumerate(requests)), _sums(rng, sums)]
    for each in lanes:
        each.busy_in = each.busy_out = busy
    await _exchange(dut, rng, lanes)
    _check_cycles(scene, requests, lanes)
    return lanes


def _check_cycles(
    scene: Scene, requests: list[list[tuple[int, int, int, int]]], lanes: list[Lane]
) -> None:
    modes = [
        [modes_read(scene.rows[each[0]], scene.tensors[each[0]], *each[1:]) for each in lane]
        for lane in requests
    ]
    model = passage(
        [each.offered for each in lanes[:LANES]],
        modes,
        [np.array(each.took) for each in lanes[:LANES]],
        lanes[LANES].offered,
        np.array(lanes[LANES].took),
        LEAVES,
    )
    for lane, want in zip(lanes, (*model.look_ups, model.sums), strict=True):
        assert lane.accepted == want.accepted, f"{lane.name_in}: cycles"
        assert lane.taken == want.taken, f"{lane.name_out}: cycles"


@cocotb.test
async def look_ups_and_sums(dut: Any) -> None:
    """A look-up every cycle, or half of one; sums in between."""
    rng = np.random.default_rng(1)
    for seed in range(2):
        scene = _scene(np.random.default_rng(10 + seed))
        if seed == 0:
            await _start(dut, scene)
        await _load(dut, scene)
        requests = [_requests(rng, scene, 1500) for _ in range(LANES)]
        lanes = await _check(dut, rng, scene, requests, 800)
        halves = sum(
            len(modes_read(scene.rows[t], scene.tensors[t], v, u, g))
            for lane in requests
            for t, v, u, g in lane
        )
        assert dut.faults.value == 0
        last = max(lane.accepted[-1] for lane in lanes[:LANES])
        assert last - min(lane.accepted[0] for lane in lanes[:LANES]) <= halves
        # Alone, a lane has all cycles.
        await _check(dut, rng, scene, [requests[0][:300], []], 0)
        await _check(dut, rng, scene, [[], requests[0][:300]], 100)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    scene = _scene(rng)
    await _start(dut, scene)
    for busy in (0.3, 0.7):
        requests = [_requests(rng, scene, 500) for _ in range(LANES)]
        await _check(dut, rng, scene, requests, 300, busy=busy)


@cocotb.test
async def one_lane_is_stalled(dut: Any) -> None:
    """The other goes on, and so do the sums."""
    rng = np.random.default_rng(3)
    scene = _scene(rng)
    await _start(dut, scene)
    requests = [_requests(rng, scene, 200) for _ in range(LANES)]
    lanes = [*(_look_ups(scene, each, i) for i, each in enumerate(requests)), _sums(rng, 100)]
    lanes[0].busy_out = 0.0

    def let_go(cycle: int) -> None:
        if cycle == 600:
            assert [len(each.taken) for each in lanes] == [0, 200, 100]
            lanes[0].busy_out = 1.0

    await _exchange(dut, rng, lanes, let_go)
    _check_cycles(scene, requests, lanes)


@cocotb.test
async def faults(dut: Any) -> None:
    """Each kind alone: all is absent, a flag is up until it is cleared, the rest goes on."""
    rng = np.random.default_rng(4)
    right = _scene(rng)
    await _start(dut, right)
    at = next(i for i, each in enumerate(right.tensors) if each.layout.chunk == 64)
    encoded = right.tensors[at]
    end = len(encoded.payload) >> encoded.unit
    for mode, count, base, fault in (
        (3, 1, 0, Fault.MODE),
        (BITMAP, 65, 0, Fault.COUNT),
        (COORDINATES, 19, 0, Fault.COUNT),
        (BITMAP, 1, end, Fault.OUTSIDE),
        (DENSE, 64, (1 << 22) - 1, Fault.OUTSIDE),
        (COORDINATES, 18, 0, Fault.FALLING),
    ):
        directory = encoded.directory.copy()
        directory[0] = mode | count << COUNT_AT | base << BASE_AT
        bad = replace(encoded, directory=directory)
        assert fault_of(bad, 0, 0, 0) == fault
        tensors = [*right.tensors[:at], bad, *right.tensors[at + 1 :]]
        scene = Scene(tensors, write_blob(dict(zip(TENSORS, tensors, strict=True))))
        await _load(dut, scene)
        requests = [[(at, 0, int(u), 0) for u in rng.integers(0, 64, 20)], []]
        requests[1] = _requests(rng, scene, 20)
        await _check(dut, rng, scene, requests, 5)
        assert dut.faults.value == fault
        dut.clear.value = 1
        await FallingEdge(dut.clk)
        dut.clear.value = 0
        assert dut.faults.value == 0


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(5)
    scene = _scene(rng)
    await _start(dut, scene)
    for cycles in (1, 12, 40):
        requests = [_requests(rng, scene, 60) for _ in range(LANES)]
        lanes = [_look_ups(scene, each, i) for i, each in enumerate(requests)]
        for cycle in range(cycles):
            for each in lanes:
                each.busy_out = 0.0
                each.offer(dut, cycle, rng)
            await Timer(1, unit="ns")
            for each in lanes:
                each.watch(dut, cycle)
            await FallingEdge(dut.clk)
        await _reset(dut)
        await _check(dut, rng, scene, requests, 20)
