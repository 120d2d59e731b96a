"""A scene rendered by walking cubes, beside a plain numpy renderer with TensoRF's sampler.

The plain one tests every sample in the box and stops no ray early. Both use the same field, and run
in one process, the cubes first: its memory is the process's peak until then, the libraries
included. Exits 1 if the cubes need more than 10 s or 2 GB, or if the images differ by more than
1e-4. How many fewer reads of the occupancy they make grows with the pixels; nerf_scenes.py holds it
against its limit.

    python benchmarks/nerf_render.py [SCENE|FILE.npz] [--size WxH] [--view N] [--json]

The limits are for lego at 400x400 on 2 cores with nothing else to do.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict

import numpy as np

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Field
from oleaster.models.nerf.render import Pipeline, Rendering, psnr, render
from oleaster.models.nerf.scene import load_scene

MOST_SECONDS = 10.0
MOST_BYTES = 2e9
MOST_DIFFERENCE = 1e-4


def measure(
    field: Field, camera: Camera, pipeline: Pipeline, *, terminate: bool
) -> tuple[Rendering, dict]:
    """The image, and seconds of the wall and of all cores, peak memory so far, counters."""
    wall, cores = time.perf_counter(), time.process_time()
    drawn = render(field, camera, pipeline, terminate=terminate)
    return drawn, {
        "pipeline": pipeline,
        "seconds": time.perf_counter() - wall,
        "core_seconds": time.process_time() - cores,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "counters": asdict(drawn.counters),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scene", nargs="?", default="lego")
    parser.add_argument("--size", default="400x400")
    parser.add_argument("--view", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    scene = load_scene(options.scene)
    width, height = map(int, options.size.split("x"))
    camera = scene.views[options.view].camera.scaled(width, height)
    drawn, cubes = measure(scene.field, camera, "cubes", terminate=True)
    plain, uniform = measure(scene.field, camera, "uniform", terminate=False)
    factor = uniform["counters"]["candidates"] / max(1, cubes["counters"]["candidates"])
    difference = float(np.abs(drawn.image - plain.image).max())
    holds = {
        "seconds": cubes["seconds"] <= MOST_SECONDS,
        "bytes": cubes["peak_bytes"] <= MOST_BYTES,
        "image": difference <= MOST_DIFFERENCE,
    }
    result = {
        "scene": options.scene,
        "width": width,
        "height": height,
        "points": scene.field.size,
        "runs": [cubes, uniform],
        "candidate_factor": factor,
        "largest_difference": difference,
        "psnr_db": min(psnr(drawn.image, plain.image), 999.0),
        "holds": holds,
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 0 if all(holds.values()) else 1


def show(result: dict) -> None:
    print(f"{result['scene']}, {result['width']} x {result['height']}")
    names = ("candidates", "pixel_tests", "kept", "skipped", "density", "colored")
    print(f"{'':10}{'s':>8}{'core s':>8}{'MB':>7}" + "".join(f"{name:>13}" for name in names))
    for run in result["runs"]:
        counts = "".join(f"{run['counters'][name]:>13,}" for name in names)
        print(
            f"{run['pipeline']:10}{run['seconds']:8.2f}{run['core_seconds']:8.2f}"
            f"{run['peak_bytes'] / 1e6:7.0f}{counts}"
        )
    print(f"occupancy is read {result['candidate_factor']:,.0f} times less")
    print(f"images differ by {result['largest_difference']:.2g}, {result['psnr_db']:.1f} dB")
    failed = [name for name, held in result["holds"].items() if not held]
    print(f"does not hold: {', '.join(failed)}" if failed else "all limits hold")


if __name__ == "__main__":
    sys.exit(main())
