"""A whole network on a design: cycles, traffic and energy, layer by layer."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, get_args

from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.networks.layer import MAX_SIDE, Layer, Network
from oleaster.sim.performance.accelerator import accelerator_timing
from oleaster.sim.performance.design import (
    AcceleratorDesign,
    Design,
    DesignFault,
    GpuDesign,
    Operand,
)
from oleaster.sim.performance.energy import EnergyTable, energy_of, load_energy
from oleaster.sim.performance.gpu import gpu_timing
from oleaster.sim.performance.ideal import ideal_timing
from oleaster.sim.performance.real import real_timing
from oleaster.sim.performance.timing import Timing

__all__ = ["COLUMNS", "LayerResult", "Memory", "Simulation", "simulate"]

Memory = Literal["ideal", "real"]


class LayerResult(NamedTuple):
    """One layer, all its `count` GEMMs together; docs/performance.md says what a column means."""

    layer: str
    kind: str
    count: int  # type: ignore[assignment]  # a column, not the method of tuples
    m: int
    k: int
    n: int
    weight_format: str
    activation_format: str
    weight_bits: float
    activation_bits: float
    macs: int
    cycles: int
    compute_cycles: int
    fill_drain_cycles: int
    stall_first_load_cycles: int
    stall_load_cycles: int
    stall_store_cycles: int
    overhead_cycles: int
    utilization_pct: float
    mapping_pct: float
    dram_activation_read_bytes: float
    dram_weight_read_bytes: float
    dram_output_write_bytes: float
    sram_activation_write_bytes: float
    sram_activation_read_bytes: float
    sram_weight_write_bytes: float
    sram_weight_read_bytes: float
    sram_output_write_bytes: float
    sram_output_read_bytes: float
    energy_static_pj: float
    energy_dram_pj: float
    energy_buffer_pj: float
    energy_core_pj: float
    energy_decode_pj: float
    energy_pj: float
    time_us: float


COLUMNS = LayerResult._fields
"""Names of a table's columns."""

MAX_MACS = 1 << 53
"""Multiplications of one GEMM: so many are counted exactly, in float64 too."""

_BYTES = tuple(name for name in COLUMNS if name.endswith("_bytes"))
_CYCLES = tuple(name for name in COLUMNS if name.endswith("_cycles"))
_ENERGY = tuple(name for name in COLUMNS if name.startswith("energy_"))
_SUMMED = ("macs", "cycles", *_CYCLES, *_BYTES, *_ENERGY, "time_us")


@dataclass(frozen=True)
class Simulation:
    """rows: the network's layers in order."""

    network: Network
    design: Design
    memory: Memory
    energy_table: EnergyTable
    rows: tuple[LayerResult, ...]
    busy: tuple[float, ...]
    """For each row, the cycles that its multiplications would take if no PE were ever idle."""

    @cached_property
    def total(self) -> LayerResult:
        """All layers, one after the other."""
        sums = {name: sum(getattr(row, name) for row in self.rows) for name in _SUMMED}
        computing, busy = sums["compute_cycles"], sum(self.busy)
        return LayerResult(
            layer="total",
            kind="",
            count=sum(row.count for row in self.rows),
            m=0,
            k=0,
            n=0,
            weight_format="",
            activation_format="",
            weight_bits=_mean((r.weight_bits, r.k * r.n * r.count) for r in self.rows),
            activation_bits=_mean((r.activation_bits, r.m * r.k * r.count) for r in self.rows),
            utilization_pct=100 * busy / sums["cycles"],
            mapping_pct=100 * busy / computing,
            **sums,
        )

    def table(self) -> dict[str, list[Any]]:
        """Columns by name, a value for each layer: what a DataFrame takes."""
        return {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}


def simulate(
    network: Network,
    design: Design,
    *,
    memory: Memory = "ideal",
    energy: EnergyTable | None = None,
) -> Simulation:
    """Layers run one after the other, nothing of one overlapping with the next.

    A layer's GEMMs run one after the other too, but together on a GPU.

    memory: "ideal" is the published methodology (`ideal.py`), "real" has fill, drain, latency and
    shared bandwidth (`real.py`). A GPU has one model for both. energy: the design's own by default.

    Raises DesignFault if a layer cannot run on the design, EnergyError if the table lacks a
    constant, ValueError for an unknown memory.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; it must be 'ideal' or 'real'")
    table = energy or load_energy(design.energy)
    rows, busy = [], []
    alike: dict[tuple[object, ...], tuple[LayerResult, float]] = {}
    for layer in network.layers:
        operands = design.operands(layer)
        key = (layer.m, layer.k, layer.n, layer.count, layer.convolution, layer.kind, operands)
        if key not in alike:
            alike[key] = _layer(layer, design, memory, table)
        row, cycles = alike[key]
        rows.append(row._replace(layer=layer.name))
        busy.append(cycles)
    return Simulation(network, design, memory, table, tuple(rows), tuple(busy))


def _layer(
    layer: Layer, design: Design, memory: Memory, table: EnergyTable
) -> tuple[LayerResult, float]:
    weights, activations = design.operands(layer)
    timing = _timing(layer, design, memory, weights, activations)
    # A GPU runs a layer's GEMMs together, an array one after the other.
    times = 1 if isinstance(design, GpuDesign) else layer.count
    macs = layer.macs // times
    width = max(weights.compute_bits, activations.compute_bits)
    spent = energy_of(timing, design, table, width, macs)
    busy = macs / _peak(design, weights, activations)
    row = LayerResult(
        layer=layer.name,
        kind=layer.kind,
        count=layer.count,
        m=layer.m,
        k=layer.k,
        n=layer.n,
        weight_format=weights.format,
        activation_format=activations.format,
        weight_bits=weights.stored_bits,
        activation_bits=activations.stored_bits,
        macs=layer.macs,
        cycles=timing.cycles * times,
        utilization_pct=100 * busy / timing.cycles,
        mapping_pct=100 * busy / timing.compute_cycles,
        energy_static_pj=spent.static * times,
        energy_dram_pj=spent.dram * times,
        energy_buffer_pj=spent.buffer * times,
        energy_core_pj=spent.core * times,
        energy_decode_pj=spent.decode * times,
        energy_pj=spent.total * times,
        time_us=timing.cycles * times / design.clock_mhz,
        **{name: getattr(timing, name) * times for name in _CYCLES},
        **{name: getattr(timing, f"{name[:-5]}bits") / 8 * times for name in _BYTES},
    )
    return row, busy * times


def _timing(
    layer: Layer, design: Design, memory: Memory, weights: Operand, activations: Operand
) -> Timing:
    m, k, n = layer.m, layer.k, layer.n
    if max(m, k, n) > MAX_SIDE or m * k * n > MAX_MACS:
        raise DesignFault(
            f"{layer.name}: {m} x {k} x {n} is too large for one GEMM; a side is at most "
            f"{MAX_SIDE:,}, and there are at most {MAX_MACS:,} multiplications"
        )
    if isinstance(design, GpuDesign):
        return gpu_timing(design, m, k, n, weights, activations, layer.count)
    if isinstance(design, AcceleratorDesign):
        return _on_accelerator(design, m, k, n, weights.format, activations.format)
    if memory == "ideal":
        return ideal_timing(design, m, k, n, weights, activations, layer.convolution)
    return real_timing(design, m, k, n, weights, activations)


@lru_cache(1 << 10)
def _on_accelerator(
    design: AcceleratorDesign, m: int, k: int, n: int, weights: str, activations: str
) -> Timing:
    share = design.dram_share
    memory = MemoryTiming.with_bandwidth(design.dram_latency_cycles, share, share)
    return accelerator_timing(
        design.config, m, k, n, activations, weights, design.output_format, memory
    )


def _peak(design: Design, weights: Operand, activations: Operand) -> float:
    """Multiplications in a cycle in which every PE works."""
    if isinstance(design, GpuDesign):
        return design.peak(weights, activations)
    lanes = design.lanes(weights) * design.lanes(activations)
    return design.rows * design.cols / lanes


def _mean(pairs: Iterable[tuple[float, float]]) -> float:
    values = list(pairs)
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
