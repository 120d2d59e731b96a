"""`oleaster nerf train`: a radiance field from views of a folder, a teacher network or a mesh."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oleaster import io
from oleaster.cli.nerf_sources import (
    Device,
    Folder,
    MeshName,
    Source,
    TeacherFile,
    check_npz,
    check_torch,
)
from oleaster.cli.output import CommandError, Json, print_facts, print_json, progress_bar
from oleaster.models.nerf.files import save_field
from oleaster.models.nerf.train.viewpoints import HELD_OUT, held_out_cameras, training_cameras


def train(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FIELD.npz", help="The field to write.")
    ],
    views: Folder = None,
    teacher: TeacherFile = None,
    mesh: MeshName = None,
    count: Annotated[
        int, typer.Option(min=1, max=1000, help="Views of a teacher or mesh to train on.")
    ] = 100,
    size: Annotated[
        int, typer.Option(min=8, max=2048, help="Pixels along a side of these views.")
    ] = 400,
    iterations: Annotated[int, typer.Option(help="Steps of 4096 rays.")] = 5000,
    voxels: Annotated[int, typer.Option(help="The final lattice has about N^3 points.")] = 128,
    components: Annotated[
        str, typer.Option(metavar="R,Q", help="Of density and of colour, in each of three pairs.")
    ] = "4,12",
    pruned: Annotated[
        float, typer.Option(help="Share of the planes' values that training sets to 0.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Of starting values, rays and jitter.")] = 0,
    device: Device = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from FIELD.npz.run, where a run stopped.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a field, and print its PSNR on views that training never saw.

    \b
    oleaster nerf train --views nerf_synthetic/lego -o lego.npz --device cuda
    oleaster nerf train --teacher lego_nerf.npz -o lego.npz --device cuda
    oleaster nerf train --mesh duck --size 100 --voxels 48 --iterations 1500 -o duck.npz
    """
    source = Source(views, teacher, mesh)
    source.check()
    check_npz(output)
    checkpoint = output.with_name(output.name + ".run")
    if resume and not checkpoint.is_file():
        raise CommandError(f"{checkpoint}: no such checkpoint; start without --resume")
    check_torch("training", device)
    import torch

    from oleaster.models.nerf.train.schedule import Config
    from oleaster.models.nerf.train.trainer import fit, held_out_psnr

    density, color = _components(components)
    config = Config(
        iterations=iterations,
        voxels=voxels,
        density_components=density,
        color_components=color,
        pruned=pruned,
        seed=seed,
    )
    torch.set_float32_matmul_precision("high")
    if views is not None:
        seen, held_out = source.load("train"), source.load("test")
    else:
        cameras = training_cameras(count, size) + held_out_cameras(HELD_OUT, size)
        rendered = source.render(cameras, device)
        seen, held_out = rendered[:count], rendered[count:]
    started = time.perf_counter()
    with io.writing(output), progress_bar("training") as report:
        field = fit(
            seen,
            config,
            device=device,
            progress=lambda done, total, _: report(done, total),
            checkpoint=checkpoint,
            resume=resume,
        )
        seconds = time.perf_counter() - started
        save_field(output, field)
        checkpoint.unlink(missing_ok=True)
    found = [round(value, 3) for value in held_out_psnr(field, held_out, device)]
    result = {
        "field": str(output),
        "size": list(field.size),
        "occupied": round(float(field.mask.bits.mean()), 4) if field.mask else None,
        "iterations": config.iterations,
        "seconds": round(seconds, 1),
        "psnr_db": found,
        "mean_psnr_db": round(float(np.mean(found)), 3) if found else None,
    }
    if json:
        print_json(result)
        return
    print_facts(
        {
            "written": output,
            "lattice": " x ".join(map(str, field.size)),
            "occupied": "everywhere" if field.mask is None else f"{result['occupied']:.1%}",
            "training": f"{config.iterations} iterations in {seconds:.0f} s",
            "PSNR, held out": ", ".join(f"{value:.2f}" for value in found) + " dB"
            if found
            else "no held-out views",
        }
    )


def _components(text: str) -> tuple[int, int]:
    try:
        density, color = map(int, text.split(","))
    except ValueError as error:
        raise CommandError(f"--components {text}: expected two numbers, such as 4,12") from error
    return density, color
