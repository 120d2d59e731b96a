"""A unit in a Lattice ECP5-85: what it takes of the device, and how fast it can be clocked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amaranth import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place, port_signals
from oleaster.synth.tools import NEXTPNR, YOSYS, run_tool

__all__ = ["ECP5_CELLS", "ECP5_MHZ", "Framed", "script", "synthesise_ecp5"]

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


def script(top: str) -> str:
    """What Yosys does with unit.v."""
    return (
        f"read_verilog unit.v; synth_ecp5 -abc9 -top {top} -json netlist.json; "
        "tee -q -o stat.json stat -json"
    )


def arguments(mhz: float) -> list[str]:
    """What nextpnr is asked: fastest grade, seed 1, without pads."""
    return [
        *("--85k", "--speed", "8", "--package", "CABGA756", "--out-of-context"),
        *("--freq", f"{mhz:g}", "--seed", "1", "--timing-allow-fail", "--quiet"),
        *("--json", "netlist.json", "--report", "report.json"),
    ]


def synthesise_ecp5(folder: Path, top: str, mhz: float) -> dict[str, Any]:
    """Figures of unit.v in `folder`, whose module `top` is Framed; ToolFailure if a tool fails."""
    run_tool(YOSYS, ["-q", "-p", script(top)], folder)
    run_tool(NEXTPNR, arguments(mhz), folder)
    text = (folder / "stat.json").read_text()
    cells = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
    clocks = json.loads((folder / "report.json").read_text())["fmax"]
    return {
        "cells": sum(cells.values()),
        "flops": cells.get("TRELLIS_FF", 0),
        **{key: cells.get(cell, 0) for key, cell in ECP5_CELLS.items()},
        "mhz": round(min(clock["achieved"] for clock in clocks.values()), 1),
    }
