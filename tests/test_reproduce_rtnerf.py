"""RT-NeRF's published figures agree with each other, and with what is derived from them."""

import json
import tomllib
from importlib import resources
from statistics import median
from typing import get_args

import pytest

from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.reproduce.rtnerf_baselines import baselines
from oleaster.reproduce.rtnerf_published import FIGURES, Tag, published


def test_every_figure_is_tagged_and_none_is_lost() -> None:
    text = (resources.files("oleaster.reproduce") / "rtnerf.toml").read_text()
    for row, work in zip(tomllib.loads(text)["work"], published().works, strict=True):
        assert set(row) - {"name", "venue", "what"} == set(work.figures) <= set(FIGURES)
    tags = [figure.tag for work in published().works for figure in work.figures.values()]
    tags += [claim.tag for claim in (*published().ranges, *published().ratios)]
    assert set(tags) == set(get_args(Tag))
    for work in published().works:
        for figure in work.figures.values():
            assert figure.tag != "source" or figure.source


def test_derived_figures_follow() -> None:
    for work in published().works:
        found = {key: figure.value for key, figure in work.figures.items()}
        if "fps" not in found:
            continue
        fps, power, area = found["fps"], found["power_w"], found["area_mm2"]
        assert found["mj_per_frame"] == pytest.approx(1000 * power / fps, rel=0.01)
        assert found["fps_per_w"] == pytest.approx(fps / power, rel=0.02)
        assert found["fps_per_mm2"] == pytest.approx(fps / area, rel=0.05)


def test_recalled_figures_fit_what_others_state() -> None:
    edge = published().work("RT-NeRF Edge").figures
    successor = published().work("SpNeRF").figures
    (ratio,) = published().ratios
    assert successor["fps"].value / edge["fps"].value == pytest.approx(ratio.speed, rel=0.01)
    saved = edge["mj_per_frame"].value / successor["mj_per_frame"].value
    assert saved == pytest.approx(ratio.energy_efficiency, rel=0.01)
    smaller = published().work("Instant-3D").figures["area_mm2"].value / edge["area_mm2"].value
    assert smaller == pytest.approx(0.36, abs=0.005)


def test_recorded_runs_did_our_work() -> None:
    text = (resources.files("oleaster.reproduce") / "rtnerf_pytorch.json").read_text()
    for run, found in zip(json.loads(text), baselines(), strict=True):
        assert sorted(found.fps) == scene_names()
        assert found.psnr_db > 45
        for row in run["scenes"]:
            assert len(row["seconds"]) == run["frames"]
            field = load_scene(row["scene"]).field
            assert row["lattice"] == run["width"] * run["height"] * field.samples
            assert row["fps"] == pytest.approx(1 / median(row["seconds"]), rel=1e-3)
        times = [1 / fps for fps in found.fps.values()]
        assert 1 / found.mean_fps == pytest.approx(sum(times) / len(times))
