"""Views of a textured mesh, rendered in numpy: what a field can be trained on with no network.

Reads Wavefront OBJ as far as our meshes go: v, vt, vn, f, and one texture given beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Array, FieldError

__all__ = ["MESHES", "Mesh", "load_mesh"]

# In the pinned package "meshes" (models/fetch.py): the object's file and its texture's.
MESHES = {
    "duck": ("duck.obj", "duckCM.png"),
    "ball": ("soccerball.obj", "colors16.png"),
}

_REACH = 1.15  # the farthest point from the middle, in the scene's units
_FINER = 2  # samples along each side of a pixel
_SUN = np.array([0.35, -0.45, 0.82]) / np.linalg.norm([0.35, -0.45, 0.82])
_AMBIENT, _DIFFUSE, _GLOSS, _SHINE = 0.45, 0.45, 0.12, 20


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with corners (n, 3, 3), unit normals (n, 3, 3), texture coordinates (n, 3, 2).

    texture: (h, w, 3) float32, 0 .. 1, row 0 where v is 1.
    """

    corners: Array
    normals: Array
    coordinates: Array
    texture: Array

    def image(self, camera: Camera) -> Array:
        """(height, width, 3) float32, 0 .. 1, on white; a sun, and a gloss that depends on the eye.

        The camera must be outside the mesh. 2 x 2 samples a pixel.
        """
        fine = camera.scaled(camera.width * _FINER, camera.height * _FINER)
        triangle, weights = self._seen(fine)
        colors = np.ones((len(triangle), 3))
        hit = np.flatnonzero(triangle >= 0)
        colors[hit] = self._shaded(triangle[hit], weights[hit], camera.origin)
        shape = (camera.height, _FINER, camera.width, _FINER, 3)
        return colors.reshape(shape).mean(axis=(1, 3)).astype(np.float32)

    def _seen(self, camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """For each pixel its nearest triangle, or -1, and the weights of its corners."""
        width, height = camera.width, camera.height
        local = (self.corners - camera.origin) @ camera.pose[:, :3].astype(np.float64)
        depth = -local[..., 2]
        if (depth <= 0).any():
            raise FieldError("the camera is inside the mesh or has part of it behind it")
        x = local[..., 0] / depth * camera.focal + width / 2 - 0.5
        y = -local[..., 1] / depth * camera.focal + height / 2 - 0.5
        nearest = np.full((height, width), np.inf)
        triangle = np.full((height, width), -1)
        weights = np.zeros((height, width, 3))
        area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
        area -= (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
        left, right = np.ceil(x.min(1)).clip(0), np.floor(x.max(1)).clip(None, width - 1)
        top, bottom = np.ceil(y.min(1)).clip(0), np.floor(y.max(1)).clip(None, height - 1)
        for i in np.flatnonzero((left <= right) & (top <= bottom) & (np.abs(area) > 1e-9)):
            rows = slice(int(top[i]), int(bottom[i]) + 1)
            columns = slice(int(left[i]), int(right[i]) + 1)
            px = np.arange(columns.start, columns.stop)
            py = np.arange(rows.start, rows.stop)[:, None]
            flat = np.stack(
                [
                    (x[i, b] - px) * (y[i, c] - py) - (x[i, c] - px) * (y[i, b] - py)
                    for b, c in ((1, 2), (2, 0), (0, 1))
                ],
                axis=-1,
            )
            flat /= area[i]
            # Straight on the screen is 1 / depth, not depth.
            share = flat / depth[i]
            total = share.sum(axis=-1)
            near = 1 / np.where(total > 0, total, np.inf)
            here = (flat >= 0).all(axis=-1) & (near < nearest[rows, columns]) & (total > 0)
            nearest[rows, columns][here] = near[here]
            triangle[rows, columns][here] = i
            weights[rows, columns][here] = share[here] * near[here][:, None]
        return triangle.reshape(-1), weights.reshape(-1, 3)

    def _shaded(
        self, triangle: NDArray[np.int64], weights: NDArray[np.float64], eye: Array
    ) -> NDArray[np.float64]:
        def between(values: Array) -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.einsum("nc,ncd->nd", weights, values[triangle])
            return found

        to_eye = _unit(eye - between(self.corners))
        normal = _unit(between(self.normals))
        normal *= np.where((normal * to_eye).sum(axis=1, keepdims=True) < 0, -1, 1)
        lit = _AMBIENT + _DIFFUSE * (normal @ _SUN).clip(0)
        gloss = _GLOSS * (normal * _unit(to_eye + _SUN)).sum(axis=1).clip(0) ** _SHINE
        base = _texels(self.texture, between(self.coordinates))
        shaded: NDArray[np.float64] = (base * lit[:, None] + gloss[:, None]).clip(0, 1)
        return shaded


def load_mesh(path: Path, texture: Path, *, y_up: bool = True) -> Mesh:
    """Read an OBJ file and its texture, moved to the middle and scaled to reach 1.15.

    Args:
        y_up: turn the mesh's y axis to our z.

    Raises:
        FieldError: a file is missing or is not what its name says. Needs pillow.
    """
    values: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    faces: list[list[list[int]]] = []
    try:
        for line in path.read_text().splitlines():
            kind, *words = line.split() or [""]
            if kind in values:
                values[kind].append([float(word) for word in words])
            elif kind == "f":
                corners = [[int(part or 0) for part in word.split("/")] for word in words]
                faces += [[corners[0], *pair] for pair in pairwise(corners[1:])]
    except (UnicodeDecodeError, ValueError) as error:
        raise FieldError(f"{path}: is not an OBJ file ({error})") from error
    except OSError as error:
        raise FieldError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not faces:
        raise FieldError(f"{path}: has no faces; expected a Wavefront OBJ file")
    try:
        # Indices count from 1; a negative one counts from the end, which none of our meshes does.
        table = np.array([[[*c, 0, 0][:3] for c in face] for face in faces]) - 1
        points = np.array(values["v"])[:, :3][table[..., 0]]
        coordinates = np.array(values["vt"])[:, :2][table[..., 1]]
    except (IndexError, ValueError) as error:
        raise FieldError(f"{path}: a face names a corner that is not there ({error})") from error
    if y_up:
        points = np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)
    points -= (points.max(axis=(0, 1)) + points.min(axis=(0, 1))) / 2
    points *= _REACH / np.linalg.norm(points, axis=-1).max()
    normals = _smooth_normals(points, table[..., 0])
    return Mesh(
        points.astype(np.float32),
        normals.astype(np.float32),
        coordinates.astype(np.float32),
        _texture(texture),
    )


def _smooth_normals(points: NDArray[np.float64], corner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each corner's normal: of all triangles about its vertex, by area."""
    flat = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    sums = np.zeros((corner.max() + 1, 3))
    for i in range(3):
        np.add.at(sums, corner[:, i], flat)
    return _unit(sums)[corner]


def _texture(path: Path) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise FieldError("textures need pillow: install oleaster[nerf]") from error
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    except (OSError, UnidentifiedImageError) as error:
        raise FieldError(f"{path}: is not an image that can be read ({error})") from error


def _texels(texture: Array, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear, repeated beyond the edges: (n, 2) -> (n, 3)."""
    height, width = texture.shape[:2]
    x = coordinates[:, 0] * width - 0.5
    y = (1 - coordinates[:, 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    found = np.zeros((len(x), 3))
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            found += wx * wy * texture[(y0 + dy) % height, (x0 + dx) % width]
    return found


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float64] = vectors / np.maximum(lengths, 1e-12)
    return found
