"""Files that a report shows: JSON that verbs wrote, told apart by their keys, and PNG images.

Keys that are not named here are let through and not shown, so that a newer oleaster's files
are read as long as they still have these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from oleaster.io import FileError
from oleaster.sim.performance.simulate import LayerResult

__all__ = [
    "AreaRun",
    "Exploration",
    "Frame",
    "FrameRun",
    "NetworkRun",
    "OliveRun",
    "Picture",
    "Point",
    "RenderRun",
    "RtnerfRun",
    "Run",
    "read_input",
]

_PNG = b"\x89PNG\r\n\x1a\n"
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Some = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Whole = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class Run(_Shape):
    """What every verb's JSON has.

    path: its file. data: the whole object as it was read. command is null, or missing in files of
    older versions, if no command line made it.
    """

    verb: ClassVar[str]
    version: str
    command: str | None = None
    path: Path = Path()
    data: dict[str, Any] = {}


_LAYER: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(LayerResult).items()}
# A layer without any of these could not be put into a roofline.
_LAYER |= dict.fromkeys(("macs", "cycles", "utilization_pct"), (_Some, ...))


class _Layer(_Shape):
    def row(self) -> LayerResult:
        return LayerResult(**{name: getattr(self, name) for name in LayerResult._fields})


_LayerRow: Any = create_model("_LayerRow", __base__=_Layer, **_LAYER)


class _Design(_Shape):
    name: str
    title: str
    clock_mhz: _Some


class _NetworkResult(_Shape):
    design: _Design
    energy_table: str
    speedup: _Number
    energy_saving: _Number | None
    total: _LayerRow
    layers: Annotated[list[_LayerRow], Field(min_length=1)]


class NetworkRun(Run):
    """JSON of `oleaster simulate`."""

    verb: ClassVar[str] = "simulate"
    network: str
    description: str
    memory: str
    results: Annotated[list[_NetworkResult], Field(min_length=1)]


class _Renderer(_Design):
    renderers: int
    dram_gb_s: _Number
    sram_bytes: _Whole
    macs_per_cycle: _Whole


class _Stage(_Shape):
    cycles: _Whole
    busy: _Number


class Frame(_Shape):
    """A frame on one design; energies in pJ by part, with their total."""

    design: _Renderer
    cycles: _Whole
    fps: _Number
    bottleneck: str
    stages: dict[str, _Stage]
    dram_bytes: _Whole
    energy_pj: dict[str, _Number]
    power_w: _Number


class FrameRun(Run):
    """JSON of `oleaster nerf simulate`."""

    verb: ClassVar[str] = "nerf simulate"
    scene: str
    view: int
    width: int
    height: int
    psnr_db: _Number | None
    psnr_size: list[int]
    output: str | None
    results: Annotated[list[Frame], Field(min_length=1)]


class RenderRun(Run):
    """JSON of `oleaster nerf render`."""

    verb: ClassVar[str] = "nerf render"
    scene: str
    pipeline: str
    width: int
    height: int
    arith: str
    engine: str
    psnr_db: _Number | None
    counters: dict[str, Any]
    output: str | None


class Point(_Shape):
    """One point of an exploration; a failed one has a reason instead of values."""

    number: int
    parameters: dict[str, Any]
    values: dict[str, _Number | None]
    feasible: bool
    state: Literal["complete", "failed"]
    reason: str | None = None


class Exploration(Run):
    """JSON of `oleaster explore`. pareto: numbers of points that no other beats."""

    verb: ClassVar[str] = "explore"
    study: str
    title: str | None = None
    sampler: str
    objectives: Annotated[dict[str, Literal["min", "max"]], Field(min_length=1)]
    points: Annotated[list[Point], Field(min_length=1)]
    pareto: list[int]


class _Area(_Shape):
    unit: str
    module: str
    parameters: dict[str, Any]
    target: str


class AreaRun(Run):
    """JSON of `oleaster synth`."""

    verb: ClassVar[str] = "synth"
    target: str
    results: Annotated[list[_Area], Field(min_length=1)]


class _Claim(_Shape):
    platform: str
    rival: str
    memory: str
    speed: _Number | None
    energy: _Number | None
    our_speed: _Number | None
    our_energy: _Number | None


class OliveRun(Run):
    """JSON of `oleaster reproduce olive`."""

    verb: ClassVar[str] = "reproduce olive"
    claims: Annotated[list[_Claim], Field(min_length=1)]


class _RendererFigures(_Shape):
    name: str
    title: str
    fps: _Number
    energy_mj: _Number


class RtnerfRun(Run):
    """JSON of `oleaster reproduce rtnerf`."""

    verb: ClassVar[str] = "reproduce rtnerf"
    designs: Annotated[list[_RendererFigures], Field(min_length=1)]
    ideas: list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """A PNG image; sizes in pixels."""

    verb: ClassVar[str] = "image"
    path: Path
    data: bytes
    width: int
    height: int


# By the keys that only they have; the first that fits counts.
_KINDS: tuple[tuple[set[str], type[Run]], ...] = (
    ({"network", "memory", "results"}, NetworkRun),
    ({"scene", "psnr_size", "results"}, FrameRun),
    ({"scene", "pipeline", "counters"}, RenderRun),
    ({"study", "points"}, Exploration),
    ({"target", "results"}, AreaRun),
    ({"claims", "public_simulator"}, OliveRun),
    ({"designs", "ideas", "published"}, RtnerfRun),
)
_VERBS = "simulate, nerf simulate, nerf render, explore, synth or reproduce"


def read_input(path: Path) -> Run | Picture:
    """A run or an image. FileError: cannot be read, is neither, or lacks what a report shows."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if data.startswith(_PNG):
        return _picture(path, data)
    found = _object(path, data)
    kind = next((kind for keys, kind in _KINDS if keys <= found.keys()), None)
    if kind is None:
        keys = ", ".join(map(repr, list(found)[:4])) or "no keys"
        raise FileError(
            f"{path}: is no run that a report shows (it has {keys}); expected what "
            f"`oleaster {_VERBS}` writes with --json or -o"
        )
    try:
        return kind.model_validate({**found, "path": path, "data": found})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise FileError(f"{path}: the key {key} is missing") from None
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise FileError(f"{path}: {key} is {_short(first['input'])}; {message}") from None


def _object(path: Path, data: bytes) -> dict[str, Any]:
    if not data:
        raise FileError(f"{path}: is empty, expected JSON of a run or a .png image")
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
    except RecursionError:
        raise FileError(f"{path}: is nested too deeply for a run") from None
    except ValueError as error:  # not UTF-8, or not JSON
        raise FileError(f"{path}: is neither JSON nor a .png image: {error}") from None
    if not isinstance(found, dict):
        raise FileError(f"{path}: holds no JSON object, expected the one that a verb writes")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"it has {word}, which JSON lacks")


def _picture(path: Path, data: bytes) -> Picture:
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    if data[12:16] != b"IHDR" or not width or not height or b"IEND" not in data[-12:]:
        raise FileError(f"{path}: is a damaged or truncated .png image")
    return Picture(path, data, width, height)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
