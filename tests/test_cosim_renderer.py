"""The whole renderer in Verilator: every pixel is the reference's, and damage is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nerf_fields import orbit_camera, random_field

from oleaster.cli import main
from oleaster.designs import design_files
from oleaster.hw.emit import write_design
from oleaster.hw.nerf.renderer.top import NerfRenderer
from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.image import decode_image
from oleaster.models.nerf.layout import BASE_AT, COORDINATES, COUNT_AT
from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.registers import Cause, ControlBit, register_offset
from oleaster.models.nerf.scene import Facts, Scene, load_scene
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.nerf.renderer.constants import constants_word
from oleaster.sim.nerf.renderer.driver import RendererDriver, RendererError
from oleaster.sim.nerf.renderer.image import scene_image
from oleaster.sim.nerf.renderer.machine import Count
from oleaster.sim.nerf.renderer.model import frame_looks, render_cycles
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_device
from oleaster.sim.rtl.cosim import run_bench

pytestmark = pytest.mark.rtl

SMALL = RendererConfig(
    network=NetworkShape(products=12, features=4, feature_octaves=2, direction_octaves=2, hidden=8),
    axis_bits=5,
    cell_bits=7,
    tile_bits=3,
    cube_word=16,
    cube_depth=705,
    block_depth=17,
    color_components=4,
    density_words=1 << 12,
    color_words=1 << 12,
    color_rows=6,
    color_cols=8,
    color_encoders=2,
    networks=2,
)
NO_FACTS = Facts("", "", "", "", "", (), (), 0, 0)
DECODERS = [f"{kind}_planes[{m}]" for kind in ("density", "color") for m in range(3)]


def some_scene(seed, share=0.2, **settings):
    """Of planes' elements, `share` are stored; few of the mask's points are set."""
    rng = np.random.default_rng(seed)
    field = random_field(
        seed, size=(40, 36, 70), mask_size=(21, 17, 23), fill=0.01, components=(4, 4),
        density=16.0, **settings,
    )  # fmt: skip
    sparse = {
        name: tuple(
            np.where(rng.random(plane.shape) < share, plane, 0).astype(np.float32)
            for plane in getattr(field, name)
        )
        for name in ("density_planes", "color_planes")
    }
    decoded, encoded = encode_field(replace(field, **sparse), 6)
    return Scene(decoded, encoded, (), NO_FACTS)


class Machine:
    """A device with a driver, and scenes and cameras in place of bytes."""

    def __init__(self, device, config):
        self.driver, self.config = RendererDriver(device), config

    def load(self, scene):
        self.scene, self.fixed = scene, fix_scene(scene)
        self.image = scene_image(scene, self.fixed, self.config)
        return self.driver.load(self.image.parts)

    def render(self, camera, terminate=True):
        word = constants_word(
            self.fixed, self.image.encoded, camera, self.config, terminate=terminate
        )
        return self.driver.render(word, camera.width, camera.height)

    def check(self, camera, terminate=True):
        """Render, and compare with the reference."""
        frame = self.render(camera, terminate)
        reference = self.fixed.render(camera, terminate=terminate)
        expected = np.rint(reference.image * 255).astype(np.uint8)
        np.testing.assert_array_equal(frame.image, expected)
        counters = reference.counters
        assert frame.events["color_sample"] == counters.colored
        if not terminate:  # else the shader tells of dark pixels some cycles late
            assert frame.events["sample"] == counters.kept
        return frame, expected


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    """(Verilog, manifest)"""
    return write_design(NerfRenderer(SMALL), tmp_path_factory.mktemp("renderer"))


@pytest.fixture(scope="module")
def small(design):
    return build_device(design[0], SMALL.data_bits, BURST_BEATS, OUTSTANDING)


@pytest.fixture(scope="module")
def default():
    verilog, _ = design_files("nerf-renderer")
    return build_device(verilog, RendererConfig().data_bits, BURST_BEATS, OUTSTANDING)


def inside_camera():
    """Among the cubes."""
    return look_at(np.array([0.3, 0.1, 0.2]), np.zeros(3), width=9, height=8, focal=6.0)


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_of_random_scenes(small, seed):
    timing = MemoryTiming.random(1 + 30 * seed, 0.3 * seed, seed)
    with RtlDevice(small, timing) as device:
        machine = Machine(device, SMALL)
        for scene in (some_scene(seed), some_scene(seed + 10, 0.6, white_background=False)):
            machine.load(scene)
            frame, expected = machine.check(orbit_camera(0.6 + seed, width=19, height=10))
            assert frame.tiles == 6
            assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 5
            machine.check(orbit_camera(2.0 + seed, width=8, height=8), terminate=False)
        machine.check(inside_camera())


def test_bench(design, tmp_path):
    result = run_bench("nerf-renderer", *design, folder=tmp_path)
    assert (result.passed, result.failed) == (3, 0), result.log.read_text()[-3000:]


COUNTED = {
    "pixel_tested": Count.PIXEL_TESTED,
    "sample_tested": Count.SAMPLE_TESTED,
    "sample": Count.SAMPLE,
    "color_sample": Count.COLORED,
    "color_waits": Count.COLOR_WAITS,
}


def test_cycles_are_the_models(small):
    around = set()  # what the bus takes before the first tile and behind the last one
    with RtlDevice(small, MemoryTiming(5)) as device:
        machine = Machine(device, SMALL)
        for seed in (7, 8):
            machine.load(some_scene(seed))
            for width, height in ((8, 8), (30, 20)):
                camera = orbit_camera(seed, width=width, height=height)
                frame = machine.render(camera)
                looks = frame_looks(machine.image.encoded)
                model = render_cycles(machine.fixed, looks, camera, SMALL)
                np.testing.assert_array_equal(model.image, frame.image)
                around.add(frame.cycles - model.cycles)
                found = {event: model.counts[count] for event, count in COUNTED.items()}
                assert found == {event: frame.events[event] for event in COUNTED}
    assert len(around) == 1
    assert around.pop() < 100


def test_a_reset_midway_leaves_it_as_new(small, sparse):
    camera = orbit_camera(0.6, width=16, height=8)
    with RtlDevice(small, MemoryTiming(20)) as device:
        machine = Machine(device, SMALL)
        machine.load(sparse)
        cycles = machine.check(camera)[0].cycles
        for share in (0.05, 0.3, 0.5, 0.8):
            device.write_register(register_offset("CONTROL"), 1 << ControlBit.RENDER)
            device.run(int(share * cycles))
            device.reset()
            machine.load(sparse)
            machine.check(camera)


def damaged(encoded, fault):
    """Every chunk with this fault; OUTSIDE and FALLING only chunks where it can be."""
    directory, payload = encoded.directory.copy(), bytearray(encoded.payload)
    if fault == Fault.MODE:
        directory |= 3
    elif fault == Fault.COUNT:
        directory |= np.uint32(0xFF << COUNT_AT)
    elif fault == Fault.OUTSIDE:
        directory |= np.uint32(0xFFFF_FFFF >> BASE_AT << BASE_AT)
    else:
        lists = (encoded.modes == COORDINATES) & (encoded.counts >= 2)
        assert lists.any()
        for base in encoded.bases[lists]:
            payload[base : base + 2] = bytes(2)
    return replace(encoded, directory=directory, payload=bytes(payload))


@pytest.fixture(scope="module")
def sparse():
    return some_scene(5, 0.04)


@pytest.mark.parametrize("fault", Fault)
def test_damage_is_told_and_the_next_scene_is_whole(small, sparse, fault):
    camera = orbit_camera(0.6, width=8, height=8)
    with RtlDevice(small, MemoryTiming(20)) as device:
        machine = Machine(device, SMALL)
        for place, name in enumerate(DECODERS):
            wrong = {**sparse.encoded, name: damaged(sparse.encoded[name], fault)}
            machine.load(sparse)
            machine.image = scene_image(replace(sparse, encoded=wrong), machine.fixed, SMALL)
            machine.driver.load(machine.image.parts)
            with pytest.raises(RendererError, match="A decoder found a damaged chunk") as found:
                machine.render(camera)
            assert found.value.cause == Cause.FAULT
            assert fault in found.value.faults[place]
            assert not any(found.value.faults[:place] + found.value.faults[place + 1 :])
        machine.load(sparse)
        machine.check(camera)


@pytest.mark.long
def test_lego_at_16x16_from_the_command_line(tmp_path, capsys):
    path = tmp_path / "lego.png"
    command = ["nerf", "render", "lego", "--size", "16x16", "--engine", "rtl", "-o", str(path)]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    scene = load_scene("lego")
    camera = scene.views[0].camera.scaled(16, 16)
    fixed = fix_scene(scene)
    reference = fixed.render(camera)
    np.testing.assert_array_equal(decode_image(path.read_bytes()), reference.image)
    assert len(np.unique(reference.image.reshape(-1, 3), axis=0)) > 50
    hardware = result["hardware"]
    assert (hardware["wrong_pixels"], hardware["tiles"]) == (0, 1)
    assert hardware["events"]["color_sample"] == reference.counters.colored
    assert hardware["load_cycles"] > hardware["scene_bytes"] / 32
    looks = frame_looks(scene_image(scene, fixed, RendererConfig()).encoded)
    model = render_cycles(fixed, looks, camera, image=False)
    assert 0 < hardware["cycles"] - model.cycles < 1000


@pytest.mark.more
@pytest.mark.parametrize(("name", "side"), [("lego", 32), ("chair", 16)])
def test_more_of_the_scenes(default, name, side):
    # Some lines of chair are too wide for the decoders, and encoded again.
    scene = load_scene(name)
    with RtlDevice(default) as device:
        machine = Machine(device, RendererConfig())
        machine.load(scene)
        machine.check(scene.views[0].camera.scaled(side, side))
