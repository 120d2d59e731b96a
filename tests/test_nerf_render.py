"""Images: both pipelines to the last bit, termination within 1e-4, counters, PNG and films."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_cases import cameras, fields
from nerf_fields import blob_field, orbit_camera, random_field, with_mask

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.field import FieldError, Mask
from oleaster.models.nerf.image import decode_image, encode_film, encode_png
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.samples import Samples, cast_rays
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.models.nerf.uniform import count_candidates, uniform_samples


def slow_image(field, camera):
    """TensoRF's compositing ray by ray in float64, from the same samples."""
    rays = cast_rays(field, camera)
    samples, _ = uniform_samples(field, rays)
    density = field.density(rays.points(samples)).astype(float)
    colors = field.colors(rays.points(samples), rays.directions[:, samples.ray].T)
    background = 1.0 if field.white_background else 0.0
    image = np.full((len(rays), 3), background)
    for ray in range(len(rays)):
        light, total = 1.0, np.zeros(3)
        opacity = 0.0
        for i in np.flatnonzero(samples.ray == ray):
            k = samples.k[i]
            last = k == rays.count - 1
            alpha = 0.0 if last else 1 - math.exp(-density[i] * rays.step * field.distance_scale)
            weight = alpha * light
            light *= 1 - alpha + 1e-10
            opacity += weight
            if weight > field.weight_threshold:
                total += weight * colors[i]
        image[ray] = np.clip(total + (1 - opacity) * background, 0, 1)
    return image.reshape(camera.height, camera.width, 3)


@pytest.mark.parametrize("white", [True, False])
def test_image_is_tensorfs_compositing(white):
    for field, camera in (
        (blob_field(), orbit_camera(width=20, height=15)),
        (random_field(2, fill=0.4, density=0.1), orbit_camera(1.0, width=9, height=8)),
    ):
        values = {name: getattr(field, name) for name in field.__dataclass_fields__}
        field = type(field)(**{**values, "white_background": white})
        expected = slow_image(field, camera)
        assert expected.std() > 0.05
        for pipeline in ("uniform", "cubes"):
            drawn = render(field, camera, pipeline, terminate=False)
            assert drawn.image.dtype == np.float32
            np.testing.assert_allclose(drawn.image, expected, atol=2e-5)
            assert drawn.opacity.shape == (camera.height, camera.width)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_pipelines_give_one_image(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    order = data.draw(st.sampled_from(["exact", "octants"]))
    uniform = render(field, camera, "uniform", terminate=False)
    cubes = render(field, camera, "cubes", order=order, terminate=False)
    assert np.array_equal(uniform.image, cubes.image)
    assert np.array_equal(uniform.opacity, cubes.opacity)
    assert uniform.counters.kept == cubes.counters.kept
    stopped = render(field, camera, "cubes", order=order)
    assert np.abs(stopped.image - uniform.image).max() <= 1e-4
    assert stopped.counters.kept == uniform.counters.kept


def test_strips_do_not_change_the_image(monkeypatch):
    field, camera = blob_field(), orbit_camera(width=50, height=33)
    whole = render(field, camera, terminate=False)
    monkeypatch.setattr("oleaster.models.nerf.render._RAYS_AT_ONCE", 350)
    done = []
    strips = render(field, camera, terminate=False, report=lambda *at: done.append(at))
    assert done[:2] == [(350, 1650), (700, 1650)]
    assert done[-1] == (1650, 1650)
    np.testing.assert_allclose(strips.image, whole.image, atol=1e-6)
    assert strips.counters == whole.counters
    uniform = render(field, camera, "uniform", terminate=False)
    assert np.array_equal(uniform.image, strips.image)


def test_termination_skips_what_is_hidden():
    field, camera = blob_field(), orbit_camera(width=80, height=60)
    full = render(field, camera, terminate=False)
    exact, octants = (render(field, camera, order=order) for order in ("exact", "octants"))
    uniform = render(field, camera, "uniform")
    assert full.counters.skipped == uniform.counters.skipped == 0
    assert exact.counters.skipped > octants.counters.skipped > 0
    assert exact.counters.skipped > 0.15 * full.counters.kept
    for drawn in (exact, octants, uniform):
        counts = drawn.counters
        assert counts.kept == full.counters.kept == counts.skipped + counts.density
        difference = np.abs(drawn.image - full.image).max()
        assert 0 < difference <= 1e-4
        # The same samples count, in whatever batches they came.
        np.testing.assert_allclose(drawn.image, exact.image, atol=1e-6)


def test_counters():
    field, camera = blob_field(), orbit_camera(width=30, height=20)
    cubes = render(field, camera, terminate=False).counters
    uniform = render(field, camera, "uniform", terminate=False).counters
    assert cubes.candidates == cubes.cubes == int(field.mask.cubes.sum())
    assert cubes.lattice == uniform.lattice == 600 * field.samples
    assert (uniform.cubes, uniform.pixel_tests, uniform.points, uniform.outside) == (0, 0, 0, 0)
    rays = cast_rays(field, camera)
    ray, k = np.indices((600, rays.count), np.int32).reshape(2, -1)
    points = rays.points(Samples(ray, k))
    inside = ((points >= field.box[0]) & (points <= field.box[1])).all(axis=1)
    assert uniform.candidates == np.count_nonzero(inside)
    # Three pairs of 4 and 6 components; four values of a plane, two of a line; two bytes each.
    assert cubes.dense_bytes == 12 * (12 * cubes.density + 18 * cubes.colored)
    assert cubes.points - cubes.outside == cubes.kept == uniform.kept


def test_last_sample_has_no_length():
    rays = cast_rays(blob_field(), orbit_camera())
    k = np.array([0, rays.count - 2, rays.count - 1], np.int32)
    lengths = rays.lengths(Samples(np.array([5, 5, 5], np.int32), k))
    np.testing.assert_allclose(lengths, [rays.step, rays.step, 0], rtol=1e-4)


@pytest.mark.parametrize("name", scene_names())
def test_shipped_scene(name):
    """One set, one image, termination within 1e-4; 50 times fewer reads of the mask at 800x800."""
    scene = load_scene(name)
    camera = scene.views[0].camera.scaled(64, 64)
    uniform = render(scene.field, camera, "uniform", terminate=False)
    assert uniform.opacity.max() > 0.9
    for order in ("exact", "octants"):
        cubes = render(scene.field, camera, order=order, terminate=False)
        assert cubes.counters.kept == uniform.counters.kept
        assert np.array_equal(cubes.image, uniform.image)
        stopped = render(scene.field, camera, order=order)
        assert np.abs(stopped.image - uniform.image).max() <= 1e-4
    # The size of the synthetic scenes; cubes are walked once whatever the size. Samples in the box
    # are as many on each ray, so those of every eighth in both directions are 1/64 of all.
    some = scene.views[0].camera.scaled(100, 100)
    candidates = 64 * count_candidates(scene.field, cast_rays(scene.field, some))
    assert candidates >= 50 * cubes.counters.candidates


def test_empty_mask_is_background():
    field = blob_field()
    field = with_mask(field, Mask(np.zeros_like(field.mask.bits), field.mask.box))
    for pipeline in ("uniform", "cubes"):
        drawn = render(field, orbit_camera(), pipeline)
        assert (drawn.image == 1).all()
        assert (drawn.opacity == 0).all()


def test_field_without_mask():
    field = with_mask(random_field(4, density=0.2), None)
    for camera in (orbit_camera(), look_at(np.zeros(3), np.ones(3), width=7, height=6, focal=5)):
        uniform = render(field, camera, "uniform", terminate=False)
        cubes = render(field, camera, "cubes", terminate=False)
        assert np.array_equal(uniform.image, cubes.image)
        assert uniform.counters.kept == uniform.counters.candidates > 0


def test_camera_in_an_occupied_cube():
    field = random_field(6, fill=1.0, density=0.05)
    camera = look_at(np.array([0.05, 0.0, 0.1]), np.ones(3), width=9, height=8, focal=6)
    uniform = render(field, camera, "uniform", terminate=False)
    assert np.array_equal(uniform.image, render(field, camera, terminate=False).image)
    assert uniform.opacity.min() > 0.1


def test_image_without_pixels_is_refused():
    with pytest.raises(FieldError, match="0 x 8 pixels"):
        Camera(0, 8, 1.0, np.eye(4, dtype=np.float32)[:3])


def test_psnr():
    image = np.zeros((4, 5, 3), np.float32)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + 0.1) == pytest.approx(20)
    with pytest.raises(FieldError, match="cannot be compared"):
        psnr(image, image[:2])


def test_png_keeps_codes_of_8_bits():
    codes = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    image = (codes / 255).astype(np.float32)
    data = encode_png(image)
    assert data.startswith(b"\x89PNG")
    assert np.array_equal(decode_image(data), image)
    assert decode_image(encode_png(image * 3 - 1)).min() == 0
    with pytest.raises(FieldError, match="cannot be read"):
        decode_image(data[:60])


def test_transparent_becomes_white():
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(out, "PNG")
    assert (decode_image(out.getvalue()) == 1).all()


@pytest.mark.parametrize("kind", [".gif", ".apng", ".png"])
def test_films(kind):
    from PIL import Image

    frames = [np.full((4, 6, 3), value, np.float32) for value in (0.0, 0.5, 1.0)]
    with Image.open(io.BytesIO(encode_film(frames, kind, frame_ms=80))) as film:
        assert film.n_frames == 3
        assert film.size == (6, 4)
        film.seek(1)
        assert abs(film.convert("RGB").getpixel((2, 2))[0] - 128) < 3
        assert film.info["duration"] == 80
        assert film.info["loop"] == 0


def test_film_of_another_kind():
    with pytest.raises(FieldError, match=r"not \.avi"):
        encode_film([], ".avi", frame_ms=80)
