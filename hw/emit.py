"""Verilog emission: each distinct module once, however many times it is instantiated.

Amaranth writes one module per *instance*. Here a unit that wants a child shared calls
`place` instead of assigning to `m.submodules`. In Amaranth's simulator that is an ordinary
submodule; while Verilog is written (the `platform` is then a `VerilogEmitter`) the child becomes
an `Instance` of a module that is converted once. Both see the same source.
"""

from __future__ import annotations

import re
from typing import Any

from amaranth import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["Unit", "VerilogEmitter", "place", "port_signals", "verilog"]


class Unit(wiring.Component):
    """A component with a Verilog module name that is unique to its parameters.

    Two units with equal `module_name` must be the same circuit: users put several of our designs
    on one chip, where module names share one space.
    """

    @property
    def module_name(self) -> str:
        raise NotImplementedError

    @property
    def parameters(self) -> dict[str, Any]:
        """What the circuit was generated from, as JSON-able data."""
        raise NotImplementedError


def port_signals(unit: Unit) -> dict[str, tuple[wiring.Member, Any]]:
    """Port name in Verilog -> (signature member, signal), in the order of the signature.

    A stream `a` becomes `a_payload`, `a_valid` and `a_ready`.
    """
    return {
        "_".join(map(str, path)): (member, value)
        for path, member, value in unit.signature.flatten(unit)
    }


def place(m: Module, name: str, unit: Unit, platform: object, **inputs: Any) -> Unit:
    """Add `unit` to `m` as `name`; shared by all its instances when Verilog is written.

    `inputs` are values for input ports by name. (Assignments would do as well; they make the
    conversion of a large array several times slower.)
    """
    if isinstance(platform, VerilogEmitter):
        m.submodules[name] = platform.instance(unit, inputs)
        unit._MustUse__used = True  # its module stands for it
    else:
        m.submodules[name] = unit
        m.d.comb += [getattr(unit, port).eq(value) for port, value in inputs.items()]
    return unit


_DIRECTION = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


class VerilogEmitter:
    """Collects the distinct modules of one design, children before parents."""

    def __init__(self) -> None:
        self.rtlil: dict[str, str] = {}
        self._parameters: dict[str, dict[str, Any]] = {}

    def add(self, unit: Unit) -> str:
        """Convert `unit` unless a unit of its name is there already; return the module name."""
        name = unit.module_name
        if name not in self.rtlil:
            ports = {
                port: (Value.cast(value), _DIRECTION[member.flow])
                for port, (member, value) in port_signals(unit).items()
            }
            text = rtlil.convert(unit, name=name, platform=self, ports=ports, emit_src=False)
            self.rtlil[name] = text
            self._parameters[name] = unit.parameters
        elif self._parameters[name] != unit.parameters:
            raise ValueError(
                f"two different units are called {name!r}: "
                f"{self._parameters[name]} and {unit.parameters}"
            )
        return name

    def instance(self, unit: Unit, inputs: dict[str, Any]) -> Instance:
        name = self.add(unit)
        ports: dict[str, Any] = {}
        if re.search(r"\bwire .*input \d+ +\\clk$", self.rtlil[name], re.M):
            ports["i_clk"] = ClockSignal()
        if re.search(r"\bwire .*input \d+ +\\rst$", self.rtlil[name], re.M):
            ports["i_rst"] = ResetSignal()
        for port, (member, value) in port_signals(unit).items():
            if member.flow == wiring.In:
                ports[f"i_{port}"] = inputs.get(port, value)
            else:
                ports[f"o_{port}"] = value
        return Instance(name, **ports)


def verilog(unit: Unit) -> str:
    """Verilog-2001 text of `unit` and everything below it; the same text on every call."""
    emitter = VerilogEmitter()
    emitter.add(unit)
    return _write_verilog("\n".join(emitter.rtlil.values()))


def _write_verilog(text: str) -> str:
    # `proc` and `opt_dff` leave only `assign` and clocked `always` with reset and enable: no
    # simulator-specific tricks for blocks with constant inputs.
    script = [
        f"read_rtlil <<rtlil\n{text}\nrtlil",
        "proc",
        "memory_collect",
        "opt_clean -purge",
        "opt_dff",
        "opt_clean -purge",
        "write_verilog -noattr",
    ]
    yosys = find_yosys(lambda version: version >= (0, 40))
    return yosys.run(["-q", "-"], "\n".join(script), ignore_warnings=True)
