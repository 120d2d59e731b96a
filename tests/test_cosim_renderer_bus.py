"""The bus around the renderer, in Verilator: lists, registers, errors, and where pixels go.

`StandIn` takes the place of the tile's pipeline; the driver of the real one drives it.
"""

import numpy as np
import pytest
from renderer_stand_in import StandIn, constants_byte, digest

from oleaster.hw.emit import write_design
from oleaster.hw.nerf.renderer import top
from oleaster.hw.nerf.renderer.loader import constants_beats
from oleaster.models.nerf.lookup import Fault
from oleaster.models.nerf.renderer.bus import BURST_BEATS, OUTSTANDING
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.events import EVENTS
from oleaster.models.nerf.renderer.frame_buffer import frame_bytes
from oleaster.models.nerf.renderer.registers import (
    REGISTERS,
    Cause,
    ControlBit,
    Status,
    register_offset,
)
from oleaster.models.nerf.renderer.scene_list import (
    LIST_ENTRY_BYTES,
    MOST_ENTRIES,
    ListEntry,
    capacities,
)
from oleaster.models.nerf.renderer.targets import Target, item_bits
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import DeviceError
from oleaster.sim.nerf.renderer.driver import Part, RendererDriver, RendererError
from oleaster.sim.rtl.accelerator_device import RtlDevice, build_device
from oleaster.sim.rtl.toolchain import ToolError

pytestmark = pytest.mark.rtl

CONFIG = RendererConfig(
    tile_bits=4, density_words=256, color_words=512, cube_depth=300, block_depth=32
)
SIDE = 1 << CONFIG.tile_bits
WIDE, HIGH = 2 * SIDE + 4, SIDE + 4  # three tiles by two
MEMORY_BYTES = 1 << 21
BEATS = constants_beats(CONFIG)
SLVERR = 2
TIMINGS = [
    MemoryTiming(1),
    MemoryTiming(100),
    *(MemoryTiming.random(1 + 13 * seed, 0.2 + 0.2 * seed, seed) for seed in range(4)),
]


@pytest.fixture(scope="module")
def verilog(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top, "TileRenderer", StandIn)
        return write_design(top.NerfRenderer(CONFIG), tmp_path_factory.mktemp("renderer"))[0]


@pytest.fixture(scope="module")
def executable(verilog):
    return build_device(verilog, CONFIG.data_bits, BURST_BEATS, OUTSTANDING)


@pytest.fixture
def device(executable):
    with RtlDevice(executable, MemoryTiming(7), MEMORY_BYTES) as device:
        yield device


def some_parts(seed=0):
    """Of every kind: full memories, parts of beats, single items."""
    rng = np.random.default_rng(seed)
    room = capacities(CONFIG)
    counts = {target: int(rng.integers(1, most + 1)) for target, most in room.items()}
    counts |= {Target.CUBES: room[Target.CUBES], Target.BLOCKS: 1 + seed, Target.COLOR_BLOB: 64}
    return [
        Part(target, rng.bytes(count * item_bits(target) // 8))
        for target, count in sorted(counts.items(), key=lambda _: rng.random())
    ]


def writes_of(parts):
    for part in parts:
        size = item_bits(part.target) // 8
        for i in range(part.items):
            item = part.data[i * size : (i + 1) * size]
            yield part.target, i, int.from_bytes(item, "little")


def some_constants(seed=0, fault_at=None, faults=0):
    """fault_at: (left, top) of the tile that shows them."""
    bits = top.ConstantsWord(CONFIG).size
    word = int.from_bytes(np.random.default_rng(seed).bytes(32 * BEATS), "little")
    word = word % (1 << bits) >> 53 << 53
    if fault_at is not None:
        word |= fault_at[0] | fault_at[1] << 14 | 1 << 28 | faults << 29
    return word.to_bytes(32 * BEATS, "little")


def written(constants):
    return writes_of([Part(Target.CONSTANTS, constants)])


def expected(width, height, before, constants):
    """The stand-in's image."""
    rows, columns = np.indices((height, width))
    index = rows % SIDE * SIDE + columns % SIDE
    mark = np.array(list(before.to_bytes(8, "little")), np.uint8)[index % 8]
    blue = mark ^ constants_byte(constants)
    return np.stack([columns & 0xFF, rows & 0xFF, blue], axis=2).astype(np.uint8)


def tiles_of(width, height):
    return -(-width // SIDE) * -(-height // SIDE)


def check_items_and_pixels(executable, timing):
    before = 0
    with RtlDevice(executable, timing, MEMORY_BYTES) as device:
        driver = RendererDriver(device)
        for seed, (width, height) in enumerate(((1, 1), (WIDE, HIGH), (5 * SIDE, SIDE + 1))):
            parts, constants = some_parts(seed), some_constants(seed)
            loaded = driver.load(parts)
            before = digest(writes_of(parts), before)
            beats = sum(-(-len(part.data) // 32) for part in parts) + len(parts) + 1
            assert loaded.read_beats == beats
            device.writes[:] = 0
            frame = driver.render(constants, width, height)
            before = digest(written(constants), before)
            np.testing.assert_array_equal(frame.image, expected(width, height, before, constants))
            size, tiles = frame_bytes(width, height, CONFIG.tile_bits), tiles_of(width, height)
            assert (frame.tiles, frame.write_beats, frame.read_beats) == (
                tiles, size // 32, BEATS + 2,
            )  # fmt: skip
            assert frame.events == {
                name: tiles * min(1 << place, SIDE**2) for place, name in enumerate(EVENTS)
            }
            assert frame.cycles > tiles * SIDE**2
            # The frame buffer byte by byte, once each, and nothing else.
            places = np.flatnonzero(device.writes)
            assert len(places) == size == places[-1] - places[0] + 1
            assert device.writes.max() == 1
            assert not device.memory[places[3::4]].any()


@pytest.mark.parametrize("timing", TIMINGS, ids=range(len(TIMINGS)))
def test_every_item_arrives_and_every_pixel_leaves(executable, timing):
    check_items_and_pixels(executable, timing)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        # A burst is asked for when the queue has no room for it.
        ("kept <= 6'h30", "kept <= 6'h3f"),
        # Too many bursts wait for an answer.
        ("unanswered != 3'h4", "unanswered != 3'h5"),
        # The next row of tiles begins in the middle of these.
        ("3'h0, stride, 4'h0", "4'h0, stride, 3'h0"),
        # An item is taken from the next one's place.
        ("items_left == 1'h1", "items_left == 2'h2"),
    ],
)
def test_a_broken_circuit_is_found(verilog, tmp_path, right, wrong):
    text = verilog.read_text()
    assert text.count(right) == 1
    broken = tmp_path / verilog.name
    broken.write_text(text.replace(right, wrong))
    executable = build_device(broken, CONFIG.data_bits, BURST_BEATS, OUTSTANDING)
    with pytest.raises((AssertionError, DeviceError, ToolError)):
        check_items_and_pixels(executable, MemoryTiming(100))


def test_a_read_error_at_any_beat_stops_cleanly(executable):
    parts = [Part(Target.DENSITY_ROW, bytes(64)), Part(Target.CUBES, bytes(8 * 70))]
    beats = 1 + 2 + 1 + 18 + 1
    with RtlDevice(executable, MemoryTiming.random(5, 0.3, 1), MEMORY_BYTES) as device:
        driver = RendererDriver(device)
        assert driver.load(parts).read_beats == beats
        for beat in range(beats):
            device.reset()
            device.fail_read(beat, 2 + beat % 2)
            with pytest.raises(
                RendererError, match="LOAD stopped: The bus answered a read"
            ) as found:
                driver.load(parts)
            entry = 0 if beat < 3 else 1 if beat < 22 else 2
            assert (found.value.cause, found.value.entry) == (Cause.READ_RESPONSE, entry)
            with pytest.raises(RendererError, match="No scene is loaded"):
                driver.render(some_constants(), 8, 8)
        driver.load(parts)
        for beat in range(BEATS + 2):
            device.reset()
            driver.load(parts)
            device.fail_read(beat)
            with pytest.raises(RendererError, match="RENDER stopped: The bus answered a read"):
                driver.render(some_constants(), 8, 8)
            assert device.counts().write_bursts == 0
        assert driver.render(some_constants(), 8, 8).tiles == 1


def test_a_write_error_at_any_burst_stops_cleanly(executable):
    with RtlDevice(executable, MemoryTiming.random(9, 0.3, 2), MEMORY_BYTES) as device:
        driver = RendererDriver(device)
        driver.load([])
        for burst in range(tiles_of(WIDE, HIGH) * SIDE):
            device.fail_write(burst, 2 + burst % 2)
            with pytest.raises(RendererError, match="answered a write with an error") as found:
                driver.render(some_constants(), WIDE, HIGH)
            assert found.value.cause == Cause.WRITE_RESPONSE
            tiles = driver.device.read_register(register_offset("TILES"))
            assert burst // SIDE < tiles <= burst // SIDE + 3
        driver.render(some_constants(), WIDE, HIGH)


GOOD = ListEntry(Target.CUBES, 0, 4, 0x1000)
ROOM = capacities(CONFIG)


def changed(entry, byte, value):
    """The descriptor with other bytes."""
    packed = bytearray(entry.pack())
    packed[byte : byte + len(value)] = value
    return bytes(packed)


@pytest.mark.parametrize(
    "bad",
    [
        *(ListEntry(target, 0, 1, 0x1000) for target in (13, 14, 15, 20, 31, 32, 1 << 31)),
        *(ListEntry(target, most, 1, 0x1000) for target, most in ROOM.items()),
        ListEntry(Target.CONSTANTS, 0, BEATS + 1, 0x1000),
        ListEntry(Target.CUBES, 0, ROOM[Target.CUBES] + 1, 0x1000),
        ListEntry(Target.CUBES, (1 << 32) - 1, 1, 0x1000),
        ListEntry(Target.CUBES, (1 << 32) - 1, (1 << 32) - 1, 0x1000),
        ListEntry(Target.CUBES, 1, (1 << 32) - 1, 0x1000),
        *(ListEntry(Target.CUBES, 0, 1, 0x1000 + offset) for offset in (1, 32, 256)),
        changed(GOOD, 12, b"\x01"),
        changed(GOOD, 22, b"\x01"),
        changed(GOOD, 31, b"\x80"),
    ],
    ids=str,
)
def test_a_bad_descriptor_stops_the_list(device, bad):
    good = [ListEntry(Target.BLOCKS, 3, 2, 0x2000), GOOD]
    packed = bad if isinstance(bad, bytes) else bad.pack()
    data = b"".join([each.pack() for each in good] + [packed, bytes(32)])
    device.memory[: len(data)] = np.frombuffer(data, np.uint8)
    run(device, ControlBit.LOAD)
    assert value(device, "STATUS") == 1 << Status.ERROR
    assert (value(device, "CAUSE"), value(device, "ENTRY")) == (Cause.LIST, 2)
    assert device.counts().read_beats == 3 + 1 + 1


def run(device, command):
    assert device.write(register_offset("CONTROL"), 1 << command) == 0
    while value(device, "STATUS") & 1 << Status.BUSY:
        device.run(10)


def value(device, name):
    found, response = device.read(register_offset(name))
    assert response == 0
    return found


def test_a_list_ends_in_time_or_stops(device):
    driver = RendererDriver(device)
    driver.load([Part(Target.BLOCKS, bytes(8))] * (MOST_ENTRIES - 1))
    with pytest.raises(ValueError, match=f"{MOST_ENTRIES} descriptors; {MOST_ENTRIES - 1} is"):
        driver.load([Part(Target.BLOCKS, bytes(8))] * MOST_ENTRIES)
    entry = np.frombuffer(ListEntry(Target.BLOCKS, 0, 1, 0x1000).pack(), np.uint8)
    device.memory[: LIST_ENTRY_BYTES * MOST_ENTRIES] = np.tile(entry, MOST_ENTRIES)
    run(device, ControlBit.LOAD)
    assert (value(device, "CAUSE"), value(device, "ENTRY")) == (Cause.LIST, MOST_ENTRIES - 1)


@pytest.mark.parametrize("address", [1, 4, 16])
def test_a_list_begins_at_a_multiple_of_its_descriptors(device, address):
    device.write_register(register_offset("SCENE_LOW"), address)
    run(device, ControlBit.LOAD)
    assert value(device, "CAUSE") == Cause.LIST
    assert device.counts().read_bursts == 0


def test_a_frames_list_writes_constants_alone(device):
    driver = RendererDriver(device)
    driver.load([])
    data = ListEntry(Target.CUBES, 0, 1, 0x1000).pack()
    device.memory[0x800 : 0x800 + len(data)] = np.frombuffer(data, np.uint8)
    for name, number in (("FRAME_LOW", 0x800), ("WIDTH", 8), ("HEIGHT", 8), ("OUTPUT_LOW", 4096)):
        device.write_register(register_offset(name), number)
    run(device, ControlBit.RENDER)
    assert (value(device, "CAUSE"), value(device, "ENTRY")) == (Cause.LIST, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        *({side: pixels} for side in ("WIDTH", "HEIGHT") for pixels in (0, 16385, 1 << 31)),
        {"OUTPUT_LOW": 4096 + 256},
        {"OUTPUT_LOW": 1},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(device, wrong):
    RendererDriver(device).load([])
    right = {"WIDTH": 8, "HEIGHT": 8, "OUTPUT_LOW": 4096}
    for name, number in {**right, **wrong}.items():
        device.write_register(register_offset(name), number)
    run(device, ControlBit.RENDER)
    assert value(device, "CAUSE") == Cause.SIZE
    assert device.counts().read_beats == 1


def test_the_widest_and_the_highest_image_reach_their_tiles(device):
    # Far too long to render: the last column's tile shows that counters are wide enough.
    driver = RendererDriver(device)
    driver.load([])
    constants = some_constants(1, (16384 - SIDE, 0), 1 << 23)
    with pytest.raises(RendererError, match=r"color_blob\[2\]: falling"):
        driver.render(constants, 16384, 1)
    assert value(device, "TILES") == 16384 // SIDE
    constants = some_constants(1, (0, 16384 - SIDE), 2)
    with pytest.raises(RendererError, match=r"density_blob\[0\]: count"):
        driver.render(constants, 1, 16384)
    assert value(device, "TILES") == 16384 // SIDE


@pytest.mark.parametrize("place", range(6))
def test_a_fault_ends_the_frame_with_its_tile(executable, place):
    left, above = place % 3 * SIDE, place // 3 * SIDE
    with RtlDevice(executable, MemoryTiming.random(20, 0.4, place), MEMORY_BYTES) as device:
        driver = RendererDriver(device)
        driver.load([])
        constants = some_constants(place, (left, above), 0x5 << 4 * place)
        with pytest.raises(RendererError) as found:
            driver.render(constants, WIDE, HIGH)
        faults = [Fault(0)] * 6
        faults[place] = Fault.MODE | Fault.OUTSIDE
        assert (found.value.cause, list(found.value.faults)) == (Cause.FAULT, faults)
        assert "mode, outside" in str(found.value)
        assert value(device, "TILES") == place + 1
        assert device.counts().write_bursts == (place + 1) * SIDE
        assert (value(device, "FAULTS"), value(device, "STATUS")) == (0, 1 << Status.LOADED)
        driver.render(some_constants(place), WIDE, HIGH)


def test_a_reset_at_any_time_leaves_it_as_new(executable):
    rng = np.random.default_rng(3)
    parts, constants = some_parts(3), some_constants(3)
    with RtlDevice(executable, MemoryTiming(30), MEMORY_BYTES) as device:
        driver = RendererDriver(device)
        cycles = driver.load(parts).cycles
        for at in rng.integers(1, cycles, 12):
            device.write_register(register_offset("CONTROL"), 1 << ControlBit.LOAD)
            device.run(int(at))
            device.reset()
            assert value(device, "STATUS") == 0
        driver.load(parts)
        cycles = driver.render(constants, WIDE, HIGH).cycles
        for at in rng.integers(1, cycles, 12):
            device.reset()
            driver.load(parts)
            for name, number in (("FRAME_LOW", 0), ("WIDTH", WIDE), ("HEIGHT", HIGH)):
                device.write_register(register_offset(name), number)
            driver.render(constants, 8, 8)
            device.write_register(register_offset("CONTROL"), 1 << ControlBit.RENDER)
            device.run(int(at))
        device.reset()
        driver.load(parts)
        frame = driver.render(constants, WIDE, HIGH)
        before = digest([*writes_of(parts), *written(constants)])
        np.testing.assert_array_equal(frame.image, expected(WIDE, HIGH, before, constants))


def test_registers_answer_as_the_map_says(device):
    driver = RendererDriver(device)
    for register in REGISTERS:
        offset = register.offset
        before, response = device.read(offset)
        assert response == 0
        if register.access == "ro":
            assert device.write(offset, 0xFFFF_FFFF) == SLVERR
            assert device.read(offset) == (before, 0)
        elif register.access == "rw":
            assert device.write(offset, 0xFFFF_FFFF) == 0
            assert device.read(offset)[0].bit_count() in (2, 16, 32)
    assert device.read(0xFC)[1] == device.write(0xFC, 0) == SLVERR
    assert driver.tile_bits == CONFIG.tile_bits
    assert value(device, "CONSTANTS") == BEATS
    assert value(device, "CUBES") == CONFIG.cube_depth | CONFIG.cube_word << 24


def test_commands_are_refused_while_busy_and_in_error(device):
    driver = RendererDriver(device)
    driver.load([])
    device.write_register(register_offset("OUTPUT_LOW"), 0x1000)
    for name in ("WIDTH", "HEIGHT"):
        device.write_register(register_offset(name), 8)
    control = register_offset("CONTROL")
    assert device.write(control, 1 << ControlBit.RENDER) == 0
    for command in ControlBit:
        assert device.write(control, 1 << command) == SLVERR
    with pytest.raises(DeviceError, match="a command runs already"):
        driver.load([])
    while value(device, "STATUS") & 1 << Status.BUSY:
        device.run(10)
    assert value(device, "STATUS") == 1 << Status.DONE | 1 << Status.LOADED | 1 << Status.INTERRUPT
    device.write_register(register_offset("INTERRUPT_ENABLE"), 0)
    device.write_register(register_offset("WIDTH"), 0)
    run(device, ControlBit.RENDER)
    for command in (ControlBit.LOAD, ControlBit.RENDER):
        assert device.write(control, 1 << command) == SLVERR
    assert device.write(control, 1 << ControlBit.CLEAR) == 0
    assert value(device, "STATUS") == 1 << Status.LOADED
    assert value(device, "CAUSE") == Cause.NONE
