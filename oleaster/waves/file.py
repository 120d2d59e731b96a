"""Waveforms from VCD and FST files, sampled at the rising edges of the clock.

Needs the extra "waves" (pywellen).
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from oleaster.io import printable
from oleaster.waves.ports import Part, manifest_of, read_parts

__all__ = ["SUFFIXES", "Signal", "WaveError", "WaveFile", "check_reader"]

SUFFIXES = (".fst", ".vcd")

_CLOCK = re.compile(r"(i_)?a?(clk|clock)(_i)?", re.I)
_NEAR = 3  # names that a sentence offers

Value = int | tuple[int, ...] | None
"""Of a signal in one cycle: a tuple for an array, None where a bit is x or z or not yet known."""


class WaveError(ValueError):
    """A waveform that cannot be read or drawn; the message names the fault and the fix."""


@dataclass(frozen=True)
class Signal:
    """A variable of a file, or some of its bits.

    name: without the scopes that all variables are in. variable: full name in the file. part: which
    bits of it, and how they are read. depth: of its scope, 0 for that of the ports.
    """

    name: str
    variable: str
    part: Part
    depth: int

    @property
    def width(self) -> int:
        """Bits."""
        return self.part.width

    def element(self, index: int) -> Signal:
        """One of an array's elements."""
        size = self.width // self.part.count
        low = self.part.low + index * size
        name = f"{self.name}[{index}]"
        return replace(self, name=name, part=Part(name, low, size, self.part.signed))

    def bits(self, high: int, low: int) -> Signal:
        """Bits `high` to `low`, read without a sign."""
        name = f"{self.name}[{high}:{low}]" if high > low else f"{self.name}[{high}]"
        return replace(self, name=name, part=Part(name, self.part.low + low, high - low + 1, False))


class WaveFile:
    """A VCD or FST file. Packed ports are taken apart if the design's manifest lies beside it.

    clock: the signal at whose rising edges values are sampled: the one named clk or clock that is
    nearest to the top. None without one: then each time at which anything changes is a cycle.
    cycles: how many there are. The first ends with the first rising edge.
    signals: those of the top first. ports: by name what is packed in each, the port itself first;
    all signals of the top if no manifest lies beside the file.

    Raises WaveError: no such file, empty, no waveform, damaged, truncated; pywellen is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_reader()
        _check_file(path)
        from pywellen import Waveform

        with _reading(path):
            waveform = Waveform(str(path))
            self._variables = {
                each.full_name: each
                for each in waveform.all_vars()
                if each.bitwidth and not each.full_name.startswith("$rootio.")
            }
        self._changes: dict[str, Any] = {}
        if not self._variables:
            raise WaveError(f"{path}: holds no signals")
        self.signals = tuple(self._named())
        self.ports = self._ports()
        clocks = [each for each in self.signals if _CLOCK.fullmatch(_last(each.name))]
        clocks = [each for each in clocks if each.width == 1]
        self.clock = min(clocks, key=lambda each: each.depth, default=None)

    @property
    def cycles(self) -> int:
        return len(self._times)

    @property
    def period(self) -> int:
        """Units of the file's time from a cycle to the next, where it is shortest; 1 for less than
        two cycles.
        """
        return min((after - time for time, after in pairwise(self._times)), default=1)

    def select(self, patterns: Iterable[str]) -> list[Signal]:
        """Signals by name or glob, in the order of the patterns, each once.

        `name[3]` is an element of an array, else a bit; `name[7:4]` are bits. WaveError if a
        pattern matches nothing, with the nearest names.
        """
        found: dict[str, Signal] = {}
        for pattern in patterns:
            matches = self._matching(pattern)
            if not matches:
                near = get_close_matches(pattern, [s.name for s in self.signals], _NEAR, 0.4)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise WaveError(f"{self.path}: has no signal {printable(pattern)}{hint}")
            found |= {each.name: each for each in matches}
        return list(found.values())

    def values(self, signal: Signal, first: int, cycles: int) -> list[Value]:
        """The signal in `cycles` cycles from `first` on, as the clock samples it.

        Raises WaveError if there are not so many.
        """
        if first < 0 or cycles < 1 or first + cycles > self.cycles:
            asked = f"{first} to {first + cycles - 1}" if cycles > 1 else first
            has = f"cycles 0 to {self.cycles - 1}" if self.cycles else "no cycles"
            raise WaveError(f"{self.path}: has {has}; {asked} were asked for")
        changes = self._changes_of(signal.variable)
        # A register changes at the edge itself: the edge samples what was there before.
        before = 1 if self.clock else 0
        times = self._times[first : first + cycles]
        return [
            _cut(changes.value_at(time - before) if time >= before else None, signal.part)
            for time in times
        ]

    def changes(self, signal: Signal) -> int:
        """How often the whole variable changes, its first value included."""
        return len(self._changes_of(signal.variable))

    def _changes_of(self, variable: str) -> Any:
        if variable not in self._changes:
            with _reading(self.path):
                self._changes[variable] = self._variables[variable].signal
        return self._changes[variable]

    @cached_property
    def _times(self) -> Sequence[int]:
        if self.clock is None:
            every = map(self._changes_of, self._variables)
            return sorted({time for each in every for time, _ in _all(each)})
        edges, previous = [], None
        for time, value in _all(self._changes_of(self.clock.variable)):
            if previous == 0 and value == 1:
                edges.append(time)
            previous = value
        return edges

    def _ports(self) -> dict[str, list[Signal]]:
        top: dict[str, list[Signal]] = {}
        for signal in self.signals:
            if signal.depth == 0:
                top.setdefault(_last(signal.variable), []).append(signal)
        known = read_parts(manifest_of(self.path))
        return {name: top[name] for name in known or top if name in top}

    def _named(self) -> Iterator[Signal]:
        scopes = {name: name.split(".")[:-1] for name in self._variables}
        levels = takewhile(lambda level: len(set(level)) == 1, zip(*scopes.values(), strict=False))
        common = sum(1 for _ in levels)
        parts = read_parts(manifest_of(self.path))
        named: set[str] = set()
        for full_name, scope in sorted(scopes.items(), key=lambda item: len(item[1])):
            name = full_name.split(".", common)[-1]
            width = self._variables[full_name].bitwidth
            whole = Part(name, 0, width, signed=False)
            known = parts.get(name, [whole])
            # Verilog may have a wire for a part, too, and does not say that it is signed.
            for part in known if known[0].width == width else [whole]:
                if part.name in named:
                    continue
                named.add(part.name)
                yield Signal(part.name, full_name, part, len(scope) - common)

    def _matching(self, pattern: str) -> list[Signal]:
        exact = [each for each in self.signals if each.name == pattern]
        if matches := exact or [s for s in self.signals if fnmatchcase(s.name, pattern)]:
            return matches
        bits = re.fullmatch(r"(.+)\[(\d+)(?::(\d+))?\]", pattern)
        if bits is None:
            return []
        high, low = int(bits[2]), int(bits[3] or bits[2])
        found = []
        for each in (s for s in self.signals if fnmatchcase(s.name, bits[1])):
            of_array = each.part.count and bits[3] is None
            limit = each.part.count if of_array else each.width
            if not low <= high < limit:
                what = "elements" if of_array else "bits"
                raise WaveError(
                    f"{self.path}: {each.name} has {limit} {what}, 0 to {limit - 1}, the higher "
                    f"first; {printable(pattern)} is none of them"
                )
            found.append(each.element(high) if of_array else each.bits(high, low))
        return found


def check_reader() -> None:
    """WaveError unless pywellen, which reads waveforms, is installed."""
    try:
        import pywellen  # noqa: F401
    except ModuleNotFoundError as error:
        raise WaveError(f"waveforms need {error.name}: pip install 'oleaster[waves]'") from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise WaveError(f"{path}: no such file")
    if not path.is_file():
        raise WaveError(f"{path}: is not a regular file, expected a VCD or FST file")
    size = path.stat().st_size
    if size == 0:
        raise WaveError(f"{path}: is an empty file, expected a VCD or FST file")
    if path.suffix == ".vcd":
        with path.open("rb") as file:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                raise WaveError(f"{path}: is truncated: its last line is not complete")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what pywellen makes of a bad file into a WaveError.

    That may be a Rust panic: an exception that is no Exception, and pages of text that its
    runtime writes to stderr, past Python. Warnings go to stdout likewise.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = {stream: os.dup(stream) for stream in (1, 2)}
        for stream in kept:
            os.dup2(said.fileno(), stream)
        try:
            yield
        except RuntimeError as error:
            reason = printable(str(error).splitlines()[0].rstrip(":"))
            if "unknown file format" in reason:
                raise WaveError(f"{path}: is no waveform, expected a VCD or FST file") from error
            raise WaveError(f"{path}: is damaged or truncated ({reason})") from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            reason = printable(str(error).splitlines()[0])
            raise WaveError(f"{path}: is damaged or truncated ({reason})") from error
        finally:
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)
        said.seek(0)
        if b"time decreased" in said.read():
            raise WaveError(f"{path}: is damaged: its times run backwards")


def _all(changes: Any) -> Iterator[tuple[int, Any]]:
    """(time, value) of each change of a variable."""
    return (changes[index] for index in range(len(changes)))


def _cut(value: int | str | None, part: Part) -> Value:
    """A part's value in that of its variable, which pywellen gives as text if a bit is x or z."""
    if value is None:
        return None
    if isinstance(value, str):
        bits = value[::-1][part.low : part.low + part.width][::-1]
        if not set(bits) <= set("01"):
            return None
        value = int(bits, 2) << part.low
    cut = value >> part.low & ((1 << part.width) - 1)
    if not part.count:
        return _signed(cut, part.width, part.signed)
    size = part.width // part.count
    return tuple(
        _signed(cut >> (index * size) & ((1 << size) - 1), size, part.signed)
        for index in range(part.count)
    )


def _signed(value: int, width: int, signed: bool) -> int:
    return value - (1 << width) if signed and value >> (width - 1) else value


def _last(name: str) -> str:
    return name.rpartition(".")[2]
