"""What the cycle model of a tile keeps: clocks of its units, the pixels' state, counts."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.tables import Longs
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.targets import PAIRS
from oleaster.sim.nerf.color import RESCALED, batch_cycles
from oleaster.sim.nerf.latency import LATENCY, hybrid_decoder_latency
from oleaster.sim.nerf.renderer.clocks import (
    ACCEPTED_AT,
    LONG_AGO,
    PLACE_AT,
    new_pipe,
    new_pipes,
)
from oleaster.sim.nerf.renderer.jit import kernel
from oleaster.sim.nerf.renderer.taps import TAP_QUEUE
from oleaster.sim.nerf.shader import SHADER_DEPTH, SHADER_LATENCY

__all__ = [
    "COUNT",
    "IDLE",
    "STORED",
    "Count",
    "Machine",
    "Pipes",
    "Register",
    "new_machine",
    "restart",
]

NEVER = 1 << 60
IDLE, STORED, COUNT = range(3)


class Pipes(IntEnum):
    """Rows of `Machine.pipes`. TAPS: the samples of both tap readers, density's first; LANES: two
    of each of their decoders."""

    BLOCKS = 0
    CUBES = 1
    SLABS = 2
    TESTS = 3
    ADDRESS = 4
    ALPHA = 5
    PRODUCTS = 6
    FINISHER = 7
    TAPS = 8
    LANES = 10


class Register(IntEnum):
    """Of `Machine.registers`: cycles. EMITTED: of both tap readers' last samples."""

    BLOCK_SENT = 0
    CUBE_SENT = 1
    STREAMER_IDLE = 2
    EMITTED = 3
    SHADER_IDLE = 5
    SHADER_TAKEN = 6
    FEATURES_TAKEN = 7
    COLOR_TURN = 8
    COMPOSITOR_IDLE = 9
    COLORED = 10


class Count(IntEnum):
    """Of `Machine.counts`, of a tile. CYCLES: the tile's. *_SLOTS: words of a walk. *_BUSY: cycles
    in which a unit moves on. BATCH: of a colour network. ASKED_*: look-ups; READ_*: chunks that
    they read, two where a look-up's cells are in two. The others as the renderer's events.
    """

    CYCLES = 0
    BLOCK_SLOTS = 1
    BLOCK = 2
    BLOCK_SEEN = 3
    CUBE_SLOTS = 4
    CUBE = 5
    WINDOW = 6
    PIXEL_TESTED = 7
    RANGE = 8
    SAMPLE_TESTED = 9
    SAMPLE = 10
    SKIPPED = 11
    COLORED = 12
    BATCH = 13
    COLOR_BUSY = 14
    COLOR_WAITS = 15
    ASKED_DENSITY = 16
    ASKED_COLOR = 17
    READ_DENSITY = 18
    READ_COLOR = 19
    TAPS_DENSITY_BUSY = 20
    TAPS_COLOR_BUSY = 21


class Machine(NamedTuple):
    """pipes: as in `clocks.py`. registers: cycles. networks: of each colour network, when it is
    IDLE and its last products STORED, and the COUNT of its batch; sigmoids: their pipes. slots: of
    the shader. light, dark_from: of the tile's pixels, dark_from the cycle from which a look-up
    sees that one is dark. counts: `Count`.

    groups, chunks: (2, 3, 2) of density and colour, of each pair's plane and line: groups of a
    cell, and elements of a chunk less 1, or -1. batches: (samples + 1,) cycles of the colour unit
    for so many samples. cell, weight, found, at: of a sample; window, block_window, bounds: of a
    cube and of a block. dark, threshold: of the shader. load: cycles of a sample's products in the
    colour unit, rescaled: until the last can be used. parts: words of a sample's products.
    """

    pipes: NDArray[np.int64]
    registers: Longs
    networks: Longs
    sigmoids: NDArray[np.int64]
    slots: Longs
    light: Longs
    dark_from: Longs
    counts: Longs
    groups: Longs
    chunks: Longs
    batches: Longs
    cell: Longs
    weight: Longs
    found: Longs
    at: Longs
    block_window: Longs
    window: Longs
    bounds: Longs
    dark: int
    threshold: int
    transmittance_bits: int
    load: int
    rescaled: int
    parts: int
    shader_latency: int
    tile_bits: int


def new_machine(
    config: RendererConfig,
    shape: NetworkShape,
    groups: Longs,
    chunks: Longs,
    limits: tuple[int, int],
) -> Machine:
    """An idle one. limits: dark and threshold."""
    latency = LATENCY
    lane = hybrid_decoder_latency(config.leaves)
    pipes = [
        new_pipe(latency["projector"]),
        new_pipe(latency["projector"]),
        new_pipe(latency["slab-unit"]),
        new_pipe(latency["sample-generator"]),
        new_pipe(latency["sample-address"]),
        new_pipe(latency["alpha-unit"]),
        new_pipe(latency["color-products"]),
        new_pipe(latency["pixel-finisher"]),
        *(new_pipe(0, depth=TAP_QUEUE) for _ in range(2)),
        *(new_pipe(lane) for _ in range(2 * PAIRS * 2)),
    ]
    batch = config.color_rows // 2
    return Machine(
        new_pipes(pipes),
        np.zeros(len(Register) + 1, np.int64),
        np.zeros((config.networks, 3), np.int64),
        new_pipes([new_pipe(latency["curve-table"]) for _ in range(config.networks)]),
        np.zeros(SHADER_DEPTH, np.int64),
        np.zeros(config.pixels, np.int64),
        np.zeros(config.pixels, np.int64),
        np.zeros(len(Count), np.int64),
        groups,
        chunks,
        np.array(
            [0]
            + [
                batch_cycles(
                    shape, config.color_rows, config.color_cols, config.color_encoders, count
                )
                for count in range(1, batch + 1)
            ]
        ),
        np.zeros(3, np.int64),
        np.zeros(3, np.int64),
        np.zeros(max(config.density_components, config.color_components), np.int64),
        np.zeros(3, np.int64),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
        np.zeros(6, np.int64),
        *limits,
        config.fixed.transmittance_bits,
        shape.steps(config.color_encoders)[0],
        RESCALED,
        config.color_components // config.color_at_once,
        SHADER_LATENCY,
        config.tile_bits,
    )


@kernel
def restart(m: Machine) -> None:
    """Idle, with all of its pixels' light: as it is when a tile is taken."""
    for pipes in (m.pipes, m.sigmoids):
        for pipe in pipes:
            pipe[PLACE_AT] = 0
            pipe[ACCEPTED_AT:] = LONG_AGO
    m.registers[:] = 0
    m.networks[:] = 0
    m.slots[:] = 0
    m.light[:] = 1 << m.transmittance_bits
    m.dark_from[:] = NEVER
    m.counts[:] = 0
