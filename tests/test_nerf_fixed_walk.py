"""Rays and the cube walk in integers: against real arithmetic, and against every sample tested."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nerf_cases import cameras, fields
from nerf_fields import blob_field, orbit_camera, random_field, with_mask

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.field import FieldError, Mask
from oleaster.models.nerf.fixed.rays import SLACK, cast_fixed, make_frame
from oleaster.models.nerf.fixed.walk import plan_fixed
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.order import nested_order, octant_ranks
from oleaster.models.nerf.samples import cast_rays, merge_samples

NARROW = FixedConfig(position_bits=18, ray_bits=20, direction_bits=18, inverse_bits=19)


def every_sample(frame, mask, rays):
    """(samples,) ray * count + k of all that lie in the box and in a non-zero cube."""
    bits = frame.config.position_bits
    ray = np.repeat(np.arange(len(rays)), frame.count)
    k = np.tile(np.arange(frame.count), len(rays))
    kept = np.ones(len(ray), bool)
    cell = []
    for axis in range(3):
        at = rays.field_base[axis][ray] + k * rays.field_delta[axis][ray]
        kept &= (at >= 0) & (at <= frame.field_last[axis] * 2**bits)
        at = rays.mask_base[axis][ray] + k * rays.mask_delta[axis][ray]
        last = frame.mask_last[axis]
        kept &= (at >= 0) & (at <= last * 2**bits)
        cell.append(np.clip(at // 2**bits, 0, last - 1))
    kept &= mask.cubes[cell[2], cell[1], cell[0]]
    return (ray * frame.count + k)[kept]


def check_walk(field, camera, config, bands=1):
    frame = make_frame(field, field.mask, camera, config)
    walk = plan_fixed(frame, field.mask)
    edges = np.linspace(0, camera.height, bands + 1).astype(int)
    counts = CubeCounts()
    total = 0
    for top, bottom in pairwise(edges):
        rays = cast_fixed(frame, top, bottom)
        batches = list(walk.batches(rays, top, bottom, counts))
        found = merge_samples(batches, frame.count)
        keys = found.ray.astype(np.int64) * frame.count + found.k
        assert keys.tolist() == every_sample(frame, field.mask, rays).tolist()
        furthest = np.full(len(rays), -1)
        for batch in batches:
            starts = np.flatnonzero(np.diff(batch.ray, prepend=-1))
            ray, first = batch.ray[starts], batch.k[starts]
            assert (first > furthest[ray]).all()
            np.maximum.at(furthest, batch.ray, batch.k)
        total += len(keys)
    assert counts.points - counts.outside == total
    return total


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_sample_in_a_cube_is_found_once_front_to_back(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    try:
        check_walk(field, camera, data.draw(st.sampled_from([FixedConfig(), NARROW])))
    except FieldError:  # too wide, or too far for the narrow widths: tested below
        assume(False)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_ray_goes_back_in_the_nested_order(data):
    """For every sample in the lattice, also in empty cubes; and the walk is the mask's cubes."""
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    try:
        frame = make_frame(field, field.mask, camera, FixedConfig())
    except FieldError:
        assume(False)
    bits = frame.config.position_bits
    home = frame.mask_origin >> bits
    cells = np.argwhere(np.ones(frame.mask_last[::-1], bool))[:, ::-1]
    order = nested_order(cells, home)
    assert sorted(order.tolist()) == list(range(len(cells)))
    rank = np.empty(len(cells), np.int64)
    rank[order] = np.arange(len(cells))
    rank = rank.reshape(frame.mask_last[::-1])
    rays = cast_fixed(frame, 0, camera.height)
    at = rays.mask_base[:, :, None] + np.arange(frame.count) * rays.mask_delta[:, :, None]
    last = frame.mask_last[:, None, None]
    inside = ((at >= 0) & (at <= last << bits)).all(axis=0)
    x, y, z = np.clip(at >> bits, 0, last - 1)
    for met, kept in zip(rank[z, y, x], inside, strict=True):
        assert (np.diff(met[kept]) >= 0).all()
    middle = frame.mask_last // 2
    octants = nested_order(cells, home, middle)
    ranks = octant_ranks(cells, field.mask, mask_home(field, frame))
    assert ranks[octants].tolist() == sorted(ranks.tolist())


def mask_home(field, frame):
    """A point in the camera's cell that floats cannot miss."""
    cell = (frame.mask_origin >> frame.config.position_bits) + 0.5
    edges = (field.mask.box[1] - field.mask.box[0]) / frame.mask_last
    return (field.mask.box[0] + cell * edges).astype(np.float32)


@pytest.mark.parametrize("bands", [1, 3])
def test_the_walk_of_a_larger_field(bands, monkeypatch):
    monkeypatch.setattr("oleaster.models.nerf.fixed.walk._TESTS_AT_ONCE", (64, 256))
    field = blob_field()
    for angle in (0.1, 2.0):
        assert check_walk(field, orbit_camera(angle), FixedConfig(), bands) > 5000
    inside = look_at(
        np.array([0.1, 0.0, 0.2]), np.array([1.0, 0.3, 0.0]), width=30, height=20, focal=20.0
    )
    assert check_walk(replace(field, near=0.05), inside, FixedConfig(), bands) > 500


def test_samples_stray_less_than_allowed_from_their_exact_rays():
    field, camera = blob_field(), orbit_camera(width=60, height=44)
    frame = make_frame(field, field.mask, camera, NARROW)
    rays = cast_fixed(frame, 0, camera.height)
    exact = cast_rays(field, camera)
    mask = field.mask
    cells = (np.array(mask.size) - 1) / (mask.box[1] - mask.box[0]).astype(np.float64)
    v = np.stack(
        [
            (np.tile(np.arange(60), 44) + 0.5 - 30) / camera.focal,
            -(np.repeat(np.arange(44), 60) + 0.5 - 22) / camera.focal,
            np.full(60 * 44, -1.0),
        ]
    )
    d = camera.pose[:, :3].astype(np.float64) @ (v / np.linalg.norm(v, axis=0))
    entry = exact.entry.astype(np.float64)
    hits = (np.abs(d) > 1e-3).all(axis=0) & (entry < field.far) & (entry > field.near)
    for k in (0, frame.count - 1):
        at = np.ldexp((rays.mask_base + k * rays.mask_delta).astype(float), -NARROW.position_bits)
        away = at / cells[:, None] + mask.box[0][:, None] - camera.origin[:, None]
        distance = (away * d).sum(axis=0)
        astray = np.abs((away - distance * d) * cells[:, None]).max()
        assert astray < SLACK / 2
        # Along the ray: entries, and steps, are what the float renderer has.
        expected = entry + k * float(field.step)
        assert np.abs(distance - expected)[hits].max() < 0.01 * float(field.step)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("place", ["low", "high", "within"])
def test_rays_along_an_axis_and_on_faces_stay_where_they_are(axis, place):
    field = random_field(3, fill=1.0)
    pose = np.zeros((3, 4), np.float32)
    pose[:, :3] = np.roll(np.eye(3), axis, axis=0)
    pose[:, 3] = {"low": field.box[0], "high": field.box[1], "within": 0.1}[place]
    along = int(np.flatnonzero(pose[:, 2])[0])
    pose[along, 3] = 0.5
    camera = Camera(1, 1, 1.0, pose)  # looks along an axis exactly
    rays = cast_fixed(make_frame(field, field.mask, camera, FixedConfig()), 0, 1)
    assert (rays.mask_delta[:, 0] == 0).sum() == 2
    assert check_walk(field, camera, FixedConfig()) > 3


def test_what_fixed_point_cannot_see_is_refused():
    field = random_field(0)
    wide = orbit_camera()
    with pytest.raises(FieldError, match="degrees off its middle"):
        make_frame(field, field.mask, replace(wide, focal=1.0), FixedConfig())
    with pytest.raises(FieldError, match=r"cells from a corner of the box"):
        make_frame(field, field.mask, orbit_camera(distance=1e4), FixedConfig())
    with pytest.raises(FieldError, match="samples; fixed point takes 4096"):
        make_frame(replace(field, step_ratio=1e-3), field.mask, wide, FixedConfig())
    with pytest.raises(FieldError, match="near is 100000"):
        make_frame(replace(field, near=1e5, far=2e5), field.mask, wide, FixedConfig())
    with pytest.raises(FieldError, match="cells"):
        make_frame(replace(field, step_ratio=3e3), field.mask, wide, FixedConfig())
    frame = make_frame(field, field.mask, replace(wide, focal=1e9), FixedConfig())
    with pytest.raises(FieldError, match="focal length"):
        plan_fixed(frame, field.mask)


def test_an_empty_mask_has_no_samples():
    field = random_field(0)
    empty = with_mask(field, Mask(np.zeros_like(field.mask.bits), field.mask.box))
    assert check_walk(empty, orbit_camera(), FixedConfig()) == 0
