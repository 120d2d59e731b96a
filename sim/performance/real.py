"""The real memory setting: one GEMM on a systolic array behind a DRAM of limited bandwidth.

Rules, all ours (docs/memory-model.md): three double-buffered scratchpads of which one half is in
use while the other is filled or emptied, and one DRAM port that reads and writes share. `blocks`
lists the ways to keep one operand and stream the other; each is timed by the same formula, and the
one with the least cycles, then the least DRAM traffic, is taken. No loop runs over tiles.
"""

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from oleaster.sim.performance.blocks import (
    Blocking,
    Gemm,
    Schedules,
    Side,
    output_stationary,
)
from oleaster.sim.performance.design import ArrayDesign, DesignFault, Operand
from oleaster.sim.performance.passes import PARTIAL_BITS, weight_stationary
from oleaster.sim.performance.timing import Timing

__all__ = ["Blocking", "real_timing"]


@lru_cache(1 << 14)
def real_timing(
    design: ArrayDesign,
    m: int,
    k: int,
    n: int,
    weights: Operand,
    activations: Operand,
    blocking: Blocking | None = None,
) -> Timing:
    """C (M, N) = A (M, K) B (N, K)^T with activations as A and weights as B.

    blocking: that one instead of the best, on an output-stationary array; whether it fits the
    buffers is not looked at. PEs count as fusing, which costs a cycle, if some operand of the
    design's precisions takes more than one lane.

    Raises DesignFault for sizes below 1, an operand that takes more lanes than there are, and
    buffers that cannot hold one tile.
    """
    for name, size in (("M", m), ("K", k), ("N", n)):
        if size < 1:
            raise DesignFault(f"{name} is {size}; it must be at least 1")
    gemm = _gemm(design, m, k, n, weights, activations)
    if design.dataflow == "os":
        candidates = list(output_stationary(gemm, blocking))
    else:
        candidates = list(weight_stationary(gemm))
    best = min((_best(gemm, schedules) for schedules in candidates), key=lambda found: found[:2])
    return _timing(gemm, best[2].pick(best[3]))


def _gemm(
    design: ArrayDesign, m: int, k: int, n: int, weights: Operand, activations: Operand
) -> Gemm:
    def side(
        name: Literal["activations", "weights"], rows: int, operand: Operand, buffer: int, pes: int
    ) -> Side:
        lanes = design.lanes(operand)
        if lanes > pes:
            line = "rows" if name == "activations" else "columns"
            raise DesignFault(
                f"{design.name}: {name} of {operand.compute_bits} bits take {lanes} {line} of PEs, "
                f"and there are {pes}"
            )
        burst = design.dram_burst_bytes
        return Side(name, rows, k, lanes, pes // lanes, operand.stored_bits, buffer, burst)

    a = side("activations", m, activations, design.activation_buffer_bytes, design.rows)
    b = side("weights", n, weights, design.weight_buffer_bytes, design.cols)
    is_fusing = any(
        operand.compute_bits > design.pe_bits
        for precision in design.precisions
        for operand in (precision.weights, precision.activations)
    )
    return Gemm(design, a, b, is_fusing)


def _cycles(design: ArrayDesign, s: Schedules, stores: bool) -> Any:
    """From the array's first operand to the last output's, or without `stores` the last sum's."""
    rate, with_stores = design.dram_bytes_per_cycle, float(stores)
    # The port is done with the head's operands, and with the next step's.
    loaded = (s.tile_load + s.more_load + with_stores * s.more_store) / rate
    next_loaded = loaded + s.next_load / rate
    first_late = s.tile_load / rate + s.first_end + s.head_compute - s.tile
    head = np.maximum(np.maximum(s.head_compute, first_late), loaded + s.first_end)
    # A step begins with its first tile's first chunk, and cannot end before the last one.
    early = np.maximum(np.minimum(s.tile, s.last_compute) - s.first_end, 0)
    computed = np.maximum(head, next_loaded - early) + s.rest_compute + s.last_compute
    port = (s.rest_load + with_stores * s.rest_store) / rate
    # A slot is asked for again when the array has left it: latency, load and use take turns there.
    in_turn = (s.rest_compute + port + design.dram_latency_cycles * s.refills) / s.slots
    moved = np.maximum(head, next_loaded) + np.maximum(port, in_turn)
    sums = np.maximum(computed, moved + s.last_compute - early) + s.fill_drain
    if not stores:
        return sums
    # Rows of the last tile are stored as they leave.
    row = s.tail_store / s.tail_rows / rate
    late = np.maximum(row, row * s.tail_rows - (s.tail_rows - 1) * s.tail_interval)
    return np.maximum(sums + late, moved + (s.last_store + s.tail_store) / rate)


def _best(gemm: Gemm, schedules: Schedules) -> tuple[int, int, Schedules, int]:
    """(cycles but for the latencies, bytes read, schedules, index) of the best of them."""
    s, rate = schedules, gemm.design.dram_bytes_per_cycle
    cycles = np.asarray(np.ceil(s.first / rate) + np.ceil(_cycles(gemm.design, s, True)))
    of_a, of_b = (side.rows * side.moved(side.k) for side in (gemm.a, gemm.b))
    traffic = np.asarray(s.activation_loads * of_a + s.weight_loads * of_b)
    best = int(np.lexsort((traffic, cycles))[0])
    return int(cycles[best]), int(traffic[best]), s, best


def _timing(gemm: Gemm, s: Schedules) -> Timing:
    design, a, b = gemm.design, gemm.a, gemm.b
    latency = design.dram_latency_cycles
    compute, fill_drain = int(s.compute), int(s.fill_drain)
    sums, stored = (math.ceil(_cycles(design, s, stores)) for stores in (False, True))
    k, rows, cols = a.k, a.rows, b.rows
    activation_bits, weight_bits = rows * k * a.bits, cols * k * b.bits
    output_bits = rows * cols * design.output_bits
    activation_loads, weight_loads = int(s.activation_loads), int(s.weight_loads)
    activation_uses, weight_uses = int(s.activation_uses), int(s.weight_uses)
    partial_bits = 0
    if design.dataflow == "ws":
        tiles_k = -(-k // (design.rows // a.lanes))
        partial_bits = (tiles_k - 1) * rows * cols * PARTIAL_BITS
    return Timing(
        compute_cycles=compute,
        fill_drain_cycles=fill_drain,
        stall_first_load_cycles=latency + math.ceil(s.first / design.dram_bytes_per_cycle),
        stall_load_cycles=sums - compute - fill_drain,
        stall_store_cycles=latency + stored - sums,
        overhead_cycles=0,
        dram_activation_read_bits=8.0 * activation_loads * rows * a.moved(k),
        dram_weight_read_bits=8.0 * weight_loads * cols * b.moved(k),
        dram_output_write_bits=8.0 * gemm.store_bytes,
        sram_activation_write_bits=activation_loads * activation_bits,
        sram_activation_read_bits=activation_uses * activation_bits,
        sram_weight_write_bits=weight_loads * weight_bits,
        sram_weight_read_bits=weight_uses * weight_bits,
        sram_output_write_bits=output_bits + partial_bits,
        sram_output_read_bits=output_bits + partial_bits,
        decodes=(activation_uses * rows + weight_uses * cols) * k if design.decoders else 0,
    )
