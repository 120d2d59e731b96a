"""A unit in a Lattice ECP5-85: what it takes of the device, and how fast it can be clocked."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place, port_signals

__all__ = ["ECP5_CELLS", "ECP5_MHZ", "Framed", "arguments", "figures", "script"]

ECP5_MHZ = 150
"""The goal of placing, unless another is given."""

ECP5_CELLS = {
    "lut4": "LUT4",
    "carry": "CCU2C",
    "dsp": "MULT18X18D",
    "block_ram": "DP16KD",
    "lut_ram": "TRELLIS_DPR16X4",
}
"""Figures of a result, and the cell of the device that each counts."""


class Framed(Unit):
    """A unit between registers, so that every path of it is between two of them."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        members = {
            name: (In if member.flow == In else Out)(Value.cast(value).shape())
            for name, (member, value) in port_signals(unit).items()
        }
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"framed_{self.unit.module_name}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, (member, value) in port_signals(self.unit).items():
            inside, outside = Value.cast(value), getattr(self, name)
            register = Signal(inside.shape(), name=f"at_{name}", reset_less=True)
            source, target = (outside, inside) if member.flow == In else (inside, outside)
            m.d.sync += register.eq(source)
            m.d.comb += target.eq(register)
        place(m, "unit", self.unit, platform)
        return m


def script(top: str, count_memories: str) -> str:
    """What Yosys does with unit.v. count_memories: commands on a copy with memories collected."""
    return (
        f"read_verilog unit.v; hierarchy -top {top}; design -save read; proc; flatten; opt_clean; "
        f"memory -nomap; {count_memories}; design -load read; "
        f"synth_ecp5 -abc9 -top {top} -json netlist.json; tee -q -o stat.json stat -json"
    )


def arguments(mhz: float) -> list[str]:
    """What nextpnr is asked: fastest grade, seed 1, without pads."""
    return [
        *("--85k", "--speed", "8", "--package", "CABGA756", "--out-of-context"),
        *("--freq", f"{mhz:g}", "--seed", "1", "--timing-allow-fail", "--quiet"),
        *("--json", "netlist.json", "--report", "report.json"),
    ]


def figures(stat: dict[str, Any], report: dict[str, Any], memory_bits: int) -> dict[str, Any]:
    """Of a result, from what Yosys and nextpnr report."""
    cells = stat["num_cells_by_type"]
    return {
        "cells": stat["num_cells"],
        "flops": cells.get("TRELLIS_FF", 0),
        "transistors": None,
        "gate_equivalents": None,
        "memory_bits": memory_bits,
        "modules": {},
        "own": {
            **{key: cells.get(cell, 0) for key, cell in ECP5_CELLS.items()},
            "mhz": round(min(clock["achieved"] for clock in report["fmax"].values()), 1),
        },
    }
