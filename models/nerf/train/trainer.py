"""Training a field on views: random rays, Adam, masks and refinements (TensoRF, ECCV 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oleaster.models.nerf.field import Array, Field, FieldError
from oleaster.models.nerf.train.model import Model, cropped, initial_field, resized, thinned
from oleaster.models.nerf.train.schedule import Config
from oleaster.models.nerf.train.state import load_state, save_state
from oleaster.models.nerf.views import View

__all__ = ["fit", "held_out_psnr"]

_REPORT_EVERY = 50
_SAVE_EVERY = 500
_RAYS_AT_ONCE = 1 << 14
_LOOKS = 1 << 21
_BOX = np.array([[-1.5, -1.5, -1.5], [1.5, 1.5, 1.5]], np.float32)

Progress = Callable[[int, int, float], None]


def fit(
    views: Sequence[View],
    config: Config,
    *,
    device: str = "cpu",
    box: Array = _BOX,
    near: float = 2.0,
    far: float = 6.0,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Field:
    """Train a field on views with a white background and return it.

    Args:
        views: cameras and images, all of one size.
        device: PyTorch's name, "cpu" or "cuda".
        box: (2, 3), what lies outside is not seen; shrunk to what is there at the first mask.
        near, far: distances between which rays are sampled.
        progress: called now and then with iterations done, in all, and the batch's PSNR in dB.
        checkpoint: a file for the run's state, written every 500 iterations and at an interrupt,
            whole or not at all.
        resume: go on from `checkpoint`, as if the run had never stopped.

    Raises:
        FieldError: no views, views of different sizes, a checkpoint that is not this run's, or
            training found nothing.
    """
    rays = _Rays.of(views, torch.device(device))
    if resume:
        if checkpoint is None:
            raise FieldError("to resume, name the checkpoint file")
        run = _Run.load(checkpoint, config, device)
    else:
        run = _Run.start(config, box, near, far, device)
    rays.keep(run.model)
    try:
        while run.iteration < config.iterations:
            error = run.advance(rays)
            done = run.iteration
            if progress and (done % _REPORT_EVERY == 0 or done == config.iterations):
                progress(done, config.iterations, float(-10 * error.log10()))
            if checkpoint and done % _SAVE_EVERY == 0:
                run.save(checkpoint)
    except KeyboardInterrupt:
        if checkpoint:
            run.save(checkpoint)
        raise
    if not all(bool(torch.isfinite(value).all()) for value in run.model.parameters()):
        raise FieldError("training diverged: values are not finite; try another seed")
    return run.model.to_field()


def held_out_psnr(field: Field, views: Sequence[View], device: str = "cpu") -> list[float]:
    """PSNR in dB of each view, of float images of range 0 .. 1 (TensoRF's way)."""
    model = Model(field).to(device)
    errors = [float(np.square(model.image(view.camera) - view.image).mean()) for view in views]
    return [float(-10 * np.log10(max(error, 1e-12))) for error in errors]


@dataclass
class _Rays:
    """All pixels of all views, 8 bits each; rays are made when they are drawn.

    colors: (views * pixels, 3) uint8. directions: (pixels, 3) in the camera's own frame. poses:
    (views, 3, 4). kept: indices of the pixels that can be drawn.
    """

    colors: Tensor
    directions: Tensor
    poses: Tensor
    kept: Tensor

    @classmethod
    def of(cls, views: Sequence[View], device: torch.device) -> _Rays:
        if not views:
            raise FieldError("there are no views to train on")
        first = views[0].camera
        for i, view in enumerate(views):
            camera = view.camera
            if (camera.width, camera.height, camera.focal) != (
                *(first.width, first.height, first.focal),
            ):
                raise FieldError(
                    f"view {i} is {camera.width} x {camera.height} at focal length "
                    f"{camera.focal:.6g}, the first {first.width} x {first.height} at "
                    f"{first.focal:.6g}; all must be alike"
                )
            if not np.isfinite(view.image).all():
                raise FieldError(f"view {i} holds NaN or infinity")
        own = replace(first, pose=np.eye(3, 4, dtype=np.float32)).directions()
        colors = [np.rint(view.image.reshape(-1, 3) * 255).astype(np.uint8) for view in views]
        return cls(
            torch.from_numpy(np.concatenate(colors)).to(device),
            torch.from_numpy(own).to(device),
            torch.from_numpy(np.stack([view.camera.pose for view in views])).to(device),
            torch.arange(len(views) * len(own), device=device),
        )

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and directions, (n, 3) each, of the pixels of these indices."""
        poses = self.poses[torch.div(index, len(self.directions), rounding_mode="floor")]
        own = self.directions[index % len(self.directions)]
        return poses[:, :, 3], (poses[:, :, :3] @ own[:, :, None])[:, :, 0]

    @torch.no_grad()
    def keep(self, model: Model) -> None:
        """Draw no more pixels whose rays miss box or mask: nothing is learned from them."""
        index = torch.arange(len(self.colors), device=self.colors.device)
        hits = torch.cat([model.hits(*self.at(part)) for part in index.split(_RAYS_AT_ONCE)])
        if not hits.any():
            raise FieldError("no view sees the field's box: are the poses in the box's units?")
        self.kept = index[hits]

    def seen(self, model: Model, generator: torch.Generator) -> Tensor:
        """Lattice points that show in these pixels; of many pixels, in a random part."""
        index = self.kept
        if len(index) > _LOOKS:
            index = index[torch.randperm(len(index), generator=generator, device=index.device)]
        found = [model.seen(*self.at(part)) for part in index[:_LOOKS].split(_RAYS_AT_ONCE)]
        return torch.stack(found).any(dim=0)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Origins, directions and colours, (count, 3) each, of random pixels."""
        pick = torch.randint(len(self.kept), (count,), generator=generator, device=self.kept.device)
        index = self.kept[pick]
        return *self.at(index), self.colors[index].float() / 255


@dataclass
class _Run:
    """A training run between two iterations: all that is needed to go on.

    refined: the iteration of the last refinement. kept: for each plane what pruning left, 0 or 1.
    """

    config: Config
    model: Model
    adam: torch.optim.Adam
    generator: torch.Generator
    iteration: int = 0
    refined: int = 0
    kept: list[Tensor] | None = None

    @classmethod
    def start(cls, config: Config, box: Array, near: float, far: float, device: str) -> _Run:
        field = initial_field(
            box,
            config.size(box, config.first_voxels**3),
            density_components=config.density_components,
            color_components=config.color_components,
            near=near,
            far=far,
            seed=config.seed,
        )
        model = Model(field).to(device)
        return cls(
            config, model, _adam(model, config), torch.Generator(device).manual_seed(config.seed)
        )

    @classmethod
    def load(cls, path: Path, config: Config, device: str) -> _Run:
        field, state = load_state(path)
        if state.get("config") != _plain(config):
            what = _differences(state, config)
            raise FieldError(f"{path}: the checkpoint of another run: {what}")
        kind = torch.device(device).type
        if state.get("device") != kind:
            raise FieldError(
                f"{path}: the checkpoint of a run on {state.get('device')}, not {kind}"
            )
        model = Model(field).to(device)
        adam = _adam(model, config)
        generator = torch.Generator(device)
        try:
            adam.load_state_dict(state["adam"])
            generator.set_state(state["generator"])
            run = cls(config, model, adam, generator, state["iteration"], state["refined"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise FieldError(
                f"{path}: is not a whole checkpoint ({error}); start without resuming"
            ) from error
        if run.iteration >= config.prunes_at:
            run._keep_zeros()
        return run

    def save(self, path: Path) -> None:
        save_state(
            path,
            self.model.to_field(),
            config=_plain(self.config),
            device=self.generator.device.type,
            adam=self.adam.state_dict(),
            generator=self.generator.get_state(),
            iteration=self.iteration,
            refined=self.refined,
        )

    def advance(self, rays: _Rays) -> Tensor:
        """One iteration, and what the schedule has after it; returns the mean squared error."""
        factor = self.config.rate(self.iteration, self.refined)
        for group in self.adam.param_groups:
            group["lr"] = group["full_rate"] * factor
        origins, directions, wanted = rays.draw(self.config.batch, self.generator)
        jitter = torch.rand(len(origins), generator=self.generator, device=origins.device)
        found, _ = self.model.render(origins, directions, jitter)
        error = (found - wanted).square().mean()
        loss = (
            error + self.model.density_size() * (self.config.sparsity[self.model.mask is not None])
        )
        if self.config.color_sparsity:
            loss = loss + self.config.color_sparsity * self.model.color_size()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        if self.kept is not None:
            with torch.no_grad():
                for plane, kept in zip(_planes(self.model), self.kept, strict=True):
                    plane.mul_(kept)
        self.iteration += 1
        self._follow_schedule(rays)
        return error.detach()

    def _follow_schedule(self, rays: _Rays) -> None:
        masks = self.iteration in self.config.masks
        shrinks = masks and self.iteration == min(self.config.masks)
        points = self.config.refinements.get(self.iteration)
        if masks:
            by_sight = self.config.masks[self.iteration]
            seen = rays.seen(self.model, self.generator) if by_sight else None
            self.model.renew_mask(seen)
        if points is not None or shrinks:
            field = self.model.to_field()
            if shrinks:
                field = cropped(field)
            if points is not None:
                field = resized(field, self.config.size(field.box, points))
                self.refined = self.iteration
            self._replace(field)
        if self.iteration == self.config.prunes_at and self.config.pruned:
            self._replace(thinned(self.model.to_field(), self.config.pruned))
            self._keep_zeros()
        if masks:
            rays.keep(self.model)

    def _replace(self, field: Field) -> None:
        self.model = Model(field).to(self.model.box.device)
        self.adam = _adam(self.model, self.config)

    def _keep_zeros(self) -> None:
        self.kept = [(plane.detach() != 0).float() for plane in _planes(self.model)]


def _planes(model: Model) -> list[Tensor]:
    return [*model.density_planes, *model.color_planes]


def _adam(model: Model, config: Config) -> torch.optim.Adam:
    grids = [
        *(*model.density_planes, *model.density_lines),
        *(*model.color_planes, *model.color_lines),
    ]
    network = [model.basis, *model.weights, *model.biases]
    groups = [
        {"params": grids, "full_rate": config.grid_rate},
        {"params": network, "full_rate": config.network_rate},
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=model.box.is_cuda)


def _differences(state: dict[str, object], config: Config) -> str:
    there = state.get("config")
    if not isinstance(there, dict):
        return "it does not say which"
    here = _plain(config)
    changed = [name for name in here if there.get(name) != here[name]]
    return ", ".join(f"{name} {there.get(name)} there, {here[name]} here" for name in changed)


def _plain(config: Config) -> dict[str, object]:
    values = dataclasses.asdict(config)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
