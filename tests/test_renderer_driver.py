"""The renderer's driver on a device that only remembers, and what a scene becomes for it."""

from dataclasses import replace

import numpy as np
import pytest

from oleaster.models.nerf.blob import write_blob
from oleaster.models.nerf.encoding import decode
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.layout import PLAIN
from oleaster.models.nerf.lookup import LARGEST_ELEMENT, WORD_BYTES, Fault, tensor_rows
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.frame_buffer import frame_bytes, image_of, stride_of
from oleaster.models.nerf.renderer.registers import ID, Cause, Status, register_offset
from oleaster.models.nerf.renderer.scene_list import ListEntry, capacities, target_name
from oleaster.models.nerf.renderer.targets import Target, item_bits
from oleaster.models.nerf.scene import load_scene
from oleaster.models.nerf.tensors import TENSORS
from oleaster.sim.driver import DeviceError, DeviceTimeout
from oleaster.sim.nerf.renderer.driver import Part, RendererDriver, RendererError
from oleaster.sim.nerf.renderer.image import fitting, pair_memory, scene_image


class Register:
    """Registers that can be set from outside, and an interrupt after some cycles."""

    def __init__(self, memory_bytes=1 << 16, **values):
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.values = {"ID": ID, "TILE": 8, "STATUS": 0, "after": 0, **values}
        self.written = []

    def read_register(self, offset):
        return next(
            (value for name, value in self.values.items() if name != "after"
             and register_offset(name) == offset), 0,
        )  # fmt: skip

    def write_register(self, offset, value):
        self.written.append((offset, value))
        if (offset, value) in ((register_offset("CONTROL"), 1), (register_offset("CONTROL"), 2)):
            self.values["STATUS"] = self.values.get("then", 1 << Status.DONE)

    def wait(self, cycles):
        self.values["after"] -= cycles
        if self.values["after"] > 0:
            raise DeviceTimeout("no interrupt")


class Stopping(Register):
    """A command ends in error."""

    def write_register(self, offset, value):
        super().write_register(offset, value)
        if offset == register_offset("CONTROL") and value in (1, 2):
            self.values["STATUS"] = 1 << Status.ERROR


def test_another_device_is_refused():
    with pytest.raises(DeviceError, match="ID is 0x01564c4f; a renderer of this version has"):
        RendererDriver(Register(ID=0x01564C4F))


def test_lists_and_items_lie_where_the_registers_say():
    device = Register()
    parts = [Part(Target.CUBES, bytes(range(1, 41))), Part(Target.ALPHA, bytes([7]) * 8)]
    driver = RendererDriver(device)
    report = driver.load(parts)
    assert report.bytes % 512 == 0
    entries = device.memory[:96].view("<u4").reshape(3, 8)
    assert entries[0, :3].tolist() == [Target.CUBES, 0, 5]
    assert entries[1, :3].tolist() == [Target.ALPHA, 0, 1]
    assert not entries[2].any()
    for entry, part in zip(entries, parts, strict=False):
        at = int(entry[4])
        assert at % 512 == 0
        assert device.memory[at : at + len(part.data)].tobytes() == part.data
    device.written.clear()
    done = []
    device.values["after"] = 500_000
    frame = driver.render(bytes(64), 9, 3, report=lambda *at: done.append(at))
    written = dict(device.written)
    assert written[register_offset("FRAME_LOW")] == report.bytes
    assert written[register_offset("OUTPUT_LOW")] == report.bytes + 1024
    assert (frame.image.shape, done) == ((3, 9, 3), [(0, 2), (0, 2), (2, 2)])


def test_what_cannot_be_is_refused_before_anything_is_done():
    driver = RendererDriver(Register())
    driver.load([])
    for width, height, name in ((0, 8, "width"), (16385, 8, "width"), (8, 0, "height")):
        with pytest.raises(ValueError, match=f"{name} is"):
            driver.render(bytes(64), width, height)
    with pytest.raises(ValueError, match="the device's memory has 65536"):
        driver.render(bytes(64), 128, 128)
    with pytest.raises(ValueError, match="the device's memory has 65536"):
        driver.load([Part(Target.CUBES, bytes(1 << 16))])
    with pytest.raises(ValueError, match="target is -1; it has 32 bits"):
        ListEntry(-1, 0, 1, 0).pack()


def test_a_command_in_vain_says_why():
    device = Stopping(CAUSE=Cause.FAULT, FAULTS=Fault.COUNT << 4 | Fault.MODE << 20, ENTRY=3)
    driver = RendererDriver(device)
    with pytest.raises(RendererError) as found:
        driver.load([])
    assert "density_blob[1]: count; color_blob[2]: mode" in str(found.value)
    assert (found.value.faults[1], found.value.faults[5]) == (Fault.COUNT, Fault.MODE)
    device.values["CAUSE"] = Cause.LIST
    with pytest.raises(RendererError, match=r"ENTRY is its number \(descriptor 3\)"):
        driver.load([])
    device.values["CAUSE"] = 13
    with pytest.raises(RendererError, match="unknown cause 13"):
        driver.load([])
    with pytest.raises(DeviceTimeout):
        RendererDriver(Register(after=1 << 40)).load([])
    with pytest.raises(DeviceError, match="a command runs already"):
        RendererDriver(Register(STATUS=1)).load([])
    with pytest.raises(DeviceError, match="neither done nor in error"):
        RendererDriver(Register(then=0)).load([])


def test_frame_buffers_have_whole_tiles():
    assert (stride_of(17, 4), frame_bytes(17, 1, 4)) == (128, 128 * 16)
    buffer = np.arange(128 * 16, dtype=np.int64).astype(np.uint8)
    image = image_of(buffer, 17, 2, 4)
    assert image[1, 16].tolist() == [(128 + 64 + i) % 256 for i in range(3)]


def test_targets_have_names():
    names = {target_name(target) for target in [*capacities(RendererConfig()), Target.CONSTANTS]}
    assert {"DENSITY_BLOB[0]", "COLOR_ROW[2]", "CUBES", "CONSTANTS"} <= names
    assert len(names) == 17
    with pytest.raises(ValueError, match="13"):
        target_name(13)


# A scene's parts


@pytest.fixture(scope="module")
def chair():
    scene = load_scene("chair")
    return scene, fix_scene(scene)


def test_wide_elements_are_encoded_again_without_loss(chair):
    scene, _ = chair
    found = fitting(scene.encoded, RendererConfig())
    again = [name for name in TENSORS if found[name] is not scene.encoded[name]]
    assert again == ["color_lines[0]", "color_lines[2]"]
    for name in again:
        each = found[name]
        group = each.components if each.layout == PLAIN else each.layout.group
        assert group * each.bits <= LARGEST_ELEMENT
        np.testing.assert_array_equal(decode(each).codes, decode(scene.encoded[name]).codes)


def test_a_pairs_memory_holds_what_its_rows_say(chair):
    scene, _ = chair
    rows = dict(zip(TENSORS, tensor_rows(write_blob(scene.encoded)), strict=True))
    for m in range(3):
        names = f"color_planes[{m}]", f"color_lines[{m}]"
        data, found = pair_memory(*(scene.encoded[name] for name in names))
        assert len(data) % 64 == 0
        for name, row in zip(names, found, strict=True):
            each = scene.encoded[name]
            addresses = {"directory": row.directory, "payload": row.payload}
            assert row == rows[name]._replace(**addresses)
            for address, piece in (
                (row.directory, each.directory.tobytes()),
                (row.payload, each.payload),
            ):
                assert address * WORD_BYTES % 64 == 0
                assert data[address * WORD_BYTES :][: len(piece)] == piece


def test_parts_fill_no_memory_twice(chair):
    config = RendererConfig()
    image = scene_image(*chair, config)
    room = capacities(config)
    assert sorted(part.target for part in image.parts) == sorted(room)
    for part in image.parts:
        assert part.items * item_bits(part.target) == 8 * len(part.data)
        assert 0 < part.items <= room[part.target]
    assert image.bytes == sum(len(part.data) for part in image.parts)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"color_words": 1 << 14},
            "17360 words of 32 bits for plane and line 0 of color; color_words is 16384, 32768 w",
        ),
        ({"cube_depth": 1 << 15}, "37584 words of cubes; cube_depth is 32768, 37584 would do"),
        ({"block_depth": 256}, "315 words of blocks; block_depth is 256, 315 would do"),
        ({"axis_bits": 7}, "162 cubes along an axis .*; axis_bits is 7, 8 would do"),
        ({"cell_bits": 7}, "163 points of the field along an axis .*; cell_bits is 7, 8 would do"),
        ({"plane_bits": 7}, "8 bits for a code of .*planes.0.; plane_bits is 7, 8 would do"),
        ({"line_bits": 9}, "10 bits for a code of .*lines.0.; line_bits is 9, 10 would do"),
        ({"color_components": 8}, "12 components of color_planes.0.; color_components is 8, 12"),
        ({"alpha_largest_shift": 2}, "intervals of 2.4 for alpha; alpha_largest_shift is 2, 4 w"),
        ({"alpha_sum_bits": 12}, "sums of 0 to 8192 for alpha; alpha_sum_bits is 12, 14 would do"),
        ({"fixed": FixedConfig(guard_bits=1)}, "FixedConfig"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(chair, config, sentence):
    with pytest.raises(FieldError, match=f"^chair (takes|is in) .*?{sentence}"):
        scene_image(*chair, replace(RendererConfig(), **config), "chair")


def test_networks_that_do_not_fit_are_named(chair):
    scene, fixed = chair
    with pytest.raises(FieldError, match="network is in float"):
        scene_image(scene, fix_scene(scene, mlp="float"), RendererConfig())
    small = replace(RendererConfig(), network=replace(RendererConfig().network, hidden=64))
    with pytest.raises(FieldError, match=r"hidden=128.*; the renderer's is a .*hidden=64"):
        scene_image(scene, fixed, small)
