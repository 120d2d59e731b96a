"""A whole frame, cycle by cycle without a step for each: what the renderer gives, and when.

Tiles follow one another from idle to idle, and in a tile everything is maxima and sums over events
in order (`samples.py`), so that one pass over blocks, cubes, pixels and samples has both values and
cycles. Tiles are independent: a thread takes a row of them.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Event, Thread
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.encoding import Encoded
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.blocks import block_bits
from oleaster.models.nerf.fixed.network import FixedNetwork
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.rays import SLACK, Frame, cast_fixed, make_frame
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.fixed.shade import FixedPixels, limits
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.fixed.walk import project, project_blocks, project_windows
from oleaster.models.nerf.layout import PLAIN, Layout
from oleaster.models.nerf.renderer.config import BLOCK, RendererConfig
from oleaster.models.nerf.windows import Windows, ball_windows
from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.projector import CORNERS
from oleaster.sim.nerf.rays import RAY_INTERVAL
from oleaster.sim.nerf.renderer.jit import kernel
from oleaster.sim.nerf.renderer.machine import Count, Machine, Register, new_machine, restart
from oleaster.sim.nerf.renderer.network import FastNetwork
from oleaster.sim.nerf.renderer.values import Codes, Curve, Limits, Rays
from oleaster.sim.nerf.renderer.walk import Lattice, run_tile, run_uniform, run_whole

__all__ = [
    "FrameCycles",
    "Look",
    "Sampler",
    "cut_looks",
    "frame_looks",
    "render_cycles",
    "walk_start",
]

Sampler = Literal["slabs", "balls", "uniform"]
"""How samples are found: by cubes, whose rays are cut with slabs or with balls, or one by one."""

_KINDS, _PARTS = ("density", "color"), ("planes", "lines")
_SHIFTED = 4  # tiles by which those that are drawn are further to the left in the next row
_SAMPLES = 1 << 12  # of a tile that have a colour, to begin with
_WALK_HEAD = 7  # cycles of a walk through cubes before its first word


def walk_start(config: RendererConfig) -> int:
    """The cycle of a tile in which its walk is accepted, if the tile was in cycle 0.

    A ray is asked for in every RAY_INTERVAL-th cycle from 1 on; the walk follows the last one.
    """
    return 1 + RAY_INTERVAL * (config.pixels - 1) + LATENCY["ray-generator"] + 1 + 1


@dataclass(frozen=True)
class Look:
    """How tensors are cut: (2, 3, 2), of density and colour, of each pair's plane and line.

    groups: look-ups of a cell. chunks: elements of a chunk, 0 if plain.
    """

    groups: Longs
    chunks: Longs


def cut_looks(layouts: Mapping[str, tuple[int, Layout]]) -> Look:
    """Of the twelve tensors by name: components and layout of each."""
    found = np.zeros((2, 2, 3, 2), np.int64)
    for name, (components, layout) in layouts.items():
        kind, _, part = name.partition("_")
        at = _KINDS.index(kind), int(part[-2]), _PARTS.index(part[:-3])
        groups = 1 if layout == PLAIN else components // layout.group
        found[(slice(None), *at)] = groups, layout.chunk
    return Look(found[0], found[1])


def frame_looks(encoded: Mapping[str, Encoded]) -> Look:
    """Of the twelve tensors."""
    return cut_looks({name: (each.components, each.layout) for name, each in encoded.items()})


@dataclass(frozen=True, eq=False)
class FrameCycles:
    """What a frame takes on one renderer, and what it looks like.

    tiles: (rows, columns) cycles of each tile, from its own handshake to the one that the next tile
    can have; 0 of one that was left out. samples: as tiles, those whose density is computed.
    counts: of all tiles, by `Count`. light: (height, width), what passes, in units of
    2^-transmittance_bits. image: (height, width, 3), or None if only cycles were asked for.
    """

    camera: Camera
    config: RendererConfig
    shape: NetworkShape
    look: Look
    tiles: Longs
    samples: Longs
    counts: Mapping[Count, int]
    light: Longs
    image: NDArray[np.uint8] | None

    @property
    def drawn(self) -> int:
        """Tiles."""
        return int(np.count_nonzero(self.tiles))

    @property
    def cycles(self) -> int:
        """On one renderer, tile after tile."""
        return int(self.tiles.sum())

    def on(self, cores: int) -> int:
        """Cycles on so many renderers, if each next tile goes to the first that is idle."""
        busy = [0] * cores
        for tile in self.tiles.ravel().tolist():
            heapq.heapreplace(busy, busy[0] + tile)
        return max(busy)

    @cached_property
    def stages(self) -> dict[str, int]:
        """Stage -> cycles in which it moves on, of all tiles; the most of them bound the frame's.

        Of stages that are there several times, as colour networks are, the mean of all.
        """
        count, pixels = self.counts, self.config.pixels * self.drawn
        return {
            "rays": RAY_INTERVAL * pixels,
            "block projector": CORNERS * count[Count.BLOCK],
            "cube streamer": count[Count.CUBE]
            + count[Count.CUBE_SLOTS]
            + _WALK_HEAD * count[Count.BLOCK_SEEN],
            "cube projector": CORNERS * count[Count.CUBE],
            "slab unit": count[Count.PIXEL_TESTED],
            "sample generator": count[Count.SAMPLE_TESTED],
            "density decoders": count[Count.TAPS_DENSITY_BUSY],
            "alpha unit": count[Count.SAMPLE],
            "shader": count[Count.SAMPLE] + pixels,
            "colour decoders": count[Count.TAPS_COLOR_BUSY],
            "colour features": count[Count.COLORED]
            * (self.config.color_components // self.config.color_at_once),
            "colour networks": count[Count.COLOR_BUSY] // self.config.networks,
            "compositor": count[Count.COLORED] + pixels,
        }

    @property
    def events(self) -> dict[str, int]:
        """What the renderer counts: by the names of `EVENTS`."""
        count, first = self.counts, self.look.groups[:, 0]
        asked = 2 * first[:, 0] + first[:, 1]  # of the first pair, for a sample
        return {
            "pixel_tested": count[Count.PIXEL_TESTED],
            "sample_tested": count[Count.SAMPLE_TESTED],
            "sample_dropped": count[Count.SAMPLE_TESTED] - count[Count.SAMPLE],
            "sample": count[Count.SAMPLE],
            "density_read": count[Count.SAMPLE] * int(asked[0]),
            "color_sample": count[Count.COLORED],
            "color_read": count[Count.COLORED] * int(asked[1]),
            "color_waits": count[Count.COLOR_WAITS],
        }

    @property
    def bottleneck(self) -> str:
        """The stage that moves on in most cycles."""
        return max(self.stages, key=lambda name: self.stages[name])


@dataclass(frozen=True, eq=False)
class _Job:
    """What all tiles of a frame share."""

    scene: FixedScene
    frame: Frame
    config: RendererConfig
    shape: NetworkShape
    look: Look
    terminate: bool
    network: FastNetwork | None
    sampler: Sampler
    blocks: Lattice | None
    cubes: Lattice
    limits: Limits
    codes: Codes
    curve: Curve

    def machine(self) -> Machine:
        bits, threshold = self.config.fixed.transmittance_bits, self.scene.field.weight_threshold
        return new_machine(
            self.config,
            self.shape,
            self.look.groups,
            self.look.chunks - 1,
            limits(threshold, bits, self.terminate),
        )


@dataclass(frozen=True, eq=False)
class _Row:
    """A row of tiles: cycles and samples of each, counts of all, and its pixels."""

    tiles: Longs
    samples: Longs
    counts: Longs
    light: Longs
    image: NDArray[np.uint8] | None


def render_cycles(
    scene: FixedScene,
    look: Look,
    camera: Camera,
    config: RendererConfig | None = None,
    *,
    terminate: bool = True,
    sampler: Sampler = "slabs",
    blocks: bool = True,
    image: bool = True,
    every: int = 1,
    threads: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> FrameCycles:
    """A frame on one renderer. `scene.render` gives the same image, pixel for pixel.

    look: `frame_looks` of the encoding that the renderer's memories hold. terminate, blocks: False
    to do without the idea, as another sampler does; the RTL has them all. image: False for cycles
    alone, in half the time. every: of each row of tiles only each so-many-th is drawn, other ones
    in the next row; without image. threads: as many as there are processors by default. An
    exception, such as an interrupt, ends it within the time of a tile. FieldError if the scene does
    not fit the configuration, or its network is not one of integers.
    """
    config = config or RendererConfig()
    if not isinstance(scene.colors, FixedNetwork):
        raise FieldError("the cycle model needs a colour network of integers, not of floats")
    if every > 1 and image:
        raise ValueError("an image takes all tiles")
    job = _prepare(scene, look, camera, config, terminate, sampler, blocks, image)
    side = 1 << config.tile_bits
    tops = range(0, camera.height, side)
    _compile(job)
    rows: list[_Row] = []
    stop = Event()
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        try:
            for row in pool.map(partial(_render_row, job, every, stop), tops):
                rows.append(row)
                report(len(rows), len(tops))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    counts = np.sum([row.counts for row in rows], axis=0)
    images = [row.image for row in rows if row.image is not None]
    return FrameCycles(
        camera,
        config,
        job.shape,
        look,
        np.stack([row.tiles for row in rows]),
        np.stack([row.samples for row in rows]),
        {count: int(counts[count]) for count in Count},
        np.concatenate([row.light for row in rows]),
        np.concatenate(images) if images else None,
    )


def _prepare(
    scene: FixedScene,
    look: Look,
    camera: Camera,
    config: RendererConfig,
    terminate: bool,
    sampler: Sampler,
    blocks: bool,
    image: bool,
) -> _Job:
    assert isinstance(scene.colors, FixedNetwork)  # checked above
    if scene.tensors.config != config.fixed:
        raise FieldError("the scene's widths are not the renderer's")
    frame = make_frame(scene.field, scene.mask, camera, config.fixed)
    size = np.array(scene.mask.size) - 1
    home = np.clip(frame.mask_origin >> config.fixed.position_bits, -1, size)
    bits = scene.mask.cubes
    curve = scene.tensors.alpha
    colors = Codes.of(scene.tensors, scene.tensors.color)
    block_lattice = _lattice(
        block_bits(bits),
        partial(project_windows, frame, project_blocks(frame, scene.mask)),
        home // BLOCK,
        config.block_word,
    )
    cube_windows = partial(project_windows, frame, project(frame, scene.mask))
    if sampler == "balls":
        cube_windows = partial(_ball_windows, scene, camera)
    return _Job(
        scene,
        frame,
        config,
        NetworkShape.of(scene.colors),
        look,
        terminate,
        FastNetwork(scene.colors, colors) if image else None,
        sampler,
        block_lattice if blocks else None,
        _lattice(bits, cube_windows, home, config.cube_word),
        Limits.of(frame, sampler == "balls"),
        Codes.of(scene.tensors, scene.tensors.density),
        Curve(curve.lowest, curve.shift, curve.values),
    )


def _ball_windows(scene: FixedScene, camera: Camera, cells: Longs) -> Windows:
    """Of the balls through cubes' corners, in floats."""
    low, high = scene.mask.box.astype(np.float64)
    edges = (high - low) / (np.array(scene.mask.size) - 1)
    radius = float(np.linalg.norm(edges)) * (0.5 + SLACK)
    return ball_windows(camera, low + (cells + 0.5) * edges, radius, scene.field.near)


def _lattice(
    bits: NDArray[np.bool_], windows_of: Callable[[Longs], Windows], home: Longs, word: int
) -> Lattice:
    z, y, x = np.nonzero(bits)
    w = windows_of(np.stack([x, y, z], axis=1))
    at = np.full(bits.shape, -1, np.int32)
    at[z, y, x] = np.arange(len(z))
    windows = np.stack([w.left, w.top, w.right, w.bottom], axis=1).astype(np.int32)
    return Lattice(at, windows, home.astype(np.int64), word)


def _compile(job: _Job) -> None:
    """Call every kernel once, so that later calls take no longer than a tile.

    In a thread that nobody has to wait for: an interrupt comes to the main one, and a compiler
    neither stops for it nor stands it.
    """
    done: Future[None] = Future()

    def call() -> None:
        try:
            rays = Rays.of(cast_fixed(job.frame, 0, 1))
            _run_tile(job, job.machine(), rays, job.frame.camera.width, 0, 0)  # beside the image
            if job.network is not None:
                one = np.zeros((1, 3), np.int64)
                _add_colors(job.network, np.zeros((1, 5), np.int64), one, one.copy())
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    Thread(target=call, daemon=True).start()
    done.result()


def _render_row(job: _Job, every: int, stop: Event, top: int) -> _Row:
    """The tiles whose first row of pixels is `top`; fewer if it is told to stop meanwhile."""
    camera, config = job.frame.camera, job.config
    side = 1 << config.tile_bits
    bottom = min(top + side, camera.height)
    cast = cast_fixed(job.frame, top, bottom)
    rays = Rays.of(cast)
    machine = job.machine()
    start, counts = walk_start(config), np.zeros(len(Count), np.int64)
    lights = np.zeros((bottom - top, camera.width), np.int64)
    tiles, parts = [], []
    for left in range(0, camera.width, side):
        if stop.is_set():
            raise CancelledError
        if (left // side + _SHIFTED * (top // side)) % every:
            tiles.append([0, 0])
            continue
        colored = _run_tile(job, machine, rays, left, top, start)
        counts += machine.counts
        tiles.append([machine.counts[Count.CYCLES], machine.counts[Count.SAMPLE]])
        tile = machine.light.reshape(side, side)
        right = min(left + side, camera.width)
        lights[:, left:right] = tile[: bottom - top, : right - left]
        if job.network is not None:
            parts.append(colored)
    image = None
    if job.network is not None:
        samples = np.concatenate(parts)
        pixels = FixedPixels(lights.ravel(), np.zeros((lights.size, 3), np.int64))
        directions = np.ascontiguousarray(cast.direction.T)
        _add_colors(job.network, samples, directions, pixels.color)
        widths = config.fixed.transmittance_bits, config.fixed.color_bits
        image = pixels.finish(job.scene.field.white_background, *widths)
        image = image.reshape(*lights.shape, 3)
    cycles, sampled = np.array(tiles, np.int64).T
    return _Row(cycles, sampled, counts, lights, image)


def _run_tile(job: _Job, m: Machine, rays: Rays, left: int, top: int, start: int) -> Longs:
    """(n, 5) the tile's samples that have a colour: ray, weight, coordinates."""
    room = _SAMPLES
    while True:
        colored = np.empty((room, 5), np.int64)
        restart(m)
        rest = (
            job.cubes, rays, job.limits, job.codes, job.curve, colored,
            job.frame.camera.width, left, top, start,
        )  # fmt: skip
        if job.sampler == "uniform":
            last = run_uniform(m, *rest)
        elif job.blocks is None:
            last = run_whole(m, *rest)
        else:
            last = run_tile(m, job.blocks, *rest)
        m.counts[Count.CYCLES] = last + 1  # in which the renderer is idle
        found = int(m.registers[Register.COLORED])
        if found <= room:
            return colored[:found]
        room = found


def _add_colors(network: FastNetwork, samples: Longs, directions: Longs, sums: Longs) -> None:
    for part in _split(samples):
        found = network(np.ascontiguousarray(part[:, 2:]), directions[part[:, 0]])
        _add(sums, part, found)


def _split(samples: Longs) -> Iterator[Longs]:
    for first in range(0, len(samples), 1 << 16):
        yield samples[first : first + (1 << 16)]


@kernel
def _add(sums: Longs, samples: Longs, colors: Longs) -> None:
    for i in range(len(samples)):
        for color in range(3):
            sums[samples[i, 0], color] += samples[i, 1] * colors[i, color]
