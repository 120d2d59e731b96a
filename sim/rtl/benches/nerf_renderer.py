"""The whole renderer: images of random scenes, error responses on any beat, resets.

The memory and the host are cocotbext-axi's; what must come of a scene is the fixed point's to say.
"""

import dataclasses
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from numpy.typing import NDArray

from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, Array, Field, Mask
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import FixedScene, fix_scene
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.renderer.bus import ALIGNMENT
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.frame_buffer import frame_bytes, image_of
from oleaster.models.nerf.renderer.registers import Cause, ControlBit, Status, register_offset
from oleaster.models.nerf.renderer.targets import Target
from oleaster.models.nerf.scene import Facts, Scene
from oleaster.sim.nerf.renderer.constants import constants_word
from oleaster.sim.nerf.renderer.driver import Part, list_block
from oleaster.sim.nerf.renderer.image import SceneImage, scene_image
from oleaster.sim.rtl.benches.axi import Machine
from oleaster.sim.rtl.cosim import bench_config

MEMORY_BYTES = 1 << 20
FAULTS = 8
PATIENCE = 2_000_000  # cycles of a command
# Pixels across a scene, in tiles of any size: each takes thousands of cycles.
_LARGE = 6.4
_SMALL = 1.6  # where the bus counts, not the pixels
_SIZE = 20, 18, 22  # of the field
_MASK = 9, 8, 10


def _config() -> RendererConfig:
    given = bench_config()
    parts = {"fixed": FixedConfig(**given["fixed"]), "network": NetworkShape(**given["network"])}
    return RendererConfig(**{**given, **parts})


CONFIG = _config()


def _field(rng: np.random.Generator) -> Field:
    """Half of the planes' values are 0; a tenth of the mask's points are set."""
    shape = CONFIG.network
    colors = shape.products // 3

    def some(*sizes: int, scale: float = 1.0) -> Array:
        return (scale * rng.standard_normal(sizes)).astype(np.float32)

    def planes(count: int, scale: float) -> tuple[Array, Array, Array]:
        a, b, c = (
            some(count, _SIZE[v], _SIZE[u], scale=scale)
            * (rng.random((count, _SIZE[v], _SIZE[u])) < 0.5).astype(np.float32)
            for u, v in PLANE_AXES
        )
        return a, b, c

    def lines(count: int) -> tuple[Array, Array, Array]:
        a, b, c = (some(count, _SIZE[axis]) for axis in LINE_AXES)
        return a, b, c

    box = np.array([[-1.0, -1.1, -0.9], [1.2, 1.0, 0.8]], np.float32)
    hidden = shape.hidden
    return Field(
        box,
        planes(CONFIG.density_components, 6.0),
        lines(CONFIG.density_components),
        planes(colors, 1.0),
        lines(colors),
        some(shape.features, 3 * colors),
        (
            some(hidden, shape.inputs, scale=0.3),
            some(hidden, hidden, scale=0.3),
            some(3, hidden, scale=0.3),
        ),
        (some(hidden), some(hidden), some(3)),
        mask=Mask(rng.random(_MASK[::-1]) < 0.1, box.copy()),
        feature_frequencies=shape.feature_octaves,
        direction_frequencies=shape.direction_octaves,
        near=0.05,
        density_shift=0.0,
        white_background=bool(rng.random() < 0.5),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """A scene and a camera, as bytes in memory: lists at `scene_at` and `frame_at`."""

    fixed: FixedScene
    image: SceneImage
    camera: Camera
    memory: NDArray[np.uint8]
    scene_at: int
    frame_at: int
    output: int

    @property
    def size(self) -> int:
        """Of the frame buffer."""
        return frame_bytes(self.camera.width, self.camera.height, CONFIG.tile_bits)

    def expected(self) -> NDArray[np.uint8]:
        return np.rint(self.fixed.render(self.camera).image * 255).astype(np.uint8)


def _job(rng: np.random.Generator, across: float) -> _Job:
    """More than a tile, by a few pixels. across: pixels of the scene."""
    side = 1 << CONFIG.tile_bits
    decoded, encoded = encode_field(_field(rng), 6)
    scene = Scene(decoded, encoded, (), Facts("", "", "", "", "", (), (), 0, 0))
    fixed = fix_scene(scene)
    image = scene_image(scene, fixed, CONFIG)
    origin = 3.5 * np.array([np.cos(0.6), np.sin(0.6), 0.4])
    focal = 1.8 * across + rng.random()
    camera = look_at(origin, np.zeros(3), width=side + 3, height=side - 1, focal=focal)
    word = constants_word(fixed, image.encoded, camera, CONFIG)
    scene_at = ALIGNMENT * int(rng.integers(1, 20))
    loaded = list_block(scene_at, image.parts)
    frame_at = scene_at + len(loaded)
    listed = list_block(frame_at, [Part(Target.CONSTANTS, word)])
    data = bytes(scene_at) + loaded + listed
    return _Job(fixed, image, camera, np.frombuffer(data, np.uint8), scene_at, frame_at, len(data))


async def _start(machine: Machine, job: _Job, command: ControlBit) -> None:
    for name, address in (
        ("SCENE", job.scene_at),
        ("FRAME", job.frame_at),
        ("OUTPUT", job.output),
    ):
        assert await machine.set(f"{name}_LOW", address & 0xFFFF_FFFF) == 0
        assert await machine.set(f"{name}_HIGH", address >> 32) == 0
    for name, value in (
        ("WIDTH", job.camera.width),
        ("HEIGHT", job.camera.height),
        ("INTERRUPT_ENABLE", 3),
        ("CONTROL", 1 << command),
    ):
        assert await machine.set(name, value) == 0


async def _status(machine: Machine) -> set[Status]:
    bits = await machine.get("STATUS")
    return {bit for bit in Status if bits >> bit & 1}


async def _complete(machine: Machine, job: _Job, of: str) -> None:
    """Load the scene and render; check the memory, byte by byte, and the registers."""
    machine.load(job.memory)
    done = {Status.DONE, Status.INTERRUPT, Status.LOADED}
    for command in (ControlBit.LOAD, ControlBit.RENDER):
        before = machine.read.beats
        await _start(machine, job, command)
        await machine.finish(PATIENCE)
        assert await _status(machine) == done, of
        assert await machine.get("READ_BEATS") == machine.read.beats - before, of
        assert await machine.set("CONTROL", 1 << ControlBit.CLEAR) == 0
    end = job.output + job.size
    assert (machine.writes[job.output : end] == 1).all(), of
    assert not machine.writes[: job.output].any(), of
    assert not machine.writes[end:].any(), of
    found = image_of(
        machine.memory[job.output : end], job.camera.width, job.camera.height, CONFIG.tile_bits
    )
    np.testing.assert_array_equal(found, job.expected(), of)
    assert await machine.get("WRITE_BEATS") == job.size // 32, of


async def _stopped(machine: Machine, cause: Cause, of: str) -> None:
    await machine.finish(PATIENCE)
    assert await _status(machine) - {Status.LOADED} == {Status.ERROR, Status.INTERRUPT}, of
    assert await machine.get("CAUSE") == cause, of
    assert await machine.set("CONTROL", 1 << ControlBit.CLEAR) == 0


async def _machine(dut: Any) -> Machine:
    machine = Machine(dut, MEMORY_BYTES, register_offset)
    await machine.reset()
    return machine


@cocotb.test()
async def images(dut: Any) -> None:
    """Scenes in turn, with pauses on all ten channels."""
    rng = np.random.default_rng(1)
    machine = await _machine(dut)
    for seed, share in enumerate((0.0, 0.3, 0.7)):
        machine.pause(share, seed)
        await _complete(machine, _job(rng, _LARGE), f"scene {seed}")


@cocotb.test()
async def errors(dut: Any) -> None:
    """An error on any beat stops the command; the next one is right."""
    rng = np.random.default_rng(2)
    machine = await _machine(dut)
    job = _job(rng, _SMALL)
    machine.pause(0.2)
    await _complete(machine, job, "without errors")
    beats, pieces = machine.read.beats, machine.write.pieces
    loads = beats - len(constants_word(job.fixed, job.image.encoded, job.camera, CONFIG)) // 32 - 2
    for bad in (*rng.integers(0, loads, FAULTS).tolist(), loads, beats - 1):
        machine.load(job.memory)
        machine.read.fault = lambda index, address, bad=bad: index == bad
        await _start(machine, job, ControlBit.LOAD)
        if bad >= loads:
            await machine.finish(PATIENCE)
            await _start(machine, job, ControlBit.RENDER)
        await _stopped(machine, Cause.READ_RESPONSE, f"beat {bad}")
    await _complete(machine, job, "after wrong reads")
    for bad in rng.integers(0, pieces, FAULTS // 2).tolist():
        machine.load(job.memory)
        machine.write.fault = lambda index, address, bad=bad: index == bad
        await _start(machine, job, ControlBit.RENDER)
        await _stopped(machine, Cause.WRITE_RESPONSE, f"piece {bad}")
    await _complete(machine, job, "after wrong writes")


@cocotb.test()
async def resets(dut: Any) -> None:
    """A reset at any time leaves it as new."""
    rng = np.random.default_rng(3)
    machine = await _machine(dut)
    job = _job(rng, _SMALL)
    for command in (ControlBit.LOAD, ControlBit.RENDER):
        for _ in range(3):
            await _complete(machine, job, f"before {command.name}")
            await _start(machine, job, command)
            await ClockCycles(dut.clk, int(rng.integers(1, 3000)))
            await machine.reset()
            assert await _status(machine) == set()
    await _complete(machine, job, "at the end")
