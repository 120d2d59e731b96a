"""The cycle model of a frame: the reference's pixels, and the cycles that were measured in RTL."""

from dataclasses import replace

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.scene import Facts, Scene, load_scene
from oleaster.sim.nerf.pipe import PipeClock
from oleaster.sim.nerf.renderer.clocks import accept, answered, new_pipe, offers
from oleaster.sim.nerf.renderer.machine import Count
from oleaster.sim.nerf.renderer.model import frame_looks, render_cycles
from oleaster.sim.nerf.renderer.network import FastNetwork
from oleaster.sim.nerf.renderer.values import Codes

NO_FACTS = Facts("", "", "", "", "", (), (), 0, 0)
SMALL = RendererConfig(tile_bits=3, color_rows=8, color_cols=8)


def some_scene(seed, **settings):
    field = random_field(
        seed, size=(14, 11, 9), mask_size=(19, 12, 21), fill=0.05, components=(4, 4), density=8.0,
        **settings,
    )  # fmt: skip
    decoded, encoded = encode_field(field, 6)
    return Scene(decoded, encoded, (), NO_FACTS)


def looked(scene, camera, config=SMALL, **settings):
    fixed = fix_scene(scene)
    config = replace(config, network=NetworkShape.of(fixed.colors))
    return fixed, render_cycles(fixed, frame_looks(scene.encoded), camera, config, **settings)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("terminate", [True, False])
def test_pixels_are_the_references(seed, terminate):
    scene = some_scene(seed, white_background=seed != 1)
    camera = orbit_camera(0.7 + seed, width=21, height=13)
    fixed, frame = looked(scene, camera, terminate=terminate)
    reference = fixed.render(camera, terminate=terminate)
    np.testing.assert_array_equal(frame.image, np.rint(reference.image * 255).astype(np.uint8))
    light = np.ldexp(frame.light, -fixed.tensors.config.transmittance_bits)
    np.testing.assert_array_equal((1 - light).astype(np.float32), reference.opacity)
    assert frame.events["color_sample"] == reference.counters.colored > 0
    assert len(np.unique(frame.image.reshape(-1, 3), axis=0)) > 5
    if not terminate:
        assert frame.events["sample"] == reference.counters.kept


def test_cycles_are_those_of_the_rtl():
    """Measured by Verilator, of the unit tile-renderer with these parameters."""
    duck = load_scene("duck")
    camera = duck.views[0].camera.scaled(20, 20)
    _, frame = looked(duck, camera, RendererConfig(tile_bits=3), image=False)
    measured = [[108903, 993340, 16632], [989949, 2181635, 16632], [164194, 283129, 16632]]
    assert frame.tiles.tolist() == measured
    assert frame.image is None


def test_tiles_are_dealt_to_the_next_idle_renderer():
    _, frame = looked(some_scene(4), orbit_camera(width=24, height=17))
    tiles = frame.tiles.ravel().tolist()
    assert frame.on(1) == frame.cycles == sum(tiles)
    assert frame.on(len(tiles)) == max(tiles)
    ends = [0, 0]
    for tile in tiles:
        ends[ends.index(min(ends))] += tile
    assert frame.on(2) == max(ends)


def test_threads_do_not_matter():
    scene, camera = some_scene(5), orbit_camera(width=24, height=17)
    (_, one), (_, two) = (looked(scene, camera, threads=count) for count in (1, 3))
    assert one.counts == two.counts
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.tiles, two.tiles)


def test_more_networks_are_faster_and_change_no_pixel():
    duck = load_scene("duck")
    camera = duck.views[0].camera.scaled(10, 12)
    (_, one), (_, three) = (looked(duck, camera, replace(SMALL, networks=n)) for n in (1, 3))
    assert three.cycles < one.cycles
    assert three.events["color_sample"] == one.events["color_sample"]
    np.testing.assert_array_equal(one.image, three.image)


def test_a_stage_is_never_busier_than_the_frame_is_long():
    _, frame = looked(some_scene(7), orbit_camera(width=24, height=17))
    assert all(0 < busy <= frame.cycles for busy in frame.stages.values())
    assert frame.counts[Count.SAMPLE] == frame.events["sample"]


def test_the_fast_network_is_the_network():
    fixed = fix_scene(blob_field())
    rng = np.random.default_rng(0)
    last = (np.array(fixed.tensors.size) - 1) << fixed.tensors.config.position_bits
    at = rng.integers(0, last + 1, (5000, 3))
    directions = rng.integers(-1 << 20, (1 << 20) + 1, (5000, 3))
    fast = FastNetwork(fixed.colors, Codes.of(fixed.tensors, fixed.tensors.color))
    found = fixed.colors(fixed.tensors.color_products(at.T), directions)
    np.testing.assert_array_equal(fast(at, directions), found)
    assert len(np.unique(found)) > 50


@pytest.mark.parametrize(("latency", "interval"), [(0, 1), (4, 1), (9, 3)])
def test_compiled_pipes_are_pipe_clocks(latency, interval):
    rng = np.random.default_rng(latency)
    pipe, clock = new_pipe(latency, interval), PipeClock(latency, interval)
    cycle = 0
    for _ in range(300):
        cycle += int(rng.integers(0, 3))
        late = int(rng.integers(0, 5)) * int(rng.integers(0, 2))
        assert accept(pipe, cycle) == clock.accept(cycle)
        first = offers(pipe)
        clock.answer(lambda offered, first=first, late=late: offered + late)
        answered(pipe, first + late)
        assert first + late == clock.taken


def test_what_does_not_fit_is_refused():
    scene = some_scene(8)
    camera, look = orbit_camera(), frame_looks(scene.encoded)
    with pytest.raises(FieldError, match="integers, not of floats"):
        render_cycles(fix_scene(scene, mlp="float"), look, camera, SMALL)
    fixed, wide = fix_scene(scene), replace(SMALL, fixed=FixedConfig(weight_bits=9))
    with pytest.raises(FieldError, match="widths"):
        render_cycles(fixed, look, camera, wide)


@pytest.mark.parametrize(
    "without", [{"sampler": "uniform"}, {"sampler": "balls"}, {"blocks": False}]
)
def test_pixels_are_the_same_without_an_idea(without):
    """Fewer cubes, pixels or samples are tested with it."""
    duck = load_scene("duck")
    camera = duck.views[0].camera.scaled(10, 9)
    (_, all_ideas), (_, fewer) = (looked(duck, camera, **each) for each in ({}, without))
    np.testing.assert_array_equal(fewer.image, all_ideas.image)
    np.testing.assert_array_equal(fewer.light, all_ideas.light)
    assert fewer.events["color_sample"] == all_ideas.events["color_sample"] > 0
    count = Count.SAMPLE_TESTED if "sampler" in without else Count.CUBE
    assert fewer.counts[count] > 1.2 * all_ideas.counts[count]
