# amaranth: UnusedElaboratable=no
"""Writes the tables of the accelerators' data sheets from what the circuits are built from.

`python -m oleaster.datasheet FILE...` rewrites, in place, what lies between `<!-- NAME -->` and
`<!-- end -->` for every NAME of `TABLES`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from amaranth import Shape
from amaranth.lib import data, wiring

from oleaster.hw.accelerator.control import Control
from oleaster.hw.accelerator.feeder import Feeder
from oleaster.hw.accelerator.layouts import ChannelLayout, DescriptorLayout
from oleaster.hw.accelerator.loader import Loader
from oleaster.hw.accelerator.output_stage import OutputStage
from oleaster.hw.accelerator.scratchpad import ScratchpadLane
from oleaster.hw.accelerator.sequencer import Sequencer
from oleaster.hw.accelerator.top import OliveAccelerator
from oleaster.hw.emit import Unit, port_signals
from oleaster.hw.nerf.renderer.control import RenderControl
from oleaster.hw.nerf.renderer.loader import EntryLayout, ListLoader
from oleaster.hw.nerf.renderer.sequencer import RenderSequencer
from oleaster.hw.nerf.renderer.writer import PixelWriter
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import (
    CHANNEL_FIELDS,
    FIELDS,
    FORMAT_CODES,
    Field,
    element_bits,
)
from oleaster.models.accelerator.registers import (
    REGISTERS,
    Cause,
    ControlBit,
    InterruptBit,
    Register,
    Status,
)
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS
from oleaster.models.formats import get_format
from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.renderer import registers as renderer
from oleaster.models.nerf.renderer import scene_list
from oleaster.models.nerf.renderer.config import SIZES, RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS, Target, item_bits

__all__ = ["TABLES", "main", "render"]

_ACCESS = {"ro": "read", "rw": "read, write", "wo": "write"}


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def parameters(
    config: Any = AcceleratorConfig,
    behind: str = "Raises",
    values: Mapping[str, object] | None = None,
) -> str:
    """Of a configuration, with its own words up to `behind`. values: that a user may choose."""
    known = {field.name: field for field in fields(config)}
    text = " ".join((inspect.getdoc(config) or "").partition(behind)[0].split())
    names = rf"(?:{'|'.join(known)})"
    parts = re.split(rf"({names}(?:, {names})*): ", text)[1:]
    meaning = {
        name: said.strip()
        for group, said in zip(parts[::2], parts[1::2], strict=True)
        for name in group.split(", ")
    }
    _require_all("parameters", known, meaning)
    rows = []
    for name, field in known.items():
        default = field.default
        if default is MISSING:
            default = f"`{field.type}()`"
        shown = ", ".join(default) if isinstance(default, tuple) else default
        chosen = () if values is None else (values.get(name, ""),)
        rows.append((f"`{name}`", shown, *chosen, _sentence(meaning[name])))
    return _table(("parameter", "default", *(() if values is None else ("values",)), ""), rows)


def ports() -> str:
    """Of `OliveAccelerator`; a width that follows from a parameter by the parameter's name."""
    small = AcceleratorConfig(data_bits=64, address_bits=33)
    large = AcceleratorConfig(data_bits=256, address_bits=44)
    small_ports, large_ports = (
        {name: len(value) for name, (_, value) in port_signals(OliveAccelerator(config)).items()}
        for config in (small, large)
    )
    rows: list[tuple[str, str, str]] = [("`clk`", "in", "1"), ("`rst`", "in", "1")]
    for name, (member, _) in port_signals(OliveAccelerator(small)).items():
        widths = small_ports[name], large_ports[name]
        if widths[0] == widths[1]:
            width = str(widths[0])
        else:
            width = {
                (small.address_bits, large.address_bits): "`address_bits`",
                (small.data_bits, large.data_bits): "`data_bits`",
                (small.beat_bytes, large.beat_bytes): "`data_bits` / 8",
            }[widths]
        rows.append((f"`{name}`", _direction(member), width))
    return _table(("port", "direction", "width"), rows)


def registers(of: Iterable[Register] = REGISTERS) -> str:
    """Of a register map."""
    return _table(
        ("offset", "register", "access", ""),
        ((f"0x{r.offset:02X}", f"`{r.name}`", _ACCESS[r.access], r.text) for r in of),
    )


def _bits(members: Iterable[Any]) -> str:
    return _table(("bit", "name", ""), ((int(m), f"`{m.name}`", m.text) for m in members))


def causes(of: Iterable[Any] = Cause) -> str:
    """Of CAUSE."""
    return _table(("value", "name", ""), ((int(c), f"`{c.name}`", c.text) for c in of))


def targets() -> str:
    """Of the renderer's memories, in its default configuration."""
    room = scene_list.capacities(RendererConfig())
    rows = []
    for first in Target:
        last = first + (PAIRS - 1 if first < Target.CONSTANTS else 0)
        number = f"{int(first)} .. {last}" if last > first else str(int(first))
        rows.append(
            (number, f"`{first.name}`", item_bits(first) // 8, room.get(first, "CONSTANTS"))
        )
    return _table(("target", "memory", "bytes of an item", "items"), rows)


def faults() -> str:
    """Of a decoder, in FAULTS."""
    rows = ((fault.bit_length() - 1, f"`{fault.name}`") for fault in Fault)
    return _table(("bit", "what is wrong with a chunk"), rows)


def _layout(layout: data.StructLayout, described: Sequence[Field]) -> str:
    text = {field.name: field.text for field in described}
    _require_all("fields", [name for name, _ in layout], text)
    rows = []
    for name, field in layout:
        last = field.offset + field.width - 1
        bits = f"{last}:{field.offset}" if field.width > 1 else str(last)
        rows.append((bits, f"0x{field.offset // 8:02X}", f"`{name}`", field.width, text[name]))
    return _table(("bits", "byte", "field", "width", ""), rows)


def formats() -> str:
    """Of `FORMAT_CODES`."""
    rows = []
    for name, code in FORMAT_CODES.items():
        is_operand, is_output = name != "int32", name in OUTPUT_FORMATS
        places = [
            place for place, ok in (("A", is_operand), ("B", is_operand), ("C", is_output)) if ok
        ]
        lanes: object = get_format(name).lanes if is_operand else ""
        rows.append((code, f"`{name}`", element_bits(name), lanes, ", ".join(places)))
    return _table(("number", "format", "bits of an element", "lanes", "for"), rows)


def block(unit: Unit) -> str:
    """Ports of a block with its docstring's words; widths for the unit that is given."""
    listed: list[str] = []
    rows: list[tuple[str, str, str, str]] = []
    for names, text in _members(type(unit)):
        if names[0].endswith("*"):
            listed += [name for name in unit.signature.members if name.startswith(names[0][:-1])]
            rows.append((f"`{names[0]}`", "", "", _sentence(text)))
            continue
        listed += names
        kinds: dict[tuple[str, str], list[str]] = {}
        for name in names:
            member = unit.signature.members[name]
            kinds.setdefault((_direction(member), _width(member)), []).append(f"`{name}`")
        # What is said of several ports stands beside the first of them.
        for place, ((direction, width), alike) in enumerate(kinds.items()):
            rows.append((", ".join(alike), direction, width, "" if place else _sentence(text)))
    _require_all("ports", unit.signature.members, listed)
    return _table(("port", "direction", "width", ""), rows)


def _members(unit: type) -> list[tuple[list[str], str]]:
    """Section "Members" of a docstring: (names, what is said of them)."""
    section = (inspect.getdoc(unit) or "").partition("Members\n-------\n")[2]
    found: list[tuple[list[str], str]] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            names = re.findall(r"(?:^|[,;] )([a-z][a-z0-9_]*\*?)(?=[,:;])", line)
            found.append((names, line.partition(": ")[2] if names[0].endswith("*") else ""))
        elif found and line:
            names, text = found[-1]
            found[-1] = (names, f"{text} {line.strip()}".strip())
    return found


def _width(member: wiring.Member) -> str:
    if member.is_port:
        return _named(member.shape)
    return f"stream of {_named(member.signature.members['payload'].shape)}"


def _named(shape: Any) -> str:
    width = str(Shape.cast(shape).width)
    return f"{width}, `{type(shape).__name__}`" if isinstance(shape, data.StructLayout) else width


def _direction(member: wiring.Member) -> str:
    return "in" if member.flow == wiring.In else "out"


def _sentence(text: str) -> str:
    """With a capital and a full stop, and nothing that ends a table's cell."""
    text = text.strip().replace("|", "\\|")
    if not text:
        return ""
    return text[0].upper() + text[1:].rstrip(".") + "."


def _require_all(what: str, wanted: Iterable[str], found: Iterable[str]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ValueError(f"no words for the {what} {', '.join(missing)}")


def _block(build: Callable[[AcceleratorConfig], Unit]) -> Callable[[], str]:
    return lambda: block(build(AcceleratorConfig()))


def _renderer_block(build: Callable[[RendererConfig], Unit]) -> Callable[[], str]:
    return lambda: block(build(RendererConfig()))


TABLES: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "ports": ports,
    "registers": registers,
    "control": lambda: _bits(ControlBit),
    "status": lambda: _bits(Status),
    "interrupt": lambda: _bits(InterruptBit),
    "causes": causes,
    "descriptor": lambda: _layout(DescriptorLayout(), FIELDS),
    "channel": lambda: _layout(ChannelLayout(), CHANNEL_FIELDS),
    "formats": formats,
    "block control": _block(Control),
    "block sequencer": _block(Sequencer),
    "block loader": _block(Loader),
    "block scratchpad": _block(lambda c: ScratchpadLane(c.scratchpad_beats, c.beat_bytes)),
    "block feeder": _block(Feeder),
    "block output": _block(OutputStage),
    "renderer parameters": lambda: parameters(RendererConfig, "Defaults", SIZES),
    "renderer registers": lambda: registers(renderer.REGISTERS),
    "renderer control": lambda: _bits(renderer.ControlBit),
    "renderer status": lambda: _bits(renderer.Status),
    "renderer interrupt": lambda: _bits(renderer.InterruptBit),
    "renderer causes": lambda: causes(renderer.Cause),
    "renderer faults": faults,
    "renderer descriptor": lambda: _layout(EntryLayout(), scene_list.FIELDS),
    "renderer targets": targets,
    "renderer block control": _renderer_block(RenderControl),
    "renderer block sequencer": _renderer_block(RenderSequencer),
    "renderer block loader": _renderer_block(ListLoader),
    "renderer block writer": _renderer_block(PixelWriter),
}
"""Name in a page -> the table in Markdown."""


def render(text: str) -> str:
    """The page with every table written anew.

    Raises ValueError for an unknown name, or a table without its end.
    """
    parts = re.split(r"^<!-- (.+) -->\n", text, flags=re.M)
    out = [parts[0]]
    inside = ""
    for name, rest in zip(parts[1::2], parts[2::2], strict=True):
        if name == "end":
            if not inside:
                raise ValueError("<!-- end --> stands without a table before it")
            inside = ""
            out.append(f"<!-- end -->\n{rest}")
            continue
        if inside:
            raise ValueError(f"the table {inside!r} has no <!-- end -->")
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}, only {', '.join(TABLES)}")
        inside = name
        out.append(f"<!-- {name} -->\n{TABLES[name]()}\n")
    if inside:
        raise ValueError(f"the table {inside!r} has no <!-- end -->")
    return "".join(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the files; 2 if one cannot be."""
    paths = [Path(name) for name in (sys.argv[1:] if arguments is None else arguments)]
    if not paths:
        print("usage: python -m oleaster.datasheet FILE...", file=sys.stderr)
        return 2
    for path in paths:
        try:
            path.write_text(render(path.read_text()))
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
