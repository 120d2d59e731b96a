"""Blocks of cubes: what a tile passes over has no samples in it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nerf_cases import cameras
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.blocks import block_bits, plan_blocks
from oleaster.models.nerf.fixed.rays import SLACK, cast_fixed, make_frame
from oleaster.models.nerf.fixed.walk import (
    LARGEST_CORNER,
    PROJECTION_BITS,
    plan_fixed,
    project,
    project_blocks,
)
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import corner_fields
from oleaster.models.nerf.renderer.config import BLOCK
from oleaster.models.nerf.samples import merge_samples
from oleaster.sim.nerf.walker import Tile, WalkerModel

NARROW = FixedConfig(position_bits=18, ray_bits=20, direction_bits=18, inverse_bits=19)


def frame_samples(walk, rays):
    """(n,) ray and k of every sample of the image, sorted."""
    height = walk.frame.camera.height
    found = merge_samples(list(walk.batches(rays, 0, height, CubeCounts())), walk.frame.count)
    return found.ray, found.k


def check_windows(field, camera, config):
    """Every sample's pixel is in the window of the sample's block, so in any tile that sees it."""
    frame = make_frame(field, field.mask, camera, config)
    blocks = plan_blocks(frame, field.mask)
    rays = cast_fixed(frame, 0, camera.height)
    ray, k = frame_samples(plan_fixed(frame, field.mask), rays)
    cell = [
        np.minimum(rays.mask_at(axis, ray, k) >> config.position_bits, frame.mask_last[axis] - 1)
        for axis in range(3)
    ]
    index = np.full(blocks.bits.shape, -1)
    x, y, z = blocks.cells.T
    index[z, y, x] = np.arange(len(blocks.cells))
    block = index[cell[2] // BLOCK, cell[1] // BLOCK, cell[0] // BLOCK]
    assert (block >= 0).all()
    row, column = np.divmod(ray, camera.width)
    w = blocks.windows
    assert ((w.left[block] <= column) & (column < w.right[block])).all()
    assert ((w.top[block] <= row) & (row < w.bottom[block])).all()
    return len(ray)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_samples_pixel_is_in_the_window_of_its_block(data):
    sizes = st.integers(2, 40)
    field = random_field(
        data.draw(st.integers(0, 99)),
        mask_size=data.draw(st.tuples(sizes, sizes, sizes)),
        fill=data.draw(st.sampled_from([0.001, 0.02, 1.0])),
        near=data.draw(st.sampled_from([0.01, 0.5])),
    )
    camera = data.draw(cameras(field))
    try:
        check_windows(field, camera, data.draw(st.sampled_from([FixedConfig(), NARROW])))
    except FieldError:
        assume(False)


def test_the_same_of_a_larger_field_from_outside_and_within():
    field = blob_field()
    for angle in (0.3, 1.9):
        assert check_windows(field, orbit_camera(angle, width=70, height=50), FixedConfig()) > 5000
    inside = look_at(
        np.array([0.1, 0.0, 0.2]), np.array([1.0, 0.3, 0.0]), width=30, height=20, focal=20.0
    )
    assert check_windows(replace(field, near=0.05), inside, FixedConfig()) > 500


@pytest.mark.parametrize("side", [4, 16])
def test_tiles_take_the_samples_of_the_frame(side):
    """By the cycle model's walk, which passes blocks over."""
    field = random_field(5, size=(24, 20, 18), mask_size=(24, 20, 18), fill=0.02)
    camera = orbit_camera(0.7, width=22, height=18)
    frame = make_frame(field, field.mask, camera, FixedConfig())
    walk, blocks = plan_fixed(frame, field.mask), plan_blocks(frame, field.mask)
    rays = cast_fixed(frame, 0, camera.height)
    dark = np.zeros(len(rays), bool)
    samples, passed_over, cubes = [], 0, field.mask.cubes
    for top in range(0, camera.height, side):
        for left in range(0, camera.width, side):
            ends = min(left + side, camera.width), min(top + side, camera.height)
            tile = Tile(left, top, *ends)
            passed_over += int(blocks.bits.sum() - blocks.seen(left, top, *ends).sum())
            model = WalkerModel(walk, blocks, rays, cubes, tile, 16, 2, dark)
            model.run(0, lambda cycle: cycle)
            order = np.array([ray for ray, _ in model.samples], int)
            steps = np.array([k for _, k in model.samples], int)
            for ray in np.unique(order):
                assert (np.diff(steps[order == ray]) > 0).all()
            samples += model.samples
    ray, k = frame_samples(walk, rays)
    assert sorted(samples) == list(zip(ray.tolist(), k.tolist(), strict=True))
    assert len(samples) > 1000
    assert passed_over > 0


def test_bits_of_blocks_are_those_of_their_cubes():
    cubes = np.random.default_rng(0).random((9, 16, 23)) < 0.005
    bits = block_bits(cubes)
    assert bits.shape == (2, 2, 3)
    for z, y, x in np.ndindex(bits.shape):
        part = cubes[z * BLOCK :, y * BLOCK :, x * BLOCK :][:BLOCK, :BLOCK, :BLOCK]
        assert bits[z, y, x] == part.any()
    assert 0 < bits.sum() < bits.size


def test_corners_of_blocks_are_those_of_their_cubes():
    field, camera = random_field(2, mask_size=(30, 30, 30)), orbit_camera()
    frame = make_frame(field, field.mask, camera, FixedConfig())
    cubes, blocks = project(frame, field.mask), project_blocks(frame, field.mask)
    cell = np.array([[1, 2, 3]])
    near = np.abs(blocks(cell)[0] - cubes(cell * BLOCK)[0]).max()
    far = np.abs(blocks(cell)[7] - cubes(cell * BLOCK + BLOCK - 1)[7]).max()
    assert max(near, far) < SLACK * 2**PROJECTION_BITS * 1e-3


@pytest.mark.parametrize("points", [2, 9, 10])
def test_corners_of_blocks_beyond_the_lattice_fit_their_words(points):
    """At the longest focal length that is allowed."""
    field = random_field(0, mask_size=(points, points, points), fill=1.0)
    widths = corner_fields()
    low, high = 1.0, 1e12
    for _ in range(60):
        focal = (low * high) ** 0.5
        camera = replace(orbit_camera(width=1, height=1), focal=focal)
        frame = make_frame(field, field.mask, camera, FixedConfig())
        try:
            corners = project_blocks(frame, field.mask)(plan_blocks(frame, field.mask).cells)
        except FieldError:
            high = focal
            continue
        low = focal
        assert np.abs(corners[:, :, :2]).max() < LARGEST_CORNER
        for axis, number in enumerate(widths.values()):
            assert np.abs(corners[:, :, axis]).max() < 1 << (number.bits - 1)
    assert high / low < 1.1
