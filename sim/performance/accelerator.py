"""One GEMM on our accelerator, by its exact cycle model (`oleaster.sim.accelerator.model`).

That model walks bursts and rows. As strips of tiles (all columns of C for a tile's rows of A) come
to repeat each other, a GEMM of many strips is run with few, twice, one period of strips apart. If
the second half of all handshakes of the shorter run comes a constant number of cycles later in the
longer one, on every channel, each further period takes as long; else more strips are run.
"""

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from oleaster.models.accelerator.config import BOUNDARY, OUTPUT_SLOTS, AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    DESCRIPTOR_BYTES,
    MAX_SIZE,
    Descriptor,
    element_bits,
    row_bytes,
)
from oleaster.sim.accelerator.memory import PERIOD, MemoryTiming
from oleaster.sim.accelerator.model import ListTiming, list_timing
from oleaster.sim.accelerator.walk import Plan
from oleaster.sim.performance.blocks import Blocking
from oleaster.sim.performance.design import (
    ArrayDesign,
    DesignFault,
    Operand,
    Precision,
)
from oleaster.sim.performance.timing import Timing

__all__ = ["accelerator_gemm", "accelerator_timing", "array_of", "exact_timing"]

_SETTLED_TILES = 128
"""Tiles of the shorter run, at least: many more than wait anywhere in the circuit."""


def accelerator_gemm(
    config: AcceleratorConfig, m: int, k: int, n: int, a_format: str, b_format: str, c_format: str
) -> Descriptor:
    """C (M, N) = A (M, K) B (N, K)^T with rows that begin alike in each 4 kB of memory.

    So strides are powers of two, or multiples of 4 kB.
    """
    strides = [
        _stride(row_bytes(name, size), config.beat_bytes)
        for name, size in ((a_format, k), (b_format, k), (c_format, n))
    ]
    places, free = [], BOUNDARY
    for size in (m * strides[0], n * strides[1], m * strides[2]):
        places.append(free)
        free += -(-size // BOUNDARY) * BOUNDARY
    return Descriptor(
        a_address=places[0],
        b_address=places[1],
        c_address=places[2],
        m=m,
        k=k,
        n=n,
        a_stride=strides[0],
        b_stride=strides[1],
        c_stride=strides[2],
        a_format=a_format,
        b_format=b_format,
        c_format=c_format,
        channels_address=free,
    )


def _stride(size: int, least: int) -> int:
    if size > BOUNDARY:
        return -(-size // BOUNDARY) * BOUNDARY
    return max(least, 1 << (size - 1).bit_length())


def exact_timing(
    descriptor: Descriptor, config: AcceleratorConfig, memory: MemoryTiming
) -> ListTiming:
    """`list_timing` of one `accelerator_gemm`, without its handshakes, in less time."""
    d = descriptor
    height = config.tile_rows(d.a_format)
    strips, across = -(-d.m // height), -(-d.n // config.tile_cols(d.b_format))
    period = 1  # strips; all rows lie alike towards bursts and 4 kB
    gaps = _gap_period(memory)

    def run(count: int) -> ListTiming:
        fewer = replace(d, m=d.m - (strips - count) * height)
        return list_timing([fewer], config, memory)

    few = max(4, -(-_SETTLED_TILES // across))
    while True:
        few += (strips - few) % period
        if 2 * few + period > strips // 2:  # both runs would not be much shorter than the whole
            found = run(strips)
            found.handshakes = {}
            return found
        short, long = run(few), run(few + period)
        more = long.cycles - short.cycles
        if more % gaps == 0 and _comes_later(short, long, more):
            times = (strips - few) // period
            return ListTiming(
                handshakes={},
                **{
                    name: getattr(short, name)
                    + times * (getattr(long, name) - getattr(short, name))
                    for name in vars(short)
                    if name != "handshakes"
                },
            )
        few *= 2
        period *= gaps // math.gcd(more, gaps)


def _gap_period(memory: MemoryTiming) -> int:
    """Cycles after which all gaps repeat, a divisor of `PERIOD`."""
    gaps = np.stack([memory.ar, memory.r, memory.aw, memory.w, memory.b])
    period = PERIOD
    while period > 1 and np.array_equal(gaps, np.roll(gaps, period // 2, axis=1)):
        period //= 2
    return period


def _comes_later(short: ListTiming, long: ListTiming, cycles: int) -> bool:
    for name, times in short.handshakes.items():
        half = len(times) // 2
        late = np.array(long.handshakes[name][-half:]) - np.array(times[-half:])
        if half and not (late == cycles).all():
            return False
    return True


def accelerator_timing(
    config: AcceleratorConfig,
    m: int,
    k: int,
    n: int,
    a_format: str,
    b_format: str,
    c_format: str,
    memory: MemoryTiming,
) -> Timing:
    """One descriptor with everything around it, as `Timing` has it.

    compute: 2 cycles for each pair of operand words. fill_drain: `rows + cols + 2` (one more with
    formats of two lanes) and what tiles wait that are shorter than `rows`. First load: until the
    first chunks are there. stall_load, stall_store: the rest of counter WAIT_DATA; counter
    WAIT_OUTPUT and the end, from the last row of sums to the last write's answer. overhead: the
    descriptor. DRAM bits count whole beats; reads of weights have those of channel words and of
    the descriptor with them.

    Raises DesignFault for a size or a format that no descriptor of this accelerator has.
    """
    for name, size in (("M", m), ("K", k), ("N", n)):
        if not 1 <= size <= MAX_SIZE:
            raise DesignFault(f"{name} is {size}; it must be 1 to {MAX_SIZE}")
    for what, name, known in (
        ("A", a_format, config.formats_a),
        ("B", b_format, config.formats_b),
        ("C", c_format, ("int32", *set(config.formats_a + config.formats_b) - {"fp4-e2m1"})),
    ):
        if name not in known:
            raise DesignFault(
                f"{what} of format {name!r}; this accelerator has {', '.join(sorted(known))}"
            )
    d = accelerator_gemm(config, m, k, n, a_format, b_format, c_format)
    plan = Plan(d, config)
    tile_rows, tile_cols = config.tile_rows(a_format), config.tile_cols(b_format)
    counted = exact_timing(d, config, memory)

    # The first tile's first chunk alone: all that its array waits for is its first load.
    chunk_k = min(k, 2 * plan.chunk_words)
    first = replace(d, m=min(m, tile_rows), n=min(n, tile_cols), k=chunk_k)
    first_load = list_timing([first], config, memory).wait_data
    asked = memory.channels["ar"].nth(1) + memory.latency
    overhead = memory.channels["r"].nth(asked, DESCRIPTOR_BYTES // config.beat_bytes) + 2
    compute = 2 * counted.words
    rest = counted.cycles - compute - counted.wait_data - counted.wait_output - overhead
    drain = config.rows + config.cols + 2 + config.is_fusing
    drain = min(rest, drain + (counted.tiles - 1) * max(0, config.rows - 2 * plan.words))

    tiles_a, tiles_b = -(-m // tile_rows), -(-n // tile_cols)
    is_single = plan.words <= plan.chunk_words
    row_beats = -(-row_bytes(a_format, k) // config.beat_bytes)
    a_loads = 1 if is_single else tiles_b
    b_loads = 1 if is_single and tiles_b == 1 else tiles_a
    a_bits, b_bits = m * k * element_bits(a_format), n * k * element_bits(b_format)
    a_beats, beat_bits = a_loads * m * row_beats, config.data_bits
    sums_bits = 32 * m * n
    return Timing(
        compute_cycles=compute,
        fill_drain_cycles=drain,
        stall_first_load_cycles=first_load,
        stall_load_cycles=counted.wait_data - first_load,
        stall_store_cycles=counted.wait_output + rest - drain,
        overhead_cycles=overhead,
        dram_activation_read_bits=a_beats * beat_bits,
        dram_weight_read_bits=(counted.read_beats - a_beats) * beat_bits,
        dram_output_write_bits=counted.write_beats * beat_bits,
        sram_activation_write_bits=a_loads * a_bits,
        sram_activation_read_bits=tiles_b * a_bits,
        sram_weight_write_bits=b_loads * b_bits,
        sram_weight_read_bits=tiles_a * b_bits,
        sram_output_write_bits=sums_bits,
        sram_output_read_bits=sums_bits,
        decodes=(tiles_b * m + tiles_a * n) * k,
    )


def array_of(
    descriptor: Descriptor, config: AcceleratorConfig, latency: int, share: float
) -> tuple[ArrayDesign, Operand, Operand, Blocking]:
    """What `real_timing` takes (design, weights, activations, blocking) to be this accelerator.

    Its buffers (of two lanes that an element takes, one holds the operand), its walk through the
    tiles, its beats as bursts. share: beats a cycle, for reads and writes together, which have a
    channel each on the accelerator's bus.
    """
    d, plan = descriptor, Plan(descriptor, config)
    weights, activations = (
        Operand(name, element_bits(name), element_bits(name)) for name in (d.b_format, d.a_format)
    )
    wide = Operand("int8", 8 if config.is_fusing else 4, 8)
    lane_bytes = config.scratchpad_beats * config.beat_bytes
    design = ArrayDesign(
        name=config.name,
        title=f"accelerator {config.name}",
        precisions=(Precision("*", wide, wide),),
        clock_mhz=1000.0,
        energy="",
        dataflow="os",
        rows=config.rows,
        cols=config.cols,
        pe_bits=4,
        weight_buffer_bytes=config.tile_cols(d.b_format) * lane_bytes,
        activation_buffer_bytes=config.tile_rows(d.a_format) * lane_bytes,
        output_buffer_bytes=OUTPUT_SLOTS * config.rows * config.cols * 4,
        dram_bytes_per_cycle=share * config.beat_bytes,
        dram_latency_cycles=latency,
        dram_burst_bytes=config.beat_bytes,
        output_bits=element_bits(d.c_format),
    )
    kept: Literal["activations", "weights", "nothing"] = "nothing"
    if plan.words <= plan.chunk_words:
        kept = "weights" if d.n <= config.tile_cols(d.b_format) else "activations"
    return design, weights, activations, Blocking(kept, 1, min(d.k, 2 * plan.chunk_words))
