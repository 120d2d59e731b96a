"""The verbs `oleaster nerf`: images of radiance fields."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from oleaster import io
from oleaster.cli import nerf_encode, nerf_info, nerf_simulate, nerf_train
from oleaster.cli.nerf_engine import Engine, check_engine, render_on
from oleaster.cli.nerf_shown import FIXED_LOSS_DB, shown
from oleaster.cli.output import (
    CommandError,
    Json,
    parse_size,
    print_facts,
    print_json,
    progress_bar,
)
from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.checkpoint import load_checkpoint
from oleaster.models.nerf.field import Array, Field
from oleaster.models.nerf.files import load_field
from oleaster.models.nerf.fixed.render import FixedScene, MlpFormat, fix_scene
from oleaster.models.nerf.image import FILM_KINDS, check_film_kind, encode_film, encode_png
from oleaster.models.nerf.render import Order, Pipeline, Rendering, psnr, render
from oleaster.models.nerf.scene import HeldOut, Scene, load_scene, scene_names
from oleaster.models.nerf.traffic import Visits, encoded_bytes
from oleaster.models.nerf.train.viewpoints import ANGLE_OF_VIEW
from oleaster.models.nerf.views import load_pose

app = typer.Typer(help="Radiance fields: scenes, images, encodings.", no_args_is_help=True)
app.command()(nerf_info.info)
app.command()(nerf_train.train)
app.command()(nerf_encode.encode)
app.command()(nerf_simulate.simulate)

_SIDE = 400
_FRAMES = 36
_FRAME_MS = 80


@app.command("render")
def render_scene(
    scene: Annotated[
        str,
        typer.Argument(
            metavar="SCENE|FILE.npz|FILE.th",
            help="A scene (see `oleaster nerf info`), a field, or a checkpoint of TensoRF.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="IMG.png", help="Write the image.")
    ] = None,
    pipeline: Annotated[
        Pipeline, typer.Option(help="Walk occupied cubes, or test every sample as TensoRF does.")
    ] = "cubes",
    order: Annotated[
        Order, typer.Option(help="Of cubes: an exact walk outwards, or octant by octant.")
    ] = "exact",
    ball: Annotated[
        bool, typer.Option("--ball", help="Test circumscribed balls instead of cubes.")
    ] = False,
    terminate: Annotated[
        bool,
        typer.Option(
            "--terminate/--no-terminate",
            help="Stop a ray where less than 1e-4 of the light passes.",
        ),
    ] = True,
    arith: Annotated[
        Literal["float", "fixed"] | None,
        typer.Option(
            help="Float, or the hardware's integers.  [default: float, with --engine model]"
        ),
    ] = None,
    mlp: Annotated[
        MlpFormat | None,
        typer.Option(
            help="Number format of the colour network, with --arith fixed.  [default: ovp8]"
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="The reference; the renderer's cycle model; or its Verilog, 30,000 cycles a"
            " second. Both compute as --arith fixed."
        ),
    ] = "model",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Pixels; by default the view's own.")
    ] = None,
    view: Annotated[
        int | None, typer.Option(help="A held-out view of the scene, from 0.  [default: 0]")
    ] = None,
    pose: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A camera, 400x400: one frame of transforms.json."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with TensoRF's sampler, without termination.")
    ] = False,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write an orbit, too: .mp4, .gif, or animated .png, .apng."
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Images in the video.  [default: 36]")
    ] = None,
    json: Json = False,
) -> None:
    """Render a radiance field, and count what that took.

    \b
    oleaster nerf render lego -o lego.png
    oleaster nerf render lego --pipeline uniform --view 1 -o lego.png --json
    oleaster nerf render lego --check
    oleaster nerf render lego --arith fixed --mlp int8 --check
    oleaster nerf render lego --size 200x200 --video lego.gif
    oleaster nerf render lego --size 16x16 --engine rtl -o lego.png
    """
    if pose is not None and view is not None:
        raise CommandError("--pose and --view both say where the camera is; give one of them")
    check_engine(
        engine,
        {
            "--pipeline uniform": pipeline != "cubes",
            "--order octants": order != "exact",
            "--ball": ball,
            "--arith float": arith == "float",
            f"--mlp {mlp}": mlp not in (None, "ovp8"),
            "--check": check,
            "--video": video is not None,
        },
    )
    if arith is None:
        arith = "float" if engine == "model" else "fixed"
    if pipeline == "uniform" and (ball or order != "exact"):
        raise CommandError("--order and --ball are for --pipeline cubes")
    if arith == "fixed" and (pipeline != "cubes" or ball or order != "exact"):
        raise CommandError("--arith fixed walks cubes in exact order, without --ball")
    if arith == "float" and mlp is not None:
        raise CommandError("--mlp is for --arith fixed")
    if frames is not None and video is None:
        raise CommandError("--frames is for --video")
    _check_outputs(output, video, scene, pose)
    width_height = None if size is None else parse_size(size)
    source = _load(scene)
    field, views, encoded = (
        (source, (), None)
        if isinstance(source, Field)
        else (source.field, source.views, source.encoded)
    )
    held: HeldOut | None = None
    if pose is not None:
        camera = _read_pose(pose)
    else:
        camera, held = _view(views, view, scene)
    if width_height is not None:
        camera = camera.scaled(*width_height)
    if check and arith == "fixed" and not _is_of(camera, held):
        raise CommandError(
            "--check compares fixed point with a held-out image; give a scene's --view, in its size"
        )
    fixed: FixedScene | None = None
    if arith == "fixed":
        mlp = mlp or "ovp8"
        fixed = fix_scene(source, mlp=mlp)

    def one(
        camera: Camera,
        label: str,
        pipeline: Pipeline,
        terminate: bool,
        visits: Visits | None = None,
    ) -> Rendering:
        with progress_bar(label) as report:
            if fixed is not None and pipeline == "cubes":
                return fixed.render(camera, terminate=terminate, visits=visits, report=report)
            return render(
                field,
                camera,
                pipeline,
                order=order,
                ball=ball and pipeline == "cubes",
                terminate=terminate,
                visits=visits,
                report=report,
            )

    if video is not None:
        frames = frames or _FRAMES
        cameras = _orbit(camera, frames)
        films = (
            one(each, f"frame {i + 1} of {frames}", pipeline, terminate).image
            for i, each in enumerate(cameras)
        )
        io.write_bytes(video, encode_film(films, video.suffix, frame_ms=_FRAME_MS))
    started = time.perf_counter()
    visits = None if encoded is None else Visits(field.size)
    drawn = one(camera, "rays", pipeline, terminate, visits)
    hardware: dict[str, Any] | None = None
    if engine != "model":
        assert fixed is not None
        started = time.perf_counter()
        with progress_bar("tiles") as report:
            made = render_on(engine, source, fixed, camera, terminate, report)
        image = made.image.astype(np.float32) / np.float32(255)
        hardware = {
            **made.facts,
            "wrong_pixels": int(np.count_nonzero((image != drawn.image).any(axis=2))),
        }
        drawn = replace(drawn, image=image)
    seconds = time.perf_counter() - started
    if output is not None:
        io.write_bytes(output, encode_png(drawn.image))
    result: dict[str, Any] = {
        "scene": scene,
        "pipeline": pipeline,
        "order": order if pipeline == "cubes" else None,
        "ball": ball,
        "arith": arith,
        "mlp": mlp,
        "engine": engine,
        "terminate": terminate,
        "width": camera.width,
        "height": camera.height,
        "view": None if held is None else view or 0,
        "psnr_db": _held_out_psnr(drawn.image, camera, held),
        "counters": asdict(drawn.counters),
        "encoded_bytes": encoded_bytes(encoded, visits) if encoded and visits else None,
        "hardware": hardware,
        "seconds": seconds,
        "check": None,
        "output": None if output is None else str(output),
        "video": None if video is None else str(video),
    }
    if check:
        started = time.perf_counter()
        plain = one(camera, "uniform sampler", "uniform", False)
        result["check"] = _compare(drawn, plain, time.perf_counter() - started)
        if fixed is not None:
            exact = _held_out_psnr(plain.image, camera, held)
            assert exact is not None  # checked above
            loss = exact - result["psnr_db"]
            assert isinstance(source, Scene)
            before = source.facts.float_psnr[view or 0]
            result["check"] |= {
                "loss_db": loss,
                "chain_loss_db": before - result["psnr_db"],
                "holds": loss <= FIXED_LOSS_DB,
            }
    if json:
        print_json(result)
    else:
        print_facts(shown(result))
    if (check and not result["check"]["holds"]) or (hardware and hardware["wrong_pixels"]):
        raise typer.Exit(1)


def _load(source: str) -> Scene | Field:
    path = Path(source)
    if path.suffix == ".th":
        return load_checkpoint(path)
    if source not in scene_names() and path.suffix == ".npz" and _is_field(path):
        return load_field(path)
    return load_scene(source)


def _is_field(path: Path) -> bool:
    """Whether an .npz file calls itself a plain field; what is damaged is left to the readers."""
    try:
        with path.open("rb") as data, np.load(data, allow_pickle=False) as file:
            return str(file["format"]) == "oleaster field"
    except Exception:  # numpy raises anything
        return False


def _check_outputs(output: Path | None, video: Path | None, *inputs: str | Path | None) -> None:
    files = [Path(each) for each in inputs if each is not None]
    if output is not None:
        if output.suffix != ".png":
            raise CommandError(f"{output}: the name after -o ends in .png")
        io.check_output_file(output, *files)
    if video is not None:
        if video.suffix not in FILM_KINDS:
            raise CommandError(f"{video}: the name after --video ends in {', '.join(FILM_KINDS)}")
        if video == output:
            raise CommandError(f"{video}: is named both after -o and after --video")
        check_film_kind(video.suffix)
        io.check_output_file(video, *files)


def _view(
    views: tuple[HeldOut, ...], number: int | None, scene: str
) -> tuple[Camera, HeldOut | None]:
    if number is None and not views:
        return _from_side(), None
    number = number or 0
    if not 0 <= number < len(views):
        there = f"0 .. {len(views) - 1}" if views else "none; give --pose FILE.json"
        raise CommandError(f"--view {number}: the held-out views of {scene} are {there}")
    return views[number].camera, views[number]


def _from_side() -> Camera:
    """Where the cameras of Blender's synthetic scenes are: 4 away, 30 degrees above the ground."""
    origin = 4 * np.array([0.0, -math.cos(math.pi / 6), math.sin(math.pi / 6)])
    return look_at(
        origin, np.zeros(3), width=_SIDE, height=_SIDE, focal=_focal(_SIDE, ANGLE_OF_VIEW)
    )


def _focal(width: int, angle_x: float) -> float:
    return width / 2 / math.tan(angle_x / 2)


def _orbit(camera: Camera, frames: int) -> list[Camera]:
    """The camera turned about the z axis, in equal steps once round."""
    found = []
    for i in range(frames):
        angle = 2 * math.pi * i / frames
        turn = np.eye(3)
        turn[:2, :2] = [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
        found.append(replace(camera, pose=(turn @ camera.pose).astype(np.float32)))
    return found


def _read_pose(path: Path) -> Camera:
    """One frame as in Blender's transforms.json: transform_matrix, and camera_angle_x if other."""
    pose, angle = load_pose(path)
    return Camera(_SIDE, _SIDE, _focal(_SIDE, angle or ANGLE_OF_VIEW), pose)


def _is_of(camera: Camera, held: HeldOut | None) -> bool:
    """Whether there is a held-out image of this very size."""
    size = camera.width, camera.height
    return held is not None and size == (held.camera.width, held.camera.height)


def _held_out_psnr(image: Array, camera: Camera, held: HeldOut | None) -> float | None:
    """None without a held-out image of this very size."""
    return psnr(image, held.image()) if held is not None and _is_of(camera, held) else None


def _compare(drawn: Rendering, plain: Rendering, seconds: float) -> dict[str, Any]:
    difference = float(np.abs(drawn.image - plain.image).max())
    same = drawn.counters.kept == plain.counters.kept
    return {
        "holds": same and difference <= 1e-4,
        "psnr_db": psnr(drawn.image, plain.image),
        "largest_difference": difference,
        "candidates": plain.counters.candidates,
        "kept": plain.counters.kept,
        "loss_db": None,
        "chain_loss_db": None,
        "candidate_factor": plain.counters.candidates / max(1, drawn.counters.candidates),
        "seconds": seconds,
    }
