"""benchmarks/nerf_pytorch.py does the work of our float renderer with TensoRF's sampler."""

import json
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from nerf_fields import orbit_camera, random_field

from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import load_scene

torch = pytest.importorskip("torch")
_PATH = Path(__file__).parents[1] / "benchmarks" / "nerf_pytorch.py"


@pytest.fixture(scope="module")
def bench():
    spec = util.spec_from_file_location("nerf_pytorch", _PATH)
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _pairs():
    lego = load_scene("lego")
    yield "lego", lego.field, lego.views[0].camera.scaled(16, 16)
    plain = random_field(3, density=20.0, fill=0.4)
    yield "random", plain, orbit_camera(width=16, height=16)
    bare = random_field(4, density=9.0, mask_size=None, softplus=False, white_background=False)
    yield "no mask, relu, black", bare, orbit_camera(width=16, height=16)


@pytest.mark.parametrize(
    ("field", "camera"), [pytest.param(*rest, id=name) for name, *rest in _pairs()]
)
@pytest.mark.parametrize("batch", [50, 1 << 10])
def test_the_same_work(bench, field, camera, batch):
    image, work = bench.TorchField(field, torch.device("cpu")).render(camera, batch)
    reference = render(field, camera, "uniform", terminate=False)
    assert np.ptp(reference.image) > 0.2
    assert psnr(image.numpy(), reference.image) > 80
    # In another order of additions a sample may fall on the other side of a face or threshold.
    counters = reference.counters
    assert work.lattice == counters.lattice
    assert work.candidates == pytest.approx(counters.candidates, rel=1e-3)
    assert work.kept == pytest.approx(counters.kept, rel=1e-3)
    assert work.colored == pytest.approx(counters.colored, rel=1e-3)
    assert counters.colored > 100


def test_what_it_prints(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "CHECKED", 16)
    monkeypatch.setattr(sys, "argv", [str(_PATH), "duck", "--size=8x4", "--frames=3", "--json"])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["scenes"]
    assert (found["width"], found["height"], row["lattice"] % 32) == (8, 4, 0)
    assert row["fps"] == pytest.approx(1 / sorted(row["seconds"])[1])
    assert row["fps_800x800"] == pytest.approx(row["fps"] * 32 / 640_000)


def test_another_image_is_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "CHECKED", 16)
    monkeypatch.setattr(bench, "PLANE_AXES", ((1, 0), (0, 2), (1, 2)))
    monkeypatch.setattr(sys, "argv", [str(_PATH), "duck", "--size=4x4", "--frames=1"])
    assert bench.main() == 1
    assert "duck" in capsys.readouterr().out
