"""What each width of the fixed-point renderer costs: PSNR against the float image of one field.

    python benchmarks/nerf_widths.py [SCENE|FILE.npz] [--size 100] [--mlp float] [--only NAME ...]

One width at a time is varied, the others are defaults. Widths of the network (feature, wave, logit)
need --mlp ovp8 or int8: a float network has none. docs/nerf-fixed-point.md has the table.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.files import load_field
from oleaster.models.nerf.fixed.render import render_fixed
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import load_scene

VARIED = {
    "position_bits": (17, 18),
    "ray_bits": (17, 18, 24),
    "direction_bits": (17, 18),
    "inverse_bits": (20, 22),
    "weight_bits": (5, 6, 7, 10),
    "guard_bits": (0, 1, 4),
    "density_bits": (4, 5, 8),
    "alpha_address_bits": (7, 8, 11),
    "transmittance_bits": (12, 14, 18),
    "color_bits": (7, 8, 12),
    "value_bits": (6, 7, 10, 12),
    "feature_bits": (5, 6, 10),
    "wave_address_bits": (5, 6, 10),
    "wave_bits": (5, 6, 10),
    "logit_bits": (5, 6, 10),
    "sigmoid_address_bits": (4, 5, 8),
}
OF_NETWORK = (
    "feature_bits", "wave_address_bits", "wave_bits", "logit_bits", "sigmoid_address_bits",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", nargs="?", default="lego")
    parser.add_argument("--size", type=int, default=100, help="pixels of each side")
    parser.add_argument("--mlp", default="float", choices=("float", "int8", "ovp8", "ovp4-flint"))
    parser.add_argument("--only", nargs="*", default=None, choices=VARIED)
    arguments = parser.parse_args()
    try:
        scene = load_scene(arguments.scene)
        source, field = scene, scene.field
    except FieldError:
        if not Path(arguments.scene).is_file():
            raise
        source = field = load_field(Path(arguments.scene))  # a field that is not encoded yet
    camera = look_at(
        np.array([3.0, -2.2, 1.6]),
        np.zeros(3),
        width=arguments.size,
        height=arguments.size,
        focal=1.39 * arguments.size,
    )
    reference = render(field, camera).image

    def show(label: str, config: FixedConfig) -> None:
        started = time.perf_counter()
        try:
            drawn = render_fixed(source, camera, config, arguments.mlp)
            found = f"{psnr(drawn.image, reference):.2f} dB"
        except FieldError as error:
            found = f"refused: {error}"
        print(f"{label:32} {found}  ({time.perf_counter() - started:.1f} s)", flush=True)

    base = FixedConfig()
    show("defaults", base)
    names = arguments.only
    if names is None:
        names = [
            each.name
            for each in fields(FixedConfig)
            if each.name in VARIED and (arguments.mlp != "float" or each.name not in OF_NETWORK)
        ]
    for name in names:
        for value in VARIED[name]:
            show(f"{name} {value} (not {getattr(base, name)})", replace(base, **{name: value}))


if __name__ == "__main__":
    main()
