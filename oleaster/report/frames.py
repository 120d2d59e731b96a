"""Sections of radiance fields: frames on designs of renderers, and images."""

from __future__ import annotations

from base64 import b64encode

from oleaster.drawing import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, YELLOW, si
from oleaster.report.bars import grouped, stacked
from oleaster.report.blocks import Block, Facts, Image, Section, Table, Tiles, digits
from oleaster.report.inputs import Frame, FrameRun, Picture, RenderRun

__all__ = ["frame_section", "image_block", "render_section"]

# As of networks' energies; arithmetic is what renderers have besides.
_PARTS = {
    "core": ("core", BLUE),
    "decode": ("decoders", PINK),
    "arithmetic": ("arithmetic", GREEN),
    "buffer": ("buffers", SKY),
    "dram": ("DRAM", ORANGE),
    "static": ("static", GREY),
}
_MORE_COLORS = (RED, YELLOW)


def frame_section(run: FrameRun, pictures: list[Picture]) -> Section:
    """One frame, on all designs of its run."""
    frames = {one.design.name: one for one in run.results}
    count = len(frames)
    first = run.results[0]
    section = Section(
        f"{run.scene} on {first.design.name if count == 1 else f'{count} renderers'}",
        "frame",
        f"View {run.view} in {run.width} x {run.height} pixels.{_psnr(run)}",
    )
    section.blocks += map(image_block, pictures)
    section.blocks.append(_tiles(first) if count == 1 else _table(frames))
    stages = dict.fromkeys(stage for one in run.results for stage in one.stages)
    section.blocks.append(
        grouped(
            "Where stages are busy",
            {
                stage: {
                    name: 100 * one.stages[stage].busy if stage in one.stages else None
                    for name, one in frames.items()
                }
                for stage in stages
            },
            axis="busy, % of all cycles",
            unit=" %",
            note="; ".join(f"{name}: most in {one.bottleneck}" for name, one in frames.items()),
        )
    )
    section.blocks.append(
        stacked(
            "Energy of a frame by part",
            {name: _energies(one) for name, one in frames.items()},
            _colors(run.results),
            quantity="energy",
            unit="J",
        )
    )
    return section


def render_section(run: RenderRun, pictures: list[Picture]) -> Section:
    """One image and what it took."""
    section = Section(
        f"{run.scene}, rendered",
        "image",
        f"{run.width} x {run.height} pixels, {run.pipeline}, arithmetic in {run.arith}, engine "
        f"{run.engine}."
        + ("" if run.psnr_db is None else f" PSNR {run.psnr_db:.2f} dB, held-out view."),
    )
    section.blocks += map(image_block, pictures)
    counted = [(key, value) for key, value in run.counters.items() if isinstance(value, int)]
    section.blocks.append(Facts([(key.replace("_", " "), f"{value:,}") for key, value in counted]))
    return section


def image_block(picture: Picture) -> Block:
    """A picture with its file's name."""
    data = b64encode(picture.data).decode("ascii")
    return Image(picture.path.name, data, picture.width, picture.height)


def _psnr(run: FrameRun) -> str:
    if run.psnr_db is None:
        return ""
    size = " x ".join(map(str, run.psnr_size))
    return f" PSNR {run.psnr_db:.2f} dB, of the view in {size}."


def _tiles(frame: Frame) -> Tiles:
    return Tiles(
        [
            (f"{frame.fps:.3g}", f"frames a second at {frame.design.clock_mhz:g} MHz"),
            (si(frame.cycles), "cycles a frame"),
            (si(_total(frame), "J"), "a frame"),
            (f"{frame.power_w:.2f} W", "power"),
            (si(frame.dram_bytes, "B"), "of DRAM traffic a frame"),
            (si(frame.design.sram_bytes, "B"), "of memories on the chip"),
        ]
    )


def _table(frames: dict[str, Frame]) -> Table:
    columns = (">renderers", ">MHz", ">Mcycles", ">FPS", ">mJ", ">W", ">FPS/W", ">DRAM MB")
    return Table(
        ("design", *columns, ">SRAM MB"),
        [
            (
                name,
                *map(digits, (one.design.renderers, one.design.clock_mhz, one.cycles / 1e6)),
                *map(digits, (one.fps, 1e3 * _total(one), one.power_w)),
                digits(one.fps / one.power_w) if one.power_w else "",
                *map(digits, (one.dram_bytes / 1e6, one.design.sram_bytes / 1e6)),
            )
            for name, one in frames.items()
        ],
        "Designs compared, of one frame",
    )


def _energies(frame: Frame) -> dict[str, float | None]:
    """In joules."""
    return {
        _PARTS[part][0] if part in _PARTS else part: value * 1e-12
        for part, value in frame.energy_pj.items()
        if part != "total"
    }


def _colors(frames: list[Frame]) -> dict[str, str]:
    """Of all parts; those that a newer oleaster counts get colours of their own."""
    new = dict.fromkeys(part for one in frames for part in one.energy_pj if part != "total")
    others = [part for part in new if part not in _PARTS]
    return {**dict(_PARTS.values()), **dict(zip(others, _MORE_COLORS * len(others), strict=False))}


def _total(frame: Frame) -> float:
    return 1e-12 * sum(value for part, value in frame.energy_pj.items() if part != "total")
