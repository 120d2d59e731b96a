"""A GPU's tensor cores as a roofline over waves of thread blocks (ours).

A thread block computes one output tile over the whole of K; tiles are halved, down to 16 rows or
columns, where the outputs have fewer. Products of one layer run together. As many blocks as there
are multiprocessors run at a time, a wave; a wave's tiles form a rectangle as square as they can.
Every block reads its rows of A and of B from the L2 cache. What a wave reads of each operand comes
from DRAM once; if both operands and the outputs fit the L2 cache, or a wave has all of a product's
tiles, everything comes once in all. Compute, L2 and DRAM overlap, so the slowest counts; the first
operands' latency is added. No launch of kernels, no clock changes, no instruction other than
multiplications.
"""

from functools import lru_cache
from math import ceil, isqrt

from oleaster.sim.performance.design import GpuDesign, Operand
from oleaster.sim.performance.timing import Timing

__all__ = ["gpu_timing"]


@lru_cache(4096)
def gpu_timing(
    design: GpuDesign,
    m: int,
    k: int,
    n: int,
    weights: Operand,
    activations: Operand,
    count: int = 1,
) -> Timing:
    """`count` GEMMs together. The L2 cache stands in for all three buffers.

    Raises DesignFault if no multiplier takes an operand.
    """
    peak = design.peak(weights, activations)
    tile_m, tile_n = _fitting(design.tile[0], m), _fitting(design.tile[1], n)
    tile_k = design.tile[2]
    depth = -(-k // tile_k) * tile_k
    down, across = -(-m // tile_m), -(-n // tile_n)
    blocks = count * down * across
    waves = -(-blocks // design.multiprocessors)
    compute = ceil(waves * tile_m * tile_n * depth * design.multiprocessors / peak)

    row_bits, col_bits = k * activations.stored_bits, k * weights.stored_bits
    l2_a, l2_w = count * m * across * row_bits, count * n * down * col_bits
    stored = count * m * n * design.output_bits
    one = m * row_bits + n * col_bits + m * n * design.output_bits
    if one <= 8 * design.l2_bytes or down * across <= design.multiprocessors:
        dram_a, dram_w = count * m * row_bits, count * n * col_bits
    else:
        high = min(down, isqrt(design.multiprocessors))
        wide = min(across, design.multiprocessors // high)
        high = min(down, design.multiprocessors // wide)
        dram_a = count * m * -(-across // wide) * row_bits
        dram_w = count * n * -(-down // high) * col_bits
    l2 = ceil((l2_a + l2_w + stored) / 8 / design.l2_bytes_per_cycle)
    dram = ceil((dram_a + dram_w + stored) / 8 / design.dram_bytes_per_cycle)
    return Timing(
        compute_cycles=compute,
        fill_drain_cycles=0,
        stall_first_load_cycles=design.dram_latency_cycles,
        stall_load_cycles=max(0, max(l2, dram) - compute),
        stall_store_cycles=0,
        overhead_cycles=0,
        dram_activation_read_bits=dram_a,
        dram_weight_read_bits=dram_w,
        dram_output_write_bits=stored,
        sram_activation_write_bits=dram_a,
        sram_activation_read_bits=l2_a,
        sram_weight_write_bits=dram_w,
        sram_weight_read_bits=l2_w,
        sram_output_write_bits=stored,
        sram_output_read_bits=stored,
        decodes=2 * count * m * k * n if design.decoders else 0,
    )


def _fitting(tile: int, size: int) -> int:
    """The tile, halved while half of it is enough, but not below 16."""
    while tile >= 32 and tile // 2 >= size:
        tile //= 2
    return tile
