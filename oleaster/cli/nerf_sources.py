"""Where the views of `oleaster nerf train` and `encode` come from: a folder, a teacher, a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from oleaster import io
from oleaster.cli.output import CommandError, progress_bar
from oleaster.models.fetch import locate
from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array
from oleaster.models.nerf.train.mesh import MESHES, load_mesh
from oleaster.models.nerf.views import View, load_views

__all__ = ["Device", "Folder", "MeshName", "Source", "TeacherFile", "check_npz", "check_torch"]

_DEVICES = ("cpu", "cuda", "mps")

Folder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Blender's transforms_train.json, _test.json, images."),
]
TeacherFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE.npz", help="A NeRF that renders views (docs/nerf-training.md)."),
]
MeshName = Annotated[
    str | None,
    typer.Option(metavar="|".join(MESHES), help="A mesh of `oleaster models fetch meshes`."),
]
Device = Annotated[str, typer.Option(help="PyTorch's name: cpu, cuda, cuda:1.")]


class Source(NamedTuple):
    """One of the three."""

    folder: Path | None
    teacher: Path | None
    mesh: str | None

    def check(self) -> None:
        """Refuse none or several, and an unknown mesh."""
        if sum(each is not None for each in self) != 1:
            raise CommandError("give one of --views, --teacher and --mesh")
        if self.mesh is not None and self.mesh not in MESHES:
            raise CommandError(f"no mesh {self.mesh!r}: known are {', '.join(MESHES)}")

    def load(self, split: str) -> list[View]:
        """A folder's views; of split "test" only if there is one."""
        assert self.folder is not None
        if split == "test" and not (self.folder / "transforms_test.json").is_file():
            return []
        return load_views(self.folder, split)

    def render(self, cameras: Sequence[Camera], device: str) -> list[View]:
        """What a teacher or a mesh looks like."""
        image = self._renderer(device)
        found: list[View] = []
        with progress_bar("rendering views") as report:
            for i, camera in enumerate(cameras):
                report(i, len(cameras))
                found.append(View(camera, image(camera)))
        return found

    def _renderer(self, device: str) -> Callable[[Camera], Array]:
        if self.teacher is not None:
            check_torch("a teacher network", device)
            from oleaster.models.nerf.train.teacher import Teacher

            return Teacher.load(self.teacher, device).image
        assert self.mesh is not None
        shape, texture = MESHES[self.mesh]
        box = locate("meshes")
        return load_mesh(box / shape, box / texture).image


def check_npz(output: Path, *inputs: Path) -> None:
    """Refuse an output file that is no .npz, is an input, or cannot be written."""
    if output.suffix != ".npz":
        raise CommandError(f"{output}: the name after -o ends in .npz")
    io.check_output_file(output, *inputs)


def check_torch(what: str, device: str) -> None:
    """Refuse what PyTorch, or this computer's, cannot do."""
    try:
        import torch
    except ImportError as error:
        raise CommandError(f"{what} needs PyTorch: install oleaster[train]") from error
    if device.partition(":")[0] not in _DEVICES:
        raise CommandError(f"--device {device}: expected {', '.join(_DEVICES)}, or cuda:1")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"--device {device}: PyTorch cannot use it here ({reason})") from error
