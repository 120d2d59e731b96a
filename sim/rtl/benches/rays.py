"""Ray generator: held-out cameras of the eight scenes, and cameras as odd as frames allow."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.fixed.rays import WIDEST, Frame, cast_fixed, make_frame
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.sim.nerf.latency import LATENCY as LATENCIES
from oleaster.sim.nerf.rays import RAY_INTERVAL, frame_word, pixel_word, ray_word
from oleaster.sim.rtl.benches.pipe import check_pipe, reset_midway, start_pipe
from oleaster.sim.rtl.cosim import bench_config

CONFIG = FixedConfig(**bench_config())
LATENCY = LATENCIES["ray-generator"]
LARGEST_SIDE = 1 << 14  # of an image


def _payloads(frame: Frame, rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
    """Of about that many pixels: the corners, and others in a few rows, in any order."""
    camera = frame.camera
    words, answers = [], []
    rows = {0, camera.height - 1, *rng.integers(0, camera.height, 4).tolist()}
    for row in rows:
        rays = cast_fixed(frame, row, row + 1)
        picked = {0, camera.width - 1, *rng.integers(0, camera.width, count // len(rows))}
        words += [pixel_word(row, column) for column in picked]
        answers += [ray_word(rays, column) for column in picked]
    order = rng.permutation(len(words))
    return [words[i] for i in order], [answers[i] for i in order]


def _turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """Any rotation or reflection; often along the axes, exactly or nearly."""
    if rng.random() < 0.5:
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        return turn
    turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    return turn + rng.choice([0, 1e-8, -1e-6])


def _odd(rng: np.random.Generator, field: Field) -> tuple[Field, Mask, Camera]:
    """In and far from the box, of all angles, on other masks, with steps from tiny to huge."""
    mask = field.mask
    assert mask is not None
    if rng.random() < 0.5:
        sizes = 2 + (2 ** rng.uniform(0, 7, 3)).astype(int)
        mask = Mask(np.ones(sizes, bool), mask.box * np.float32(rng.choice([0.7, 1, 1.5])))
    low, high = field.box.astype(np.float64)
    reach = rng.choice([0.0, 0.0, 1.0, 10 ** rng.uniform(0, 3)])
    origin = rng.uniform(low, high) + reach * rng.uniform(-1, 1, 3) * (high - low)
    near = float(10 ** rng.uniform(-3, 2))
    field = replace(
        field,
        near=near,
        far=near + float(10 ** rng.uniform(-1, 5)),
        step_ratio=float(2 ** rng.uniform(-3, 11)),
    )
    largest = rng.choice([1, 3, 800, LARGEST_SIDE])
    width, height = rng.integers(1, largest + 1, 2).tolist()
    # The distance of a corner from the middle of the image, the middle's being 1.
    corner = rng.choice([0.01, 0.5, 0.98 * np.sqrt(WIDEST**2 - 1)])
    focal = max(float(np.hypot(width - 1, height - 1)) / 2 / corner, 1e-3)
    pose = np.column_stack([_turn(rng), origin]).astype(np.float32)
    return field, mask, Camera(width, height, focal, pose)


def _odd_frames(rng: np.random.Generator, count: int) -> Iterator[Frame]:
    field = load_scene("lego").field
    while count:
        try:
            frame = make_frame(*_odd(rng, field), CONFIG)
        except FieldError:  # too far away, or steps too large
            continue
        count -= 1
        yield frame


async def _check(
    dut: Any, words: list[int], answers: list[int], rng: np.random.Generator, busy: float = 1.0
) -> None:
    await check_pipe(dut, words, answers, LATENCY, rng, busy=busy, interval=RAY_INTERVAL)


@cocotb.test
async def scenes(dut: Any) -> None:
    rng = np.random.default_rng(1)
    await start_pipe(dut)
    for name in scene_names():
        scene = load_scene(name)
        assert scene.field.mask is not None
        for view in scene.views:
            frame = make_frame(scene.field, scene.field.mask, view.camera, CONFIG)
            dut.frame.value = frame_word(frame)
            await _check(dut, *_payloads(frame, rng, 200), rng)


@cocotb.test
async def odd_cameras(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_pipe(dut)
    for frame in _odd_frames(rng, 60):
        dut.frame.value = frame_word(frame)
        await _check(dut, *_payloads(frame, rng, 60), rng)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(3)
    await start_pipe(dut)
    for frame, busy in zip(_odd_frames(rng, 2), (0.3, 0.7), strict=True):
        dut.frame.value = frame_word(frame)
        await _check(dut, *_payloads(frame, rng, 600), rng, busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    rng = np.random.default_rng(4)
    await start_pipe(dut)
    (frame,) = _odd_frames(rng, 1)
    dut.frame.value = frame_word(frame)
    for waiting in (1, LATENCY, 3 * LATENCY):
        words, answers = _payloads(frame, rng, 150)
        await reset_midway(dut, words[:waiting])
        await _check(dut, words, answers, rng)
