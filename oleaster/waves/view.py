"""The view that GTKWave opens beside a waveform: what matters first, the rest folded away."""

from __future__ import annotations

import io
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING

from oleaster.io import check_output_file, write_bytes
from oleaster.waves.file import SUFFIXES, Signal, WaveError, WaveFile, check_reader
from oleaster.waves.ports import group_ports, manifest_of

if TYPE_CHECKING:
    from vcd.gtkw import GTKWSave

__all__ = ["check_wave_files", "view_of", "write_view"]

_OURS = "written by oleaster cosim"  # a comment that is gone once GTKWave saves the view
_MOST_ELEMENTS = 8  # of an array, that get a line each
_MOST_SCOPES = 8
_SHOWN_CYCLES = 24
_UNITS_AT_ZOOM_0 = 3.4  # of time, in a window of 1,400 pixels; each step back doubles them
_MOST_INSIDE = 24  # signals of a scope


def check_wave_files(waves: Path) -> None:
    """Raise WaveError or FileError unless waveform, manifest and view can be written and read."""
    if waves.suffix not in SUFFIXES:
        raise WaveError(f"{waves}: the name of a waveform ends in {' or '.join(SUFFIXES)}")
    for path in (waves, manifest_of(waves), view_of(waves)):
        check_output_file(path)
    check_reader()


def view_of(waves: Path) -> Path:
    """Where the view of a waveform lies: beside it."""
    return waves.with_suffix(".gtkw")


def write_view(waves: Path) -> Path:
    """Write the view of a waveform beside which its design's manifest lies; returns its path.

    Clock and reset, a group for each handshake stream with what is packed in its payload, and the
    other ports; then, folded, the signals inside and of submodules, where they are few. It names no
    folder, so that the files may be moved together. A view that was saved by GTKWave is kept.

    Raises WaveError for a waveform that cannot be read, FileError if the view cannot be written.
    """
    from vcd.gtkw import GTKWSave

    path = view_of(waves)
    if path.exists() and _OURS not in path.read_text(errors="replace"):
        return path
    file = WaveFile(waves)
    variables = {parts[0].variable for parts in file.ports.values()}
    inside: dict[str, list[Signal]] = {}
    for signal in file.signals:
        if signal.depth <= 1 and signal.variable not in variables:
            inside.setdefault(signal.name.rpartition(".")[0], []).append(signal)

    text = io.StringIO()
    view = GTKWSave(text)
    view.comment(_OURS)
    view.dumpfile(waves.name, abspath=False)
    view.savefile(path.name, abspath=False)
    view.timestart(0)
    view.zoom_markers(-log2(max(1, file.period * _SHOWN_CYCLES / _UNITS_AT_ZOOM_0)))
    view.size(1400, 800)
    view.signals_width(200)
    view.sst_expanded(False)
    timing, streams, rest = group_ports(file.ports)
    groups = {"clock and reset": timing}
    groups |= {each.name: [each.valid, each.ready, *each.payload] for each in streams}
    groups["other ports"] = rest
    for name, members in groups.items():
        if members:
            with view.group(name):
                for port in members:
                    _trace_port(view, file.ports[port])
    few = {scope: each for scope, each in inside.items() if len(each) <= _MOST_INSIDE}
    for scope in list(few)[:_MOST_SCOPES]:
        with view.group(scope or "inside", closed=True):
            for signal in few[scope]:
                view.trace(_name(signal), signal.name)
    write_bytes(path, text.getvalue().encode())
    return path


def _trace_port(view: GTKWSave, parts: list[Signal]) -> None:
    whole, *fields = parts
    view.trace(_name(whole), whole.name, datafmt=_radix(whole))
    for field in fields:
        count = field.part.count
        if 0 < count <= _MOST_ELEMENTS:
            for index in range(count):
                _trace_bits(view, whole, field.element(index))
        else:
            _trace_bits(view, whole, field)


def _trace_bits(view: GTKWSave, whole: Signal, field: Signal) -> None:
    """Some bits of a variable, from the highest on, by their place from the variable's left end."""
    left = whole.width - field.part.low - field.width
    bits = (f"({left + place}){_name(whole)}" for place in range(field.width))
    # What pyvcd calls a name is written as it is, and GTKWave takes such a list in its place.
    view.trace(f"#{{{field.name}}} {' '.join(bits)}", datafmt=_radix(field))


def _name(signal: Signal) -> str:
    """As GTKWave calls a whole variable."""
    return signal.variable + (f"[{signal.width - 1}:0]" if signal.width > 1 else "")


def _radix(signal: Signal) -> str:
    return "signed" if signal.part.signed and not signal.part.count else "hex"
