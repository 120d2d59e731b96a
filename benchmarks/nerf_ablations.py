"""What each idea of the renderer buys, on all scenes: the tables and figure of a page.

    python benchmarks/nerf_ablations.py -o docs/nerf-ablations.md

Each scene's first held-out view without each idea (`sim/nerf/renderer/ablations.py`), on a
design: cycles, bytes of the scene, energy. A figure of the cycles goes beside the page, as PNG.
With --json the numbers are printed; --rows FILE.json makes the page of such numbers. Needs the
extras nerf and plots.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.plots import bar_groups, save_figure
from oleaster.renderers import load_renderer
from oleaster.sim.nerf.renderer.ablations import BASE, IDEAS, ablate, tensor_bytes

Rows = list[dict[str, Any]]
Ratios = dict[str, dict[str, float]]


def measure(scene: str, size: tuple[int, int], design: str, every: int) -> Rows:
    """A row for each idea."""
    source = load_scene(scene)
    fixed, camera = fix_scene(source), source.views[0].camera.scaled(*size)
    rows = []
    for each in ablate(source, fixed, camera, load_renderer(design), every=every):
        figures = each.figures
        rows.append(
            {
                "scene": scene,
                "idea": each.name,
                "cycles": figures.cycles,
                "bottleneck": figures.frame.bottleneck,
                "scene_bytes": figures.scene_bytes,
                "kept_bytes": each.kept_bytes,
                "energy_mj": figures.energy.total / 1e9,
                "events": figures.frame.events,
            }
        )
        print(f"{scene}, {each.name}: {figures.cycles:,} cycles", file=sys.stderr)
    return rows


def ratios(rows: Rows, key: str) -> Ratios:
    """idea -> scene -> how many times as much as with all ideas."""
    base = {row["scene"]: row[key] for row in rows if row["idea"] == BASE}
    found: Ratios = {}
    for row in rows:
        if row["idea"] != BASE:
            found.setdefault(row["idea"], {})[row["scene"]] = row[key] / base[row["scene"]]
    return found


def smallest_encodings(scenes: list[str]) -> Ratios:
    """As `ratios`: of planes and lines alone, their elements of whatever size is smallest."""
    rows: Rows = []
    for scene in scenes:
        encoded = load_scene(scene).encoded.values()
        for name, idea in IDEAS.items():
            if name != BASE and idea.modes == IDEAS[BASE].modes:
                continue
            size = sum(tensor_bytes(each, idea.modes)[0] for each in encoded)
            rows.append({"scene": scene, "idea": name, "bytes": size})
    return ratios(rows, "bytes")


def mean(by_scene: dict[str, float]) -> float:
    """Of all scenes, geometric."""
    return float(np.exp(np.mean(np.log(list(by_scene.values())))))


def draw(rows: Rows) -> Figure:
    """Means of cycles, energy and bytes without each idea."""
    keys = {"cycles": "cycles", "energy": "energy_mj", "the scene's bytes": "scene_bytes"}
    means = {
        name: {idea: mean(by_scene) for idea, by_scene in ratios(rows, key).items()}
        for name, key in keys.items()
    }
    groups = {idea: {name: means[name][idea] for name in keys} for idea in means["cycles"]}
    figure = bar_groups(groups, ylabel="times that with all ideas")
    figure.set_size_inches(11, 4.6)
    axes = figure.axes[0]
    axes.set_yscale("log")
    axes.tick_params(axis="x", rotation=25)
    return figure


def table(title: str, found: Ratios) -> list[str]:
    """Markdown, with the geometric mean of all scenes."""
    scenes = list(next(iter(found.values())))
    lines = [f"| {title} | {' | '.join(scenes)} | mean |", "|---" * (len(scenes) + 2) + "|"]
    for idea, by_scene in found.items():
        cells = [f"{value:.2f}" for value in by_scene.values()]
        lines.append(f"| {idea} | {' | '.join(cells)} | {mean(by_scene):.2f} |")
    return [*lines, ""]


def _tiles(every: int) -> str:
    return "All tiles" if every == 1 else f"One in {every} tiles"


def page(rows: Rows, smallest: Ratios, given: argparse.Namespace) -> str:
    base = [row for row in rows if row["idea"] == BASE]
    bytes_moved = {
        idea: by_scene for idea, by_scene in ratios(rows, "scene_bytes").items() if idea in smallest
    }
    kept = [f"{row['scene']} {row['kept_bytes']:,}" for row in rows if row["kept_bytes"]]
    lines = [
        "# What each idea buys",
        "",
        f"{_tiles(given.every)} of each scene's first held-out view at {given.size} pixels, "
        f"on `{given.design}`, by the cycle model",
        "([nerf-performance.md](nerf-performance.md)): with all ideas, and without one at a time. "
        "Pixels are the same in all of them. Written by",
        "",
        "```console",
        f"$ python benchmarks/nerf_ablations.py --size {given.size} --every {given.every}",
        "```",
        "",
        "| scene | Mcycles | most in | scene's bytes | mJ | samples | coloured |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['scene']} | {row['cycles'] / 1e6:,.2f} | {row['bottleneck']} | "
            f"{row['scene_bytes']:,} | {row['energy_mj']:,.1f} | {row['events']['sample']:,} | "
            f"{row['events']['color_sample']:,} |"
            for row in base
        ),
        "",
        "Without an idea, what is there instead:",
        "",
        *(f"- {name}: {idea.what}." for name, idea in IDEAS.items() if name != BASE),
        "",
        "## Cycles, times those with all ideas",
        "",
        *table("without", ratios(rows, "cycles")),
        "![without each idea: geometric means over the scenes](nerf-ablations.png)",
        "",
        "Blocks, which are ours, buy most, since tiles are drawn one by one and each begins with "
        "a walk. Cubes buy less than RT-NeRF's range",
        "suggests: here the mask is on chip for the uniform sampler, too, which reads a bit of it "
        "in every cycle. It loses least where rays soon",
        "meet something. Sizes of encodings change look-ups, too: a plain tensor takes one for a "
        "cell, a chunked one a look-up for each group of",
        "components, and colours take long enough for either.",
        "",
        "Without an order, the fullest tile's samples that wait for others take, in bytes: "
        + ", ".join(kept)
        + ".",
        "",
        "## Bytes of the scene, times those with all ideas",
        "",
        "All that a renderer is loaded with, cubes and tables too, in elements of the design's "
        "size:",
        "",
        *table("without", bytes_moved),
        "Planes and lines alone, in elements of whatever size is smallest, as scenes are stored:",
        "",
        *table("without", smallest),
        "Elements of several components are seldom 0 alone, so that maps of bits are the smallest "
        "for nearly all chunks; coordinates win in",
        "chunks of single components. Dense cells of some scenes are wider than a look-up, and "
        "some chunks of coordinates alone have more of them",
        "than the search tree has leaves: such a renderer would need more than is counted here.",
        "",
        "## Energy, times that with all ideas",
        "",
        *table("without", ratios(rows, "energy_mj")),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=scene_names(), metavar="SCENE")
    parser.add_argument("--size", default="800x800", metavar="WxH")
    parser.add_argument("--every", type=int, default=1, help="draw one of so many tiles; 1")
    parser.add_argument("--design", default="rtnerf-edge")
    parser.add_argument("--rows", type=Path, metavar="FILE.json", help="what --json printed")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/nerf-ablations.md"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    started = time.perf_counter()
    rows: Rows = []
    if given.rows:
        found = json.loads(given.rows.read_text())
        rows = [row for scene in given.scenes for row in found if row["scene"] == scene]
    else:
        for scene in given.scenes:
            rows += measure(scene, (width, height), given.design, given.every)
        print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    given.output.write_text(page(rows, smallest_encodings(given.scenes), given))
    save_figure(draw(rows), given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
