"""Studies of renderers, and of what formats cost a real model: what is costly is done once."""

from dataclasses import replace
from pathlib import Path

import pytest

from oleaster.cli import main
from oleaster.explore import load_study, run_study
from oleaster.explore.accuracy import Accuracy
from oleaster.models.formats import FormatError
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import HeldOut, load_scene, save_scene
from oleaster.renderers import load_renderer
from oleaster.sim.nerf.renderer import simulate as simulator
from oleaster.sim.nerf.renderer.design import frame_figures
from oleaster.sim.performance.energy import load_energy

pytest.importorskip("optuna")

SCENE = """
design = "rtnerf-edge"

[workload]
scene = "duck.npz"
width = 12
height = 10

[parameters]
networks = [1]
clock_mhz = [250, 500.0]
renderers = [2, 3]
tile_bits = [3]

[objectives]
fps = "max"
psnr_db = "max"
"""
ENCODER = """
design = "olive-64x64"

[workload]
network = "minilm"
texts = 4

[parameters]
rows = [16, 64]
formats = ["ovp4-flint", "int8:ovp8", "int4"]

[objectives]
accuracy_cosine = "max"
"""


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_renderers(monkeypatch):
    duck = load_scene("duck")
    camera = duck.views[0].camera.scaled(20, 16)
    held = HeldOut.of(camera, render(duck.field, camera).image)
    save_scene(Path("duck.npz"), replace(duck, views=(held,) * len(duck.views)))
    Path("s.toml").write_text(SCENE)
    real, runs = simulator.simulate_designs, []

    def counted(scene, fixed, camera, designs, *, image):
        (figures,) = real(scene, fixed, camera, designs, image=image)
        runs.append(((camera.width, camera.height), image, figures))
        return [figures]

    monkeypatch.setattr(simulator, "simulate_designs", counted)
    found = run_study("s.toml")
    # Clocks and numbers of renderers share a frame; PSNR is of the view in its own size.
    (size, image, frame), (own_size, drawn, own) = runs
    assert (size, image, own_size, drawn) == ((12, 10), False, (20, 16), True)
    assert len(found.points) == 4
    for point in found.points:
        design = load_renderer("rtnerf-edge", dict(point.parameters))
        assert design.clock_mhz == point.parameters["clock_mhz"]
        assert (design.renderers, design.config.tile_bits) == (point.parameters["renderers"], 3)
        table = load_energy(design.energy)
        figures = frame_figures(design, frame.frame, frame.scene_bytes, table)
        assert point.values == {
            "cycles": figures.cycles,
            "fps": pytest.approx(design.clock_mhz * 1e6 / figures.cycles),
            "energy_mj": pytest.approx(figures.energy.total * 1e-9),
            "power_w": figures.power_w,
            "fps_per_w": figures.fps / figures.power_w,
            "dram_bytes": figures.dram_bytes,
            "sram_bytes": design.sram_bytes,
            "psnr_db": pytest.approx(psnr(own.frame.image / 255, held.image()), abs=1e-3),
        }


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("duck.npz", "duk", "duk: neither a file nor one of the scenes"),
        ('"duck.npz"', '"duck"\nview = 99', "workload.view is 99; duck has 0 .. "),
        ('"duck.npz"', '"duck"\nbatch = 2', "unknown key workload.batch"),
        ("networks =", "network =", "unknown parameter 'network' of design rtnerf-edge; did you"),
        ("[1]", "[1, 2.5]", "networks is 2.5"),
        ("rtnerf-edge", "rtnerf-egde", "did you mean 'rtnerf-edge'"),
        ('fps = "max"', 'energy_uj = "min"', "does not produce energy_uj, networks do"),
    ],
)
def test_wrong_studies_of_scenes(capsys, old, new, sentence):
    Path("s.toml").write_text(SCENE.replace("duck.npz", "duck").replace(old, new, 1))
    if old in ("duck.npz", '"duck.npz"'):
        Path("s.toml").write_text(SCENE.replace(old, new))
    assert main(["explore", "s.toml"]) == 2
    assert sentence in capsys.readouterr().err


def test_accuracy_is_measured_once_for_a_pair_of_formats(monkeypatch):
    Path("s.toml").write_text(ENCODER)
    measured = []

    def measure(self, formats):
        measured.append(formats)
        if formats == "int4:int4":
            raise FormatError("no such thing")
        return {"accuracy_cosine": len(formats) / 100, "accuracy_spearman": 0.5}

    monkeypatch.setattr(Accuracy, "_measure", measure)
    study = load_study("s.toml")
    found = run_study("s.toml", worker=(2, 2))
    assert measured == ["int8:ovp8", "ovp4-flint:ovp4-flint", "int4:int4"]
    found = run_study("s.toml")
    # What cannot be measured is tried again; the rest is known from the run before.
    assert measured[3:] == ["int4:int4"]
    for point in found.points:
        formats = point.parameters["formats"]
        if formats == "int4":
            assert (point.state, point.reason) == ("failed", "no such thing")
        else:
            both = formats if ":" in formats else f"{formats}:{formats}"
            assert point.values["accuracy_cosine"] == len(both) / 100
            assert point.values["cycles"] > 0
    assert {point.parameters["formats"] for point in found.pareto} == {"ovp4-flint"}
    assert study.workload.encoder == "minilm"


@pytest.mark.more
@pytest.mark.model
def test_accuracy_is_that_of_the_verb(capsys, cached):
    import json

    cached("minilm")
    cached("lee50")
    Path("s.toml").write_text(ENCODER.replace('"ovp4-flint", "int8:ovp8", ', ""))
    found = run_study("s.toml")
    assert main(["accuracy", "minilm", "--formats", "int4", "--texts", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][-1]
    for point in found.points:
        assert point.values["accuracy_cosine"] == result["cosine"]
        assert point.values["accuracy_spearman"] == result["spearman"]
