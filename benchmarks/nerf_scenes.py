"""The shipped scenes, whole chain: pruned, encoded, fixed point, quantised network; against float.

    python benchmarks/nerf_scenes.py [SCENE ...] [--mlp ovp8 ...] [--sheet FILE.png] [--json]

For each scene the mean PSNR over its held-out views: of the float field as it was trained, of the
pruned and encoded one in float arithmetic, and in fixed point with each network format. Then dense
fp16 over encoded bytes, and how many times fewer reads of the occupancy the cube walk makes than
the uniform sampler at 800 x 800, the size of the synthetic scenes.

Exits 1 if a chain with ovp8 loses more than 0.3 dB of a scene, a scene is encoded less than 5 times
smaller, or the walk reads less than 50 times fewer. --sheet: a picture of the first view of each
scene: held-out image, ours (first format), ten times the difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from oleaster.models.nerf.cubes import plan_walk
from oleaster.models.nerf.field import Array
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.image import encode_png
from oleaster.models.nerf.render import psnr
from oleaster.models.nerf.report import report, total
from oleaster.models.nerf.samples import cast_rays
from oleaster.models.nerf.scene import Scene, load_scene, scene_names
from oleaster.models.nerf.uniform import count_candidates

MOST_LOSS_DB = 0.3
LEAST_RATIO = 5.0
LEAST_FACTOR = 50.0
SYNTHETIC = 800  # pixels a side
LABEL = 14  # pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", default=scene_names())
    parser.add_argument("--mlp", nargs="+", default=["ovp8"])
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, strips = [], []
    if not options.json:
        print(f"{'scene':10}{'float':>7}{'pruned':>8}", end="")
        print("".join(f"{name:>11}{'loss':>7}" for name in options.mlp), end="")
        print(f"{'fp16 kB':>9}{'kB':>6}{'ratio':>7}{'fewer reads':>13}")
    for name in options.scenes:
        row, strip = measure(load_scene(name), options.mlp)
        rows.append(row)
        strips.append(strip)
        if not options.json:
            show(row)
    if options.json:
        print(json.dumps(rows, indent=2))
    if options.sheet:
        options.sheet.write_bytes(sheet(strips))
    failed = [f"{row['name']}: {what}" for row in rows for what in row["failed"]]
    if failed and not options.json:
        print("does not hold: " + "; ".join(failed))
    return 1 if failed else 0


def measure(scene: Scene, formats: list[str]) -> tuple[dict, tuple[str, list[Array]]]:
    facts = scene.facts
    float_db = float(np.mean(facts.float_psnr))
    chains, pictures = [], []
    for fmt in formats:
        fixed = fix_scene(scene, mlp=fmt)
        drawn = [fixed.render(view.camera).image for view in scene.views]
        pictures.append(drawn[0])
        pairs = zip(drawn, scene.views, strict=True)
        each = [psnr(image, view.image()) for image, view in pairs]
        chain_db = float(np.mean(each))
        chains.append(
            {"mlp": fmt, "psnr_db": chain_db, "loss_db": float_db - chain_db, "view_psnr_db": each}
        )
    camera = scene.views[0].camera.scaled(SYNTHETIC, SYNTHETIC)
    cubes = len(plan_walk(scene.field, camera))
    candidates = count_candidates(scene.field, cast_rays(scene.field, camera))
    sizes = total(report(scene.encoded))
    row = {
        "name": facts.name,
        "float_psnr_db": float_db,
        "pruned_psnr_db": float(np.mean(facts.psnr)),
        "chains": chains,
        "fp16_bytes": sizes.fp16_bits // 8,
        "encoded_bytes": sizes.hybrid_bits // 8,
        "ratio": sizes.ratio,
        "candidates": candidates,
        "cubes": cubes,
        "fewer_reads": candidates / cubes,
    }
    row["failed"] = [
        *(f"{each['mlp']} loses {each['loss_db']:.2f} dB" for each in chains
          if each["mlp"] == "ovp8" and each["loss_db"] > MOST_LOSS_DB),
        *([f"{row['ratio']:.2f} times smaller"] if row["ratio"] < LEAST_RATIO else []),
        *([f"{row['fewer_reads']:.0f} times fewer"] if row["fewer_reads"] < LEAST_FACTOR else []),
    ]  # fmt: skip
    reference = scene.views[0].image()
    difference = np.clip(np.abs(pictures[0] - reference) * 10, 0, 1)
    return row, (facts.name, [reference, pictures[0], difference])


def show(row: dict) -> None:
    print(f"{row['name']:10}{row['float_psnr_db']:7.2f}{row['pruned_psnr_db']:8.2f}", end="")
    for each in row["chains"]:
        print(f"{each['psnr_db']:11.2f}{each['loss_db']:7.2f}", end="")
    print(f"{row['fp16_bytes'] / 1e3:9,.0f}{row['encoded_bytes'] / 1e3:6,.0f}", end="")
    print(f"{row['ratio']:7.2f}{row['fewer_reads']:13,.0f}", flush=True)


def sheet(strips: list[tuple[str, list[Array]]]) -> bytes:
    """Two scenes a line, each with three images and what they are."""
    side = strips[0][1][0].shape[0]
    lines = -(-len(strips) // 2)
    whole = Image.new("RGB", (6 * side, lines * (side + LABEL)), "white")
    pen = ImageDraw.Draw(whole)
    for i, (name, images) in enumerate(strips):
        for j, (image, what) in enumerate(zip(images, ("held out", "ours", "x 10"), strict=True)):
            at = (i % 2 * 3 + j) * side, i // 2 * (side + LABEL)
            pen.text((at[0] + 4, at[1] + 1), f"{name}, {what}", "black")
            codes = np.rint(image * 255).astype(np.uint8)
            whole.paste(Image.fromarray(codes), (at[0], at[1] + LABEL))
    return encode_png(np.asarray(whole, np.float32) / 255)


if __name__ == "__main__":
    sys.exit(main())
