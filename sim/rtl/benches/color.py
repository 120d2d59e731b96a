"""Colour unit: lego's network, and random ones with extreme weights, against `FixedNetwork`."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from oleaster.models.formats import get_format
from oleaster.models.nerf.fixed.network import FixedNetwork, Rounding, Stage, Words, fix_network
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.tables import Longs, sigmoid_curve, to_fixed
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig
from oleaster.models.nerf.fixed.words import ray_fields
from oleaster.models.nerf.scene import load_scene
from oleaster.sim.nerf.color import color_cycles, color_words
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.streams import exchange
from oleaster.sim.rtl.benches.traffic import reset_streams, start_streams, traffic
from oleaster.sim.rtl.cosim import bench_config

PARAMETERS = bench_config()
ROWS, COLS, ENCODERS, TAG_BITS = (
    PARAMETERS[name] for name in ("rows", "cols", "encoders", "tag_bits")
)
CONFIG = FixedConfig(**{name: value for name, value in PARAMETERS.items() if name in RANGES})
SHAPE = NetworkShape(
    **{name: PARAMETERS[name] for name in NetworkShape.__dataclass_fields__}  # its sizes
)
IS_LEGO = NetworkShape() == SHAPE  # whose batches take some thousand cycles
SAMPLES = ROWS // 2
PRODUCT_END = 1 << 31
ONE = 1 << CONFIG.direction_bits
IDLE = "i_valid", "o_ready", "write_enable"


def _directions(rng: np.random.Generator, count: int) -> Longs:
    """Of unit length; some along an axis."""
    found = rng.standard_normal((count, 3))
    found[rng.random(count) < 0.2] = rng.permutation([1.0, 0.0, 0.0]) * rng.choice([-1, 1])
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return to_fixed(found, CONFIG.direction_bits)


def _lego(rng: np.random.Generator, count: int) -> tuple[FixedNetwork, Longs, Longs]:
    """Its network, and samples all over its box."""
    scene = fix_scene(load_scene("lego"), CONFIG, mlp="float")
    tensors, directions = scene.tensors, _directions(rng, count)
    end = (np.array(tensors.size) - 1) << CONFIG.position_bits
    products = tensors.color_products(rng.integers(0, end[:, None], (3, count)))
    scales = tensors.color_scales
    network = fix_network(scene.field, scales, products, directions, "ovp8", CONFIG)
    return network, products, directions


def _random(rng: np.random.Generator, count: int) -> tuple[FixedNetwork, Longs, Longs]:
    """Outliers up to the largest, sums that wrap, products of 32 bits, every kind of rounding."""
    rounding = Rounding.of(get_format("ovp8"))

    def words(n: int, shift: int, bias: int) -> Words:
        bias_of = rng.integers(-bias, bias + 1, n)
        return Words(bias_of, rng.integers(1 << 15, 1 << 16, n), rng.integers(shift, shift + 6, n))

    stages = []
    for (k, n), shift in zip(SHAPE.stages, (20, 22, 20, 24), strict=True):
        weights = rng.integers(-127, 128, (n, k + k % 2))
        outliers = rng.random(weights.shape) < 0.05
        weights[outliers] *= rng.choice([1, 3, 250], np.count_nonzero(outliers))
        weights[:, k:] = 0
        codes = rounding(weights).astype(np.int64)
        stages.append(Stage(rounding, codes, words(n, shift, 1 << int(rng.integers(1, 20)))))
    basis, first, second, third = stages
    network = FixedNetwork(
        CONFIG,
        words(SHAPE.products, 20, 0),
        words(SHAPE.inputs, 16, 0),
        (basis, first, second, third),
        (SHAPE.feature_octaves, SHAPE.direction_octaves),
        sigmoid_curve(CONFIG),
    )
    size = 2.0 ** rng.integers(4, 31, (count, 1))
    products = to_fixed(rng.uniform(-1, 1, (count, SHAPE.products)) * size, 0)
    extreme = rng.random(products.shape) < 0.05
    products[extreme] = rng.choice([-PRODUCT_END, 0, PRODUCT_END - 1], np.count_nonzero(extreme))
    return network, products, _directions(rng, count)


async def _write(dut: Any, network: FixedNetwork) -> None:
    dut.write_enable.value = 1
    for address, word in enumerate(color_words(network, COLS, ENCODERS)):
        dut.write_address.value, dut.write_data.value = address, word
        await FallingEdge(dut.clk)
    dut.write_enable.value = 0


def _words(
    rng: np.random.Generator, products: Longs, directions: Longs, ends: list[bool]
) -> tuple[list[int], list[int]]:
    """Payloads, and tags. ends: of each word whether it is one; the others are the samples."""
    tags = rng.integers(0, 1 << min(TAG_BITS, 30), len(ends)).tolist()
    bits = ray_fields(CONFIG)["direction"].bits
    found = []
    samples = iter(zip(products, directions, strict=True))
    for end, tag in zip(ends, tags, strict=True):
        # With an end comes what a sample left.
        product, direction = (products[0], directions[0]) if end else next(samples)
        fields = [(value, 32) for value in product] + [(value, bits) for value in direction]
        found.append(packed([*fields, (int(end), 1), (tag, TAG_BITS)]))
    return found, tags


async def _check(
    dut: Any,
    rng: np.random.Generator,
    network: FixedNetwork,
    products: Longs,
    directions: Longs,
    ends: list[bool],
    busy: float,
) -> None:
    """Words and cycles, from a reset on; the last of `ends` is one."""
    words, tags = _words(rng, products, directions, ends)
    done = await exchange(dut, words, len(words), rng, busy)
    color = 3 * (CONFIG.color_bits + 1)
    colors = iter(network(products, directions))
    for payload, end, tag in zip(done.payloads, ends, tags, strict=True):
        if end:
            assert payload >> color == 1 | tag << 1
        else:
            parts = [(value, CONFIG.color_bits + 1) for value in next(colors)]
            assert payload == packed([*parts, (0, 1), (tag, TAG_BITS)])
    model = color_cycles(done.offered, ends, SHAPE, ROWS, COLS, ENCODERS, done.ready)
    assert (done.accepted, done.taken) == model


def _ends(counts: list[int]) -> list[bool]:
    """So many samples to each tile."""
    return [end for count in counts for end in [*[False] * count, True]]


@cocotb.test
async def scene(dut: Any) -> None:
    """Lego, if the unit has the shape of its network; a full batch, and one that is not."""
    rng = np.random.default_rng(1)
    await start_streams(dut, *IDLE)
    network, products, directions = (_lego if IS_LEGO else _random)(rng, SAMPLES + 1)
    assert NetworkShape.of(network) == SHAPE
    await _write(dut, network)
    await _check(dut, rng, network, products, directions, _ends([SAMPLES + 1]), 1.0)


@cocotb.test
async def stalls(dut: Any) -> None:
    rng = np.random.default_rng(2)
    await start_streams(dut, *IDLE)
    for busy in (0.3, 0.7, 0.9) if not IS_LEGO else (0.5,):
        counts = [0, 1, SAMPLES, 0, 0]
        if not IS_LEGO:
            counts += rng.integers(0, 4 * SAMPLES, 8).tolist()
        network, products, directions = _random(rng, sum(counts))
        await _write(dut, network)
        await reset_streams(dut, *IDLE)
        await _check(dut, rng, network, products, directions, _ends(counts), busy)


@cocotb.test
async def reset_on_the_way(dut: Any) -> None:
    """Wherever a batch is; the tables stay."""
    rng = np.random.default_rng(3)
    await start_streams(dut, *IDLE)
    network, products, directions = _random(rng, SAMPLES)
    await _write(dut, network)
    ends = _ends([SAMPLES])
    always = np.ones(0, bool)
    accepted, taken = color_cycles([0] * len(ends), ends, SHAPE, ROWS, COLS, ENCODERS, always)
    words, _ = _words(rng, products, directions, ends)
    loaded, through = accepted[SAMPLES - 1], taken[-1]
    moments = {loaded // 2, loaded + 9, loaded + 60, through // 3, through - 60, through - 2}
    for cycles in sorted(moments):
        if cycles < 4000:  # else `traffic` takes it for stuck
            await traffic(dut, {"i": words}, {"o": 0}, rng, 1.0, cycles=cycles)
            await reset_streams(dut, *IDLE)
    await _check(dut, rng, network, products, directions, ends, 1.0)
