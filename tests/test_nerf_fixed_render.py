"""Images in fixed point: near the float ones, the same however cut up, sound at extremes."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.cubes import CubeCounts
from oleaster.models.nerf.fixed.features import fix_field
from oleaster.models.nerf.fixed.rays import cast_fixed, make_frame
from oleaster.models.nerf.fixed.render import fix_scene, render_fixed
from oleaster.models.nerf.fixed.shade import FixedPixels, shade_fixed
from oleaster.models.nerf.fixed.walk import plan_fixed
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.samples import merge_samples
from oleaster.models.nerf.scene import Facts, Scene
from oleaster.models.nerf.shade import Shaded

FACTS = Facts("blob", "", "", "", "", (), (), 0.0, 0.0)


@pytest.fixture(scope="module")
def blob():
    return blob_field()


@pytest.mark.parametrize(
    ("mlp", "least"), [("float", 45), ("ovp8", 40), ("int8", 40), ("ovp4-flint", 24)]
)
def test_images_are_near_the_float_ones(blob, mlp, least):
    camera = orbit_camera()
    exact = render(blob, camera)
    found = render_fixed(blob, camera, FixedConfig(value_bits=10), mlp)
    assert psnr(found.image, exact.image) > least
    assert np.abs(found.opacity - exact.opacity).mean() < 2e-3
    assert (found.image * 255 == np.rint(found.image * 255)).all()
    ours, theirs = found.counters, exact.counters
    assert (ours.rays, ours.lattice, ours.cubes) == (theirs.rays, theirs.lattice, theirs.cubes)
    assert ours.kept == ours.skipped + ours.density
    assert abs(ours.density + ours.skipped - theirs.kept) < 0.01 * theirs.kept
    assert abs(ours.colored - theirs.colored) < 0.05 * theirs.colored
    assert ours.dense_bytes == 12 * (4 * 3 * ours.density + 6 * 3 * ours.colored)


def test_images_do_not_depend_on_how_they_are_cut_up(blob, monkeypatch):
    scene, camera = fix_scene(blob, mlp="int8"), orbit_camera()
    whole = scene.render(camera)
    assert (scene.render(camera).image == whole.image).all()
    monkeypatch.setattr("oleaster.models.nerf.fixed.render._RAYS_AT_ONCE", 170)
    monkeypatch.setattr("oleaster.models.nerf.fixed.walk._TESTS_AT_ONCE", (100, 1000))
    monkeypatch.setattr("oleaster.models.nerf.fixed.shade._AT_ONCE", 33)
    parts = scene.render(camera)
    assert (parts.image == whole.image).all()
    assert (parts.opacity == whole.opacity).all()
    assert parts.counters.kept == whole.counters.kept
    assert parts.counters.colored == whole.counters.colored


def test_termination_changes_a_pixel_by_a_level_at_most(blob):
    scene, camera = fix_scene(blob, mlp="float"), orbit_camera()
    stopped, whole = (scene.render(camera, terminate=flag) for flag in (True, False))
    assert stopped.counters.skipped > 0
    assert whole.counters.skipped == 0
    assert np.abs(stopped.image - whole.image).max() <= 1.001 / 255
    assert np.abs(stopped.opacity - whole.opacity).max() <= 1e-4


@pytest.mark.parametrize("white", [True, False])
def test_nothing_is_the_background(white):
    field = random_field(1, density_shift=-40.0, density=1e-6, white_background=white)
    drawn = render_fixed(field, orbit_camera(), mlp="int8")
    assert (drawn.image == white).all()
    assert (drawn.opacity == 0).all()
    assert drawn.counters.density > 0
    assert drawn.counters.colored == 0


def test_the_densest_matter_hides_all_behind_its_first_sample():
    field = random_field(2, fill=1.0, density_shift=60.0)
    drawn = render_fixed(field, orbit_camera(), mlp="float")
    hit = drawn.opacity > 0
    assert hit.any()
    assert (drawn.opacity[hit] == 1).all()
    assert drawn.counters.colored == np.count_nonzero(hit)


@pytest.mark.parametrize("density", [1.0, 1e6])
def test_a_camera_inside_matter_and_without_a_mask(density):
    field = random_field(3, mask_size=None, density=density)
    camera = look_at(np.zeros(3), np.array([1.0, 0.2, 0.1]), width=16, height=12, focal=14.0)
    exact = render(field, camera)
    found = render_fixed(field, camera, FixedConfig(value_bits=12), "float")
    assert np.abs(found.opacity - exact.opacity).mean() < 0.02
    assert found.counters.density > 0


def test_a_scene_s_codes_are_taken_as_they_are(blob):
    decoded, encoded = encode_field(blob, 6)
    scene = Scene(decoded, encoded, (), FACTS)
    camera = orbit_camera(width=20, height=16)
    found = render_fixed(scene, camera, FixedConfig(), "float")
    same = render_fixed(blob, camera, FixedConfig(value_bits=6), "float")
    assert (found.image == same.image).all()


def test_a_relu_field_is_rendered(blob):
    field = replace(blob, softplus=False)
    exact = render(field, orbit_camera())
    found = render_fixed(field, orbit_camera(), FixedConfig(value_bits=10), "float")
    assert psnr(found.image, exact.image) > 45


@pytest.mark.parametrize("shift", [-1e30, 1e30])
@pytest.mark.parametrize("density", [1e-30, 1e12])
def test_absurd_densities_are_nothing_or_opaque(shift, density):
    field = random_field(4, fill=1.0, density=density, density_shift=shift)
    drawn = render_fixed(field, orbit_camera(width=12, height=9), mlp="int8")
    assert np.isin(drawn.opacity, (0, 1)).all()
    assert drawn.counters.density > 0
    assert (drawn.counters.colored > 0) == (shift > 0)


@pytest.mark.parametrize("mlp", ["int8", "ovp8", "ovp4-flint"])
def test_a_network_of_zeros_is_grey(mlp):
    field = random_field(5, fill=1.0, density_shift=60.0)
    zero = {
        name: tuple(np.zeros_like(each) for each in getattr(field, name))
        for name in ("weights", "biases", "color_planes", "color_lines")
    }
    drawn = render_fixed(
        replace(field, basis=np.zeros_like(field.basis), **zero), orbit_camera(), mlp=mlp
    )
    assert np.unique(drawn.image[drawn.opacity == 1] * 255).tolist() == [128]


def test_light_and_weights_are_exact_integers(blob):
    """One sample after the other, against what batches of all rays give."""
    config, camera = FixedConfig(), orbit_camera(width=16, height=12)
    field = fix_field(blob, config, None)
    frame = make_frame(blob, blob.mask, camera, config)
    rays = cast_fixed(frame, 0, 12)
    pixels, counts = FixedPixels.clear(len(rays), 16), Shaded()
    batches = list(plan_fixed(frame, blob.mask).batches(rays, 0, 12, CubeCounts()))

    def colors(products, directions):
        return np.stack([products[:, 0] & 511, directions[:, 0] & 511, 7 + 0 * products[:, 0]], 1)

    for batch in batches:
        shade_fixed(field, rays, batch, pixels, counts, colors, 1e-4, terminate=True)
    samples = merge_samples(batches, frame.count)
    at = np.stack([rays.field_at(axis, *samples) for axis in range(3)])
    alphas = field.alpha(field.density_sums(at)).tolist()
    shades = colors(field.color_products(at), rays.direction[:, samples.ray].T).tolist()
    light, color = [1 << 16] * len(rays), [[0, 0, 0] for _ in range(len(rays))]
    for ray, k, alpha, shade in zip(
        samples.ray.tolist(), samples.k.tolist(), alphas, shades, strict=True
    ):
        if light[ray] < 7:
            continue
        weight = 0 if k == frame.count - 1 else (alpha * light[ray] + (1 << 15)) >> 16
        light[ray] -= weight
        if weight >= 7:
            color[ray] = [c + weight * s for c, s in zip(color[ray], shade, strict=True)]
    assert pixels.light.tolist() == light
    assert pixels.color.tolist() == color
    assert min(light) < 7
    drawn = pixels.finish(True, 16, config.color_bits)
    for ray in range(len(rays)):
        for channel in range(3):
            exact = Fraction((color[ray][channel] + (light[ray] << 9)) * 255, 1 << 25)
            assert drawn[ray, channel] == min(255, (exact + Fraction(1, 2)).__floor__())
