"""The cube-driven sampler finds the uniform sampler's samples, all of them and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_cases import cameras, fields
from nerf_fields import blob_field, orbit_camera, random_field, with_mask

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.cubes import CubeCounts, plan_walk
from oleaster.models.nerf.field import Mask
from oleaster.models.nerf.samples import cast_rays, merge_samples
from oleaster.models.nerf.uniform import uniform_samples


def walked(field, camera, rows=None, **settings):
    """All samples of a walk and what it counted, by strips of some rows."""
    rays, counts = cast_rays(field, camera), CubeCounts()
    walk = plan_walk(field, camera, **settings)
    found = []
    for top in range(0, camera.height, rows or camera.height):
        bottom = min(top + (rows or camera.height), camera.height)
        part = rays.part(top * camera.width, bottom * camera.width)
        parts = list(walk.batches(part, top, bottom, counts))
        merged = merge_samples(parts, rays.count)
        found.append(merged._replace(ray=merged.ray + np.int32(top * camera.width)))
    return merge_samples(found, rays.count), counts


def assert_same(found, expected):
    assert np.array_equal(found.ray, expected.ray)
    assert np.array_equal(found.k, expected.k)


def brute_samples(field, camera):
    """Point by point: in the box, and a trilinear value of the mask above 0, in float64."""
    rays = cast_rays(field, camera)
    kept = []
    bits = field.mask.bits.astype(float)
    for ray in range(len(rays)):
        for k in range(rays.count):
            one = np.array([ray], np.int32), np.array([k], np.int32)
            t = rays.distances(*one)
            point = np.array([rays.along(axis, one[0], t)[0] for axis in range(3)])
            if (point < field.box[0]).any() or (point > field.box[1]).any():
                continue
            size = np.array(field.mask.size, np.float32)
            span = (size - 1) / (field.mask.box[1] - field.mask.box[0])
            at = (point - field.mask.box[0]) * span
            if (at < 0).any() or (at > size - 1).any():
                continue
            low = np.minimum(np.floor(at), size - 2).astype(int)
            share = at.astype(float) - low
            x, y, z = low
            value = bits[z : z + 2, y : y + 2, x : x + 2]
            for part in share[::-1]:
                value = value[0] * (1 - part) + value[1] * part
            if value > 0:
                kept.append((ray, k))
    return kept


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_both_samplers_find_the_same(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    expected, candidates = uniform_samples(field, cast_rays(field, camera))
    assert candidates >= len(expected.ray)
    order = data.draw(st.sampled_from(["exact", "octants"]))
    rows = data.draw(st.integers(1, camera.height))
    ball = data.draw(st.booleans())
    found, counts = walked(field, camera, rows, order=order, ball=ball)
    assert_same(found, expected)
    assert counts.points - counts.outside == len(expected.ray)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_uniform_sampler_keeps_what_the_mask_lets_pass(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field)).scaled(2, 2)
    found, _ = uniform_samples(field, cast_rays(field, camera))
    pairs = list(zip(found.ray.tolist(), found.k.tolist(), strict=True))
    assert pairs == brute_samples(field, camera)


@pytest.mark.parametrize("ball", [False, True])
def test_sets_of_a_scene_are_equal(ball):
    field, camera = blob_field(), orbit_camera(width=61, height=47)
    expected, candidates = uniform_samples(field, cast_rays(field, camera))
    assert_same(walked(field, camera, ball=ball)[0], expected)
    assert len(expected.ray) > 10_000
    assert candidates > 50 * int(field.mask.cubes.sum())


def test_camera_in_an_occupied_cube():
    field = random_field(3, fill=1.0)
    camera = look_at(np.array([0.1, 0.05, -0.1]), np.ones(3), width=16, height=12, focal=9)
    expected, _ = uniform_samples(field, cast_rays(field, camera))
    found, counts = walked(field, camera)
    assert_same(found, expected)
    assert len(expected.ray) > 0
    # Windows of the cubes about the camera are cut, not the whole image each.
    assert counts.pixel_tests < 0.3 * int(field.mask.cubes.sum()) * camera.width * camera.height


def test_samples_on_faces_belong_to_one_cube():
    """Cells of 1/4 and a step of 1/8 along an axis: every second sample lies on a face."""
    field = random_field(5, size=(9, 9, 9), mask_size=(9, 9, 9), fill=0.2)
    field.box[:] = [[-1, -1, -1], [1, 1, 1]]
    field.mask.box[:] = field.box
    assert float(field.step) == 0.125
    for x, y in ((0.25, -0.5), (0.3, 0.5), (1.0, 1.0)):
        pose = np.column_stack([np.eye(3), [x, y, 3.0]]).astype(np.float32)
        camera = Camera(1, 1, 5.0, pose)
        expected, _ = uniform_samples(field, cast_rays(field, camera))
        assert_same(walked(field, camera)[0], expected)
        ray = [(0, k) for k in expected.k.tolist()]
        assert ray == brute_samples(field, camera)


def test_ball_costs_pixel_tests_and_points():
    """The volume of a cube's circumscribed ball is 2.72 times the cube's."""
    field, camera = blob_field(), orbit_camera(width=80, height=60)
    slabs, balls = walked(field, camera)[1], walked(field, camera, ball=True)[1]
    assert slabs.outside < 0.03 * slabs.points
    assert balls.points == pytest.approx(2.72 * (slabs.points - slabs.outside), rel=0.03)
    assert 1.2 < balls.pixel_tests / slabs.pixel_tests < 1.7


@pytest.mark.parametrize("ball", [False, True])
def test_pose_that_is_not_quite_a_rotation(ball):
    field, camera = blob_field(), orbit_camera()
    pose = camera.pose.copy()
    pose[:, 0] *= 1.0004
    stretched = Camera(camera.width, camera.height, camera.focal, pose)
    expected, _ = uniform_samples(field, cast_rays(field, stretched))
    assert_same(walked(field, stretched, ball=ball)[0], expected)


def test_empty_mask_has_no_cubes():
    field = blob_field()
    field = with_mask(field, Mask(np.zeros_like(field.mask.bits), field.mask.box))
    found, counts = walked(field, orbit_camera())
    assert len(found.ray) == 0
    assert counts == CubeCounts()
    assert len(uniform_samples(field, cast_rays(field, orbit_camera()))[0].ray) == 0
