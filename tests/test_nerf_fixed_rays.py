"""Widths of frames and rays: whatever `make_frame` lets through fits them, and little is wasted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nerf_cases import cameras, fields
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.rays import (
    ENTRY_BITS,
    FURTHEST_ENTRY,
    LARGEST_ENTRY,
    LARGEST_STEP,
    cast_fixed,
    make_frame,
)
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.fixed.words import frame_fields, ray_fields
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.sim.nerf.rays import frame_word, ray_word, read_ray

CONFIG = FixedConfig()
COARSE = FixedConfig(position_bits=16, ray_bits=16, direction_bits=16)


def fits(values, number):
    low = -(1 << (number.bits - 1)) if number.signed else 0
    return low <= np.min(values) and np.max(values) < low + (1 << number.bits)


def check_fit(frame, rays):
    for name, number in frame_fields(frame.config).items():
        assert np.shape(getattr(frame, name)) == number.shape
        assert fits(getattr(frame, name), number), name
    for name, number in ray_fields(frame.config).items():
        assert fits(getattr(rays, name), number), name


@pytest.mark.parametrize("name", scene_names())
def test_held_out_views_fit(name):
    scene = load_scene(name)
    for view in scene.views:
        frame = make_frame(scene.field, scene.field.mask, view.camera, CONFIG)
        check_fit(frame, cast_fixed(frame, 0, view.camera.height))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_camera_that_is_not_refused_fits(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    ratio = data.draw(st.sampled_from([0.5, 8.0, 200.0, 0.98 * LARGEST_STEP]))
    far = data.draw(st.sampled_from([6.0, 1e3, 1e9]))
    field = replace(field, step_ratio=ratio, far=far)
    try:
        frame = make_frame(field, field.mask, camera, data.draw(st.sampled_from([CONFIG, COARSE])))
    except FieldError:
        assume(False)
    check_fit(frame, cast_fixed(frame, 0, camera.height))


def test_a_camera_as_far_away_as_allowed_fits():
    """The widths of positions are needed to the last bit but one, that of roundings."""
    field = replace(blob_field(), near=0.01, far=1e6, step_ratio=100.0)
    config = FixedConfig(position_bits=22, ray_bits=26, direction_bits=24)
    frame = make_frame(field, field.mask, orbit_camera(distance=500.0), config)
    rays = cast_fixed(frame, 0, 30)
    check_fit(frame, rays)
    number = frame_fields(config)["field_origin"]
    assert not fits(frame.field_origin, number._replace(bits=number.bits - 1))
    number = ray_fields(config)["field_base"]
    assert not fits(rays.field_base, number._replace(bits=number.bits - 2))


def inside(frame):
    """(rays, count): which samples lie in both boxes."""
    rays = cast_fixed(frame, 0, frame.camera.height)
    k = np.arange(frame.count)
    found = np.ones((len(rays), frame.count), bool)
    for axis in range(3):
        for base, delta, last in (
            (rays.field_base, rays.field_delta, frame.field_last),
            (rays.mask_base, rays.mask_delta, frame.mask_last),
        ):
            at = base[axis][:, None] + k * delta[axis][:, None]
            found &= (at >= 0) & (at <= last[axis] << frame.config.position_bits)
    return found


@pytest.mark.parametrize("near", [0.05, 7.0, 50.0])
def test_rays_that_begin_as_late_as_allowed_meet_nothing(near):
    """So the bound on where rays begin changes no image."""
    field = replace(random_field(2, fill=1.0), near=near, far=1e4)
    camera = orbit_camera(distance=5.0, width=60, height=60)
    camera = replace(camera, focal=30.0)  # many rays miss the box
    frame = make_frame(field, field.mask, camera, CONFIG)
    corners = field.box.astype(np.float64)
    reach = np.linalg.norm(np.abs(corners - camera.origin).max(axis=0))
    assert frame.far == pytest.approx(
        FURTHEST_ENTRY * reach / float(field.step) * 2**ENTRY_BITS, rel=1e-6
    )
    later = replace(frame, far=LARGEST_ENTRY << ENTRY_BITS)
    found = inside(frame)
    assert (found == inside(later)).all()
    assert found.any() == (near < reach)
    assert not found.any(axis=1).all()


def test_a_ray_is_read_back():
    field, camera = blob_field(), orbit_camera()
    rays = cast_fixed(make_frame(field, field.mask, camera, CONFIG), 3, 4)
    for ray in (0, 17):
        found = read_ray(ray_word(rays, ray), CONFIG)
        assert set(found) == set(ray_fields(CONFIG))
        for name, values in found.items():
            assert values.tolist() == getattr(rays, name)[:, ray].tolist()


def test_what_does_not_fit_is_refused():
    field, camera = blob_field(), orbit_camera()
    frame = make_frame(field, field.mask, camera, CONFIG)
    with pytest.raises(ValueError, match=r"near is -1; it has 30 bits"):
        frame_word(replace(frame, near=-1))
    with pytest.raises(ValueError, match=r"first is \(2,\); it must be \(3,\)"):
        frame_word(replace(frame, first=frame.first[:2]))
    rays = cast_fixed(frame, 0, 1)
    rays.mask_delta[1, 5] = LARGEST_STEP << CONFIG.position_bits
    with pytest.raises(ValueError, match=r"mask_delta is .*; it has 31 bits"):
        ray_word(rays, 5)
