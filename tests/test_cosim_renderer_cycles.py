"""The whole renderer in Verilator against its cycle model: every event, and cycle for cycle."""

import pytest
from nerf_fields import orbit_camera
from test_cosim_renderer import SMALL, Machine, inside_camera, some_scene

from oleaster.hw.emit import write_design
from oleaster.hw.nerf.renderer.top import NerfRenderer
from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
from oleaster.sim.nerf.renderer.model import frame_looks, render_cycles
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_device

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    verilog, _ = write_design(NerfRenderer(SMALL), tmp_path_factory.mktemp("renderer"))
    return build_device(verilog, SMALL.data_bits, BURST_BEATS, OUTSTANDING)


def test_cycles_and_events_are_the_models(small):
    """What is read before the first tile and written behind the last takes as long each time."""
    around = set()
    with RtlDevice(small) as device:
        machine = Machine(device, SMALL)
        for seed in range(4):
            scene = some_scene(seed, (0.2, 0.6)[seed % 2], white_background=seed != 3)
            machine.load(scene)
            for camera, terminate in (
                (orbit_camera(0.6 + seed, width=19, height=10), True),
                (orbit_camera(2.0 + seed, width=8, height=8), False),
                (orbit_camera(0.3 * seed, width=24, height=24), True),
                (inside_camera(), True),
            ):
                frame = machine.render(camera, terminate)
                looks = frame_looks(machine.image.encoded)
                model = render_cycles(machine.fixed, looks, camera, SMALL, terminate=terminate)
                assert frame.events == model.events
                assert (frame.image == model.image).all()
                around.add(frame.cycles - model.cycles)
    assert len(around) == 1
