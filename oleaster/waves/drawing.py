"""A few cycles of a waveform as WaveDrom draws them: as WaveJSON, and as SVG.

SVG needs the extra "waves" (wavedrom).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import Any

from oleaster.waves.file import Signal, Value, WaveError, WaveFile
from oleaster.waves.ports import group_ports

__all__ = ["MOST_CYCLES", "MOST_SIGNALS", "draw", "signals_of_ports", "svg"]

MOST_CYCLES = 200
MOST_SIGNALS = 64

_CHARACTER = 7.2  # pixels, as wavedrom writes values
_CYCLE = 40  # pixels, at a horizontal scale of 1
_MARGIN = 14  # pixels of a value's slanted ends
_SMALLEST_SCALE = 2  # below, wavedrom cuts the first value off
_LARGEST_SCALE = 5
# WaveDrom's letters for a bus: white, orange, blue; and for a value that does not count.
_PLAIN, _WAITS, _TAKEN, _IDLE = "2", "4", "5", "x"


def draw(file: WaveFile, signals: Sequence[Signal], first: int, cycles: int) -> dict[str, Any]:
    """WaveJSON of the clock and `signals` in `cycles` cycles from `first` on.

    Signals of a handshake stream stand together. Where both its valid and its ready are drawn, what
    it hands over is blue in the cycle in which it is taken, orange while it waits, and hatched
    while it is not valid. Unsigned values are hexadecimal, signed ones decimal, arrays from element
    0 on. A packed word is left out where parts of it are drawn.

    Raises WaveError: the file has not so many cycles, or they or the signals are too many to draw.
    """
    if cycles > MOST_CYCLES:
        raise WaveError(f"a picture has up to {MOST_CYCLES} cycles, not {cycles}")
    drawn = [each for each in signals if each != file.clock and not _packs(each, signals)]
    if len(drawn) > MOST_SIGNALS:
        raise WaveError(
            f"{file.path}: a picture has up to {MOST_SIGNALS} signals, not {len(drawn)}; "
            "name fewer of them"
        )
    values = {each: file.values(each, first, cycles) for each in drawn}
    handshake = {each.variable: each for each in drawn}
    _, streams, _ = group_ports(handshake)
    rank: dict[Signal, int] = {}
    group: dict[Signal, str] = {}
    states: dict[Signal, list[str]] = {}
    for stream in streams:
        valid, ready = handshake[stream.valid], handshake[stream.ready]
        name = valid.name.removesuffix("valid").rstrip("_")
        for each in drawn:
            if each.variable in (stream.valid, stream.ready, *stream.payload):
                group[each] = name
                rank[each] = 1 + (each != valid) + (each not in (valid, ready))
                if each not in (valid, ready):
                    states[each] = list(map(_state, values[valid], values[ready]))
    order = list(dict.fromkeys(group.get(each, each.name) for each in drawn))
    drawn.sort(key=lambda each: (order.index(group.get(each, each.name)), rank.get(each, 0)))

    rows = [(group.get(each, ""), _row(each, values[each], states.get(each))) for each in drawn]
    for name, row in rows:
        if name:
            row["name"] = row["name"].removeprefix(f"{name}_").removeprefix("payload.")
    lanes: list[Any] = []
    if file.clock is not None:
        lanes.append({"name": file.clock.name, "wave": "p" + "." * (cycles - 1)})
    for name, members in groupby(rows, key=lambda row: row[0]):
        together = [row for _, row in members]
        lanes += [[name, *together]] if name else together
    scale = _scale([row for _, row in rows])
    for _, row in rows:
        _shorten(row, scale)
    head = {"text": file.path.name, "tock": first}
    return {"signal": lanes, "head": head, "config": {"hscale": scale}}


def svg(wavejson: dict[str, Any]) -> str:
    """The picture as SVG. WaveError if wavedrom is not installed."""
    try:
        import wavedrom
    except ModuleNotFoundError as error:
        raise WaveError(
            f"pictures of waveforms need {error.name}: pip install 'oleaster[waves]'"
        ) from error
    text = str(wavedrom.render(json.dumps(wavejson)).tostring())
    # Black lines on nothing would vanish in a dark viewer.
    start = text.index(">", text.index("<svg")) + 1
    return text[:start] + '<rect width="100%" height="100%" fill="white"/>' + text[start:]


def signals_of_ports(file: WaveFile) -> list[Signal]:
    """What a picture shows if nothing else is asked for: the ports, packed ones taken apart."""
    return [each for parts in file.ports.values() for each in parts if not _packs(each, parts)]


def _packs(signal: Signal, others: Sequence[Signal]) -> bool:
    """Whether some of the others are parts of it."""
    return any(each.name.startswith((f"{signal.name}.", f"{signal.name}[")) for each in others)


def _state(valid: Value, ready: Value) -> str:
    return _IDLE if valid != 1 else _TAKEN if ready == 1 else _WAITS


def _row(signal: Signal, values: Sequence[Value], states: Sequence[str] | None) -> dict[str, Any]:
    """A signal's lane in WaveJSON; `states` of its stream, if it is handed over by one."""
    wave, data = "", []
    before = None
    for index, value in enumerate(values):
        letter = states[index] if states else _PLAIN
        text = _text(signal, value)
        if value is None:
            letter = _IDLE
        elif signal.width == 1 and letter != _IDLE:
            letter = text
        if letter == _IDLE:
            text = ""
        # A word that is taken is another one, even if it is equal.
        if (letter, text) == before and letter != _TAKEN:
            wave += "."
        else:
            wave += letter
            if letter in (_PLAIN, _WAITS, _TAKEN):
                data.append(text)
        before = letter, text
    return {"name": signal.name, "wave": wave} | ({"data": data} if data else {})


def _text(signal: Signal, value: Value) -> str:
    if isinstance(value, tuple):
        size = signal.width // signal.part.count
        return " ".join(_number(each, size, signal.part.signed) for each in value)
    return "" if value is None else _number(value, signal.width, signal.part.signed)


def _number(value: int, width: int, signed: bool) -> str:
    return str(value) if signed else f"{value:0{ceil(width / 4)}x}"


def _lengths(wave: str) -> list[int]:
    """Cycles of each value on a bus."""
    runs: list[int] = []
    bus = False
    for letter in wave:
        if letter != ".":
            bus = letter in (_PLAIN, _WAITS, _TAKEN)
            runs += [0] if bus else []
        if bus:
            runs[-1] += 1
    return runs


def _scale(rows: Sequence[dict[str, Any]]) -> int:
    """How far cycles are drawn apart, for every value to be read, within reason."""
    needed = [
        (_CHARACTER * len(text) + _MARGIN) / (_CYCLE * cycles)
        for row in rows
        for text, cycles in zip(row.get("data", ()), _lengths(row["wave"]), strict=True)
    ]
    return min(_LARGEST_SCALE, max(_SMALLEST_SCALE, ceil(max(needed, default=0))))


def _shorten(row: dict[str, Any], scale: int) -> None:
    """Cut values that have no room."""
    for index, cycles in enumerate(_lengths(row["wave"])):
        room = int((_CYCLE * scale * cycles - _MARGIN) / _CHARACTER)
        text = row["data"][index]
        if len(text) > room:
            row["data"][index] = text[: max(1, room - 1)] + "…"
