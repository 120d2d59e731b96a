"""The verbs simulate, designs and networks: what they print and write, and what they refuse."""

import csv
import json
import re
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from oleaster import __version__
from oleaster.cli import main
from oleaster.config import design_names, load_design
from oleaster.renderers import renderer_names
from oleaster.schema import KINDS
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import list_timing
from oleaster.sim.networks.csv_file import read_csv
from oleaster.sim.networks.library import NETWORKS, load_network
from oleaster.sim.performance.accelerator import accelerator_gemm
from oleaster.sim.performance.simulate import COLUMNS, simulate

CSV = "Layer, M, N, K,\nfirst, 64, 128, 256,\nblock.0.x, 8, 8, 8,\nblock.1.x, 8, 8, 8,\n"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.csv").write_text(CSV)


def files():
    return sorted(path.name for path in Path.cwd().iterdir())


def run(capsys, *arguments):
    """What a command line prints on stdout."""
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def run_json(capsys, *arguments):
    result = json.loads(run(capsys, *arguments, "--json"))
    assert result.pop("version") == __version__
    assert result.pop("command") == shlex.join(["oleaster", *arguments, "--json"])
    return result


def save_onnx(name, batch):
    """x (batch, 6) W (6, 4), then the product of it with its own transpose."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="project"),
            helper.make_node("Transpose", ["y"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["y", "t"], ["z"], name="scores"),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, batch])],
        [helper.make_tensor("w", TensorProto.FLOAT, [6, 4], [0.5] * 24)],
    )
    onnx.save(helper.make_model(graph), name)


@pytest.mark.parametrize("memory", ["ideal", "real"])
def test_json_has_the_whole_simulation(capsys, memory):
    answer = run_json(capsys, "simulate", "net.csv", "--memory", memory)
    expected = simulate(read_csv("net.csv"), load_design("olive-64x64"), memory=memory)
    assert list(answer) == ["network", "description", "memory", "results"]
    assert (answer["network"], answer["memory"]) == ("net", memory)
    (result,) = answer["results"]
    assert [tuple(layer.values()) for layer in result["layers"]] == list(expected.rows)
    assert tuple(result["layers"][0]) == tuple(result["total"]) == COLUMNS
    assert tuple(result["total"].values()) == expected.total
    assert result["energy_table"] == expected.energy_table.name
    assert (result["speedup"], result["energy_saving"]) == (1, 1)
    assert result["design"].pop("kind") == "array"
    assert result["design"] == json.loads(json.dumps(asdict(expected.design)))


def test_csv_has_the_same(capsys):
    text = run(capsys, "simulate", "net.csv", "--csv", "--design", "olive-64x64,gpu-olive")
    assert text.endswith("\n")
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == ["network", "design", "memory", *COLUMNS]
    assert [(row["design"], row["layer"]) for row in rows] == [
        (design, layer)
        for design in ("olive-64x64", "gpu-olive")
        for layer in ("first", "block.0.x", "block.1.x", "total")
    ]
    expected = simulate(read_csv("net.csv"), load_design("olive-64x64"))
    for row, result in zip(rows, (*expected.rows, expected.total), strict=False):
        assert row["cycles"] == str(result.cycles)
        assert float(row["energy_pj"]) == result.energy_pj
    assert [rows[3][name] for name in "mkn"] == ["", "", ""]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_the_output_file_has_what_would_be_printed(capsys, suffix):
    printed = run(capsys, "simulate", "net.csv", f"--{suffix}")
    shown = run(capsys, "simulate", "net.csv", "-o", f"out.{suffix}")
    called = f'"command": "oleaster simulate net.csv -o out.{suffix}"'
    assert Path(f"out.{suffix}").read_text() == re.sub('"command": ".*"', called, printed)
    assert "tera-operations" in shown
    assert files() == ["net.csv", f"out.{suffix}"]


def test_sizes_reach_the_network(capsys):
    options = ["--batch", "3", "--sequence", "40", "--phase", "decode", "--no-attention"]
    answer = run_json(capsys, "simulate", "smollm2", *options)
    expected = load_network("smollm2", batch=3, sequence=40, phase="decode", attention=False)
    assert answer["description"] == expected.description
    layers = answer["results"][0]["layers"]
    assert [(x["layer"], x["m"], x["k"], x["n"], x["count"]) for x in layers] == [
        (x.name, x.m, x.k, x.n, x.count) for x in expected.layers
    ]


def test_onnx(capsys):
    save_onnx("fixed.onnx", 5)
    layers = run_json(capsys, "simulate", "fixed.onnx")["results"][0]["layers"]
    assert [(x["layer"], x["kind"], x["m"], x["k"], x["n"]) for x in layers] == [
        ("project", "linear", 5, 6, 4),
        ("scores", "attention", 5, 4, 5),
    ]
    answer = run_json(capsys, "simulate", "fixed.onnx", "--no-attention")
    assert [x["layer"] for x in answer["results"][0]["layers"]] == ["project"]
    assert "without attention products" in answer["description"]
    save_onnx("free.onnx", "batch")
    answer = run_json(capsys, "simulate", "free.onnx", "--dim", "batch=7")
    assert answer["results"][0]["layers"][0]["m"] == 7


def test_for_people(capsys):
    shown = run(capsys, "simulate", "bert-base", "--design", "olive-64x64")
    expected = simulate(load_network("bert-base"), load_design("olive-64x64"))
    total = expected.total
    lines = shown.splitlines()
    query = next(line for line in lines if line.startswith("layer.*.attention.query"))
    assert query.split()[1:6] == ["12", "12", "128", "768", "768"]
    scores = next(line for line in lines if line.startswith("layer.*.attention.scores"))
    assert scores.split()[1:3] == ["12", "144"]
    summed = next(line for line in lines if line.startswith("total"))
    assert summed.split()[1:4] == ["98", "362", "100.0"]
    assert f"{total.cycles / 1e6:,.3f}" in summed
    (cycles,) = (line for line in lines if line.startswith("cycles"))
    shares = [float(part.split()[-2]) for part in cycles.split(":")[1].split(", ")]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    (energy,) = (line for line in lines if line.startswith("energy"))
    assert "buffers" in energy
    assert f"{total.energy_pj / 1e6:,.3f} uJ" in energy
    assert expected.energy_table.name in shown
    assert f"{total.time_us / 1e3:,.3f} ms at 500 MHz" in shown


def test_names_are_no_markup(capsys):
    Path("net.csv").write_text("Layer, M, N, K\n[/red]:x:, 1, 2, 3\n")
    assert "[/red]:x:" in run(capsys, "simulate", "net.csv")


def test_comparison(capsys):
    names = ["adafloat-32x28", "olive-64x64"]
    shown = run(capsys, "simulate", "net.csv", "--design", ",".join(names))
    first, second = (simulate(read_csv("net.csv"), load_design(name)).total for name in names)
    line = next(line for line in shown.splitlines() if line.startswith("olive-64x64"))
    assert f"{first.time_us / second.time_us:.2f}x" in line
    assert f"{first.energy_pj / second.energy_pj:.2f}x" in line
    results = run_json(capsys, "simulate", "net.csv", "--design", ",".join(names))["results"]
    assert results[1]["speedup"] == first.time_us / second.time_us
    assert results[1]["energy_saving"] == first.energy_pj / second.energy_pj


def test_other_energies(capsys):
    import oleaster.configs

    table = Path(oleaster.configs.__file__).parent / "energy" / "ant-28nm.toml"
    before = run_json(capsys, "simulate", "net.csv")["results"][0]["total"]
    text = table.read_text()
    start = text.index("[static]")
    at = text.index("value = ", start)
    Path("mine.toml").write_text(text[:at] + "value = 0 #" + text[at + 8 :])
    result = run_json(capsys, "simulate", "net.csv", "--energy", "mine.toml")["results"][0]
    assert result["energy_table"] == "mine"
    assert before["energy_static_pj"] > 0 == result["total"]["energy_static_pj"]
    assert result["total"]["energy_dram_pj"] == before["energy_dram_pj"]


def test_a_design_of_ones_own(capsys):
    import oleaster.configs

    shipped = Path(oleaster.configs.__file__).parent / "olive-64x64.toml"
    Path("mine.toml").write_text(shipped.read_text().replace("clock_mhz = 500", "clock_mhz = 250"))
    results = run_json(capsys, "simulate", "net.csv", "--design", "olive-64x64,mine.toml")
    ours, mine = results["results"]
    assert (mine["design"]["name"], mine["speedup"]) == ("mine", 0.5)
    # Power costs by time, and the same cycles take twice as long; what moves costs the same.
    for part, least, most in (("static", 2, 2), ("core", 1, 2), ("dram", 1, 1), ("buffer", 1, 1)):
        column = f"energy_{part}_pj"
        assert least <= mine["total"][column] / ours["total"][column] <= most
    assert mine["energy_saving"] == ours["total"]["energy_pj"] / mine["total"]["energy_pj"]


def test_designs_are_told_apart_by_name(capsys):
    import oleaster.configs

    text = (Path(oleaster.configs.__file__).parent / "olive-64x64.toml").read_text()
    Path("mine.toml").write_text(text)
    Path("olive-64x64.toml").write_text(text)
    for first, second in (("mine.toml", "./mine.toml"), ("olive-64x64", "olive-64x64.toml")):
        sentence = refused(capsys, "simulate", "net.csv", "--design", f"{first},{second}")
        assert f"{first} and {second} are both named" in sentence
    once = run(capsys, "simulate", "net.csv", "--design", "gpu-ant,gpu-olive")
    options = ["--design", "gpu-ant", "--design", "gpu-olive"]
    assert run(capsys, "simulate", "net.csv", *options) == once


def test_energies_of_nothing(capsys):
    import oleaster.configs

    text = (Path(oleaster.configs.__file__).parent / "energy" / "ant-28nm.toml").read_text()
    Path("free.toml").write_text(re.sub(r"value = \S+", "value = 0", text))
    options = ["--energy", "free.toml", "--design"]
    shown = run(capsys, "simulate", "net.csv", *options, "olive-64x64")
    assert re.search(r"energy +0\.000 uJ *\n", shown)
    two = "olive-64x64,ant-64x64-os"
    assert "1.00x" in run(capsys, "simulate", "net.csv", *options, two)
    results = run_json(capsys, "simulate", "net.csv", *options, two)["results"]
    assert [result["energy_saving"] for result in results] == [None, None]
    pytest.importorskip("matplotlib")
    run(capsys, "simulate", "net.csv", *options, "olive-64x64", "--plot", "figure.png")


def test_names_that_do_not_print(capsys):
    onnx = pytest.importorskip("onnx")
    save_onnx("net.onnx", 5)
    model = onnx.load("net.onnx")
    model.graph.node[0].name = "a\x1b[2J\nb"
    onnx.save(model, "net.onnx")
    shown = run(capsys, "simulate", "net.onnx")
    assert r"a\x1b[2J\nb" in shown
    assert "\x1b" not in shown


def test_plot(capsys):
    pytest.importorskip("matplotlib")
    run(capsys, "simulate", "net.csv", "--plot", "figure.png")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")
    assert files() == ["figure.png", "net.csv"]


def test_designs(capsys):
    rows = {row["name"]: row for row in run_json(capsys, "designs")["designs"]}
    assert list(rows) == [*design_names(), *renderer_names()]
    olive = rows["olive-64x64"]
    assert (olive["unit"], olive["pes"], olive["simulation"]["rows"]) == ("systolic", 4096, 64)
    assert rows["systolic-16x16"]["simulation"] is None
    assert rows["accelerator-16x16"]["simulation"]["pe_bits"] == 4
    gpu = rows["gpu-olive"]
    assert (gpu["unit"], gpu["pes"], gpu["simulation"]["kind"]) == (None, None, "gpu")
    assert gpu["simulation"]["macs_per_cycle"]["4"] == 139264
    shown = run(capsys, "designs")
    assert all(name in shown for name in rows)
    for name, row in rows.items():
        assert run_json(capsys, "designs", name)["design"] == row
        shown = run(capsys, "designs", name)
        assert row["title"] in shown
        assert ("cannot be built" in shown) == (row["unit"] is None)
        assert ("cannot be simulated" in shown) == (row["simulation"] is None)


def test_networks(capsys):
    rows = run_json(capsys, "networks")["networks"]
    assert [row["name"] for row in rows] == list(NETWORKS)
    for row in rows:
        network = load_network(row["name"])
        assert (row["macs"], row["description"]) == (network.macs, network.description)
    assert "bert-base" in run(capsys, "networks")
    network = run_json(capsys, "networks", "bert-base", "--batch", "2")["network"]
    assert network["gemms"] == 12 * (6 + 2 * 24) + 2
    assert network["layers"][0] == {
        **{"name": "layer.0.attention.query", "kind": "linear", "count": 1},
        **{"m": 256, "k": 768, "n": 768, "convolution": None, "macs": 256 * 768 * 768},
    }
    assert "block.1.x" in run(capsys, "networks", "net.csv")


def refused(capsys, *arguments):
    """The sentence with which a command line is refused; nothing is printed or written."""
    before = files()
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert files() == before
    return err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bert-bas"], "'bert-bas'; did you mean 'bert-base'"),
        (["bert-base", "--design", "olive"], "unknown design 'olive'; did you mean"),
        (["bert-base", "--design", "systolic-16x16"], "can be built but not simulated"),
        (["bert-base", "--design", "none.toml"], "none.toml: no such file"),
        (["bert-base", "--design", "olive-64x64,"], "expected names with commas between"),
        (["net.csv", "--design", ""], "expected names with commas between"),
        (["bert-base", "--design", "gpu-ant, gpu-ant"], "are both named 'gpu-ant'"),
        (["bert-base", "--design", "gpu-ant", "--design", "gpu-ant"], "are both named 'gpu-ant'"),
        (["none.csv"], "none.csv: cannot be read"),
        (["none.onnx"], "none.onnx: cannot be read"),
        (["bert-base", "--batch", "0"], "batch is 0"),
        (["bert-base", "--batch", "-3"], "batch is -3"),
        (["bert-base", "--sequence", "-1"], "sequence is -1"),
        (["bert-base", "--batch", "x"], "'--batch': not a whole number"),
        (["bert-base", "--phase", "decode"], "bert-base generates no text"),
        (["resnet-50", "--sequence", "8"], "resnet-50 takes images"),
        (["bert-base", "--memory", "best"], "'best' is not one of"),
        (["bert-base", "--dim", "batch=1"], "--dim is for ONNX files"),
        (["net.csv", "--batch", "2"], "--batch is for networks by name; net.csv says its sizes"),
        (["net.csv", "--dim", "a=1"], "--dim is for networks by name"),
        (["x.onnx", "--dim", "batch"], "--dim batch: expected NAME=SIZE, as batch=1"),
        (["x.onnx", "--dim", "batch=-1"], "--dim batch=-1: expected NAME=SIZE"),
        (["x.onnx", "--dim", "a=1", "--dim", "a=2"], "a is given twice"),
        (
            ["net.csv", "--energy", "ant-28"],
            "unknown energy table 'ant-28'; did you mean 'ant-28nm",
        ),
        (["net.csv", "--energy", ""], "unknown energy table ''"),
        (["net.csv", "--energy", "none.toml"], "none.toml: No such file"),
        (["net.csv", "--json", "--csv"], "give one of them"),
        (["net.csv", "-o", "out.txt"], "ends in .csv or .json"),
        (["net.csv", "-o", "net.csv"], "net.csv: is an input of this command"),
        (["net.csv", "-o", "none/out.csv"], "the folder none does not exist; make it first"),
        (["net.csv", "--plot", "figure.jpg"], "figure.jpg: a figure's name ends in .png, .svg"),
        (["net.csv", "--plot", "none/figure.png"], "the folder none does not exist"),
        (["net.csv", "--plot", "a.png", "--design", "gpu-ant,gpu-olive"], "--plot draws one"),
        ([], "Missing argument"),
    ],
)
def test_refused(capsys, arguments, sentence):
    assert sentence in refused(capsys, "simulate", *arguments)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Layer, M, N\na, 1, 2\n", "column K is missing"),
        ("Layer, M, N, K\na, 1, -2, 3\n", "line 2: N is '-2'"),
        ("Layer, M, N, K\na, 1, 0, 3\n", "line 2: N is '0'"),
        ("Layer, M, N, K\n", "net.csv: has no row"),
        ("", "net.csv: is empty"),
    ],
)
def test_wrong_csv(capsys, text, sentence):
    Path("net.csv").write_text(text)
    assert sentence in refused(capsys, "simulate", "net.csv")


def test_onnx_without_sizes(capsys):
    save_onnx("free.onnx", "batch")
    sentence = refused(capsys, "simulate", "free.onnx")
    assert "free.onnx: input 'x' has the dynamic dimension 'batch'" in sentence
    assert "batch=1" in sentence
    Path("bad.onnx").write_bytes(b"\x00\x01")
    assert "bad.onnx: is not an ONNX file" in refused(capsys, "simulate", "bad.onnx")


@pytest.mark.parametrize("memory", ["ideal", "real"])
@pytest.mark.parametrize("buffer", ["weight", "activation"])
def test_buffers_too_small(capsys, memory, buffer):
    import oleaster.configs

    text = (Path(oleaster.configs.__file__).parent / "olive-64x64.toml").read_text()
    line = next(x for x in text.splitlines() if x.startswith(f"{buffer}_buffer_bytes"))
    Path("mine.toml").write_text(text.replace(line, f"{buffer}_buffer_bytes = 1"))
    options = ["--design", "mine.toml", "--memory", memory]
    sentence = refused(capsys, "simulate", "bert-base", *options)
    assert "mine" in sentence
    assert buffer in sentence


def test_a_failed_write_leaves_the_old_file(capsys, monkeypatch):
    Path("out.csv").write_text("old")

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    sentence = refused(capsys, "simulate", "net.csv", "-o", "out.csv")
    assert "out.csv: cannot be written: No space left on device" in sentence
    assert Path("out.csv").read_text() == "old"


def test_without_matplotlib(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sentence = refused(capsys, "simulate", "net.csv", "--plot", "figure.png")
    assert "figures need matplotlib: pip install 'oleaster[plots]'" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["designs", "olive"], "unknown design 'olive'; did you mean"),
        (["networks", "bert"], "did you mean 'bert-base'"),
        (["networks", "--batch", "2"], "sizes are those of one network"),
        (["networks", "--no-attention"], "sizes are those of one network"),
    ],
)
def test_refused_lists(capsys, arguments, sentence):
    assert sentence in refused(capsys, *arguments)


PAGE = (Path(__file__).parents[1] / "docs" / "performance.md").read_text()


@pytest.mark.parametrize(("command", "shown"), re.findall(r"```console\n\$ (.*)\n([^`]*)```", PAGE))
def test_what_the_page_shows(capsys, command, shown):
    """Where figures are meant to change, paste what the command prints now."""
    lines = run(capsys, *command.split()[1:]).splitlines()
    assert [line.rstrip() for line in lines] == shown.splitlines()


def test_what_the_page_runs():
    pytest.importorskip("matplotlib")
    code = "\n".join(re.findall(r"```python\n([^`]*)```", PAGE))
    names: dict[str, object] = {}
    exec(code, names)
    assert names["columns"].keys() == set(COLUMNS)
    assert Path("bert.svg").stat().st_size > 10_000


def test_the_design_on_the_page():
    (design,) = [x for x in re.findall(r"```toml\n([^`]*)```", PAGE) if "[simulation]" in x]
    Path("page.toml").write_text(design)
    loaded = load_design("page.toml")
    assert loaded.precisions[0].weights.stored_bits == 4
    assert simulate(read_csv("net.csv"), loaded).total.cycles > 0


def test_the_page_lists_every_column_and_key():
    missing = {name for name in COLUMNS if f"`{name}`" not in PAGE}
    for schema in KINDS.values():
        keys = set(schema.model_fields) - {"config"}
        missing |= {key for key in keys if f"`{key}`" not in PAGE}
    assert not missing


def test_narrow_terminals_cut_no_numbers(capsys, monkeypatch):
    whole = run(capsys, "simulate", "bert-base")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run(capsys, "simulate", "bert-base")
    assert "…" not in narrow
    assert "layer.*.attention.query" not in narrow  # folded
    for number in re.findall(r"[\d,.]*\d", whole):
        assert number in narrow


def test_our_accelerator(capsys):
    options = ["--design", "accelerator-16x16"]
    result = run_json(capsys, "simulate", "net.csv", *options)["results"][0]
    design = load_design("accelerator-16x16")
    memory = MemoryTiming.with_bandwidth(design.dram_latency_cycles, 1.0, 1.0)
    for layer in result["layers"]:
        m, k, n = layer["m"], layer["k"], layer["n"]
        formats = layer["activation_format"], layer["weight_format"], "int32"
        gemm = accelerator_gemm(design.config, m, k, n, *formats)
        assert layer["cycles"] == list_timing([gemm], design.config, memory).cycles
        assert layer["energy_core_pj"] > 0
        assert 0 < layer["utilization_pct"] <= 100
    assert "one model for both" in run(capsys, "simulate", "net.csv", *options)


@pytest.mark.parametrize("memory", ["ideal", "real"])
@pytest.mark.parametrize("design", ["olive-64x64", "ant-64x64-ws", "gpu-olive"])
def test_absurd_sizes(capsys, design, memory):
    Path("net.csv").write_text("Layer, M, N, K\na, 67108864, 67108864, 67108864\n")
    options = ["--design", design, "--memory", memory]
    sentence = refused(capsys, "simulate", "net.csv", *options)
    assert "a: 67108864 x 67108864 x 67108864 is too large for one GEMM" in sentence
