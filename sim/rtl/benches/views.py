"""Random masks seen by random cameras, for the benches of the walk. Not a bench itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.field import PLANE_AXES, Array, Field, FieldError, Mask
from oleaster.models.nerf.fixed.rays import FixedRays, Frame, cast_fixed, make_frame
from oleaster.models.nerf.fixed.walk import FixedWalk, plan_fixed
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields
from oleaster.sim.nerf.cubes import cube_words
from oleaster.sim.nerf.words import packed

__all__ = ["View", "random_view", "write_cubes"]


@dataclass(frozen=True)
class View:
    """A frame, its mask, its walk, and the rays of all its pixels."""

    frame: Frame
    mask: Mask
    walk: FixedWalk
    rays: FixedRays

    def pixels(self, ray: NDArray[Any], tile_bits: int) -> NDArray[Any]:
        """(n,) rays to their pixels' addresses in a tile that holds the image."""
        width = self.frame.camera.width
        found: NDArray[Any] = (ray // width << tile_bits) + ray % width
        return found

    def words(self, names: Sequence[str]) -> list[int]:
        """These members of each ray, packed."""
        numbers = ray_fields(self.frame.config)
        columns = [
            (getattr(self.rays, name)[axis].tolist(), numbers[name].bits)
            for name in names
            for axis in range(3)
        ]
        return [
            packed((column[i], bits) for column, bits in columns) for i in range(len(self.rays))
        ]

    def store(self, names: Sequence[str], tile_bits: int) -> list[int]:
        """The same, at their pixels' addresses."""
        store = [0] * (1 << 2 * tile_bits)
        for i, word in enumerate(self.words(names)):
            store[self.pixels(np.array(i), tile_bits)] = word
        return store


async def write_cubes(dut: Any, cubes: NDArray[np.bool_], word: int, port: str = "write") -> None:
    """Fill the memory of a cube streamer, in words of so many bits."""
    enable, address, data = (getattr(dut, f"{port}_{n}") for n in ("enable", "address", "data"))
    enable.value = 1
    for i, bits in enumerate(cube_words(cubes, word)):
        address.value = i
        packed_bits = np.packbits(bits, bitorder="little").tobytes()
        data.value = int.from_bytes(packed_bits, "little")
        await FallingEdge(dut.clk)
    enable.value = 0


def random_view(
    rng: np.random.Generator,
    config: FixedConfig,
    side: int,
    most_points: int,
) -> View:
    """Cameras in and around the box, some of which look exactly along an axis.

    side: the image has so many pixels or one less on a side; an odd number has a ray along the
    camera's axis. most_points: of the lattices along an axis.
    """
    while True:
        width, height = (side - int(rng.integers(2)) for _ in range(2))
        field = _random_field(rng, most_points)
        mask = field.mask
        assert mask is not None
        try:
            frame = make_frame(field, mask, _random_camera(rng, mask, width, height), config)
            walk = plan_fixed(frame, mask)
        except FieldError:  # its widths see less than all cameras
            continue
        return View(frame, mask, walk, cast_fixed(frame, 0, height))


def _random_field(rng: np.random.Generator, most_points: int) -> Field:
    size, mask_size = rng.integers(2, most_points + 1, (2, 3))
    low = rng.uniform(-1.2, -0.8, 3)
    box = np.stack([low, rng.uniform(0.8, 1.2, 3)]).astype(np.float32)
    mask_box = box * np.float32(rng.choice([0.7, 1.0, 1.0, 1.3]))
    bits = rng.random(mask_size[::-1]) < rng.choice([0.02, 0.1, 0.5, 1.0])

    def one(*shape: int) -> Array:
        return np.ones(shape, np.float32)

    def planes() -> tuple[Array, Array, Array]:
        a, b, c = (one(1, size[v], size[u]) for u, v in PLANE_AXES)
        return a, b, c

    lines = one(1, size[2]), one(1, size[1]), one(1, size[0])
    inputs = 5 + 15
    return Field(
        box=box,
        density_planes=planes(),
        density_lines=lines,
        color_planes=planes(),
        color_lines=lines,
        basis=one(1, 3),
        weights=(one(2, inputs), one(2, 2), one(3, 2)),
        biases=(one(2), one(2), one(3)),
        mask=Mask(bits, mask_box),
        near=float(rng.choice([0.01, 0.5, 2.0])),
    )


def _random_camera(rng: np.random.Generator, mask: Mask, width: int, height: int) -> Camera:
    focal = float(rng.choice([0.4, 1.0, 3.0])) * max(width, height)
    if rng.random() < 0.5:
        away = rng.standard_normal(3)
        away *= rng.uniform(0.2, 4.0) / np.linalg.norm(away)
        return look_at(away, rng.uniform(-0.3, 0.3, 3), width=width, height=height, focal=focal)
    origin = []
    for axis in range(3):
        low, high = mask.box[:, axis]
        points = np.linspace(low, high, mask.size[axis])
        origin.append(rng.choice([rng.choice(points), rng.uniform(low - 1, high + 1)]))
    turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1])
    return Camera(width, height, focal, np.column_stack([turn, origin]).astype(np.float32))
