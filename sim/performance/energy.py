"""Tables of energy constants, and what a GEMM's events cost by them."""

import re
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path

from oleaster.sim.performance.design import Design, GpuDesign
from oleaster.sim.performance.timing import Timing

__all__ = ["Constant", "Energy", "EnergyError", "EnergyTable", "energy_of", "load_energy"]

# Unit by the constant's name.
_UNITS = {
    r"static|pe_leakage_\d+bit": "mW",
    r"pe_dynamic_\d+bit": "pJ/cycle",
    r"(dram|(weight|activation|output)_buffer)_(read|write)": "pJ/bit",
    r"mac_\d+bit": "pJ/MAC",
    r"decode": "pJ/element",
}


class EnergyError(ValueError):
    """A table that is missing, wrong or lacks a constant; the message says which and where."""


@dataclass(frozen=True)
class Constant:
    """value: in `unit`. node: the technology it is for. source: where it is from, how sure."""

    value: float
    unit: str
    node: str
    source: str


@dataclass(frozen=True)
class EnergyTable:
    """Constants by name; docs/performance.md lists the names that designs ask for."""

    name: str
    title: str
    constants: dict[str, Constant]

    def __getitem__(self, name: str) -> float:
        """The value of a constant; EnergyError if the table lacks it."""
        if name not in self.constants:
            near = get_close_matches(name, self.constants, n=1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise EnergyError(f"energy table {self.name} has no constant {name!r}{hint}")
        return self.constants[name].value


@dataclass(frozen=True)
class Energy:
    """pJ by component. static: what passes with time. core: PEs or tensor cores."""

    static: float
    dram: float
    buffer: float
    core: float
    decode: float

    @property
    def total(self) -> float:
        return self.static + self.dram + self.buffer + self.core + self.decode


def load_energy(source: str) -> EnergyTable:
    """A table that comes with us, by name, or one from a path ending in .toml.

    Raises EnergyError: no such table or file, no TOML, a constant that no design asks for or
    without value, unit, node or source, a wrong unit or a negative value.
    """
    if source.endswith(".toml"):
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise EnergyError(f"{source}: {reason}") from error
        return _parse(text, source, Path(source).stem)
    folder = resources.files("oleaster.configs") / "energy"
    known = sorted(path.name.removesuffix(".toml") for path in folder.iterdir())
    if source not in known:
        near = get_close_matches(source, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise EnergyError(f"unknown energy table {source!r}{hint} (known: {', '.join(known)})")
    return _parse_ours((folder / f"{source}.toml").read_text(encoding="utf-8"), source)


@cache
def _parse_ours(text: str, name: str) -> EnergyTable:
    return _parse(text, name, name)


def _parse(text: str, where: str, name: str) -> EnergyTable:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EnergyError(f"{where}: is not TOML: {error}") from error
    except RecursionError:
        raise EnergyError(f"{where}: is not TOML that can be read: nested too deeply") from None
    title = data.pop("title", "")
    if not isinstance(title, str):
        raise EnergyError(f"{where}: title is {title!r}; it must be a string")
    constants = {}
    wanted = {field.name for field in fields(Constant)}
    for key, entry in data.items():
        unit = next((unit for name, unit in _UNITS.items() if re.fullmatch(name, key)), None)
        if unit is None:
            raise EnergyError(f"{where}: no design asks for a constant {key!r}")
        if not isinstance(entry, dict) or set(entry) != wanted:
            raise EnergyError(f"{where}: [{key}] must have exactly {', '.join(sorted(wanted))}")
        value = entry["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            raise EnergyError(f"{where}: {key}.value is {value!r}; it must be 0 .. 1e12")
        if entry["unit"] != unit:
            raise EnergyError(f"{where}: {key}.unit is {entry['unit']!r}; it must be {unit!r}")
        for part in ("node", "source"):
            if not isinstance(entry[part], str):
                raise EnergyError(f"{where}: {key}.{part} is {entry[part]!r}; it must be a string")
        constants[key] = Constant(float(value), unit, entry["node"], entry["source"])
    return EnergyTable(name, title, constants)


def energy_of(
    timing: Timing, design: Design, table: EnergyTable, mac_bits: int, macs: int
) -> Energy:
    """What one GEMM costs.

    What is power costs by time at the design's clock, the rest by events.
    Array: static is DRAM's background power; buffers' leakage is left out, as the authors do; PEs
    leak in every cycle and switch, all of them, while the array computes, fills or drains.
    GPU: `mac_bits` wide multiplications cost by their number, everything else that does not move
    data is static.
    """
    dram_read = timing.dram_activation_read_bits + timing.dram_weight_read_bits
    dram = dram_read * table["dram_read"] + timing.dram_output_write_bits * table["dram_write"]
    buffer = (
        timing.sram_weight_read_bits * table["weight_buffer_read"]
        + timing.sram_weight_write_bits * table["weight_buffer_write"]
        + timing.sram_activation_read_bits * table["activation_buffer_read"]
        + timing.sram_activation_write_bits * table["activation_buffer_write"]
        + timing.sram_output_read_bits * table["output_buffer_read"]
        + timing.sram_output_write_bits * table["output_buffer_write"]
    )
    decode = timing.decodes * table["decode"] if timing.decodes else 0.0
    nanoseconds = 1000 * timing.cycles / design.clock_mhz  # mW times these are pJ
    static = nanoseconds * table["static"]
    if isinstance(design, GpuDesign):
        core = macs * table[f"mac_{mac_bits}bit"]
    else:
        pes, width = design.rows * design.cols, f"{design.pe_bits}bit"
        moving = timing.compute_cycles + timing.fill_drain_cycles
        core = pes * nanoseconds * table[f"pe_leakage_{width}"]
        core += pes * moving * table[f"pe_dynamic_{width}"]
    return Energy(static, dram, buffer, core, decode)
