"""The page of RT-NeRF's evaluation: Markdown with its figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oleaster import __version__
from oleaster.io import write_bytes
from oleaster.plots import bar_groups, save_figure
from oleaster.reproduce.rtnerf import DESIGNS, IDEAS_TILES, DesignRow, RtnerfEvaluation, SceneRow
from oleaster.reproduce.rtnerf_published import FIGURES, Figure, Work
from oleaster.reproduce.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["write_rtnerf_page"]

_SUFFIXES = (".png", ".svg")
_TAGS = {
    "abstract": "of the paper's own abstract",
    "source": "stated by another publication, page or review",
    "recalled": "from memory, moderately sure",
    "weak": "from memory, not sure; evidence of nothing",
    "derived": "arithmetic with the others",
}
_MARKS = {"abstract": "a", "source": "s", "recalled": "r", "weak": "?", "derived": "d"}
_SUCCESSOR = "SpNeRF"


def write_rtnerf_page(evaluation: RtnerfEvaluation, folder: Path) -> list[Path]:
    """Write rtnerf.md and its figures into a folder; returns their paths, the page first.

    The page is written last, so that it never shows figures that are not there. Raises FileError.
    """
    figures = []
    for name, figure in _figures(evaluation).items():
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            save_figure(figure, path)
            figures.append(path)
    page = folder / "rtnerf.md"
    write_bytes(page, markdown(evaluation).encode())
    return [page, *figures]


def _figures(found: RtnerfEvaluation) -> dict[str, Drawing]:
    scenes = [row.scene for row in found.of(found.designs[0].name)]
    gpu = found.baselines[0]
    speeds = {
        scene: {
            **{row.design: row.fps for row in found.rows if row.scene == scene},
            "PyTorch, " + " ".join(gpu.machine.split()[:2]): gpu.fps[scene],
        }
        for scene in scenes
    }
    title = "800 x 800 pixels, ours and PyTorch"
    speed = bar_groups(speeds, ylabel="frames a second", title=title)
    speed.axes[0].set_yscale("log")
    return {
        "rtnerf-speed": speed,
        "rtnerf-energy": bar_groups(
            {
                scene: {row.design: row.energy_mj for row in found.rows if row.scene == scene}
                for scene in scenes
            },
            ylabel="mJ a frame",
            title="Energy of a frame, 800 x 800 pixels",
        ),
    }


def markdown(found: RtnerfEvaluation) -> str:
    """The page."""
    parts = [
        _head(found),
        _published(found),
        _ours(found),
        _bound(found),
        _ideas(found),
        _instead(found),
        _differences(found),
    ]
    return "\n\n".join(parts) + "\n"


def _head(found: RtnerfEvaluation) -> str:
    tags = table(
        ("tag", "", "means"),
        [(tag, _MARKS[tag], meaning) for tag, meaning in _TAGS.items()],
        left=3,
    )
    return f"""# RT-NeRF's evaluation, beside ours

Made by `oleaster reproduce rtnerf`, version {__version__}. Of RT-NeRF (ICCAD 2022) we could
read the abstract alone. What else is known of it comes from other publications or from memory;
each figure has its tag. Numbers of PEs, precision, buffers, PSNR and the rivals behind its range
are not known, so ours is a design in its style; nothing was tuned to meet a figure of theirs.

{tags}"""


def _published(found: RtnerfEvaluation) -> str:
    works = found.published.works
    keys = [key for key in FIGURES if any(key in work.figures for work in works)]
    rows = [
        (
            f"{work.name}, {work.venue}",
            work.what,
            *(_tagged(work.figures.get(key)) for key in keys),
        )
        for work in works
    ]
    said = [
        f"- {work.name}, {FIGURES[key]}: {figure.source}."
        for work in works
        for key, figure in work.figures.items()
        if figure.source and figure.tag != "source"
    ]
    claims = [
        f"{each.work} says that it is {each.least:g} to {each.most:,g} {each.what} ({each.tag})."
        for each in found.published.ranges
    ] + [
        f"{each.of} says that it is {each.speed:g} times as fast as {each.over}, with"
        f" {each.energy_efficiency:g} times its frames for a joule ({each.tag}: {each.source})."
        for each in found.published.ratios
    ]
    lines = "\n".join(said)
    return f"""## What is published

{table(("work", "", *(FIGURES[key] for key in keys)), rows, left=2)}

{" ".join(claims)} These works draw different
fields, some of other scenes; a row is no contest with the next.

{lines}"""


def _tagged(figure: Figure | None) -> str:
    return f"{figure.value:,g} ({_MARKS[figure.tag]})" if figure else ""


def _ours(found: RtnerfEvaluation) -> str:
    blocks = [
        f"""## Ours

Each scene's first held-out view at 800 x 800, by the cycle model of a renderer, whose cycles are
the Verilog's; that several renderers share the tiles of a frame is modelled only. The scene is in
their memories, so that DRAM takes the frame alone. Energies are events times constants
({_one_of(found)}). PSNR is that of the view in its own size, against the held-out image.

![frames a second](rtnerf-speed.png)
![energy](rtnerf-energy.png)"""
    ]
    for design in found.designs:
        rows = found.of(design.name)
        body = [_row(row) for row in rows]
        body.append(
            (
                "all",
                f"{sum(row.cycles for row in rows):,}",
                f"{found.mean_fps(design.name):.2f}",
                f"{found.mean_mj(design.name):,.1f}",
                *[""] * 4,
                f"{sum(row.psnr_db for row in rows) / len(rows):.2f}",
            )
        )
        header = (
            "scene",
            "cycles",
            "FPS",
            "mJ",
            "DRAM, MB",
            "busiest stage",
            "density",
            "coloured",
        )
        blocks.append(
            f"**{design.name}**: {design.title}. {design.macs:,} products of 8 bits a cycle in all,"
            f" {design.clock_mhz:,.0f} MHz.\n\n{table((*header, 'PSNR, dB'), body, left=1)}"
        )
        blocks.append(_against(found, design))
    return "\n\n".join(blocks)


def _one_of(found: RtnerfEvaluation) -> str:
    names = dict.fromkeys(design.energy_table for design in found.designs)
    return "table " + " and ".join(f"`{name}`" for name in names)


def _row(row: SceneRow) -> tuple[str, ...]:
    return (
        row.scene,
        f"{row.cycles:,}",
        f"{row.fps:.2f}",
        f"{row.energy_mj:,.1f}",
        f"{row.dram_bytes / 1e6:.2f}",
        f"{row.bottleneck}, {100 * row.busy[row.bottleneck]:.0f} %",
        f"{row.density:,}",
        f"{row.colored:,}",
        f"{row.psnr_db:.2f}",
    )


def _against(found: RtnerfEvaluation, design: DesignRow) -> str:
    fps, energy = found.mean_fps(design.name), found.mean_mj(design.name)
    ours = {
        "fps": fps,
        "power_w": fps * energy / 1000,
        "mj_per_frame": energy,
        "fps_per_w": 1000 / energy,
    }
    rivals = [found.published.work(name) for name in (DESIGNS[design.name], _SUCCESSOR)]
    rivals = [work for work in rivals if set(ours) & set(work.figures)]
    rows = []
    for key, value in ours.items():
        cells = [FIGURES[key], f"{value:,.4g}"]
        for work in rivals:
            figure = work.figures.get(key)
            ratio = f"{value / figure.value:.3g}" if figure else ""
            cells += [_tagged(figure), ratio]
        rows.append(tuple(cells))
    header = ["all scenes", "ours"]
    for work in rivals:
        header += [work.name, "ours over it"]
    return table(header, rows, left=1)


def _bound(found: RtnerfEvaluation) -> str:
    edge = found.designs[0]
    goal = _value(found.published.work(DESIGNS[edge.name]), "fps")
    rows = [
        (
            row.scene,
            f"{row.network_macs / 1e9:,.1f}",
            f"{row.network_macs * goal / _hertz(edge):,.0f}",
            f"{_by_products(edge, row):,.2f}",
            f"{_by_inputs(edge, row):,.2f}",
            f"{_by_units(edge, row):,.2f}",
            f"{row.fps:,.2f}",
        )
        for row in found.of(edge.name)
    ]
    header = ("scene", "GMAC a frame", f"MAC a cycle for {goal:g} FPS")
    bounds = ("FPS by products", "FPS by inputs", "FPS by colour units", "FPS")
    a_color = sum(row.color_cycles for row in found.of(edge.name)) / len(rows)
    return f"""## What bounds the frame rate

The colour network runs once for every sample whose weight is above 1e-4. It bounds `{edge.name}`
by its {edge.macs:,} products a cycle, if none is idle, and by the encoders of its
{edge.networks} colour units, which take {edge.encode_cycles} cycles for a sample's inputs. A
colour unit loads a batch, encodes and multiplies one after the other: {a_color:.0f} cycles a sample
in all.

{table((*header, *bounds), rows, left=1)}

Share of the cycles of `{edge.name}` in which each stage moves on; the rest it waits for another
stage, or for the tile's end:

{_stages(found.of(edge.name))}"""


def _stages(rows: list[SceneRow]) -> str:
    cells = [(stage, *(f"{100 * row.busy[stage]:.0f} %" for row in rows)) for stage in rows[0].busy]
    return table(("stage", *(row.scene for row in rows)), cells, left=1)


def _hertz(design: DesignRow) -> float:
    return design.clock_mhz * 1e6


def _by_products(design: DesignRow, row: SceneRow) -> float:
    return _hertz(design) * design.macs / row.network_macs


def _by_units(design: DesignRow, row: SceneRow) -> float:
    return _hertz(design) * design.networks / (row.color_cycles * row.colored)


def _by_inputs(design: DesignRow, row: SceneRow) -> float:
    return _hertz(design) * design.networks / (design.encode_cycles * row.colored)


def _ideas(found: RtnerfEvaluation) -> str:
    rows = [
        (row.idea, row.instead, f"{row.cycles:.2f}", f"{row.bytes:.2f}", f"{row.energy:.2f}")
        for row in found.ideas
    ]
    header = ("without", "instead", "cycles", "bytes of the scene", "energy")
    return f"""## Each idea taken away

One in {IDEAS_TILES} tiles of {found.ideas[0].scene} on `{found.designs[0].name}`, times what they
take with all ideas. The image stays the same. docs/nerf-ablations.md has all scenes.

{table(header, rows, left=2)}"""


def _instead(found: RtnerfEvaluation) -> str:
    scenes = [row.scene for row in found.of(found.designs[0].name)]
    header = ["", *scenes, "all"]
    rows: list[Sequence[str]] = []
    for each in found.baselines:
        some = [each.fps[scene] for scene in scenes]
        mean = len(some) / sum(1 / fps for fps in some)
        rows.append([_machine(each.machine), *(f"{fps:.3g}" for fps in some), f"{mean:.3g}"])
        for design in found.designs:
            ours = [row.fps for row in found.of(design.name)]
            ratios = [a / b for a, b in zip(ours, some, strict=True)]
            whole = found.mean_fps(design.name) / mean
            rows.append(
                [f"{design.name} over it", *(f"{ratio:.3g}" for ratio in ratios), f"{whole:.3g}"]
            )
    measured = "; ".join(
        f"{each.machine}, PyTorch {each.torch}: median of {each.frames} frames of {each.side} x"
        f" {each.side}"
        for each in found.baselines
    )
    (claim,) = found.published.ranges
    return f"""## What one would run instead

The same fields by a plain TensoRF evaluation in PyTorch, float32 (`benchmarks/nerf_pytorch.py`):
all samples of a batch of rays, those in the box tested against the occupancy, the colour network
where the weight is above 1e-4. No kernels of its own, which would be faster.

Frames of 800 x 800 a second, measured once, on {measured}; time is taken to go with the pixels.

{table(header, rows, left=1)}

RT-NeRF's range of {claim.least:g} to {claim.most:,g} is over rivals that we do not know; these are
not them."""


def _machine(name: str) -> str:
    return name.replace("(R)", "")


def _differences(found: RtnerfEvaluation) -> str:
    edge = found.designs[0]
    theirs = found.published.work(DESIGNS[edge.name])
    goal = _value(theirs, "fps")
    rows = found.of(edge.name)
    needed = sum(row.network_macs for row in rows) / len(rows) * goal / _hertz(edge)
    products, inputs, units = (
        len(rows) / sum(1 / bound(edge, row) for row in rows)
        for bound in (_by_products, _by_inputs, _by_units)
    )
    fps = found.mean_fps(edge.name)
    colored = sum(row.colored for row in rows) / sum(row.density for row in rows)
    parts = {
        part: sum(row.energy_parts_mj[part] for row in rows) for part in rows[0].energy_parts_mj
    }
    shares = ", ".join(
        f"{part} {100 * value / sum(parts.values()):.0f} %" for part, value in parts.items()
    )
    return f"""## What differs, and why

- **Speed.** {goal:g} FPS on these fields take {needed:,.0f} products a cycle in the mean;
  `{edge.name}` has {edge.macs:,}, which alone would allow {products:,.1f} FPS; its encoders of
  inputs alone {inputs:,.1f}, its colour units as they are {units:,.1f}; it reaches {fps:,.1f}, as
  they wait for samples the rest of the time. How many products RT-NeRF has, and of how many bits,
  is not known. Nor is what share of samples it colours: here it is {100 * colored:.0f} % of those
  whose density is computed.
- **Fields.** Ours have 4 components of density and 12 of colour in each pair, on about 128^3
  points; RT-NeRF's own are not known. TensoRF's usual ones have 16 and 48 on 300^3 points, and the
  same network behind them: decoding and interpolation weigh less here, the network as much.
- **Energy.** Of ours: {shares}.
  Registers and adders outside the arrays, clock tree and leakage of all but the PEs are left out:
  ours is a lower bound beside a chip's power.
- **Area.** We claim none: our circuits have no layout. {edge.source.strip()}
- **Scenes.** Six are Synthetic-NeRF's, by way of networks trained on them, ball and duck are
  meshes (docs/nerf-scenes.md). RT-NeRF names eight datasets; which, its abstract does not say."""


def _value(work: Work, key: str) -> float:
    return work.figures[key].value
