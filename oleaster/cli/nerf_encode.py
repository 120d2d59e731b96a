"""`oleaster nerf encode`: a trained field becomes a scene, pruned within a budget, and encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oleaster import __version__, io
from oleaster.cli.nerf_info import print_scene
from oleaster.cli.nerf_sources import Device, Folder, MeshName, Source, TeacherFile, check_npz
from oleaster.cli.output import CommandError, Json, progress_bar
from oleaster.models.nerf.checkpoint import load_checkpoint
from oleaster.models.nerf.field import Field
from oleaster.models.nerf.files import load_field
from oleaster.models.nerf.prune import MOST_MEASURES, prune
from oleaster.models.nerf.scene import HeldOut, make_scene, save_scene, view_psnr
from oleaster.models.nerf.train.viewpoints import HELD_OUT, held_out_cameras, training_cameras

_IMPORTANCE_VIEWS, _IMPORTANCE_SIDE = 12, 50


def encode(
    field: Annotated[
        Path,
        typer.Argument(metavar="FIELD", help="An .npz of `oleaster nerf train`, or TensoRF's .th."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="SCENE.npz", help="The scene to write.")
    ],
    views: Folder = None,
    teacher: TeacherFile = None,
    mesh: MeshName = None,
    size: Annotated[
        int, typer.Option(min=8, max=2048, help="Pixels along a side of the held-out views.")
    ] = 200,
    budget: Annotated[
        float, typer.Option(help="dB of PSNR that pruning and fewer bits may cost these views.")
    ] = 0.2,
    name: Annotated[str | None, typer.Option(help="The scene's; by default the file's.")] = None,
    origin: Annotated[str, typer.Option(help="Where its images are from.")] = "",
    licence: Annotated[str, typer.Option(help="Of images and field.")] = "",
    command: Annotated[str, typer.Option(help="That trained the field.")] = "",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Prune a field within a budget of PSNR, encode it, and write it with its held-out views.

    The views come from a folder's test split (three of them), a teacher network, or a mesh; with
    the last two, seen by the cameras that `oleaster nerf train` holds out.

    \b
    oleaster nerf encode lego.npz --views nerf_synthetic/lego -o lego-scene.npz
    oleaster nerf encode duck.npz --mesh duck --budget 0.1 -o duck-scene.npz
    """
    source = Source(views, teacher, mesh)
    source.check()
    if not budget > 0:
        raise CommandError(f"--budget {budget}: expected dB above 0")
    check_npz(output, field)
    trained = _load(field)
    held_out = _held_out(source, size, device)
    psnr = view_psnr(held_out)
    with io.writing(output), progress_bar("measuring") as report:
        done = 0

        def measure(changed: Field) -> float:
            nonlocal done
            done += 1
            report(done, MOST_MEASURES)
            return psnr(changed)

        cameras = training_cameras(_IMPORTANCE_VIEWS, _IMPORTANCE_SIDE)
        pruned = prune(trained, measure, cameras, budget)
        scene = make_scene(
            trained,
            pruned,
            held_out,
            name=name or output.stem,
            origin=origin,
            licence=licence,
            command=command,
            version=__version__,
        )
        save_scene(output, scene)
    print_scene(scene, json=json)


def _load(path: Path) -> Field:
    return load_checkpoint(path) if path.suffix == ".th" else load_field(path)


def _held_out(source: Source, size: int, device: str) -> list[HeldOut]:
    if source.folder is None:
        rendered = source.render(held_out_cameras(HELD_OUT, size), device)
        return [HeldOut.of(view.camera, view.image) for view in rendered]
    found = source.load("test")
    if not found:
        raise CommandError(f"{source.folder}: has no transforms_test.json; a scene needs views")
    some = np.linspace(0, len(found) - 1, min(HELD_OUT, len(found))).astype(int)
    return [HeldOut.resized(found[i].camera, found[i].image, size) for i in some]
