"""A picture from the whole renderer in Verilator, and the reference's beside it, in one PNG.

    python benchmarks/nerf_rtl.py [SCENE] [SIDE] [FILE.png]

Lego at 32x32 by default, into docs/nerf-rtl.png: Verilog left, reference right, pixels enlarged.
Prints cycles in Verilog and in the cycle model, and how fast Verilator was. Some ten minutes.
"""

import sys
import time
from pathlib import Path

import numpy as np

from oleaster.cli.nerf_engine import render_on
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.image import encode_png
from oleaster.models.nerf.scene import load_scene

ENLARGED = 8
GAP = 4  # pixels of white between the two


def main() -> None:
    name, side, path = [*sys.argv[1:], *("lego", "32", "docs/nerf-rtl.png")[len(sys.argv) - 1 :]]
    scene = load_scene(name)
    fixed = fix_scene(scene)
    camera = scene.views[0].camera.scaled(int(side), int(side))
    reference = fixed.render(camera).image
    model = render_on("cycle", scene, fixed, camera, True, lambda done, total: None)
    started = time.perf_counter()
    found = render_on("rtl", scene, fixed, camera, True, lambda done, total: None)
    seconds = time.perf_counter() - started
    image = found.image.astype(np.float32) / np.float32(255)
    wrong = np.count_nonzero((image != reference).any(axis=2))
    between = np.ones((int(side), GAP, 3), np.float32)
    both = np.concatenate([image, between, reference], axis=1)
    Path(path).write_bytes(encode_png(np.kron(both, np.ones((ENLARGED, ENLARGED, 1)))))
    cycles = found.facts["cycles"]
    print(f"{name} at {side}x{side}: {wrong} pixels differ from the reference; {path}")
    print(f"{cycles:,} cycles in Verilog with its bus, {model.facts['cycles']:,} in the model")
    print(f"{seconds:.0f} s, {cycles / seconds:,.0f} cycles a second, build and loading included")
    print(f"loaded {found.facts['scene_bytes']:,} bytes in {found.facts['load_cycles']:,} cycles")
    for event, count in found.facts["events"].items():
        print(f"{event:16}{count:12,}")
    raise SystemExit(int(wrong > 0))


if __name__ == "__main__":
    main()
