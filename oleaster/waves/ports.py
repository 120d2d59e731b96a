"""What a design's manifest knows of its ports and a waveform does not: what is packed in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Part", "Stream", "group_ports", "manifest_of", "read_parts"]

_SCHEMA = "oleaster-design"


@dataclass(frozen=True)
class Part:
    """Bits of a port: `width` of them from bit `low` on.

    name: that of the port, or `port.field`. count: how many equal elements lie in it; 0 for one
    value that is no array. signed: of the value, or of each element.
    """

    name: str
    low: int
    width: int
    signed: bool
    count: int = 0


@dataclass(frozen=True)
class Stream:
    """A handshake: names of its `valid` and `ready`, and of what is handed over with them."""

    name: str
    valid: str
    ready: str
    payload: tuple[str, ...]


def manifest_of(waves: Path) -> Path:
    """Where the manifest of the design lies whose waveform is `waves`: beside it."""
    return waves.with_suffix(".design.json")


def read_parts(manifest: Path) -> dict[str, list[Part]]:
    """Each port's parts by the port's name, itself first; empty if `manifest` is none of ours."""
    try:
        content = json.loads(manifest.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        return {}
    return {port["name"]: list(_parts(port["name"], port, 0)) for port in content["ports"]}


def group_ports(names: Iterable[str]) -> tuple[list[str], list[Stream], list[str]]:
    """(clock and reset, streams, the rest) of a unit's ports.

    A stream is what has both `<name>valid` and `<name>ready`; what begins with that name, and with
    no other stream's longer one, is handed over by it.
    """
    ports = list(names)
    timing = [name for name in ports if re.fullmatch(r"clk|clock|rst|reset", name)]
    prefixes = [
        name.removesuffix("valid")
        for name in ports
        if name.endswith("valid") and name.removesuffix("valid") + "ready" in ports
    ]
    of: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
    rest = []
    for name in ports:
        own = max((p for p in prefixes if p and name.startswith(p)), key=len, default=None)
        if own is not None and name not in (own + "valid", own + "ready"):
            of[own].append(name)
        elif own is None and name not in timing:
            rest.append(name)
    streams = [
        Stream(prefix.rstrip("_"), prefix + "valid", prefix + "ready", tuple(of[prefix]))
        for prefix in prefixes
        if prefix
    ]
    return timing, streams, rest


def _parts(name: str, shape: Mapping[str, Any], low: int) -> Iterator[Part]:
    """`shape` as a manifest has it: a plain one, a struct of `fields`, or `count` x `element`."""
    element = shape.get("element", {})
    count = 0 if "fields" in element or "element" in element else shape.get("count", 0)
    signed = bool(element.get("signed") if count else shape.get("signed"))
    yield Part(name, low, shape["width"], signed, count)
    for field in shape.get("fields", ()):
        yield from _parts(f"{name}.{field['name']}", field, low + field["offset"])
    if element and not count:
        for index in range(shape["count"]):
            yield from _parts(f"{name}[{index}]", element, low + index * element["width"])
