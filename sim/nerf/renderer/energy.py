"""What a frame's events cost by a table of constants. All of it is ours.

The tables are those of the arrays for transformers, whose PEs the colour network's are. For what
they have no constant of, one that they have stands in, as `frame_energy` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields
from oleaster.sim.nerf.renderer.machine import Count
from oleaster.sim.nerf.renderer.model import FrameCycles
from oleaster.sim.performance.energy import EnergyTable
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

__all__ = ["FrameEnergy", "frame_energy", "multiplications", "pe_macs", "sram_bits"]

_LANES = 2
_READS = 3  # of a look-up: directory, head, values
_ROW_BITS = 256  # of a decoder's memory
_CODE_BITS = 8
_PES_OF_A_MAC = 4
_CORNERS = 8
_RESCALED_BITS = 32, 16  # of a sum, and of what it is multiplied by


@dataclass(frozen=True)
class FrameEnergy:
    """pJ. static: what passes with time. dram, buffer: what is moved. core: PEs of the colour
    network. decode: their operands' decoders. arithmetic: all other multipliers."""

    static: float
    dram: float
    buffer: float
    core: float
    decode: float
    arithmetic: float

    @property
    def total(self) -> float:
        return self.static + self.dram + self.buffer + self.core + self.decode + self.arithmetic


def _tilings(frame: FrameCycles) -> list[Tiling]:
    """Of a batch's four products of matrices."""
    rows, cols = frame.config.color_rows, frame.config.color_cols
    return [
        Tiling(rows // _LANES, k, n, rows, cols, _LANES, _LANES, is_fusing=True)
        for k, n in frame.shape.stages
    ]


def pe_macs(frame: FrameCycles) -> tuple[int, int]:
    """8-bit products that the frame's colours need, and that the arrays could have done while
    they moved: idle PEs, padding, fill and drain count."""
    needed = sum(k * n for k, n in frame.shape.stages) * frame.counts[Count.COLORED]
    pes = frame.config.color_rows * frame.config.color_cols
    moving = sum(gemm_cycles(each) for each in _tilings(frame)) * frame.counts[Count.BATCH]
    return needed, pes // _PES_OF_A_MAC * moving


def sram_bits(frame: FrameCycles) -> dict[str, int]:
    """Bits read and written, by memory. Of a decoder's memory a whole row each time."""
    count, config = frame.counts, frame.config
    fixed = config.fixed
    share, pixels = fixed.transmittance_bits + 1, config.pixels * frame.drawn
    ray = {name: 3 * number.bits for name, number in ray_fields(fixed).items()}
    slab = sum(ray[name] for name in ("mask_base", "mask_delta", "inverse", "exponent"))
    step = sum(ray[name] for name in ("field_base", "field_delta", "mask_base", "mask_delta"))
    sums = 3 * (fixed.transmittance_bits + fixed.color_bits + 1)
    weights = activations = 0
    for tiling in _tilings(frame):
        operands = 2 * tiling.words * tiling.tiles * _CODE_BITS
        weights += operands * tiling.tile_cols
        activations += operands * tiling.tile_rows
    coded = 2 * _CODE_BITS * sum(frame.shape.words) * count[Count.COLORED]
    return {
        "embeddings": _READS * _ROW_BITS * (count[Count.READ_DENSITY] + count[Count.READ_COLOR]),
        "cubes": config.cube_word * count[Count.CUBE_SLOTS]
        + config.block_word * count[Count.BLOCK_SLOTS],
        "rays": sum(ray.values()) * pixels
        + slab * count[Count.PIXEL_TESTED]
        + step * count[Count.SAMPLE_TESTED]
        + ray["direction"] * count[Count.COLORED],
        "pixels": 2 * share * (count[Count.SAMPLE] + pixels)
        + share * count[Count.PIXEL_TESTED]
        + 2 * sums * (count[Count.COLORED] + pixels),
        "network weights": weights * count[Count.BATCH],
        "network activations": activations * count[Count.BATCH] + coded,
    }


def multiplications(frame: FrameCycles) -> dict[str, float]:
    """Products outside the colour network's array, as many of 8 by 8 bits, by unit."""
    count, config, shape = frame.counts, frame.config, frame.shape
    f: FixedConfig = config.fixed
    ray = {name: number.bits for name, number in ray_fields(f).items()}

    def of(*products: tuple[int, int]) -> float:
        return sum(a * b for a, b in products) / _CODE_BITS**2

    interpolated = of(
        (config.plane_bits + 1, f.weight_bits + 1),
        (config.plane_bits + 1, f.weight_bits + 1),
        (config.plane_bits + f.weight_bits + 1, f.weight_bits + 1),
        (config.line_bits + 1, f.weight_bits + 1),
        (config.plane_bits + f.guard_bits, config.line_bits + f.guard_bits),
    )
    rescaled = shape.products + shape.inputs + sum(n for _, n in shape.stages)
    reciprocal = [(f.inverse_bits, f.inverse_address_bits + 4)] * 2
    projected = count[Count.BLOCK] + count[Count.CUBE]
    direction = [(ray["direction"], ray["direction"])] * 6
    pixels = config.pixels * frame.drawn
    share = f.transmittance_bits + 1
    return {
        "rays": pixels
        * of(*direction, *([(ray["mask_delta"], ray["direction"])] * 12), *(reciprocal * 4)),
        "projectors": projected
        * (
            of(*([(57, config.axis_bits)] * 9))
            + _CORNERS * of((42, 14), (42, 14), (26, 19), (26, 19), *reciprocal)
        ),
        "slab unit": count[Count.PIXEL_TESTED]
        * of(*([(ray["mask_base"], ray["inverse"] + 1)] * 3)),
        "sample generator": count[Count.SAMPLE_TESTED] * of(*([(12, ray["mask_delta"])] * 6)),
        "alpha unit": count[Count.SAMPLE]
        * (
            3 * config.density_components * interpolated
            + of(*([(config.alpha_sum_bits, 16)] * 3), (share + 1, 8))
        ),
        "shader": count[Count.SAMPLE] * of((share, share)),
        "colour features": count[Count.COLORED] * 3 * config.color_components * interpolated,
        "rescalers": count[Count.COLORED] * rescaled * of(_RESCALED_BITS),
        "compositor": count[Count.COLORED] * of(*([(share, f.color_bits + 1)] * 3)),
    }


def frame_energy(
    frame: FrameCycles,
    cycles: int,
    renderers: int,
    clock_mhz: float,
    read_bytes: int,
    written_bytes: int,
    table: EnergyTable,
) -> FrameEnergy:
    """A frame of so many cycles.

    PEs leak all the time, and switch, all of them, while their array moves: `pe_*_4bit`. Each
    operand is decoded once at the array's border: `decode`. Memories of embeddings, cubes and
    weights cost as `weight_buffer_read`, those of rays, pixels and activations, smaller ones, as
    `activation_buffer_read`. A multiplier of a by b bits switches as a b / 64 PEs of 8 bits do,
    once for each product. Registers and adders outside the arrays, and leakage outside them, are
    left out.
    """
    nanoseconds = 1000 * cycles / clock_mhz  # mW times these are pJ
    pes = frame.config.color_rows * frame.config.color_cols
    moving = sum(gemm_cycles(each) for each in _tilings(frame)) * frame.counts[Count.BATCH]
    bits = sram_bits(frame)
    large = ("embeddings", "cubes", "network weights")
    buffer = sum(
        value * table["weight_buffer_read" if name in large else "activation_buffer_read"]
        for name, value in bits.items()
    )
    operands = sum(
        2 * each.words * each.tiles * (each.tile_rows + each.tile_cols) for each in _tilings(frame)
    )
    return FrameEnergy(
        static=nanoseconds * table["static"],
        dram=8 * (read_bytes * table["dram_read"] + written_bytes * table["dram_write"]),
        buffer=buffer,
        core=renderers * frame.config.networks * pes * nanoseconds * table["pe_leakage_4bit"]
        + pes * moving * table["pe_dynamic_4bit"],
        decode=operands * frame.counts[Count.BATCH] * table["decode"],
        arithmetic=sum(multiplications(frame).values()) * table["pe_dynamic_8bit"],
    )
