"""A trained NeRF that renders views to train on (Mildenhall et al., ECCV 2020).

Its file is an .npz of the layers `coarse.*` and `fine.*` of one of the small networks published
with the repository krrish94/nerf-pytorch: 128 wide, 4 layers, a 64 wide layer for colour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array, FieldError
from oleaster.models.nerf.store import read_arrays

__all__ = ["Teacher"]

_NEAR, _FAR = 2.0, 6.0
_COARSE, _FINE = 64, 128  # samples on a ray, evenly and where the first ones found something
_SHAPES = {
    "layer1": (128, 63),
    "layers_xyz.0": (128, 128),
    "layers_xyz.1": (128, 128),
    "layers_xyz.2": (128, 128),
    "fc_alpha": (1, 128),
    "fc_feat": (128, 128),
    "layers_dir.0": (64, 155),
    "fc_rgb": (3, 64),
}
_NAMES = tuple(
    f"{kind}.{name}.{part}"
    for kind in ("coarse", "fine")
    for name in _SHAPES
    for part in ("weight", "bias")
)

Layers = dict[str, tuple[Tensor, Tensor]]


class Teacher:
    """Both networks of one scene."""

    def __init__(self, coarse: Layers, fine: Layers) -> None:
        self._coarse, self._fine = coarse, fine

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Teacher:
        """Read an .npz file.

        Raises:
            FieldError: the file is absent, damaged, or not such a pair of networks.
        """
        if not path.is_file():
            raise FieldError(f"{path}: no such file; expected a teacher network's .npz")
        try:
            with path.open("rb") as file:
                arrays = read_arrays(file, _NAMES)
            return cls(*(_layers(arrays, kind, device) for kind in ("coarse", "fine")))
        except KeyError as error:
            raise FieldError(f"{path}: is no teacher network: {error.args[0]}") from error
        except FieldError as error:
            raise FieldError(f"{path}: {error}") from error
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for a damaged file
            raise FieldError(f"{path}: is not a whole .npz file ({error})") from error

    @torch.no_grad()
    def image(self, camera: Camera, rays_at_once: int = 4096) -> Array:
        """What a camera sees on white: (height, width, 3) float32, 0 .. 1."""
        device = self._fine["layer1"][0].device
        units = torch.from_numpy(camera.directions()).to(device)
        back = torch.from_numpy(np.ascontiguousarray(camera.pose[:, 2])).to(device)
        origin = torch.from_numpy(np.ascontiguousarray(camera.origin)).to(device)
        parts = [self._colors(origin, part, back) for part in units.split(rays_at_once)]
        image: Array = torch.cat(parts).cpu().numpy().reshape(camera.height, camera.width, 3)
        return image

    def _colors(self, origin: Tensor, units: Tensor, back: Tensor) -> Tensor:
        # Distances count along rays whose part along the camera's axis is 1.
        rays = units / -(units @ back)[:, None]
        t = torch.linspace(_NEAR, _FAR, _COARSE, device=units.device).expand(len(units), -1)
        weights, _ = _march(self._coarse, origin, rays, units, t)
        middles = (t[:, 1:] + t[:, :-1]) / 2
        more = _where_weight_is(middles, weights[:, 1:-1])
        t = torch.cat([t, more], dim=1).sort(dim=1).values
        weights, colors = _march(self._fine, origin, rays, units, t)
        return (weights[..., None] * colors).sum(dim=1) + (1 - weights.sum(dim=1, keepdim=True))


def _layers(arrays: dict[str, NDArray[Any]], kind: str, device: str) -> Layers:
    found = {}
    for name, shape in _SHAPES.items():
        pair = []
        for part, expected in (("weight", shape), ("bias", shape[:1])):
            array = arrays[f"{kind}.{name}.{part}"]
            if array.dtype.kind != "f" or array.shape != expected:
                raise FieldError(
                    f"{kind}.{name}.{part} is {array.dtype} {array.shape}; it must be floats"
                    f" {expected}"
                )
            with np.errstate(over="ignore"):
                single = array.astype(np.float32)
            if not np.isfinite(single).all():
                raise FieldError(f"{kind}.{name}.{part} holds NaN or infinity")
            pair.append(torch.from_numpy(single).to(device))
        found[name] = (pair[0], pair[1])
    return found


def _march(
    layers: Layers, origin: Tensor, rays: Tensor, units: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights (rays, samples) and colours (rays, samples, 3) of one network."""
    points = origin + t[..., None] * rays[:, None]
    seen_from = _encoded(units, 4)[:, None].expand(-1, t.shape[1], -1)
    h = functional.linear(_encoded(points, 10), *layers["layer1"])
    for i in range(3):
        h = functional.linear(h, *layers[f"layers_xyz.{i}"]).relu()
    density = functional.linear(h, *layers["fc_alpha"])[..., 0].relu()
    h = functional.linear(h, *layers["fc_feat"]).relu()
    h = functional.linear(torch.cat([h, seen_from], dim=-1), *layers["layers_dir.0"]).relu()
    colors = functional.linear(h, *layers["fc_rgb"]).sigmoid()
    steps = torch.cat([t.diff(dim=1), torch.full_like(t[:, :1], 1e10)], dim=1)
    depth = density * steps * rays.norm(dim=1, keepdim=True)
    alpha = 1 - torch.exp(-depth)
    passed = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1] + 1e-10], dim=1)
    return alpha * passed.cumprod(dim=1), colors


def _encoded(values: Tensor, frequencies: int) -> Tensor:
    parts = [values]
    for k in range(frequencies):
        parts += [(values * 2.0**k).sin(), (values * 2.0**k).cos()]
    return torch.cat(parts, dim=-1)


def _where_weight_is(edges: Tensor, weights: Tensor) -> Tensor:
    """Distances at even steps of the weights' running sum, weights[i] between edges i and i + 1."""
    weights = weights + 1e-5
    sums = (weights / weights.sum(dim=1, keepdim=True)).cumsum(dim=1)
    sums = torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1)
    wanted = torch.linspace(0, 1, _FINE, device=edges.device).expand(len(edges), -1).contiguous()
    above = torch.searchsorted(sums, wanted, right=True).clamp(1, edges.shape[1] - 1)
    low_sum, high_sum = sums.gather(1, above - 1), sums.gather(1, above)
    low, high = edges.gather(1, above - 1), edges.gather(1, above)
    part = (wanted - low_sum) / (high_sum - low_sum).clamp(min=1e-5)
    return low + part.clamp(0, 1) * (high - low)
