"""RT-NeRF's published figures agree with each other; the page sets ours beside them."""

import json
import tomllib
from importlib import resources
from statistics import median
from typing import Any, get_args

import pytest

from oleaster.models.nerf.scene import load_scene, scene_names
from oleaster.reproduce.rtnerf import (
    DesignRow,
    IdeaRow,
    RtnerfEvaluation,
    SceneRow,
    evaluation_of,
)
from oleaster.reproduce.rtnerf_baselines import baselines
from oleaster.reproduce.rtnerf_page import markdown
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


def _row(design: str, scene: str, cycles: int, **others: Any) -> SceneRow:
    fps = 2e9 / cycles
    usual: dict[str, Any] = {
        "energy_mj": 50.0,
        "dram_bytes": 3_000_000,
        "bottleneck": "colour network",
        "busy": 0.9,
        "density": 1000,
        "colored": 500,
        "network_macs": 500 * 36_000,
        "psnr_db": None,
    }
    return SceneRow(design, scene, cycles, fps, **{**usual, **others})


def _evaluation(ideas: tuple[IdeaRow, ...] = ()) -> RtnerfEvaluation:
    designs = [
        DesignRow("rtnerf-edge", "Small", 2000, 4, 256, "ant-28nm"),
        DesignRow("rtnerf-cloud", "Large", 2000, 120, 7680, "ant-28nm"),
    ]
    rows = [
        _row("rtnerf-edge", "lego", 50_000_000, psnr_db=36.125),
        _row("rtnerf-edge", "ship", 200_000_000, energy_mj=150.0),
        _row("rtnerf-cloud", "lego", 2_000_000),
        _row("rtnerf-cloud", "ship", 5_000_000),
    ]
    return evaluation_of((800, 800), designs, rows, ideas)


def test_means_and_ratios_of_the_page() -> None:
    found = _evaluation()
    # 0.025 s and 0.1 s: 16 frames a second; 100 mJ a frame, so 10 frames a joule, 1.6 W.
    assert found.mean_fps("rtnerf-edge") == pytest.approx(16)
    assert found.mean_mj("rtnerf-edge") == pytest.approx(100)
    page = markdown(found)
    for line in (
        "| lego | 50,000,000 | 40.00 | 50.0 | 3.00 | colour network, 90 % | 1,000 | 500 | 36.12 |",
        "| all | 250,000,000 | 16.00 | 100.0 |  |  |  |  |  |",
        "| FPS | 16 | 45 (r) | 0.356 | 67.56 (r) | 0.237 |",
        "| W | 1.6 | 8 (r) | 0.2 | 3 (r) | 0.533 |",
        "| mJ a frame | 100 | 178 (d) | 0.562 | 44.4 (d) | 2.25 |",
        "| FPS/W | 10 | 5.6 (d) | 1.79 | 22.5 (r) | 0.444 |",
    ):
        assert line in page, line
    # 18 million products at 512 thousand million a second; 0.405 of them a cycle for 45 FPS.
    assert "| lego | 0.0 | 36,000 | 0 | 28,444.44 | 40.00 | 0 % |" in page
    assert "Each idea taken away" not in page
    for work in published().works:
        assert f"| {work.name}, {work.venue} |" in page


def test_ideas_and_baselines_of_the_page() -> None:
    page = markdown(_evaluation((IdeaRow("lego", "no early stop", 1.5, 1.25, 2.0),)))
    assert "| no early stop | 1.50 | 1.25 | 2.00 |" in page
    gpu, _ = baselines()
    fps = [gpu.fps[scene] for scene in ("lego", "ship")]
    mean = 2 / sum(1 / each for each in fps)
    assert f"| {gpu.machine} | {fps[0]:.3g} | {fps[1]:.3g} | {mean:.3g} |" in page
    assert (
        f"| rtnerf-edge over it | {40 / fps[0]:.3g} | {10 / fps[1]:.3g} | {16 / mean:.3g} |" in page
    )
