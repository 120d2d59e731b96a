"""RT-NeRF's published figures agree with each other; the page sets ours beside them."""

import json
import re
import tomllib
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import resources
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any, get_args

import pytest

from oleaster.cli import main
from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.image import shrink
from oleaster.models.nerf.render import psnr
from oleaster.models.nerf.scene import HeldOut, Scene, load_scene, scene_names
from oleaster.renderers import load_renderer
from oleaster.report.inputs import RtnerfRun
from oleaster.reproduce.rtnerf import (
    DESIGNS,
    IDEAS_TILES,
    DesignRow,
    IdeaRow,
    RtnerfEvaluation,
    SceneRow,
    evaluation_of,
)
from oleaster.reproduce.rtnerf_baselines import baselines
from oleaster.reproduce.rtnerf_page import markdown
from oleaster.reproduce.rtnerf_published import FIGURES, Tag, published
from oleaster.sim.nerf.renderer.ablations import BASE, IDEAS, ablate
from oleaster.sim.nerf.renderer.simulate import simulate_designs


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


def _small(name: str = "duck") -> Scene:
    """A scene with one held-out view of 24 x 16."""
    scene = load_scene(name)
    view = scene.views[0]
    camera = view.camera.scaled(24, 16)
    return replace(scene, views=(HeldOut.of(camera, shrink(view.image(), 24, 16)),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the JSON of a page with one scene, in few pixels."""
    folder, printed = tmp_path_factory.mktemp("page") / "out", StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr("oleaster.reproduce.rtnerf.SIZE", (40, 30))
        patch.setattr("oleaster.reproduce.rtnerf.load_scene", _small)
        patch.setattr("oleaster.reproduce.rtnerf.IDEAS_OF", "duck")
        patch.setattr("oleaster.reproduce.rtnerf.scene_names", lambda: ["duck"])
        assert main(["reproduce", "rtnerf", "-o", str(folder), "--json"]) == 0
    return folder, json.loads(printed.getvalue())


def test_an_interrupt_leaves_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(report: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("oleaster.reproduce.rtnerf.evaluate_rtnerf", interrupt)
    there = tmp_path / "there"
    there.mkdir()
    for folder in (tmp_path / "new", there):
        assert main(["reproduce", "rtnerf", "-o", str(folder)]) == 130
    assert list(tmp_path.iterdir()) == [there]


def test_frames_are_the_cycle_models(run: tuple[Path, dict[str, Any]]) -> None:
    _, found = run
    scene = _small()
    fixed, camera = fix_scene(scene), scene.views[0].camera.scaled(40, 30)
    designs = [load_renderer(name) for name in DESIGNS]
    for result, figures in zip(
        found["designs"], simulate_designs(scene, fixed, camera, designs), strict=True
    ):
        (row,) = result["frames"]
        assert (row["cycles"], row["dram_bytes"]) == (figures.cycles, figures.dram_bytes)
        assert [result["fps"], row["fps"]] == pytest.approx([1e9 / figures.cycles] * 2)
        assert row["busy"] == figures.busy
        units = result["networks"] * figures.cycles / row["colored"]
        assert row["color_cycles"] == pytest.approx(units * figures.busy["colour networks"])
        assert row["energy_mj"] == pytest.approx(sum(row["energy_parts_mj"].values()))
        drawn = fixed.render(camera).counters
        assert row["colored"] == drawn.colored
        # A pixel is seen to be dark sample by sample, in the other renderer by batches.
        assert row["colored"] < row["density"] <= drawn.density
        a_color = 36 * 27 + 150 * 128 + 128 * 128 + 128 * 3
        assert row["network_macs"] == row["colored"] * a_color
        held = fixed.render(scene.views[0].camera).image
        assert row["psnr_db"] == pytest.approx(psnr(held, scene.views[0].image()), abs=1e-4)


def test_ideas_are_the_ablations(run: tuple[Path, dict[str, Any]]) -> None:
    _, found = run
    assert RtnerfRun.model_validate(found).ideas == found["ideas"]  # as reports read it
    ideas = {row["idea"]: row for row in found["ideas"]}
    assert [BASE, *ideas] == list(IDEAS)
    for name, row in ideas.items():
        assert row["instead"] == IDEAS[name].what
    scene, design = _small(), load_renderer("rtnerf-edge")
    camera = scene.views[0].camera.scaled(40, 30)
    names = (BASE, "no block cull", "pure bitmap")
    whole, *others = ablate(scene, fix_scene(scene), camera, design, names, every=IDEAS_TILES)
    for each in others:
        row = ideas[each.name]
        assert row["cycles"] == pytest.approx(each.figures.cycles / whole.figures.cycles)
        assert row["bytes"] == pytest.approx(each.figures.scene_bytes / whole.figures.scene_bytes)
        saved = each.figures.energy.total / whole.figures.energy.total
        assert row["energy"] == pytest.approx(saved)
    assert ideas["no block cull"]["cycles"] > 1


def test_page_has_its_figures(run: tuple[Path, dict[str, Any]]) -> None:
    folder, found = run
    page = (folder / "rtnerf.md").read_text()
    shown = re.findall(r"\]\((\S+\.png)\)", page)
    assert len(shown) == 2
    for name in shown:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert b"</svg>" in (folder / name).with_suffix(".svg").read_bytes()
    assert sorted(found["files"]) == sorted(map(str, folder.iterdir()))


def test_page_in_the_docs_says_the_same(run: tuple[Path, dict[str, Any]]) -> None:
    """`oleaster reproduce rtnerf` writes it, with all scenes: equal but for numbers and tables."""

    def words(page: Path) -> list[str]:
        lines = page.read_text().splitlines()
        return [
            re.sub(r"[\d.,]+", "0", line).replace("lego", "duck")
            for line in lines
            if not line.startswith("|")
        ]

    folder, _ = run
    ours = Path(__file__).parents[1] / "docs/rtnerf/rtnerf.md"
    assert words(ours) == words(folder / "rtnerf.md")


def _row(design: str, scene: str, cycles: int, **others: Any) -> SceneRow:
    fps = 2e9 / cycles
    usual: dict[str, Any] = {
        "energy_mj": 50.0,
        "energy_parts_mj": {"static": 30.0, "core": 20.0},
        "dram_bytes": 3_000_000,
        "bottleneck": "colour network",
        "busy": {"shader": 0.25, "colour network": 0.9},
        "density": 1000,
        "colored": 500,
        "network_macs": 500 * 36_000,
        "color_cycles": 150.0,
        "psnr_db": 35.0,
    }
    return SceneRow(design, scene, cycles, fps, **{**usual, **others})


def _evaluation() -> RtnerfEvaluation:
    designs = [
        DesignRow("rtnerf-edge", "Small", "Ours.", 2000, 4, 8, 256, 75, "ant-28nm"),
        DesignRow("rtnerf-cloud", "Large", "Ours.", 2000, 120, 240, 7680, 75, "ant-28nm"),
    ]
    rows = [
        _row("rtnerf-edge", "lego", 50_000_000, psnr_db=36.125),
        _row("rtnerf-edge", "ship", 200_000_000, energy_mj=150.0),
        _row("rtnerf-cloud", "lego", 2_000_000),
        _row("rtnerf-cloud", "ship", 5_000_000),
    ]
    ideas = [IdeaRow("lego", "no early stop", "dark pixels, too", 1.5, 1.25, 2.0)]
    return evaluation_of(designs, rows, ideas)


def test_means_and_ratios_of_the_page() -> None:
    found = _evaluation()
    # 0.025 s and 0.1 s: 16 frames a second; 100 mJ a frame, so 10 frames a joule, 1.6 W.
    assert found.mean_fps("rtnerf-edge") == pytest.approx(16)
    assert found.mean_mj("rtnerf-edge") == pytest.approx(100)
    page = markdown(found)
    for line in (
        "| lego | 50,000,000 | 40.00 | 50.0 | 3.00 | colour network, 90 % | 1,000 | 500 | 36.12 |",
        "| all | 250,000,000 | 16.00 | 100.0 |  |  |  |  | 35.56 |",
        "| FPS | 16 | 45 (r) | 0.356 | 67.56 (r) | 0.237 |",
        "| W | 1.6 | 8 (r) | 0.2 | 3 (r) | 0.533 |",
        "| mJ a frame | 100 | 178 (d) | 0.562 | 44.4 (d) | 2.25 |",
        "| FPS/W | 10 | 5.6 (d) | 1.79 | 22.5 (r) | 0.444 |",
    ):
        assert line in page, line
    # 18 million products at 512 thousand million a second; 500 samples at 75 cycles in 8 encoders.
    assert "| lego | 0.0 | 0 | 28,444.44 | 426,666.67 | 213,333.33 | 40.00 |" in page
    assert "| shader | 25 % | 25 % |" in page
    assert "static 60 %, core 40 %" in page
    for work in published().works:
        assert f"| {work.name}, {work.venue} |" in page


def test_ideas_and_baselines_of_the_page() -> None:
    page = markdown(_evaluation())
    assert "| no early stop | dark pixels, too | 1.50 | 1.25 | 2.00 |" in page
    gpu, _ = baselines()
    fps = [gpu.fps[scene] for scene in ("lego", "ship")]
    mean = 2 / sum(1 / each for each in fps)
    assert f"| {gpu.machine} | {fps[0]:.3g} | {fps[1]:.3g} | {mean:.3g} |" in page
    assert (
        f"| rtnerf-edge over it | {40 / fps[0]:.3g} | {10 / fps[1]:.3g} | {16 / mean:.3g} |" in page
    )
