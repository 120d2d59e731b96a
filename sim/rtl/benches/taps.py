"""Tap reader: encoded planes and lines of all layouts, ends between; stalls, faults, reset."""

from dataclasses import dataclass, replace
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from oleaster.models.nerf.encoding import Encoded, encode
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.layout import PLAIN, Codes, Layout
from oleaster.models.nerf.lookup import ELEMENT_BITS, GROUP_BITS, LARGEST_ELEMENT, Fault, look_up
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS
from oleaster.sim.nerf.hybrid_decoder import row_word
from oleaster.sim.nerf.pipe import receiver
from oleaster.sim.nerf.renderer.image import pair_memory
from oleaster.sim.nerf.renderer.taps import Request, TapClock, requests
from oleaster.sim.nerf.renderer.words import cells_word, taps_word
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.pipe import reset_midway, start_pipe
from oleaster.sim.rtl.benches.sample_words import read_config, tags
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.cosim import bench_config

CONFIG = read_config(bench_config())
COMPONENTS, WORDS = bench_config()["components"], bench_config()["words"]
TAG_BITS = bench_config()["tag_bits"]
ITEM_BYTES = ITEM_BITS[0] // 8
CODE_BITS = 5
SIZE = 70, 40, 33


@dataclass
class Pair:
    """A plane and its line; data, rows: of the decoder's memory."""

    plane: Encoded
    line: Encoded

    def __post_init__(self) -> None:
        self.data, self.rows = pair_memory(self.plane, self.line)


def _tensor(
    rng: np.random.Generator, shape: tuple[int, int], components: int, bits: int
) -> Encoded:
    """A random layout of elements that fit; from nearly empty to full."""
    groups = [g for g in (1, 2, 4, components) if components % g == 0]
    group = int(rng.choice([g for g in groups if g * bits <= LARGEST_ELEMENT]))
    layout = Layout(int(rng.choice([32, 64, 128])), group)
    if components * bits <= LARGEST_ELEMENT and rng.random() < 0.2:
        layout = PLAIN
    kept = rng.random((*shape, components)) < rng.choice([0.05, 0.3, 0.9])
    codes = rng.integers(1, 1 << bits - 1, kept.shape) * rng.choice([-1, 1], kept.shape) * kept
    return encode(Codes(codes.astype(np.int16), bits, np.float32(1)), [layout])


def _pairs(rng: np.random.Generator) -> list[Pair]:
    """Each with some of the components, in codes of some of the widths."""
    pairs = []
    for (u, v), w in zip(PLANE_AXES, LINE_AXES, strict=True):
        components = int(rng.integers(1, COMPONENTS + 1))
        plane_bits = int(rng.integers(2, CONFIG.plane_bits + 1))
        line_bits = int(rng.integers(2, CONFIG.line_bits + 1))
        plane = _tensor(rng, (SIZE[v], SIZE[u]), components, plane_bits)
        pairs.append(Pair(plane, _tensor(rng, (1, SIZE[w]), components, line_bits)))
    return pairs


async def _load(dut: Any, pairs: list[Pair]) -> None:
    fields = []
    for m, pair in enumerate(pairs):
        assert len(pair.data) <= 4 * WORDS
        dut.blob_write.value = 1 << m
        for i in range(0, len(pair.data), ITEM_BYTES):
            dut.write_address.value = i // ITEM_BYTES
            item = pair.data[i : i + ITEM_BYTES]
            dut.write_data.value = int.from_bytes(item, "little")
            await FallingEdge(dut.clk)
        dut.blob_write.value = 0
        dut.row_write.value = 1 << m
        for i, row in enumerate(pair.rows):
            dut.write_address.value, dut.write_data.value = i, row_word(row, WORDS)
            await FallingEdge(dut.clk)
        dut.row_write.value = 0
        for row, bits in zip(pair.rows, (pair.plane.bits, pair.line.bits), strict=True):
            fields += [(row.groups, GROUP_BITS), (row.element, ELEMENT_BITS), (bits, CODE_BITS)]
    dut.pairs.value = packed(fields)


def _codes(encoded: Encoded, v: int, u: int) -> NDArray[np.int64]:
    """(2, COMPONENTS) codes of cells u and u + 1."""
    found = np.zeros((2, COMPONENTS), np.int64)
    for group in range(max(encoded.groups, 1)):
        taps = look_up(encoded, v, u, group)
        width = encoded.layout.group or encoded.components
        for i in range(width):
            for tap, element in enumerate((taps.first, taps.second)):
                code = element >> i * encoded.bits & (1 << encoded.bits) - 1
                code -= code >> encoded.bits - 1 << encoded.bits
                found[tap, group * width + i] = code
    return found


class _Samples:
    """Words, ends among them, their answers, and what the decoders are asked for each."""

    def __init__(
        self, rng: np.random.Generator, pairs: list[Pair], count: int, between: float = 0.1
    ) -> None:
        """between: share of ends before the last word, which is one."""
        size = np.array(SIZE)[:, None]
        cells = rng.integers(0, size - 1, (3, count))
        # The last cell of a chunk, as often as that.
        crosses = rng.random((3, count)) < 0.2
        cells = np.where(crosses, np.minimum(cells | 31, size - 2), cells)
        weights = rng.integers(0, (1 << CONFIG.fixed.weight_bits) + 1, (3, count))
        numbers, ends = tags(rng, count, TAG_BITS), rng.random(count) < between
        ends[-1] = True
        self.words, self.answers = [], []
        self.wanted: list[list[list[Request]] | None] = []
        for cell, weight, end, tag in zip(cells.T, weights.T, ends.tolist(), numbers, strict=True):
            self.words.append(cells_word(CONFIG, cell, weight, end, tag, TAG_BITS))
            codes = np.zeros((PAIRS, COMPONENTS, 6), np.int64)
            wanted = []
            for m, pair in enumerate(pairs):
                (u, v), w = PLANE_AXES[m], LINE_AXES[m]
                row, column, along = int(cell[v]), int(cell[u]), int(cell[w])
                taps = [_codes(pair.plane, row + i, column) for i in (0, 1)]
                taps.append(_codes(pair.line, 0, along))
                codes[m] = np.concatenate(taps).T
                wanted.append(requests(*pair.rows, column, along))
            self.wanted.append(None if end else wanted)
            word = taps_word(CONFIG, codes, weight, end, tag, TAG_BITS)
            self.answers.append((word, bool(end)))

    @property
    def reads(self) -> int:
        """Requests of the first pair."""
        return sum(len(each[0]) for each in self.wanted if each)


_CODES = COMPONENTS * PAIRS * (4 * CONFIG.plane_bits + 2 * CONFIG.line_bits)


async def _check(dut: Any, samples: _Samples, rng: np.random.Generator, busy: float = 1.0) -> None:
    """Values, the cycle of every handshake, and the event."""
    reads = 0

    def count() -> dict[str, int]:
        nonlocal reads
        reads += int(dut.read.value)
        return {}

    done = await exchange(dut, samples.words, len(samples.words), rng, busy, count)
    for payload, (want, end) in zip(done.payloads, samples.answers, strict=True):
        # Of an end, codes mean nothing.
        shift = _CODES if end else 0
        assert payload >> shift == want >> shift
    assert reads == samples.reads
    clock, take = TapClock(CONFIG.leaves), receiver(done.ready)
    accepted, taken = [], []
    for offered, wanted in zip(done.offered, samples.wanted, strict=True):
        accepted.append(clock.accept(offered, wanted))
        clock.answer(take)
        taken.append(clock.taken)
    assert (accepted, taken) == (done.accepted, done.taken)


async def _start(dut: Any) -> None:
    dut.blob_write.value = dut.row_write.value = dut.clear.value = 0
    await start_pipe(dut)


@cocotb.test
async def random_pairs(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await _start(dut)
    for _ in range(5):
        await _load(dut, pairs := _pairs(rng))
        await _check(dut, _Samples(rng, pairs, 150), rng)
    assert dut.faults.value == 0


@cocotb.test
async def stalls(dut: Any) -> None:
    """No ends between: one that waits shows the next sample's codes as they are gathered."""
    rng = np.random.default_rng(2)
    await _start(dut)
    for busy in (0.02, 0.1, 0.7):
        await _load(dut, pairs := _pairs(rng))
        await _check(dut, _Samples(rng, pairs, 100, 0.0), rng, busy)


@cocotb.test
async def faults(dut: Any) -> None:
    """A chunk of an unknown mode in each tensor: absent, a flag of its pair until it is cleared."""
    rng = np.random.default_rng(3)
    await _start(dut)
    right = _pairs(rng)
    for m in range(PAIRS):
        for part in ("plane", "line"):
            encoded: Encoded = getattr(right[m], part)
            if encoded.layout == PLAIN:
                encoded = _tensor(rng, (encoded.rows, encoded.cells), 4, 4)
            bad = replace(encoded, directory=encoded.directory | np.uint32(3))
            pairs = [*right[:m], replace(right[m], **{part: bad}), *right[m + 1 :]]
            await _load(dut, pairs)
            await _check(dut, _Samples(rng, pairs, 10), rng)
            assert dut.faults.value == Fault.MODE << m * len(Fault)
            dut.clear.value = 1
            await FallingEdge(dut.clk)
            dut.clear.value = 0
            assert dut.faults.value == 0


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await _start(dut)
    await _load(dut, pairs := _pairs(rng))
    for waiting in (1, 5, 40, 90):
        samples = _Samples(rng, pairs, 60)
        await reset_midway(dut, (samples.words * 2)[:waiting])
        await _check(dut, samples, rng)
