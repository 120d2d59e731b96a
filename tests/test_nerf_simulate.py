"""`oleaster nerf simulate`, its designs, and what is measured without an idea."""

import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from nerf_fields import orbit_camera, random_field

from oleaster.cli import main
from oleaster.cli.nerf_simulate import show
from oleaster.config import DesignError, load_design, load_unit
from oleaster.models.nerf.encoding import decode
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.image import decode_image
from oleaster.models.nerf.layout import BITMAP, COORDINATES, DENSE, PLAIN
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.render import render
from oleaster.models.nerf.scene import Facts, HeldOut, Scene, load_scene, save_scene
from oleaster.renderers import load_renderer, renderer_names
from oleaster.report.inputs import FrameRun
from oleaster.sim.nerf.renderer import model
from oleaster.sim.nerf.renderer.ablations import BASE, IDEAS, ablate, tensor_bytes
from oleaster.sim.nerf.renderer.energy import pe_macs, sram_bits
from oleaster.sim.nerf.renderer.image import scene_image
from oleaster.sim.nerf.renderer.machine import Count
from oleaster.sim.nerf.renderer.model import frame_looks, render_cycles
from oleaster.sim.nerf.renderer.simulate import simulate_designs

DESIGN = """
title = "small"
clock_mhz = 200
renderers = 3
dram_gb_s = 1.5
energy = "ant-28nm"

[config]
color_rows = 8
tile_bits = 3
"""


@pytest.fixture(scope="module")
def small():
    """A scene with few cubes, a camera, and a design for it."""
    field = random_field(
        3, size=(80, 40, 30), mask_size=(34, 40, 22), fill=0.02, components=(4, 12), density=8.0
    )
    rng = np.random.default_rng(0)
    sparse = {
        name: tuple(
            np.where(rng.random(plane.shape[1:]) < 0.2, plane, 0).astype(np.float32)
            for plane in getattr(field, name)
        )
        for name in ("density_planes", "color_planes")
    }
    decoded, encoded = encode_field(replace(field, **sparse), 6)
    scene = Scene(decoded, encoded, (), Facts("", "", "", "", "", (), (), 0, 0))
    fixed, edge = fix_scene(scene), load_renderer("rtnerf-edge", {"tile_bits": 3})
    config = replace(edge.config, network=NetworkShape.of(fixed.colors))
    camera = orbit_camera(0.8, width=24, height=20)
    return scene, fixed, camera, replace(edge, config=config)


def test_designs_that_come_with_us_load():
    assert renderer_names() == ["rtnerf-cloud", "rtnerf-edge"]
    edge, cloud = load_renderer("rtnerf-edge"), load_renderer("rtnerf-cloud")
    assert cloud.config == edge.config
    assert cloud.renderers == 30 * edge.renderers
    assert edge.sram_bytes < 1e6 * edge.published["sram"].value
    assert edge.published["speed"].tag == "M+"


def test_designs_can_be_built_and_are_listed(capsys):
    for name in renderer_names():
        unit, circuit = load_unit(name, {"networks": 1})
        assert unit == "nerf-renderer"
        assert circuit.config == replace(load_renderer(name).config, networks=1)
    with pytest.raises(DesignError, match=r"rtnerf-edge: networks is 65; it must be at most 64"):
        load_unit("rtnerf-edge", {"networks": 65})
    with pytest.raises(DesignError, match=r"is a renderer of scenes, which `oleaster nerf sim"):
        load_design("rtnerf-edge")
    assert main(["designs", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)["designs"]}
    assert listed["rtnerf-edge"]["pes"] == 2 * 8 * 64 * 64
    assert listed["rtnerf-edge"]["parameters"]["cube_depth"] == 45056


def test_a_file_and_settings(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(DESIGN)
    mine = load_renderer(str(path))
    assert (mine.name, mine.clock_mhz, mine.renderers) == ("mine", 200, 3)
    assert (mine.config.color_rows, mine.config.color_cols, mine.config.tile_bits) == (8, 16, 3)
    changed = load_renderer(str(path), {"renderers": 4, "networks": 2, "clock_mhz": "1e3"})
    assert (changed.renderers, changed.config.networks, changed.clock_mhz) == (4, 2, 1000)
    assert changed.macs_per_cycle == 4 * 2 * 8 * 16 // 4
    assert changed.title == "with renderers=4, networks=2, clock_mhz=1000.0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clock_mhz = 200", "", "the key clock_mhz is missing"),
        ("renderers = 3", "renderers = 0", r"renderers is 0; it must be 1 \.\. 4096"),
        ("color_rows = 8", "color_row = 8", "no size 'color_row'; did you mean 'color_rows'"),
        ("color_rows = 8", "color_rows = 7", r"color_rows is 7; it must be even, 4 \.\. 256"),
        ("color_rows = 8", "networks = 65", r": networks is 65; it must be 1 \.\. 64"),
        ("color_rows = 8", "color_words = 999", "color_words is 999; it must be a power of two"),
        ("color_rows = 8", "networks = 1.5", "networks is 1.5; it must be a whole number"),
        ("color_rows = 8", "data_bits = 128", "no size 'data_bits'"),
        ("color_rows = 8", "plane_bits = 16\nline_bits = 16", "is 32; it must be 31 at most"),
        ("clock_mhz = 200", "clock_mhz = nan", r"clock_mhz is nan; it must be 0\.001 \.\. 10+$"),
        ('"ant-28nm"', '"ant"', "mine.toml: energy: unknown energy table 'ant'"),
        ("color_rows = 8", "color_encoders = 8", "power of two, at most color_cols / 4 = 4"),
        ("color_rows = 8", "color_encoders = 3", "color_encoders is 3; it must be a power of two"),
        ("tile_bits = 3", "tile_bits = 9", r"tile_bits is 9; it must be 3 \.\. 7"),
        ('title = "small"', 'name = "small"', "no key 'name'|title is missing"),
        ("[config]", "[config", "is not TOML"),
    ],
)
def test_wrong_designs_are_refused(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    assert old in DESIGN
    path.write_text(DESIGN.replace(old, new))
    with pytest.raises(DesignError, match=message):
        load_renderer(str(path))


def test_figures_of_a_frame(small):
    scene, fixed, camera, design = small
    design = replace(design, renderers=3)
    slow = replace(design, name="slow", dram_gb_s=1e-3)
    found, waits = simulate_designs(scene, fixed, camera, [design, slow])
    assert found.frame is waits.frame
    np.testing.assert_array_equal(
        found.frame.image, np.rint(fixed.render(camera).image * 255).astype(np.uint8)
    )
    assert found.cycles == found.compute_cycles == found.frame.on(3) < found.frame.cycles
    assert found.fps == pytest.approx(1e9 / found.cycles)
    assert found.dram_bytes == 4 * 24 * 24
    assert found.dram_bytes_reloaded - found.dram_bytes == found.scene_bytes > 20_000
    # A byte takes a thousand cycles then.
    assert waits.cycles == 1000 * 4 * 24 * 24 > waits.compute_cycles == found.cycles
    assert waits.energy.static > found.energy.static
    assert waits.energy.buffer == found.energy.buffer
    extra = found.energy_reloaded.total - found.energy.total
    assert extra == pytest.approx(8 * found.scene_bytes * 0.629203125)
    assert all(0 < value < found.energy.total for value in asdict(found.energy).values())
    assert found.power_w == pytest.approx(found.energy.total * 1e-12 * found.fps)


def test_an_interrupt_waits_for_a_tile_at_most(small, monkeypatch):
    scene, fixed, camera, design = small
    camera = camera.scaled(8 * 20, 8 * 3)
    run, tiles = model._run_tile, []

    def slowly(*arguments):
        tiles.append(arguments)
        time.sleep(0.02)
        return run(*arguments)

    def interrupt(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "_run_tile", slowly)
    looks = frame_looks(scene_image(scene, fixed, design.config).encoded)
    with pytest.raises(KeyboardInterrupt):
        render_cycles(fixed, looks, camera, design.config, threads=1, report=interrupt)
    assert 20 <= len(tiles) < 30


def test_macs_are_those_of_the_network(small):
    scene, fixed, camera, design = small
    (found,) = simulate_designs(scene, fixed, camera, [design], image=False)
    colored = found.frame.counts[Count.COLORED]
    assert found.network_macs == colored * sum(k * n for k, n in design.config.network.stages)
    assert pe_macs(found.frame) == (found.network_macs, found.array_macs)
    assert found.array_macs > found.network_macs
    assert sram_bits(found.frame)["embeddings"] == 3 * 256 * (
        found.frame.counts[Count.READ_DENSITY] + found.frame.counts[Count.READ_COLOR]
    )


def test_every_idea_can_be_left_out(small):
    scene, fixed, camera, design = small
    found = {each.name: each for each in ablate(scene, fixed, camera, design)}
    assert list(found) == list(IDEAS)
    base = found[BASE].figures
    seen = {name: each.figures for name, each in found.items()}
    assert (
        seen["uniform sampling"].frame.counts[Count.SAMPLE_TESTED]
        > 10 * (base.frame.counts[Count.SAMPLE_TESTED])
    )
    assert seen["no block cull"].cycles > 2 * base.cycles
    assert seen["no early stop"].frame.events["sample"] > base.frame.events["sample"]
    assert seen["no order"].cycles == seen["no early stop"].cycles
    assert found["no order"].kept_bytes > 0 == found["no early stop"].kept_bytes
    for name in ("dense", "pure bitmap", "pure coordinate", "no bitmap unit", "no search tree"):
        assert seen[name].scene_bytes >= base.scene_bytes
        assert seen[name].frame.events["color_sample"] == base.frame.events["color_sample"]
    assert seen["dense"].scene_bytes > 1.2 * base.scene_bytes


def test_some_tiles_stand_for_all(small):
    scene, fixed, camera, design = small
    (whole,) = ablate(scene, fixed, camera, design, [BASE])
    (some,) = ablate(scene, fixed, camera, design, [BASE], every=2)
    tiles = some.figures.frame.tiles
    drawn = tiles > 0
    assert 0 < drawn.sum() == some.figures.frame.drawn < tiles.size
    np.testing.assert_array_equal(tiles[drawn], whole.figures.frame.tiles[drawn])


def test_bytes_of_modes():
    for each in load_scene("duck").encoded.values():
        own = each.size_bits // 8
        mixed, layout = tensor_bytes(each, (DENSE, BITMAP, COORDINATES))
        assert layout != PLAIN
        for modes in ((BITMAP,), (DENSE, COORDINATES), (COORDINATES,)):
            assert tensor_bytes(each, modes)[0] >= mixed
        if each.layout != PLAIN:
            assert 0 <= own - mixed <= 8 * each.directory.size  # bases' units
        plain = -(-decode(each).codes.size * each.bits // 8)
        assert tensor_bytes(each, None) == (plain, PLAIN)


def test_a_table_shows_two_designs(small, capsys):
    scene, fixed, camera, design = small
    designs = [design, replace(design, name="other", renderers=5)]
    found = simulate_designs(scene, fixed, camera, designs, image=False)
    result = {"psnr_db": None, "psnr_size": [9, 8], "seconds": 1.25}
    show({**result, "output": None, "plot": "a.svg"}, found)
    text = capsys.readouterr().out
    assert "busy on rtnerf-edge %" in text
    assert "busy on other %" in text
    assert f"{found[1].cycles:,}, of which most in: {found[1].frame.bottleneck}" in text
    assert "not computed" in text
    assert re.search(r"written +a\.svg", text)


def run(capsys, *arguments, status=0):
    assert main(["nerf", "simulate", *arguments]) == status
    return capsys.readouterr()


def test_the_verb_draws(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    duck = load_scene("duck")
    camera = duck.views[0].camera.scaled(20, 16)
    held = HeldOut.of(camera, render(duck.field, camera).image)
    save_scene(Path("duck.npz"), replace(duck, views=(held,) * len(duck.views)))
    common = ("duck.npz", "--size", "12x10", "--set", "tile_bits=3")
    out = run(
        capsys, *common, "--design", "rtnerf-edge", "-o", "duck.png", "--plot", "duck.svg", "--json"
    ).out
    found = json.loads(out)
    assert FrameRun.model_validate(found).results[0].energy_pj["total"] > 0  # as reports read it
    (result,) = found["results"]
    assert 35 < found["psnr_db"] < 60
    assert found["psnr_size"] == [20, 16]
    assert decode_image(Path("duck.png").read_bytes()).shape == (10, 12, 3)
    assert Path("duck.svg").stat().st_size > 10_000
    assert result["stages"][result["bottleneck"]]["cycles"] <= result["renderer_cycles"]
    assert result["design"]["config"]["tile_bits"] == 3
    assert result["tiles"] == 4
    assert (found["output"], found["plot"]) == ("duck.png", "duck.svg")
    assert result["design"]["title"] == "with tile_bits=3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--design", "rtnerf-egde"], "did you mean 'rtnerf-edge'"),
        (["--design", "rtnerf-edge,rtnerf-edge"], "expected different names"),
        (["--size", "12"], "expected WIDTHxHEIGHT"),
        (["--size", "16385x8"], r"--size 16385x8: each side must be 1 \.\. 16384 pixels"),
        (["-o", "a.png", "--plot", "./a.png"], "a.png: is named both after -o and after --plot"),
        (["-o", "/proc/a.png"], "/proc/a.png: cannot be written"),
        (["--view", "9"], r"held-out views of duck are 0 \.\. 2"),
        (["--view", "x"], "'--view': not a whole number"),
        (["--no-image", "-o", "a.png"], "-o needs an image"),
        (["-o", "a.jpg"], "ends in .png"),
        (["--set", "rows"], "expected NAME=VALUE, as renderers=4"),
        (["--set", "rows=3"], r"no key 'rows' \(known: renderers, clock_mhz, dram_gb_s, axis_bits"),
        (["--set", "color_rows=x"], "color_rows is 'x'; it must be a whole number"),
        (["--set", "renderers=2.5"], "renderers is 2.5; it must be a whole number"),
        (["--set", "networks=1000000"], r"networks is 1000000; it must be 1 \.\. 64"),
        (["--set", "energy=foo"], "energy cannot be set"),
        (
            ["--set", "cube_depth=1024"],
            "rtnerf-edge: duck takes [0-9]+ words of cubes; cube_depth is 1024, [0-9]+ would do",
        ),
    ],
)
def test_the_verb_refuses(capsys, arguments, message):
    out, err = run(capsys, "duck", *arguments, status=2)
    assert out == ""
    assert err.startswith("error: ")
    assert re.search(message, err)


def test_a_full_standard_output_is_named():
    command = [sys.executable, "-m", "oleaster", "designs", "--json"]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (
        2, "error: standard output: No space left on device\n"
    )  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [(".", "a folder"), ("/dev/null", "not a regular file")])
def test_what_is_no_file_of_a_scene(capsys, name, kind):
    assert main(["nerf", "simulate", name]) == 2
    assert f"{name}: is {kind}; expected a scene's file" in capsys.readouterr().err
