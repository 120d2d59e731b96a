"""What a study's designs do: a network's pass, or a scene's frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oleaster.explore.error import StudyError, first_wrong
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.scene import HeldOut, Scene, load_scene
from oleaster.sim.networks.layer import Network, NetworkError
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.simulate import Memory

__all__ = [
    "ENCODERS",
    "NetworkWorkload",
    "SceneWorkload",
    "Workload",
    "overridable",
    "with_changes",
]

ENCODERS = ("minilm", "mpnet")
"""Models with real weights, whose accuracy in a pair of formats is measured."""

_Side = Annotated[int, Field(ge=1, le=1 << 16)]


class Workload(BaseModel):
    """A table [workload]; what `oleaster simulate` and `oleaster nerf simulate` take."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NetworkWorkload(Workload):
    """network: by name, or a path to .csv or .onnx, relative to the study's file.

    energy: a table of constants other than the designs'. accuracy: the model whose accuracy is
    measured in a design's formats; without it the network itself, if it is one. texts: that it is
    measured on.
    """

    network: str
    batch: int | None = None
    sequence: int | None = None
    phase: Literal["prefill", "decode"] | None = None
    memory: Memory = "ideal"
    attention: bool = True
    dims: dict[str, int] = {}
    energy: str | None = None
    accuracy: Literal["minilm", "mpnet"] | None = None
    texts: Annotated[int, Field(ge=3, le=50)] = 50

    @property
    def encoder(self) -> str | None:
        """The model whose accuracy can be measured, if any."""
        return self.accuracy or (self.network if self.network in ENCODERS else None)

    def load(self, folder: Path) -> Network:
        """The GEMMs. folder: of the study's file. NetworkError if there is no such network."""
        if not self.network.endswith((".csv", ".onnx")):
            if self.dims:
                raise NetworkError(f"workload.dims is for ONNX files; {self.network} has none")
            return load_network(
                self.network,
                batch=1 if self.batch is None else self.batch,
                sequence=self.sequence,
                phase=self.phase or "prefill",
                attention=self.attention,
            )
        for key in ("batch", "sequence", "phase"):
            if getattr(self, key) is not None:
                raise NetworkError(
                    f"workload.{key} is for networks by name; {self.network} says its sizes itself"
                )
        network = _read(str(folder / self.network), self.dims)
        if self.attention:
            return network
        layers = tuple(layer for layer in network.layers if layer.kind != "attention")
        return Network(network.name, f"{network.description}, without attention products", layers)


class SceneWorkload(Workload):
    """scene: by name, or a path to .npz, relative to the study's file.

    view: of the held-out ones, from 0. width, height: of the image in pixels.
    """

    scene: str
    view: Annotated[int, Field(ge=0)] = 0
    width: _Side = 800
    height: _Side = 800

    def load(self, folder: Path) -> Scene:
        """folder: of the study's file. FieldError if there is no such scene."""
        return _scene(str(folder / self.scene) if self.scene.endswith(".npz") else self.scene)

    def held_out(self, folder: Path) -> HeldOut:
        """The view; FieldError if the scene has none of that number."""
        views = self.load(folder).views
        if self.view >= len(views):
            there = f"0 .. {len(views) - 1}" if views else "none"
            raise FieldError(f"workload.view is {self.view}; {self.scene} has {there}")
        return views[self.view]


@lru_cache(4)
def _scene(source: str) -> Scene:
    return load_scene(source)


def _read(path: str, dims: dict[str, int]) -> Network:
    if path.endswith(".onnx"):
        from oleaster.sim.networks.onnx_file import read_onnx

        return read_onnx(path, dims)
    if dims:
        raise NetworkError(f"workload.dims is for ONNX files; {path} has none")
    from oleaster.sim.networks.csv_file import read_csv

    return read_csv(path)


def overridable(workload: Workload) -> dict[str, Any]:
    """Keys that a parameter workload.KEY may set, and their values."""
    fixed = ("dims", "energy", "accuracy", "texts")
    return {key: value for key, value in workload if key not in fixed}


def with_changes(workload: Workload, changes: Mapping[str, Any]) -> Any:
    """The workload with other values, checked as a file's; StudyError."""
    try:
        return type(workload).model_validate({**workload.model_dump(), **changes})
    except ValidationError as error:
        known = type(workload).model_fields
        raise StudyError(first_wrong(error, "parameters.workload.", known)) from None
