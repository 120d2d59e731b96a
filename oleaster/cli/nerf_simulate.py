"""The verb nerf simulate: a scene's frame on a design, in cycles, bytes, picojoules, decibels."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from oleaster import io
from oleaster.cli.hardware import parameter_overrides
from oleaster.cli.output import (
    CommandError,
    Json,
    parse_size,
    print_facts,
    print_json,
    print_table,
    progress_bar,
)
from oleaster.models.nerf.fixed.render import FixedScene, fix_scene
from oleaster.models.nerf.image import encode_png
from oleaster.models.nerf.render import psnr
from oleaster.models.nerf.scene import HeldOut, Scene, load_scene
from oleaster.plots import bar_rows, check_figure_file, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oleaster.sim.nerf.renderer.design import FrameFigures

__all__ = ["figures_result", "show", "simulate"]

_DESIGN = "rtnerf-edge"
_SIDE = "800x800"


def simulate(
    scene: Annotated[
        str, typer.Argument(metavar="SCENE|FILE.npz", help="A scene (see `oleaster nerf info`).")
    ],
    design: Annotated[
        list[str] | None,
        typer.Option(
            metavar="D[,D]", help="Designs: rtnerf-edge, rtnerf-cloud or .toml; rtnerf-edge."
        ),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels.")] = _SIDE,
    view: Annotated[int, typer.Option(help="A held-out view of the scene, from 0.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change all designs, as renderers=4."),
    ] = None,
    image: Annotated[
        bool,
        typer.Option("--image/--no-image", help="Compute colours, too; the half of the time."),
    ] = True,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="IMG.png", help="Write the image.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a figure: .png, .svg or .pdf.")
    ] = None,
    json: Json = False,
) -> None:
    """Cycles, traffic and energy of a frame on a renderer, from its exact cycle model.

    The model has the RTL's values and its cycles, tile by tile. The PSNR is that of the view in its
    own size, against the held-out image.

    \b
    oleaster nerf simulate lego
    oleaster nerf simulate chair --design rtnerf-edge,rtnerf-cloud --size 400x400 --no-image
    oleaster nerf simulate lego --size 200x200 --set color_rows=32 -o lego.png --json
    """
    names = _names(design or [_DESIGN])
    width_height = parse_size(size)
    if output is not None:
        if not image:
            raise CommandError("-o needs an image; leave out --no-image")
        if output.suffix != ".png":
            raise CommandError(f"{output}: the name after -o ends in .png")
        io.check_output_file(output, *(Path(each) for each in (scene, *names)))
    if plot is not None:
        check_figure_file(plot)
        if output is not None and plot.resolve() == output.resolve():
            raise CommandError(f"{plot}: is named both after -o and after --plot")
    # Imported late: numba is slow to import, and other verbs do without it.
    from oleaster.renderers import load_renderer
    from oleaster.sim.nerf.renderer.jit import CompilerMissingError

    try:
        from oleaster.sim.nerf.renderer.simulate import simulate_designs
    except CompilerMissingError as error:
        raise CommandError(str(error)) from error
    changes = parameter_overrides(None, None, settings, "renderers=4 or color_rows=32")
    designs = [load_renderer(name, changes) for name in names]
    source = load_scene(scene)
    if not 0 <= view < len(source.views):
        there = f"0 .. {len(source.views) - 1}" if source.views else "none"
        raise CommandError(f"--view {view}: the held-out views of {scene} are {there}")
    held = source.views[view]
    camera = held.camera.scaled(*width_height)
    fixed = fix_scene(source)
    started = time.perf_counter()
    with progress_bar("rows of tiles") as report:
        found = simulate_designs(
            source, fixed, camera, designs, image=image, name=scene, report=report
        )
    seconds = time.perf_counter() - started
    drawn = found[0].frame.image
    if output is not None:
        assert drawn is not None
        io.write_bytes(output, encode_png(drawn.astype(np.float32) / np.float32(255)))
    result = {
        "scene": scene,
        "view": view,
        "width": width_height[0],
        "height": width_height[1],
        "psnr_db": _psnr(source, fixed, held, found[0]) if image else None,
        "psnr_size": [held.camera.width, held.camera.height],
        "seconds": seconds,
        "output": None if output is None else str(output),
        "plot": None if plot is None else str(plot),
        "results": [figures_result(each) for each in found],
    }
    if plot is not None:
        save_figure(_figure(f"{scene}, {size}", found), plot)
    if json:
        print_json(result)
    else:
        show(result, found)


def _figure(title: str, found: list[FrameFigures]) -> Figure:
    rows = {
        stage: {each.design.name: 100 * each.busy[stage] for each in found}
        for stage in found[0].busy
    }
    return bar_rows(rows, xlabel="busy, % of all renderers' cycles", title=title)


def figures_result(figures: FrameFigures) -> dict[str, Any]:
    """What is printed of a design, of types that JSON has."""
    design, frame = figures.design, figures.frame
    return {
        "design": {
            **{key: getattr(design, key) for key in ("name", "title", "clock_mhz", "renderers")},
            "dram_gb_s": design.dram_gb_s,
            "energy_table": design.energy,
            "sram_bytes": design.sram_bytes,
            "macs_per_cycle": design.macs_per_cycle,
            "config": design.config.parameters,
            "published": {key: asdict(each) for key, each in design.published.items()},
        },
        "cycles": figures.cycles,
        "compute_cycles": figures.compute_cycles,
        "renderer_cycles": frame.cycles,
        "tiles": frame.tiles.size,
        "fps": figures.fps,
        "bottleneck": frame.bottleneck,
        "stages": {
            stage: {"cycles": cycles, "busy": figures.busy[stage]}
            for stage, cycles in frame.stages.items()
        },
        "events": frame.events,
        "network_macs": figures.network_macs,
        "array_macs": figures.array_macs,
        "scene_bytes": figures.scene_bytes,
        "dram_bytes": figures.dram_bytes,
        "dram_bytes_reloaded": figures.dram_bytes_reloaded,
        "energy_pj": {**asdict(figures.energy), "total": figures.energy.total},
        "energy_reloaded_pj": figures.energy_reloaded.total,
        "power_w": figures.power_w,
    }


def _psnr(scene: Scene, fixed: FixedScene, held: HeldOut, figures: FrameFigures) -> float:
    """Of the view in its own size, which may have to be rendered for that."""
    from oleaster.sim.nerf.renderer.simulate import simulate_designs

    drawn = figures.frame.image
    assert drawn is not None
    if drawn.shape[:2] != (held.camera.height, held.camera.width):
        (again,) = simulate_designs(scene, fixed, held.camera, [figures.design])
        drawn = again.frame.image
        assert drawn is not None
    return psnr(drawn.astype(np.float32) / np.float32(255), held.image())


def _names(given: list[str]) -> list[str]:
    names = [name.strip() for one in given for name in one.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise CommandError(f"--design {','.join(given)}: expected different names, commas between")
    return names


def show(result: dict[str, Any], found: list[FrameFigures]) -> None:
    """Print what `result` has, as tables. found: of each design."""
    first = found[0]
    print_table(
        ("stage", ">Mcycles", *(f">busy on {each.design.name} %" for each in found)),
        [
            (stage, f"{cycles / 1e6:,.3f}", *(f"{100 * each.busy[stage]:.1f}" for each in found))
            for stage, cycles in first.frame.stages.items()
        ]
        if len({each.design.config for each in found}) == 1
        else [],
    )
    typer.echo()
    for each in found:
        energy = each.energy
        parts = ", ".join(
            f"{name} {100 * value / energy.total:.1f} %" for name, value in asdict(energy).items()
        )
        print_facts(
            {
                "design": f"{each.design.name}, {each.design.title}",
                "cycles": f"{each.cycles:,}, of which most in: {each.frame.bottleneck}",
                "rate": f"{each.fps:.3g} FPS at {each.design.clock_mhz:g} MHz",
                "DRAM": f"{each.dram_bytes:,} bytes a frame; the scene, {each.scene_bytes:,}, once",
                "energy": f"{energy.total / 1e9:,.1f} mJ: {parts}",
                "power": f"{each.power_w:.2f} W",
            }
        )
        typer.echo()
    events = first.frame.events
    with_density, with_color = events["sample"], events["color_sample"]
    width, height = result["psnr_size"]
    drawn = "not computed"
    if result["psnr_db"] is not None:
        drawn = f"{result['psnr_db']:.2f} dB, of the view in {width}x{height}"
    facts: dict[str, object] = {
        "samples": f"{with_density:,} with a density, {with_color:,} with a colour",
        "PSNR": drawn,
        "seconds": f"{result['seconds']:.1f}",
    }
    written = [each for each in (result["output"], result["plot"]) if each is not None]
    if written:
        facts["written"] = ", ".join(written)
    print_facts(facts)
