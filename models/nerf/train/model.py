"""`models.nerf.field` as a PyTorch module: the same formulas with gradients, and finer grids.

Chen et al., "TensoRF: Tensorial Radiance Fields", ECCV 2022; rendering as in its public code, but
for the transmittance, which is exp of a running sum in place of a running product (the same up to
rounding, with a cheaper gradient).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field, FieldError, Mask
from oleaster.models.nerf.prune import balance, drop_unseen

__all__ = ["Model", "cropped", "initial_field", "resized", "thinned"]

_MASK_THRESHOLD = 1e-4  # TensoRF's alphaMask_thres
_SEEN = 1e-3  # of a weight: a quarter of a step of 8 bits
_RAYS_AT_ONCE = 4096


def initial_field(
    box: Array,
    size: tuple[int, int, int],
    *,
    density_components: int,
    color_components: int,
    features: int = 27,
    hidden: int = 128,
    near: float = 2.0,
    far: float = 6.0,
    seed: int = 0,
) -> Field:
    """A field to train: factors 0.1 * normal as in TensoRF, layers as PyTorch starts them.

    Args:
        box: (2, 3) lower and upper corner.
        size: lattice points along x, y, z, each at least 2.
        density_components, color_components: of each of the three pairs.
    """
    draw = np.random.default_rng(seed)

    def factors(components: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        planes = [(components, size[v], size[u]) for u, v in PLANE_AXES]
        lines = [(components, size[w]) for w in LINE_AXES]
        return tuple(map(normal, planes)), tuple(map(normal, lines))

    def normal(shape: tuple[int, ...]) -> Array:
        return (0.1 * draw.standard_normal(shape)).astype(np.float32)

    def uniform(*shape: int, inputs: int) -> Array:
        bound = 1 / np.sqrt(inputs)
        return draw.uniform(-bound, bound, shape).astype(np.float32)

    density_planes, density_lines = factors(density_components)
    color_planes, color_lines = factors(color_components)
    width = features * 5 + 3 * 5
    outputs = ((hidden, width), (hidden, hidden), (3, hidden))
    return Field(
        box=np.asarray(box, np.float32),
        density_planes=density_planes,  # type: ignore[arg-type]
        density_lines=density_lines,  # type: ignore[arg-type]
        color_planes=color_planes,  # type: ignore[arg-type]
        color_lines=color_lines,  # type: ignore[arg-type]
        basis=uniform(features, 3 * color_components, inputs=3 * color_components),
        weights=tuple(uniform(*shape, inputs=shape[1]) for shape in outputs),  # type: ignore[arg-type]
        biases=tuple(  # TensoRF starts the last bias at 0
            uniform(out, inputs=inputs) * np.float32(out != 3) for out, inputs in outputs
        ),  # type: ignore[arg-type]
        near=near,
        far=far,
    )


class Model(nn.Module):
    """A field whose factors, basis and network can be trained."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self._facts = field
        self.density_planes = _parameters(plane[None] for plane in field.density_planes)
        self.density_lines = _parameters(line[None, :, :, None] for line in field.density_lines)
        self.color_planes = _parameters(plane[None] for plane in field.color_planes)
        self.color_lines = _parameters(line[None, :, :, None] for line in field.color_lines)
        self.basis = nn.Parameter(_tensor(field.basis))
        self.weights = _parameters(field.weights)
        self.biases = _parameters(field.biases)
        self.register_buffer("box", _tensor(field.box), persistent=False)
        self.box: Tensor
        self.step, self.samples = float(field.step), field.samples
        self._occupancy: tuple[Tensor, Tensor] | None = None

    def to_field(self) -> Field:
        """The field of the present values, float32 on the CPU."""

        def planes(parameters: nn.ParameterList) -> tuple[Array, Array, Array]:
            return tuple(_array(plane[0]) for plane in parameters)  # type: ignore[return-value]

        def lines(parameters: nn.ParameterList) -> tuple[Array, Array, Array]:
            return tuple(_array(line[0, :, :, 0]) for line in parameters)  # type: ignore[return-value]

        return replace(
            self._facts,
            density_planes=planes(self.density_planes),
            density_lines=lines(self.density_lines),
            color_planes=planes(self.color_planes),
            color_lines=lines(self.color_lines),
            basis=_array(self.basis),
            weights=tuple(map(_array, self.weights)),  # type: ignore[arg-type]
            biases=tuple(map(_array, self.biases)),  # type: ignore[arg-type]
        )

    def density(self, points: Tensor) -> Tensor:
        """(n, 3) positions inside the box -> (n,) densities per unit of length, float32."""
        parts = _products(self._normalised(points), self.density_planes, self.density_lines)
        total = torch.stack([part.sum(dim=0) for part in parts]).sum(dim=0)
        if not self._facts.softplus:
            return functional.relu(total)
        return functional.softplus(total + self._facts.density_shift)

    def colors(self, points: Tensor, directions: Tensor) -> Tensor:
        """(n, 3) positions inside the box and unit directions -> (n, 3) colours, 0 .. 1."""
        parts = _products(self._normalised(points), self.color_planes, self.color_lines)
        features = torch.cat(parts).T @ self.basis.T
        inputs = [features, directions]
        for values, frequencies in (
            (features, self._facts.feature_frequencies),
            (directions, self._facts.direction_frequencies),
        ):
            if frequencies:
                scales = 2.0 ** torch.arange(frequencies, device=values.device)
                angles = (values[:, :, None] * scales).flatten(1)
                inputs += [angles.sin(), angles.cos()]
        x = torch.cat(inputs, dim=1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = functional.linear(x, weight, bias)
            if i < 2:
                x = functional.relu(x)
        return x.sigmoid()

    def occupied(self, points: Tensor) -> Tensor:
        """(n, 3) positions -> (n,) bool, as `Field.occupied`: False outside the mask's box."""
        if self._facts.mask is None or not len(points):
            return torch.ones(len(points), dtype=torch.bool, device=points.device)
        if self._occupancy is None or self._occupancy[0].device != points.device:
            bits = torch.from_numpy(self._facts.mask.bits[None, None].astype(np.float32))
            box = _tensor(self._facts.mask.box)
            self._occupancy = bits.to(points.device), box.to(points.device)
        bits, box = self._occupancy
        last = torch.tensor(self._facts.mask.size, device=points.device) - 1
        at = (points - box[0]) * (last / (box[1] - box[0]))
        inside = ((at >= 0) & (at <= last)).all(dim=1)
        scaled = at * (2 / last) - 1
        values = functional.grid_sample(bits, scaled[None, None, None], align_corners=True)
        return (values.reshape(-1) > 0) & inside

    def render(
        self, origins: Tensor, directions: Tensor, jitter: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rays (n, 3) and unit directions (n, 3) -> colours (n, 3) and opacities (n,), 0 .. 1.

        Args:
            jitter: (n,), 0 .. 1, by what part of a step each ray's samples are moved (training).
        """
        rays = len(origins)
        points, kept, weights = self._march(origins, directions, jitter)
        colored = kept[weights.detach()[kept] > self._facts.weight_threshold]
        ray = torch.div(colored, self.samples, rounding_mode="floor")
        colors = self.colors(points[colored], directions[ray])
        pixels = torch.zeros(rays, 3, device=points.device)
        pixels = pixels.index_add(0, ray, weights[colored, None] * colors)
        opacity = weights.reshape(rays, -1).sum(dim=1)
        if self._facts.white_background:
            pixels = pixels + (1 - opacity)[:, None]
        return pixels.clamp(0, 1), opacity

    def _march(
        self, origins: Tensor, directions: Tensor, jitter: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All samples (rays * samples, 3), indices of those in box and mask, weights of all."""
        t = self._starts(origins, directions)[:, None] + self.step * (
            torch.arange(self.samples, device=origins.device)
            + (0.0 if jitter is None else jitter[:, None])
        )
        points = (origins[:, None] + t[..., None] * directions[:, None]).reshape(-1, 3)
        # Everything after this works on the samples that count alone.
        kept = self._inside(points).nonzero().squeeze(1)
        kept = kept[self.occupied(points[kept])]
        distances = torch.diff(t, dim=1, append=t[:, -1:]).reshape(-1)[kept]
        depths = self.density(points[kept]) * distances * self._facts.distance_scale
        depth = torch.zeros(t.numel(), device=t.device).index_put((kept,), depths).reshape(t.shape)
        before = depth.cumsum(dim=1) - depth
        return points, kept, (torch.exp(-before) * -torch.expm1(-depth)).reshape(-1)

    @torch.no_grad()
    def image(self, camera: Camera) -> Array:
        """What a camera sees: (height, width, 3) float32, 0 .. 1."""
        device = self.box.device
        directions = _tensor(camera.directions()).to(device)
        origin = _tensor(camera.origin).to(device)
        parts = [
            self.render(origin.expand_as(part), part)[0] for part in directions.split(_RAYS_AT_ONCE)
        ]
        return _array(torch.cat(parts)).reshape(camera.height, camera.width, 3)

    def hits(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Rays (n, 3), (n, 3) -> (n,) bool: whether any sample passes box and mask."""
        steps = self.step * torch.arange(self.samples, device=origins.device)
        t = self._starts(origins, directions)[:, None] + steps
        points = (origins[:, None] + t[..., None] * directions[:, None]).reshape(-1, 3)
        return (self._inside(points) & self.occupied(points)).reshape(t.shape).any(dim=1)

    @torch.no_grad()
    def seen(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Lattice points (nz, ny, nx), bool, nearest to samples whose weight shows in an image."""
        points, kept, weights = self._march(origins, directions, None)
        size = torch.tensor(self._facts.size, device=points.device)
        at = (self._normalised(points[kept[weights[kept] > _SEEN]]) + 1) / 2 * (size - 1)
        x, y, z = at.round().long().T
        found = torch.zeros(self._facts.size[::-1], dtype=torch.bool, device=points.device)
        found[z, y, x] = True
        return found

    def density_size(self) -> Tensor:
        """TensoRF's L1 term: the mean magnitudes of density planes and lines, added up."""
        return _size([*self.density_planes, *self.density_lines])

    def color_size(self) -> Tensor:
        """The same of colour planes and lines, which TensoRF leaves alone."""
        return _size([*self.color_planes, *self.color_lines])

    @property
    def mask(self) -> Mask | None:
        """Where there is anything; None is everywhere."""
        return self._facts.mask

    @torch.no_grad()
    def renew_mask(self, seen: Tensor | None = None) -> None:
        """Set the mask, on the field's own lattice, to what is not transparent and a point around.

        A point stays off where the old mask is off.

        Args:
            seen: (nz, ny, nx) bool; if given, only these points and those around stay on.

        Raises:
            FieldError: nothing is left.
        """
        total = torch.zeros(self._facts.size[::-1], device=self.box.device)
        along = ("ryx,rz->zyx", "rzx,ry->zyx", "rzy,rx->zyx")
        for rule, plane, line in zip(along, self.density_planes, self.density_lines, strict=True):
            total += torch.einsum(rule, plane[0], line[0, :, :, 0])
        if self._facts.softplus:
            density = functional.softplus(total + self._facts.density_shift)
        else:
            density = functional.relu(total)
        if self._facts.mask is not None:
            density *= self.occupied(self._lattice_points()).reshape(density.shape)
        alpha = 1 - torch.exp(-density * self.step)
        on = _grown(alpha) >= _MASK_THRESHOLD
        if seen is not None:
            on &= _grown(seen.float()) > 0
        bits = on.cpu().numpy()
        if not bits.any():
            raise FieldError("the mask is empty: training found no density anywhere in the box")
        self._facts = replace(self._facts, mask=Mask(bits, self._facts.box))
        self._occupancy = None

    def _lattice_points(self) -> Tensor:
        axes = [
            torch.linspace(float(low), float(high), count, device=self.box.device)
            for low, high, count in zip(*self.box, self._facts.size, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
        return torch.stack([x, y, z], dim=-1).reshape(-1, 3)

    def _inside(self, points: Tensor) -> Tensor:
        return ((points >= self.box[0]) & (points <= self.box[1])).all(dim=-1)

    def _normalised(self, points: Tensor) -> Tensor:
        return (points - self.box[0]) * (2 / (self.box[1] - self.box[0])) - 1

    def _starts(self, origins: Tensor, directions: Tensor) -> Tensor:
        """(n,) distances at which rays enter the box."""
        divisors = torch.where(directions == 0, torch.full_like(directions, 1e-6), directions)
        entries = torch.minimum(
            (self.box[0] - origins) / divisors, (self.box[1] - origins) / divisors
        )
        return entries.amax(dim=1).clamp(self._facts.near, self._facts.far)


def cropped(field: Field) -> Field:
    """The field and its mask cut to the lattice points that the mask has on.

    The mask must be on the field's own lattice, with at least one point on.
    """
    mask = field.mask
    if mask is None or mask.size != field.size:
        raise FieldError("a field is cropped by a mask on its own lattice; this one has none")
    cuts = []
    for axis in range(3):  # x, y, z; bits are z, y, x
        on = np.flatnonzero(mask.bits.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
        low = min(int(on[0]), field.size[axis] - 2)
        cuts.append(slice(low, max(int(on[-1]), low + 1) + 1))
    edges = (field.box[1] - field.box[0]) / (np.array(field.size, np.float32) - 1)
    lower = field.box[0] + edges * np.array([cut.start for cut in cuts], np.float32)
    upper = field.box[0] + edges * np.array([cut.stop - 1 for cut in cuts], np.float32)
    box = np.stack([lower, upper]).astype(np.float32)

    def planes(values: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return tuple(  # type: ignore[return-value]
            plane[:, cuts[v], cuts[u]] for plane, (u, v) in zip(values, PLANE_AXES, strict=True)
        )

    def lines(values: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return tuple(  # type: ignore[return-value]
            line[:, cuts[w]] for line, w in zip(values, LINE_AXES, strict=True)
        )

    return replace(
        field,
        box=box,
        density_planes=planes(field.density_planes),
        density_lines=lines(field.density_lines),
        color_planes=planes(field.color_planes),
        color_lines=lines(field.color_lines),
        mask=Mask(np.ascontiguousarray(mask.bits[tuple(cuts[::-1])]), box),
    )


def resized(field: Field, size: tuple[int, int, int]) -> Field:
    """The field on a lattice of another size, interpolated; box and mask stay."""

    def planes(values: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return tuple(
            _resize(_tensor(plane)[None], (size[v], size[u]))[0]
            for plane, (u, v) in zip(values, PLANE_AXES, strict=True)
        )

    def lines(values: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return tuple(  # type: ignore[return-value]
            _resize(_tensor(line)[None, :, :, None], (size[w], 1))[0, :, :, 0]
            for line, w in zip(values, LINE_AXES, strict=True)
        )

    return replace(
        field,
        density_planes=planes(field.density_planes),
        density_lines=lines(field.density_lines),
        color_planes=planes(field.color_planes),
        color_lines=lines(field.color_lines),
    )


def thinned(field: Field, share: float) -> Field:
    """The field with a share of the planes' values set to 0, of density and of colour alike.

    First go those that no sample in the mask reads, which are not counted, then the smallest, on a
    scale common to all components (`balance`).
    """
    field = drop_unseen(balance(field))

    def without_small(planes: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        sizes = np.concatenate([np.abs(plane[plane != 0]) for plane in planes])
        border = np.quantile(sizes, share) if sizes.size else 0
        return tuple(  # type: ignore[return-value]
            np.where(np.abs(plane) > border, plane, np.float32(0)) for plane in planes
        )

    return replace(
        field,
        density_planes=without_small(field.density_planes),
        color_planes=without_small(field.color_planes),
    )


def _resize(values: Tensor, size: tuple[int, int]) -> Array:
    return _array(functional.interpolate(values, size, mode="bilinear", align_corners=True))


def _grown(values: Tensor) -> Tensor:
    """(nz, ny, nx): the largest of each point's 3 x 3 x 3 neighbours."""
    return functional.max_pool3d(values[None, None], 3, stride=1, padding=1)[0, 0]


def _size(factors: list[Tensor]) -> Tensor:
    return torch.stack([factor.abs().mean() for factor in factors]).sum()


def _products(at: Tensor, planes: nn.ParameterList, lines: nn.ParameterList) -> list[Tensor]:
    """(n, 3) normalised positions -> for each pair (components, n): plane times line."""
    found = []
    for m, (plane, line) in enumerate(zip(planes, lines, strict=True)):
        on_plane = at[None, :, None, list(PLANE_AXES[m])]
        along = at[:, LINE_AXES[m]]
        on_line = torch.stack([torch.zeros_like(along), along], dim=-1)[None, :, None]
        values = functional.grid_sample(plane, on_plane, align_corners=True)
        values = values * functional.grid_sample(line, on_line, align_corners=True)
        found.append(values[0, :, :, 0])
    return found


def _parameters(arrays: Iterable[Array]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(_tensor(array)) for array in arrays)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))  # a copy: fields are not to be changed


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy().astype(np.float32, copy=True)
    return found
