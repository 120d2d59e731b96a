"""What each idea of the renderer buys, on all scenes: the tables and figure of a page.

    python benchmarks/nerf_ablations.py -o docs/nerf-ablations.md

Tiles of each scene's first held-out view without each idea (`sim/nerf/renderer/ablations.py`), on a
design: cycles, bytes of the scene, energy. The figure goes beside the page, as PNG. With --json
only the numbers are printed. Needs the extras nerf and plots.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.plots import bar_groups, save_figure
from oleaster.renderers import load_renderer
from oleaster.sim.nerf.renderer.ablations import BASE, IDEAS, ablate


def measure(scene: str, size: tuple[int, int], design: str, every: int) -> list[dict[str, Any]]:
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


def ratios(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """idea -> scene -> how many times as much as with all ideas."""
    base = {row["scene"]: row[key] for row in rows if row["idea"] == BASE}
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["idea"] != BASE:
            found.setdefault(row["idea"], {})[row["scene"]] = row[key] / base[row["scene"]]
    return found


def table(title: str, found: dict[str, dict[str, float]]) -> list[str]:
    """Markdown, with the geometric mean of all scenes."""
    scenes = list(next(iter(found.values())))
    lines = [f"| {title} | {' | '.join(scenes)} | mean |", "|---" * (len(scenes) + 2) + "|"]
    for idea, by_scene in found.items():
        mean = float(np.exp(np.mean(np.log(list(by_scene.values())))))
        cells = [f"{value:.2f}" for value in by_scene.values()]
        lines.append(f"| {idea} | {' | '.join(cells)} | {mean:.2f} |")
    return [*lines, ""]


def page(rows: list[dict[str, Any]], given: argparse.Namespace, command: str) -> str:
    base = [row for row in rows if row["idea"] == BASE]
    sorted_rows = [row for row in rows if row["kept_bytes"]]
    lines = [
        "# What each idea buys",
        "",
        f"One of {given.every} tiles of each scene's first held-out view at {given.size} pixels, "
        f"on `{given.design}`, by the cycle model: with all",
        "ideas, and without one at a time. Pixels are the same in all of them. Written by",
        "",
        "```console",
        f"$ {command}",
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
        "Sizes of encodings change look-ups, too: a plain tensor takes one for a cell, a chunked "
        "one a look-up for each group of",
        "components. So what is larger can be faster, if there is room for it.",
        "",
        "![cycles](nerf-ablations.png)",
        "",
        "## Bytes of the scene, times those with all ideas",
        "",
        *table("without", {k: v for k, v in ratios(rows, "scene_bytes").items() if _moves(v)}),
        "Dense tensors of some scenes have cells that are wider than a look-up, and chunks of "
        "coordinates more of them than the search tree",
        "has leaves for: such a renderer would need more than is counted here.",
        "",
        "Without an order, samples of the fullest tile that wait to be sorted: "
        + ", ".join(f"{row['scene']} {row['kept_bytes']:,} bytes" for row in sorted_rows)
        + ".",
        "",
        "## Energy, times that with all ideas",
        "",
        *table("without", ratios(rows, "energy_mj")),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _moves(by_scene: dict[str, float]) -> bool:
    return any(value != 1 for value in by_scene.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=scene_names(), metavar="SCENE")
    parser.add_argument("--size", default="800x800", metavar="WxH")
    parser.add_argument("--every", type=int, default=9, help="draw one of so many tiles; 9")
    parser.add_argument("--design", default="rtnerf-edge")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/nerf-ablations.md"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    started = time.perf_counter()
    rows = [
        row
        for scene in given.scenes
        for row in measure(scene, (width, height), given.design, given.every)
    ]
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    command = f"python benchmarks/nerf_ablations.py --size {given.size} --every {given.every}"
    given.output.write_text(page(rows, given, command))
    cycles = ratios(rows, "cycles")
    bars = {
        scene: {idea: by_scene[scene] for idea, by_scene in cycles.items()}
        for scene in given.scenes
    }
    figure = bar_groups(bars, ylabel="cycles, times those with all ideas")
    save_figure(figure, given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
