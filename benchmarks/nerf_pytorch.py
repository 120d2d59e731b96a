"""What one would run without an accelerator: the scenes by a plain TensoRF evaluation in PyTorch.

    python benchmarks/nerf_pytorch.py [SCENE ...] [--device cuda] [--size WxH] [--frames N] [--json]

As TensoRF's own code evaluates (Chen et al., ECCV 2022), float32: all samples of a batch of rays,
those in the box tested by grid_sample on the occupancy, density of what passes by grid_sample on
planes and lines, alpha, cumprod, colour network where the weight is above 1e-4. No ray stops early.
The median of some frames after a warm-up, view 0 of each scene, every frame waited for.

First the same view of 200 pixels a side is drawn with our numpy renderer, too; exits 1 if the two
images are not within 45 dB: then it was not the same work. A GPU draws 800x800 by default, a CPU
200x200: time goes with the pixels, and the last column says what 800x800 would come to.

Needs torch, numpy and pillow; of oleaster an install without dependencies will do:

    python3 -m pip install --no-deps --no-build-isolation -e .
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, linear, relu, softplus

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.samples import cast_rays
from oleaster.models.nerf.scene import load_scene, scene_names

LEAST_PSNR_DB = 45.0
CHECKED = 200  # pixels a side
SYNTHETIC_PIXELS = 800 * 800
SIZE = {"cpu": "200x200", "cuda": "800x800"}
BATCH = {"cpu": 1 << 10, "cuda": 1 << 16}  # rays


@dataclass
class Work:
    """Samples of one frame: lattice, all of them; candidates, in the box; kept, that the mask
    lets pass; colored, whose colour was computed."""

    lattice: int = 0
    candidates: int = 0
    kept: int = 0
    colored: int = 0


class TorchField:
    """A field whose arrays are on a device."""

    def __init__(self, field: Field, device: torch.device) -> None:
        def on(array: Array) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), device=device)

        self.field, self.device = field, device
        self.box = on(field.box)
        self.density = [
            (on(plane)[None], on(line)[None, :, :, None])
            for plane, line in zip(field.density_planes, field.density_lines, strict=True)
        ]
        self.color = [
            (on(plane)[None], on(line)[None, :, :, None])
            for plane, line in zip(field.color_planes, field.color_lines, strict=True)
        ]
        self.basis = on(field.basis)
        self.layers = [(on(w), on(b)) for w, b in zip(field.weights, field.biases, strict=True)]
        if field.mask is not None:
            self.mask = on(field.mask.bits.astype(np.float32))[None, None]
            self.mask_box = on(field.mask.box)

    @torch.inference_mode()
    def render(self, camera: Camera, batch: int) -> tuple[Tensor, Work]:
        """(height, width, 3), 0 .. 1, on the device; `batch` rays at a time."""
        rays, work = cast_rays(self.field, camera), Work()
        origin = torch.tensor(rays.origin, device=self.device)
        directions = torch.tensor(rays.directions.T.copy(), device=self.device)
        entries = torch.tensor(rays.entry, device=self.device)
        steps = torch.arange(rays.count, device=self.device) * float(rays.step)
        parts = [
            self._march(origin, directions[i : i + batch], entries[i : i + batch], steps, work)
            for i in range(0, len(rays), batch)
        ]
        return torch.cat(parts).reshape(camera.height, camera.width, 3), work

    def _march(
        self, origin: Tensor, directions: Tensor, entries: Tensor, steps: Tensor, work: Work
    ) -> Tensor:
        """(rays, 3) colours."""
        field = self.field
        distances = entries[:, None] + steps
        points = origin + directions[:, None] * distances[..., None]
        inside = ((points >= self.box[0]) & (points <= self.box[1])).all(-1)
        work.lattice += inside.numel()
        work.candidates += int(inside.sum())
        if field.mask is not None:
            inside[inside.clone()] = self._occupied(points[inside])
        work.kept += int(inside.sum())
        density = torch.zeros_like(distances)
        density[inside] = self._density(points[inside])
        lengths = torch.zeros_like(distances)
        lengths[:, :-1] = distances[:, 1:] - distances[:, :-1]
        alpha = 1 - torch.exp(-density * lengths * field.distance_scale)
        light = torch.cumprod(1 - alpha + 1e-10, dim=1)
        weights = alpha * torch.cat([torch.ones_like(light[:, :1]), light[:, :-1]], dim=1)
        seen = weights > field.weight_threshold
        work.colored += int(seen.sum())
        colors = torch.zeros_like(points)
        along = directions[:, None].expand_as(points)[seen]
        colors[seen] = self._colors(points[seen], along)
        image = (weights[..., None] * colors).sum(1)
        if field.white_background:
            image = image + (1 - weights.sum(1))[:, None]
        return image.clamp(0, 1)

    def _occupied(self, points: Tensor) -> Tensor:
        """(n,) whether the mask's trilinear value is above 0.

        Zero padding lets it fade over one cell more; our scenes end at the mask's box.
        """
        at = _normalised(points, self.mask_box)
        value = grid_sample(self.mask, at.view(1, -1, 1, 1, 3), align_corners=True).view(-1)
        return (value > 0) & (at.abs() <= 1).all(-1)

    def _density(self, points: Tensor) -> Tensor:
        factors = _factors(self.density, _normalised(points, self.box))
        found = sum((plane * line).sum(0) for plane, line in factors)
        field = self.field
        return softplus(found + field.density_shift) if field.softplus else relu(found)

    def _colors(self, points: Tensor, directions: Tensor) -> Tensor:
        factors = _factors(self.color, _normalised(points, self.box))
        features = linear(torch.cat([plane * line for plane, line in factors]).T, self.basis)
        encoded = [features, directions]
        for values, count in (
            (features, self.field.feature_frequencies),
            (directions, self.field.direction_frequencies),
        ):
            angles = (values[..., None] * 2 ** torch.arange(count, device=self.device)).flatten(1)
            encoded += [angles.sin(), angles.cos()]
        x = torch.cat(encoded, dim=1)
        for i, (weight, bias) in enumerate(self.layers):
            x = linear(x, weight, bias)
            x = x.sigmoid() if i == len(self.layers) - 1 else relu(x)
        return x


def _normalised(points: Tensor, box: Tensor) -> Tensor:
    """(n, 3) positions to -1 .. 1 between the corners of a box."""
    return (points - box[0]) * (2 / (box[1] - box[0])) - 1


def _factors(pairs: list[tuple[Tensor, Tensor]], at: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each pair the plane and the line at the points: two of (components, n)."""
    found = []
    for (plane, line), axes, axis in zip(pairs, PLANE_AXES, LINE_AXES, strict=True):
        on_plane = at[:, list(axes)].view(1, -1, 1, 2)
        on_line = torch.stack([torch.zeros_like(at[:, axis]), at[:, axis]], -1).view(1, -1, 1, 2)
        values = (
            grid_sample(tensor, where, align_corners=True).view(tensor.shape[1], -1)
            for tensor, where in ((plane, on_plane), (line, on_line))
        )
        found.append((next(values), next(values)))
    return found


def measure(name: str, device: torch.device, size: tuple[int, int], frames: int) -> dict:
    """Seconds of some frames of view 0, and the PSNR against our renderer at the checked size."""
    scene = load_scene(name)
    camera, batch = scene.views[0].camera, BATCH[device.type]
    field = TorchField(scene.field, device)
    small = camera.scaled(CHECKED, CHECKED)
    drawn = field.render(small, batch)[0].cpu().numpy()
    found = psnr(drawn, render(scene.field, small).image)
    seconds = []
    for _ in range(frames + 1):
        _wait(device)
        started = time.perf_counter()
        _, work = field.render(camera.scaled(*size), batch)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[1:])
    return {
        "scene": name,
        "seconds": seconds[1:],
        "fps": 1 / median,
        "fps_800x800": size[0] * size[1] / SYNTHETIC_PIXELS / median,
        "psnr_db": min(found, 999.0),
        **asdict(work),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", default=scene_names())
    parser.add_argument("--device", choices=sorted(BATCH), default="cpu")
    parser.add_argument("--size", metavar="WxH")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device)
    width, height = map(int, (options.size or SIZE[options.device]).split("x"))
    result: dict = {
        "machine": machine(device),
        "torch": torch.__version__,
        "width": width,
        "height": height,
        "frames": options.frames,
        "scenes": [],
    }
    if not options.json:
        print(f"{result['machine']}, PyTorch {result['torch']}, {width} x {height}")
        print(f"{'scene':10}{'FPS':>8}{'PSNR':>8}{'candidates':>13}{'kept':>12}", end="")
        print(f"{'coloured':>12}{'FPS at 800x800':>16}")
    for name in options.scenes:
        row = measure(name, device, (width, height), options.frames)
        result["scenes"].append(row)
        if not options.json:
            print(f"{name:10}{row['fps']:8.3f}{row['psnr_db']:8.1f}{row['candidates']:13,}", end="")
            print(f"{row['kept']:12,}{row['colored']:12,}{row['fps_800x800']:16.3f}", flush=True)
    if options.json:
        print(json.dumps(result, indent=2))
    return 1 if any(row["psnr_db"] <= LEAST_PSNR_DB for row in result["scenes"]) else 0


if __name__ == "__main__":
    sys.exit(main())
