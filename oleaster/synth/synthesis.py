"""Synthesis of a unit: generic gates, cells of a Liberty library, or an FPGA; kept in the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oleaster.hw.emit import Unit, verilog
from oleaster.io import write_bytes
from oleaster.models.cache import cache_root
from oleaster.synth import ecp5
from oleaster.synth.area import LEAST_WORDS
from oleaster.synth.tools import (
    NEXTPNR,
    YOSYS,
    SynthesisError,
    ToolFailure,
    run_tool,
    scratch,
    tool_version,
)

__all__ = ["NAND2_TRANSISTORS", "Synthesis", "Target", "synthesise"]

Target = Literal["generic", "liberty", "ecp5"]

NAND2_TRANSISTORS = 4
"""Of a gate equivalent, a NAND of two inputs; a flip-flop has 16, four gate equivalents."""

# Part of what a cached result depends on: raise it when results are read or counted differently.
_RULES = b"2"

_GATES = "cmos4,XOR,XNOR,MUX,NMUX"

# What Yosys gives ABC by default, but for a limit of `&fraig`, which else takes minutes to find out
# that nothing in a multiplier is there twice.
_ABC = (
    "strash; &get -n; &fraig -x -C 10; &put; scorr; dc2; dretime; strash; &get -n; &dch -f; "
    "&nf{goal}; &put; "
)
_SIZES = "buffer; upsize{goal}; dnsize{goal}; stime -d; "

_SMALL_MEMORIES = f"memory_map t:$mem_v2 r:SIZE<{LEAST_WORDS} %i"
_COUNT_MEMORIES = "memory_unpack; tee -q -o memories.json stat -json"

_NAND = b"module nand2(input a, b, output y); assign y = ~(a & b); endmodule\n"


@dataclass(frozen=True)
class Synthesis:
    """What a unit takes.

    module, parameters: of the unit. flattened: modules were opened and optimised as one.
    cells: gates, flip-flops and the like, without memories; flops: flip-flops among them.
    transistors: Yosys' estimate of static CMOS (generic only). gate_equivalents: that over the
    transistors of a NAND of two inputs, or area over the area of the library's (not for ECP5).
    memory_bits: in memories of at least 16 words, which the counts above leave out; ECP5 puts
    them into its own cells.
    modules: gate equivalents of one of each module, without the modules in it (not for ECP5).
    own: the target's own figures. liberty: `area` (the file's unit, um^2 as a rule), `nand2_area`,
    `flop_area` (of all flip-flops), `delay_ps` (ABC's, the longest way between flip-flops or ports,
    or borders of modules that were kept apart, without wires), `cells_by_type`. ecp5: `lut4`,
    `carry`, `dsp`, `block_ram`, `lut_ram` and `mhz`.
    """

    module: str
    parameters: dict[str, Any]
    target: Target
    flattened: bool
    cells: int
    flops: int
    transistors: int | None
    gate_equivalents: float | None
    memory_bits: int
    modules: dict[str, float]
    own: dict[str, Any]


def synthesise(
    unit: Unit,
    *,
    liberty: Path | None = None,
    fpga: bool = False,
    flatten: bool = False,
    mhz: float | None = None,
) -> Synthesis:
    """Synthesise a unit for generic gates, for the library in the file `liberty`, or for an ECP5.

    Modules are kept apart, each synthesised once however often it is there, unless `flatten`; an
    ECP5 is always flat. mhz: of the clock that the mapping aims at (Liberty: as fast as it gets
    without one; ECP5: 150). Generic gates take seconds, a large flat unit or one for an ECP5
    minutes; the same again comes from the cache.

    Raises SynthesisError, one sentence: a tool is missing or fails, or the file is no Liberty
    library, or one without flip-flop or NAND.
    """
    target: Target = "ecp5" if fpga else "generic" if liberty is None else "liberty"
    framed = ecp5.Framed(unit) if fpga else unit
    top = framed.module_name
    files = {"unit.v": verilog(framed).encode()}
    if fpga:
        steps = [
            ecp5.script(top, f"{_SMALL_MEMORIES}; {_COUNT_MEMORIES}"),
            *ecp5.arguments(mhz or ecp5.ECP5_MHZ),
        ]
    else:
        steps = [_script(top, flatten, liberty is not None)]
        files["abc.script"] = _abc(liberty is not None, mhz).encode()
    if liberty is not None:
        files |= {"library.lib": _read(liberty), "nand2.v": _NAND}
    entry = _entry(files, steps, [YOSYS, NEXTPNR] if fpga else [YOSYS])
    found = _cached(entry)
    if found is None:
        with scratch() as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            if fpga:
                found = _in_fpga(folder, steps, unit)
            elif liberty is None:
                found = _in_gates(folder, steps[0], unit)
            else:
                found = _in_library(folder, steps[0], liberty)
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(entry, json.dumps(found).encode())
    return Synthesis(
        module=unit.module_name,
        parameters=unit.parameters,
        target=target,
        flattened=flatten or fpga,
        **found,
    )


def _abc(library: bool, mhz: float | None) -> str:
    goal = "" if mhz is None else f" -D {1e6 / mhz:.0f}"
    return (_ABC + (_SIZES if library else "")).format(goal=goal)


def _script(top: str, flatten: bool, library: bool) -> str:
    """What Yosys does with unit.v for gates, or for the cells of library.lib."""
    start = (
        f"read_verilog unit.v; synth {'-flatten ' if flatten else ''}-top {top} -run begin:fine; "
        f"{_SMALL_MEMORIES}; opt -full; techmap; opt -fast; "
    )
    # `opt -fast` would fold enables and resets into flip-flops again, whose transistors Yosys does
    # not know.
    tidy = "opt_expr; opt_merge; opt_clean; "
    if not library:
        return (
            f"{start}dfflegalize -cell $_DFF_P_ 01; {tidy}"
            f"abc -g {_GATES} -script abc.script; {tidy}"
            f"tee -q -o stat.json stat -json -tech cmos; {_COUNT_MEMORIES}"
        )
    return (
        f"{start}dfflibmap -liberty library.lib; {tidy}tee -q -o flops.json stat -json; "
        f"abc -liberty library.lib -script abc.script; {tidy}"
        "tee -q -o stat.json stat -json -liberty library.lib; "
        f"{_COUNT_MEMORIES}; design -reset; read_verilog nand2.v; synth -top nand2 -noabc; "
        "abc -liberty library.lib; tee -q -o nand2.json stat -json -liberty library.lib"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SynthesisError(f"{path}: no such file") from None
    except OSError as error:
        raise SynthesisError(f"{path}: cannot be read: {error.strerror or error}") from error


def _in_gates(folder: Path, script: str, unit: Unit) -> dict[str, Any]:
    try:
        run_tool(YOSYS, ["-q", "-p", script], folder)
    except ToolFailure as error:
        raise SynthesisError(f"{unit.module_name}: Yosys failed: {error}") from error
    stat = _design(folder / "stat.json")
    cells = _cells(stat)
    transistors = _transistors(stat)
    return {
        "cells": sum(cells.values()),
        "flops": cells.get("$_DFF_P_", 0),
        "transistors": transistors,
        "gate_equivalents": transistors / NAND2_TRANSISTORS,
        "memory_bits": _design(folder / "memories.json")["num_memory_bits"],
        "modules": {
            name: _transistors(each) / NAND2_TRANSISTORS
            for name, each in _modules(folder / "stat.json").items()
        },
        "own": {},
    }


def _transistors(stat: dict[str, Any]) -> int:
    estimate = str(stat["estimated_num_transistors"])
    # A plus: there are cells whose transistors Yosys does not know. Memories, modules, or notes.
    others = set(stat["num_cells_by_type"]) - set(_cells(stat))
    assert others or not estimate.endswith("+")
    return int(estimate.rstrip("+"))


def _in_library(folder: Path, script: str, liberty: Path) -> dict[str, Any]:
    try:
        run_tool(YOSYS, ["-q", "-p", script], folder)
    except ToolFailure as error:
        # Nothing but the library differs from what generic synthesis does.
        if "flip-flops are not supported" in str(error):
            raise SynthesisError(
                f"{liberty}: has no flip-flop that Yosys can use (a cell with ff(), whose next "
                "state is one of its pins)"
            ) from error
        raise SynthesisError(f"{liberty}: Yosys cannot use it as a library: {error}") from error
    stat = _design(folder / "stat.json")
    by_type = stat["num_cells_by_type"]
    nand2 = _design(folder / "nand2.json")
    if not nand2.get("area"):
        raise SynthesisError(f"{liberty}: its cells have no areas")
    modules = _modules(folder / "stat.json")
    cells = {
        cell: count
        for cell, count in by_type.items()
        if not cell.startswith("$") and cell not in modules
    }
    flops = {cell for cell in _design(folder / "flops.json")["num_cells_by_type"] if cell in cells}
    return {
        "cells": sum(cells.values()),
        "flops": sum(count for cell, count in cells.items() if cell in flops),
        "transistors": None,
        "gate_equivalents": stat["area"] / nand2["area"],
        "memory_bits": _design(folder / "memories.json")["num_memory_bits"],
        "modules": {name: each.get("area", 0.0) / nand2["area"] for name, each in modules.items()},
        "own": {
            "area": stat["area"],
            "nand2_area": nand2["area"],
            "flop_area": stat["sequential_area"],
            "delay_ps": _delay_ps(folder / "stats.txt"),
            "cells_by_type": dict(sorted(cells.items())),
        },
    }


def _in_fpga(folder: Path, steps: list[str], unit: Unit) -> dict[str, Any]:
    try:
        run_tool(YOSYS, ["-q", "-p", steps[0]], folder)
        run_tool(NEXTPNR, steps[1:], folder)
    except ToolFailure as error:
        raise SynthesisError(f"{unit.module_name} on an ECP5-85: {error}") from error
    return ecp5.figures(
        _design(folder / "stat.json"),
        json.loads((folder / "report.json").read_text()),
        _design(folder / "memories.json")["num_memory_bits"],
    )


def _stat(path: Path) -> dict[str, Any]:
    text = path.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return found


def _design(path: Path) -> dict[str, Any]:
    """What Yosys' `stat` says of all modules together."""
    found: dict[str, Any] = _stat(path)["design"]
    return found


def _delay_ps(path: Path) -> int:
    """The longest of all modules, to 10 ps: ABC writes the first one, then shares of it."""
    first, *others = path.read_text().split()[5:]
    shares = [100.0, *map(float, others[2::4])]
    return 10 * round(int(first) * max(shares) / 1000)


def _modules(path: Path) -> dict[str, dict[str, Any]]:
    """The same of each module by itself."""
    return {name.removeprefix("\\"): each for name, each in _stat(path)["modules"].items()}


def _cells(stat: dict[str, Any]) -> dict[str, int]:
    """By type, without memories and without modules, whose cells are counted themselves."""
    return {
        cell: count for cell, count in stat["num_cells_by_type"].items() if cell.startswith("$_")
    }


def _entry(files: dict[str, bytes], steps: list[str], tools: list[str]) -> Path:
    """Where the result is kept: by all that it depends on."""
    digest = hashlib.sha256()
    texts = [*steps, *map(tool_version, tools)]
    for part in (_RULES, *(text.encode() for text in texts), *files.values()):
        digest.update(hashlib.sha256(part).digest())
    return cache_root() / "synth" / f"{digest.hexdigest()[:32]}.json"


def _cached(entry: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
