# amaranth: UnusedElaboratable=no
"""What our units take in gates, cells and an FPGA: the tables and figure of a page.

    python benchmarks/synthesis.py [--liberty osu018_stdcells.lib] -o docs/synthesis.md

All reference designs of rtl_out/ for generic gates, the smaller ones for an ECP5, too; OliVe's
claim about area on our circuits; and how well `estimate_area` fits. A figure of the fit goes beside
the page, as PNG. With a library, the claim's figures in its cells, too. Takes a quarter of an hour;
from the cache seconds. Needs the extras synth and plots.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from oleaster.config import load_design
from oleaster.hw.library import REFERENCE_DESIGNS, build_unit
from oleaster.plots import save_figure
from oleaster.reproduce.area import border_share, measure, overheads, published_shares
from oleaster.reproduce.published import published
from oleaster.synth.area import estimate_area
from oleaster.synth.synthesis import synthesise

FPGA_SIDE = 4
"""Arrays of more rows are left out on the ECP5: nextpnr takes too long."""

ARRAYS = {"olive4": ("4-bit formats", "olive-64x64"), "olive": ("8-bit, too", "olive-64x64-8bit")}
TEXT = Path(__file__).with_suffix(".md")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def in_gates() -> str:
    rows = []
    for name, parameters in REFERENCE_DESIGNS:
        found = synthesise(build_unit(name, **parameters))
        rows.append(
            (
                f"`{found.module}`",
                *(f"{n:,}" for n in (found.cells, found.flops, found.transistors)),
                f"{found.gate_equivalents:,.0f}",
                f"{found.memory_bits:,}",
            )
        )
    header = ("module", "cells", "flip-flops", "transistors", "gate equivalents", "memory bits")
    return table(header, rows)


def in_fpga() -> str:
    rows = []
    for name, parameters in REFERENCE_DESIGNS:
        large = name in ("accelerator", "tensor-core") or int(parameters.get("rows", 0)) > FPGA_SIDE
        if large:
            continue
        found = synthesise(build_unit(name, **parameters), fpga=True)
        own = [found.own[key] for key in ("lut4", "carry", "dsp", "block_ram")]
        rows.append((f"`{found.module}`", own[0], found.flops, *own[1:], f"{found.own['mhz']:.0f}"))
    return table(("module", "LUT4", "flip-flops", "CCU2C", "DSP", "BRAM", "MHz"), rows)


def flat_and_apart() -> str:
    """What borders of modules cost."""
    rows = []
    for name, parameters in (
        ("pe", {}),
        ("ovp-encoder4", {}),
        ("systolic", {"rows": 4, "cols": 4}),
        ("weight-stationary", {"rows": 4, "cols": 4}),
    ):
        unit = build_unit(name, **parameters)
        apart, flat = (synthesise(unit, flatten=each).gate_equivalents for each in (False, True))
        assert apart is not None
        assert flat is not None
        rows.append(
            (
                f"`{unit.module_name}`",
                f"{apart:,.0f}",
                f"{flat:,.0f}",
                f"{100 * flat / apart - 100:+.1f} %",
            )
        )
    return table(("module", "apart", "flat", "difference"), rows)


def shares(liberty: Path | None) -> str:
    theirs, ours = published_shares(), measure()
    cells = measure(liberty) if liberty else None
    rows = []
    for i, row in enumerate(theirs):
        line = [
            row.unit,
            f"{row.count:,}",
            f"{row.area:.2f}",
            f"{published().areas[i].share:.1f} %",
        ]
        line += [f"{ours[i].area:,.0f}", f"{ours[i].share:.2f} %"]
        if cells:
            line += [f"{cells[i].area:,.0f}", f"{cells[i].share:.2f} %"]
        rows.append(line)
    header = ["unit", "number", "published um^2", "share", "our transistors", "share"]
    return table(header + (["our um^2, 180 nm", "share"] if cells else []), rows)


def parts(liberty: Path | None) -> str:
    found = [overheads(), *([overheads(liberty)] if liberty else [])]
    rows = [
        (rows[0].unit, *(text for row in rows for text in (f"{row.area:,.0f}", f"{row.pes:.3f}")))
        for rows in zip(*found, strict=True)
    ]
    header = ["unit", "gate equivalents", "of a PE"]
    return table(header + (["in the library", "of a PE"] if liberty else []), rows)


def borders(liberty: Path | None) -> str:
    libraries = [None, *([liberty] if liberty else [])]
    rows = []
    for formats, (what, design) in ARRAYS.items():
        line = [what, f"{estimate_area(load_design(design)).gate_equivalents:,.0f}"]
        for library in libraries:
            area, pes = border_share(formats, 64, library)
            line += [f"{area:,.0f}", f"{pes:.1f} %"]
        rows.append(line)
    header = ["64 x 64 array", "as fitted", "gate equivalents", "PEs' share"]
    return table(header + (["in the library", "PEs' share"] if liberty else []), rows)


def model() -> dict[str, Any]:
    text = (files("oleaster.synth") / "area_model.json").read_text(encoding="utf-8")
    families: dict[str, Any] = json.loads(text)["families"]
    return families


def fits() -> str:
    rows = []
    for name, family in model().items():
        largest = max(family["points"], key=lambda each: each["rows"] * each["cols"])
        checks = ", ".join(
            f"{each['rows']} x {each['cols']}: {each['error_pct']:+.2f} %"
            for each in family["checks"]
        )
        rows.append(
            (
                name,
                len(family["points"]),
                f"{largest['rows']} x {largest['cols']}",
                f"{family['loo_error_pct']:.2f} %",
                checks,
            )
        )
    header = ("family", "sizes", "largest", "largest error left out", "larger ones, not fitted")
    return table(header, rows)


def draw() -> Figure:
    """Of each size, the error of the fit without it, by its area."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, family), marker in zip(model().items(), "osD^v<>P", strict=False):
        areas = [each["gate_equivalents"] for each in family["points"]]
        errors = [each["left_out_error_pct"] for each in family["points"]]
        (drawn,) = axes.plot(areas, errors, marker, label=name, alpha=0.8)
        axes.plot(
            [each["gate_equivalents"] for each in family["checks"]],
            [each["error_pct"] for each in family["checks"]],
            marker,
            color=drawn.get_color(),
            markerfacecolor="none",
        )
    axes.set_xscale("log")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("gate equivalents after synthesis")
    axes.set_ylabel("error in %")
    axes.set_title("Left out of the fit (filled), never in it (hollow)", loc="left")
    figure.legend(fontsize="small", ncols=3, loc="outside lower center")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--liberty", type=Path, metavar="FILE.lib")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/synthesis.md"))
    given = parser.parse_args()
    parts_of_page = {
        "in_gates": in_gates(),
        "in_fpga": in_fpga(),
        "flat_and_apart": flat_and_apart(),
        "shares": shares(given.liberty),
        "parts": parts(given.liberty),
        "borders": borders(given.liberty),
        "fits": fits(),
    }
    text = TEXT.read_text()
    for name, part in parts_of_page.items():
        text = text.replace(f"<!-- {name} -->", part)
    given.output.write_text(text)
    save_figure(draw(), given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
