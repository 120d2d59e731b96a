"""Area of a design without synthesis: sums of its parts' sizes, fitted to Yosys' results.

`benchmarks/area_model.py` synthesises small sizes of each family and writes area_model.json: their
areas, the coefficients, and how far off each size is that is left out of the fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from oleaster.models.accelerator.config import (
    CHANNEL_SLOTS,
    CHUNK_SLOTS,
    OUTPUT_SLOTS,
    AcceleratorConfig,
)
from oleaster.models.lane import FORMAT_SETS
from oleaster.sim.performance.design import AcceleratorDesign, ArrayDesign, Design

__all__ = [
    "LEAST_WORDS",
    "AreaError",
    "AreaEstimate",
    "accelerator_memory_bits",
    "accelerator_terms",
    "array_terms",
    "estimate_area",
]

LEAST_WORDS = 16
"""Of a memory; synthesis makes smaller ones flip-flops, as compilers of memories make none."""

_LANES = ("olive4", "olive")  # smallest first


class AreaError(ValueError):
    """A design whose area is not known; the message says which ones' are."""


@dataclass(frozen=True)
class AreaEstimate:
    """gate_equivalents: of logic and flip-flops, in NANDs of two inputs (4 transistors).

    sram_bits: of memories, which are not in the gate equivalents.
    loo_error_pct: the largest error, in per cent, for a size that was left out of the fit.
    """

    gate_equivalents: float
    sram_bits: int
    loo_error_pct: float


def estimate_area(design: Design) -> AreaEstimate:
    """Area of our own arrays and accelerators, without Yosys, in microseconds.

    An array's lanes are the smaller of the sets `olive4` and `olive` that holds its formats; B's
    lanes hold those of A, too, as both operands of attention are activations. Its memories are its
    three buffers. An accelerator is taken as one of `olive` lanes, and its memories are exact.

    Raises AreaError for a design that is not our Verilog, or has other formats.
    """
    if isinstance(design, ArrayDesign):
        return _array(design)
    if isinstance(design, AcceleratorDesign):
        return _accelerator(design)
    raise AreaError(f"{design.name}: has no fit of its area{_ABLE}")


_FORMATS = ", ".join(FORMAT_SETS["olive"])
_ABLE = f" (known: arrays with pe_bits 4 and decoders, and accelerators, of formats {_FORMATS})"


def array_terms(dataflow: str, rows: int, cols: int) -> list[float]:
    """What the area of an array is a weighted sum of.

    Squares: operands and sums wait in triangles of registers, at lane i for i cycles. A wide
    output-stationary array drains its first columns early, and these sums wait, too.
    """
    early = max(0, cols - rows) if dataflow == "os" else 0
    triangle = [early * (early + 1)] if dataflow == "os" else []
    return [1, rows, cols, rows * cols, rows * rows, cols * cols, *triangle]


def accelerator_terms(config: AcceleratorConfig) -> list[float]:
    """What the area of an accelerator, but for its array, is a weighted sum of.

    Its output stage has a requantiser for every 32 bits of the bus, each lane a scratchpad.
    """
    small = sum(bits for words, bits in _memories(config) if words < LEAST_WORDS)
    lanes = config.rows + config.cols
    address = (config.scratchpad_beats - 1).bit_length()
    bus = config.data_bits
    return [1, config.rows, config.cols, bus, lanes * bus, address, small]


def accelerator_memory_bits(config: AcceleratorConfig) -> int:
    """Bits of an accelerator's memories, without those that synthesis makes flip-flops."""
    return sum(bits for words, bits in _memories(config) if words >= LEAST_WORDS)


def _memories(config: AcceleratorConfig) -> list[tuple[int, int]]:
    """(words, bits in all) of each memory, those of all lanes together."""
    bus, lanes = config.data_bits, config.rows + config.cols
    # Of a burst under way: its kind, row, slot, first beat and first byte, and whether it is last.
    beat = max(config.scratchpad_beats, config.channel_beats)
    row, slot = max(config.rows, config.cols), max(CHUNK_SLOTS, CHANNEL_SLOTS)
    burst = sum((n - 1).bit_length() for n in (3, row, slot, beat, config.beat_bytes, 2))
    memories = (  # number, words, bits of a word
        (lanes, config.scratchpad_beats, bus),
        (1, config.outstanding, burst),
        (1, config.write_queue_beats, config.address_bits + 8),
        (1, config.write_queue_beats, bus + config.beat_bytes + 1),
        (1, OUTPUT_SLOTS * _power_of_two(config.rows), 32 * config.cols),
        (1, CHANNEL_SLOTS * _power_of_two(config.cols // config.out_lanes), 2 * bus),
    )
    return [(words, number * words * bits) for number, words, bits in memories]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _accelerator(design: AcceleratorDesign) -> AreaEstimate:
    config = design.config
    _lane(design.name, config.formats_a + config.formats_b)
    array = _families()["array-os-olive-olive"]
    family = _families()["accelerator-olive-olive"]
    gates = _sum(array, array_terms("os", config.rows, config.cols))
    gates += _sum(family, accelerator_terms(config))
    return AreaEstimate(gates, accelerator_memory_bits(config), family["loo_error_pct"])


def _array(design: ArrayDesign) -> AreaEstimate:
    if design.pe_bits != 4 or not design.decoders:
        raise AreaError(f"{design.name}: has no fit of its area{_ABLE}")
    activations = {row.activations.format for row in design.precisions}
    weights = {row.weights.format for row in design.precisions}
    a = _lane(design.name, activations)
    b = _lane(design.name, activations | weights)
    family = _families()[f"array-{design.dataflow}-{a}-{b}"]
    terms = array_terms(design.dataflow, design.rows, design.cols)
    buffers = (
        design.weight_buffer_bytes + design.activation_buffer_bytes + design.output_buffer_bytes
    )
    return AreaEstimate(_sum(family, terms), 8 * buffers, family["loo_error_pct"])


def _lane(name: str, formats: Iterable[str]) -> str:
    for lane in _LANES:
        if set(formats) <= set(FORMAT_SETS[lane]):
            return lane
    other = ", ".join(sorted(set(formats) - set(FORMAT_SETS[_LANES[-1]])))
    raise AreaError(f"{name}: areas of lanes for {other} are not known{_ABLE}")


def _sum(family: dict[str, Any], terms: list[float]) -> float:
    return sum(c * term for c, term in zip(family["coefficients"], terms, strict=True))


@cache
def _families() -> dict[str, Any]:
    text = (files("oleaster.synth") / "area_model.json").read_text(encoding="utf-8")
    families: dict[str, Any] = json.loads(text)["families"]
    return families
