# amaranth: UnusedElaboratable=no
"""The units of a sample's arithmetic: their widths hold the shipped scenes; they fit together."""

import numpy as np
import pytest
from amaranth import Module, Value
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from oleaster.hw.library import UNITS
from oleaster.hw.nerf.compositor import Compositor
from oleaster.hw.nerf.features import product_bits
from oleaster.hw.nerf.shader import Shader
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.fixed.shade import limits
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.sim.nerf.words import packed
from oleaster.sim.rtl.benches.tiles import THRESHOLD, shade_tile

PIXELS = 16


def default(unit, parameter):
    return UNITS[unit].parameters[parameter].default


@pytest.mark.parametrize("name", scene_names())
def test_default_widths_hold_every_scene(name):
    tensors = fix_scene(load_scene(name), mlp="float").tensors
    for pair in (*tensors.density, *tensors.color):
        for codes, bits in ((pair.plane, "plane_bits"), (pair.line, "line_bits")):
            assert np.abs(codes).max() < 1 << (default("feature-unit", bits) - 1)
    assert max(tensors.size) <= 1 << default("sample-address", "cell_bits")
    assert tensors.density[0].line.shape[1] == default("density-unit", "components")
    # The sum saturates beyond both ends of the curve, which clips there: no alpha changes.
    end = 1 << (default("density-unit", "sum_bits") - 1)
    last = tensors.alpha.lowest + ((len(tensors.alpha.values) - 1) << tensors.alpha.shift)
    assert -end <= tensors.alpha.lowest < last < end
    sums = np.array([-(1 << 40), -end - 1, -end, end - 1, end, 1 << 40])
    assert (tensors.alpha(np.clip(sums, -end, end - 1)) == tensors.alpha(sums)).all()


def test_widths_agree_between_units():
    bits = [default("feature-unit", each) for each in ("plane_bits", "line_bits", "guard_bits")]
    assert default("density-unit", "product_bits") == product_bits(*bits)
    assert default("density-unit", "sum_bits") == default("curve-table", "input_bits")


def test_tiles_through_shader_and_compositor():
    """Light goes straight from one to the other, ends of tiles behind their samples."""
    config = FixedConfig()
    rng = np.random.default_rng(0)
    tiles = [shade_tile(rng, config, PIXELS, size, thin=size > 100) for size in (80, 0, 200, 1)]
    color = config.color_bits + 1
    # A sample's tag is its colour.
    shader = Shader(PIXELS, config.transmittance_bits, 3 * color)
    compositor = Compositor(PIXELS, config.transmittance_bits, config.color_bits)
    m = Module()
    m.submodules.shader, m.submodules.compositor = shader, compositor
    connect(m, shader.light, compositor.light)
    dark, least = limits(THRESHOLD, config.transmittance_bits, terminate=True)
    word = shader.o.payload
    m.d.comb += [
        shader.dark.eq(dark),
        shader.threshold.eq(least),
        compositor.white.eq(1),
        compositor.i.valid.eq(shader.o.valid),
        shader.o.ready.eq(compositor.i.ready),
        compositor.i.payload.pixel.eq(word.pixel),
        compositor.i.payload.weight.eq(word.weight),
        Value.cast(compositor.i.payload.color).eq(word.tag),
        compositor.i.payload.end.eq(word.end),
    ]

    async def send(ctx):
        ctx.set(shader.i.valid, 1)
        for tile in tiles:
            for i in range(len(tile.pixel)):
                sample = {
                    "pixel": int(tile.pixel[i]),
                    "alpha": int(tile.alpha[i]),
                    "last": int(tile.last[i]),
                    "tag": packed((part, color) for part in tile.color[i]),
                }
                ctx.set(shader.i.payload, sample)
                await ctx.tick().until(shader.i.ready)
            ctx.set(shader.i.payload, {"end": 1})
            await ctx.tick().until(shader.i.ready)
        ctx.set(shader.i.valid, 0)

    taken = []

    async def take(ctx):
        for tile in tiles:
            finished = tile.finished.finish(True, config.transmittance_bits, config.color_bits)
            for pixel in finished.tolist():
                await ctx.tick().repeat(int(rng.integers(1, 4)))
                ctx.set(compositor.o.ready, 1)
                (found,) = await ctx.tick().sample(compositor.o.payload).until(compositor.o.valid)
                ctx.set(compositor.o.ready, 0)
                taken.append([found[i] for i in range(3)])
                assert taken[-1] == pixel

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(send)
    sim.add_testbench(take)
    sim.run_until(2000e-6)
    assert len(taken) == len(tiles) * PIXELS
