"""Figures: what they show adds up, what is written is the same every time."""

import sys

import pytest

from oleaster.config import load_design
from oleaster.grouping import group_layers
from oleaster.io import FileError
from oleaster.plots import (
    PlotError,
    bar_groups,
    check_figure_file,
    plot_simulation,
    save_figure,
)
from oleaster.sim.networks.layer import Layer, Network
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.simulate import simulate

pytest.importorskip("matplotlib")


def simulation_of(layers, design="olive-64x64"):
    return simulate(Network("made", "by hand", tuple(layers)), load_design(design))


def linear(name, m=64, k=64, n=64, count=1, kind="linear"):
    return Layer(name, kind, m, k, n, count)


@pytest.fixture(scope="module")
def bert():
    return simulate(load_network("bert-base"), load_design("olive-64x64"))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([linear("a.0.b"), linear("a.1.b"), linear("c")], [("a.*.b", 2), ("c", 1)]),
        ([linear("a.0.b")], [("a.0.b", 1)]),
        # An odd one out: numbers are named, runs as ranges.
        (
            [linear(f"a.{i}", n=128 if i == 2 else 64) for i in (0, 1, 2, 3, 5, 6, 7)],
            [("a.[0-1,3,5-7]", 6), ("a.2", 1)],
        ),
        # Numbers within a word are part of it.
        ([linear("conv1"), linear("conv2")], [("conv1", 1), ("conv2", 1)]),
        ([linear("a.0.1"), linear("a.1.0"), linear("a.1.1")], [("a.*.*", 3)]),
        ([linear("a.0"), linear("a.1", count=2)], [("a.0", 1), ("a.1", 1)]),
    ],
)
def test_groups(layers, expected):
    simulation = simulation_of(layers)
    groups = group_layers(simulation.rows)
    assert [(group.name, group.layers) for group in groups] == expected
    for column in ("cycles", "energy_pj", "macs", "dram_weight_read_bytes"):
        total = getattr(simulation.total, column)
        assert sum(group.total(column) for group in groups) == pytest.approx(total)


def bar_lengths(axes):
    """The sum of every series, in the axis' unit, by label."""
    return {bars.get_label(): sum(patch.get_width() for patch in bars) for bars in axes.containers}


def test_bars_add_up_to_the_totals(bert):
    cycles, energy, roofline, utilization = plot_simulation(bert).axes
    total = bert.total
    assert cycles.get_xlabel() == "thousand cycles"
    assert sum(bar_lengths(cycles).values()) == pytest.approx(total.cycles / 1e3)
    assert bar_lengths(cycles)["compute"] == pytest.approx(total.compute_cycles / 1e3)
    assert energy.get_xlabel() == "energy in mJ"
    lengths = bar_lengths(energy)
    assert sum(lengths.values()) == pytest.approx(total.energy_pj / 1e9)
    assert lengths["DRAM"] == pytest.approx(total.energy_dram_pj / 1e9)
    names = [label.get_text() for label in cycles.get_yticklabels()]
    assert names[0] == "layer.*.attention.query x12"
    assert names[-1] == "classifier"
    assert utilization.get_xlim()[1] == pytest.approx(total.cycles / 1e6)
    # 64 x 64 PEs at 500 MHz: two operations each.
    assert max(line.get_ydata()[0] for line in roofline.lines) == 2 * 64 * 64 * 500e6


def test_markers_lie_below_their_roofs(bert):
    roofline = plot_simulation(bert).axes[2]
    bandwidth = 128 * 500e6
    for markers in roofline.collections:
        for x, y in markers.get_offsets():
            assert y <= min(x * bandwidth, 2 * 64 * 64 * 500e6) * (1 + 1e-9)


def test_many_layers_become_blocks():
    layers = [linear(f"block.{i}.{j}", n=8 * (1 + i * 10 + j)) for i in range(9) for j in range(9)]
    simulation = simulation_of(layers)
    axes = plot_simulation(simulation).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"block.{i} (9 layers)" for i in range(9)]
    assert sum(bar_lengths(axes).values()) == pytest.approx(simulation.total.cycles / 1e3)


def test_layers_of_one_name_share_a_bar():
    layers = [linear("g"), linear("g", n=128), linear("a.0.1"), linear("a.1.0", k=128)]
    simulation = simulation_of(layers)
    axes = plot_simulation(simulation).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["g", "a.0.1", "a.1.0"]
    assert sum(bar_lengths(axes).values()) == pytest.approx(simulation.total.cycles)


def test_more_blocks_than_bars():
    layers = [linear(f"layer{i}", n=8 * (1 + i)) for i in range(100)]
    simulation = simulation_of(layers)
    axes = plot_simulation(simulation).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 30
    assert names[-1] == "71 other layers"
    assert "layer99" in names
    assert sum(bar_lengths(axes).values()) == pytest.approx(simulation.total.cycles / 1e3)


def test_a_gpu_has_roofs_too():
    figure = plot_simulation(simulation_of([linear("a", 512, 512, 512)], "gpu-olive"))
    assert "gpu-olive" in figure.get_suptitle()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_is_the_same_file(tmp_path, bert, suffix):
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        save_figure(plot_simulation(bert), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


def test_bar_groups():
    figure = bar_groups(
        {"a": {"ours": 4.5, "published": 5.0}, "b": {"ours": 2.0}, "c": {"published": None}},
        ylabel="speedup",
        title="Title",
    )
    (axes,) = figure.axes
    heights = {bars.get_label(): [patch.get_height() for patch in bars] for bars in axes.containers}
    assert heights == {"ours": [4.5, 2.0], "published": [5.0]}
    ours, published = axes.containers
    assert ours[0].get_x() + ours[0].get_width() <= published[0].get_x()
    assert [text.get_text() for text in axes.texts] == ["4.5", "2", "5"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    again = bar_groups({"a": {"ours": 1.0}}, ylabel="x", axes=axes)
    assert again is figure


def test_names_are_no_formulas(tmp_path):
    name = r"$\frac$ \$ $x$"
    figure = plot_simulation(simulation_of([linear(name), linear("a\x1bb", n=128)]))
    labels = figure.axes[0].get_yticklabels()
    assert [label._preprocess_math(label.get_text()) for label in labels] == [
        (name, False),
        (r"a\x1bb", False),
    ]
    save_figure(figure, tmp_path / "x.png")
    figure = bar_groups({name: {name: 1.0}}, ylabel="x")
    save_figure(figure, tmp_path / "x.svg")


def test_no_bars():
    with pytest.raises(PlotError, match="no bars to draw"):
        bar_groups({"a": {}}, ylabel="speedup")


def test_wrong_files(tmp_path, bert):
    with pytest.raises(PlotError, match=r"x\.jpg: a figure's name ends in \.png, \.svg, \.pdf"):
        check_figure_file(tmp_path / "x.jpg")
    with pytest.raises(PlotError, match=r"x: a figure's name ends in"):
        save_figure(plot_simulation(bert), tmp_path / "x")
    with pytest.raises(FileError, match="does not exist; make it first"):
        check_figure_file(tmp_path / "none" / "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(FileError, match=r"folder\.png: cannot be written"):
        save_figure(plot_simulation(bert), tmp_path / "folder.png")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"figures need matplotlib: pip install 'oleaster\[plots"):
        check_figure_file(tmp_path / "x.png")
    with pytest.raises(PlotError, match="figures need matplotlib"):
        bar_groups({"a": {"ours": 1.0}}, ylabel="speedup")
