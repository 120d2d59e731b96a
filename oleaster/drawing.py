"""What figures have in common, whoever draws them: colours, parts of a whole, SI prefixes."""

from __future__ import annotations

__all__ = [
    "CYCLE_PARTS",
    "ENERGY_PARTS",
    "KIND_COLORS",
    "PALETTE",
    "RED",
    "SKY",
    "WORDS",
    "prefix_of",
    "si",
]

# Okabe and Ito's palette, which stays apart for people who do not see all colours.
BLUE, ORANGE, GREEN, YELLOW = "#0072B2", "#E69F00", "#009E73", "#F0E442"
SKY, RED, PINK, GREY = "#56B4E9", "#D55E00", "#CC79A7", "#999999"

PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY)
"""For series that have no colours of their own, in this order."""

CYCLE_PARTS = {
    "compute_cycles": ("compute", BLUE),
    "fill_drain_cycles": ("fill and drain", SKY),
    "stall_first_load_cycles": ("stall: first load", YELLOW),
    "stall_load_cycles": ("stall: load", ORANGE),
    "stall_store_cycles": ("stall: store", RED),
    "overhead_cycles": ("overhead", GREY),
}
"""Columns of a layer whose sum is its cycles: name and colour of each, in stacking order."""

ENERGY_PARTS = {
    "energy_core_pj": ("core", BLUE),
    "energy_decode_pj": ("decoders", PINK),
    "energy_buffer_pj": ("buffers", SKY),
    "energy_dram_pj": ("DRAM", ORANGE),
    "energy_static_pj": ("static", GREY),
}
"""The same of its energy."""

KIND_COLORS = {"linear": BLUE, "attention": ORANGE, "convolution": GREEN}
"""By kind of layer."""

WORDS = {
    "k": "thousand ",
    "M": "million ",
    "G": "billion ",
    "T": "trillion ",
    "P": "quadrillion ",
    "E": "quintillion ",
}
"""Prefixes in words, for what has no unit, such as cycles."""

_PREFIXES = (
    (1e18, "E"),
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)


def prefix_of(value: float) -> tuple[float, str]:
    """(factor, SI prefix) for values up to `value`."""
    for factor, prefix in _PREFIXES:
        if value >= factor:
            return factor, prefix
    return 1e-12, "p"


def si(value: float, unit: str = "") -> str:
    """Three digits with an SI prefix, as "4.1 Top/s"."""
    factor, prefix = prefix_of(value)
    scaled = value / factor
    digits = f"{scaled:.0f}" if scaled >= 100 else f"{scaled:.3g}"
    return f"{digits} {prefix}{unit}".rstrip()
