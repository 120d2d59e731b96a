"""`oleaster nerf info`: where a scene is from, how good it is, and how its encoding is made up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from oleaster.cli.output import CommandError, Json, print_facts, print_json, print_table
from oleaster.models.nerf.report import TensorReport, report, total
from oleaster.models.nerf.scene import Scene, load_scene, scene_names


def info(
    scene: Annotated[
        str | None, typer.Argument(metavar="[SCENE|FILE.npz]", help="One scene; else a list.")
    ] = None,
    json: Json = False,
) -> None:
    """List the scenes, or say what one is and how its planes and lines are encoded."""
    if scene is None:
        _list(json)
        return
    print_scene(load_scene(scene), json=json)


def print_scene(scene: Scene, *, json: bool) -> None:
    """What it is, and its tensors."""
    rows = report(scene.encoded)
    if json:
        print_json({"scene": _facts(scene), "tensors": [_numbers(row) for row in rows]})
        return
    print_facts(_shown(scene))
    typer.echo()
    groups = {"density": rows[:6], "color": rows[6:], "all": rows}
    sums = [(name, total(part)) for name, part in groups.items()]
    print_table(
        (
            "tensor", ">cells", ">zero", ">values", ">zero", "bits", "chunk x group", ">dense B",
            ">bitmap B", ">coord. B", ">hybrid B", ">of fp16", ">dense", ">bitmap", ">coord.",
            ">empty chunks",
        ),
        [_line(row.name, row) for row in rows] + [_line(name, row) for name, row in sums],
    )  # fmt: skip


def _list(json: bool) -> None:
    names = scene_names()
    if not names:
        raise CommandError("no scenes are installed; give a file")
    scenes = [load_scene(name) for name in names]
    if json:
        print_json({"scenes": [_facts(each) for each in scenes]})
        return
    print_table(
        ("scene", ">points", ">kB encoded", ">of fp16", ">PSNR", ">float PSNR", "licence"),
        [
            (
                facts["name"],
                " x ".join(map(str, facts["size"])),
                f"{facts['encoded_bytes'] / 1e3:,.0f}",
                f"1/{facts['ratio']:.1f}",
                f"{_mean(facts['psnr']):.2f}",
                f"{_mean(facts['float_psnr']):.2f}",
                facts["licence"],
            )
            for facts in map(_facts, scenes)
        ],
    )


def _facts(scene: Scene) -> dict[str, Any]:
    field, sums = scene.field, total(report(scene.encoded))
    return {
        **asdict(scene.facts),
        "size": list(field.size),
        "density_components": [len(plane) for plane in field.density_planes],
        "color_components": [len(plane) for plane in field.color_planes],
        "mask_size": list(field.mask.size) if field.mask else None,
        "nonzero_cubes": int(field.mask.cubes.sum()) if field.mask else None,
        "views": [[view.camera.width, view.camera.height] for view in scene.views],
        "encoded_bytes": sums.hybrid_bits // 8,
        "fp16_bytes": sums.fp16_bits // 8,
        "ratio": sums.ratio,
    }


def _numbers(row: TensorReport) -> dict[str, Any]:
    return {**asdict(row), "ratio": row.ratio}


def _shown(scene: Scene) -> dict[str, object]:
    facts = _facts(scene)
    shown: dict[str, object] = {
        key: facts[key] for key in ("name", "origin", "licence", "command", "version")
    }
    shown["points"] = " x ".join(map(str, facts["size"]))
    shown["components"] = (
        f"density {facts['density_components']}, color {facts['color_components']}"
    )
    if facts["mask_size"] is not None:
        points = " x ".join(map(str, facts["mask_size"]))
        shown["mask"] = f"{points} points, {facts['nonzero_cubes']:,} cubes not zero"
    shown["pruned"] = (
        f"{facts['density_share']:.1%} of the density's elements, {facts['color_share']:.1%} of the"
        " color's, beside cells that no sample reads"
    )
    for i, (size, after, before) in enumerate(
        zip(facts["views"], facts["psnr"], facts["float_psnr"], strict=True)
    ):
        shown[f"view {i}"] = (
            f"{size[0]} x {size[1]}: {after:.2f} dB; {before:.2f} dB before pruning"
        )
    shown["encoded"] = (
        f"{facts['encoded_bytes']:,} bytes, 1/{facts['ratio']:.1f} of {facts['fp16_bytes']:,} in"
        " dense fp16"
    )
    return shown


def _line(name: str, row: TensorReport) -> tuple[object, ...]:
    sizes = (row.dense_bits, row.bitmap_bits, row.coordinate_bits, row.hybrid_bits)
    plain = "plain" if row.value_bits else ""
    return (
        name,
        f"{row.cells:,}",
        f"{row.zero_cells / row.cells:.1%}",
        f"{row.values:,}",
        f"{row.zero_values / row.values:.1%}",
        row.value_bits or "",
        f"{row.chunk} x {row.group}" if row.chunk else plain,
        *(f"{bits // 8:,}" for bits in sizes),
        f"1/{row.ratio:.1f}",
        *(
            f"{count:,}"
            for count in (
                row.dense_chunks,
                row.bitmap_chunks,
                row.coordinate_chunks,
                row.empty_chunks,
            )
        ),
    )


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else float("nan")
