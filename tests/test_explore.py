"""Studies: what points are, what their metrics are, which are best, and what is refused."""

import csv
import json
import sqlite3
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from oleaster import __version__
from oleaster.cli import main
from oleaster.config import load_design
from oleaster.explore import load_study, run_study, stored_study, study_names
from oleaster.explore.results import _front
from oleaster.explore.space import Space, read_parameter
from oleaster.report.inputs import Exploration
from oleaster.sim.networks.csv_file import read_csv
from oleaster.sim.networks.library import load_network
from oleaster.sim.performance.simulate import simulate
from oleaster.synth.area import estimate_area

pytest.importorskip("optuna")

STUDY = """
title = "Small"
design = "olive-64x64"

[workload]
network = "net.csv"

[parameters]
rows = [8, 16, 32]
clock_mhz = {min = 250, max = 500, step = 250}
formats = ["ovp4-flint", "ovp8:ovp4-flint"]
workload.memory = ["ideal", "real"]

[objectives]
time_us = "min"
energy_uj = "min"

[constraints]
gate_equivalents = {max = 1_600_000}
"""
KEYS = [
    *("version", "command", "study", "title", "workload", "design", "sampler", "seed", "trials"),
    *("objectives", "parameters", "constraints", "points", "pareto"),
]


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLEASTER_CACHE", str(tmp_path / "cache"))
    Path("net.csv").write_text("Layer, M, N, K\nfirst, 64, 128, 256\nsecond, 8, 24, 48\n")
    Path("s.toml").write_text(STUDY)


def write(*changes, text=STUDY):
    """The study with words replaced."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("s.toml").write_text(text)


def run(capsys, *arguments):
    assert main(["explore", "s.toml", "--jobs", "1", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys, *arguments):
    assert main(["explore", *(arguments or ("s.toml",))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_grid_has_every_point_once_with_the_simulators_figures(capsys):
    answer = json.loads(run(capsys, "--json"))
    assert list(answer) == KEYS
    assert len(Exploration.model_validate(answer).points) == 24  # as reports read it
    assert (answer["version"], answer["study"], answer["title"]) == (__version__, "s", "Small")
    assert answer["objectives"] == {"time_us": "min", "energy_uj": "min"}
    assert answer["workload"]["network"] == "net.csv"
    formats = ("ovp4-flint", "ovp8:ovp4-flint")
    grid = list(product([8, 16, 32], [250, 500], formats, ["ideal", "real"]))
    names = ("rows", "clock_mhz", "formats", "workload.memory")
    points = answer["points"]
    assert [tuple(point["parameters"][name] for name in names) for point in points] == grid
    assert [point["number"] for point in points] == list(range(len(grid)))
    network = read_csv("net.csv")
    for point, (rows, clock, both, memory) in zip(points, grid, strict=True):
        weights, _, activations = both.partition(":")
        design = load_design(
            "olive-64x64",
            {"rows": rows, "clock_mhz": clock, "weights": weights}
            | {"activations": activations or weights},
        )
        assert (design.rows, design.clock_mhz) == (rows, clock)
        assert design.precisions[0].weights.format == weights
        assert design.precisions[0].activations.format == "ovp4-flint"
        total = simulate(network, design, memory=memory).total
        moved = (
            total.dram_activation_read_bytes
            + total.dram_weight_read_bytes
            + total.dram_output_write_bytes
        )
        area = estimate_area(design)
        assert point["values"] == {
            "cycles": total.cycles,
            "time_us": pytest.approx(total.cycles / clock),
            "energy_uj": pytest.approx(total.energy_pj * 1e-6),
            "dram_mb": pytest.approx(moved * 1e-6),
            "utilization_pct": total.utilization_pct,
            "tera_ops": pytest.approx(2 * total.macs / total.time_us / 1e6),
            "edp": pytest.approx(total.energy_pj * 1e-6 * total.time_us),
            "gate_equivalents": area.gate_equivalents,
            "sram_bits": area.sram_bits,
            "area_error_pct": area.loo_error_pct,
        }
        assert point["feasible"] == (area.gate_equivalents <= 1.6e6)
        assert (point["state"], point["reason"]) == ("complete", None)
    assert {point["feasible"] for point in points} == {True, False}


def test_the_front_is_that_of_brute_force():
    generator = np.random.default_rng(5)
    for objectives in (1, 2, 3):
        values = generator.integers(0, 6, (60, objectives)).astype(float)
        beaten = [
            any((other <= one).all() and (other < one).any() for other in values) for one in values
        ]
        front = _front(values)
        assert sorted(front) == [at for at, lost in enumerate(beaten) if not lost]
        assert values[front].tolist() == sorted(values[front].tolist())


def test_objectives_to_maximise_and_constraints_shape_the_front():
    write(('energy_uj = "min"', 'tera_ops = "max"'))
    found = run_study("s.toml")
    feasible = [point for point in found.points if point.feasible]
    best = max(feasible, key=lambda point: point.values["tera_ops"])
    assert best in found.pareto
    assert all(point.feasible for point in found.pareto)
    assert found.rows[0]["pareto"] == (found.points[0] in found.pareto)


def test_what_is_there_is_not_run_again(capsys, monkeypatch):
    once = json.loads(run(capsys, "--json", "-o", "a.csv"))
    monkeypatch.setattr("oleaster.explore.pool.evaluate", None)  # nobody calls it
    again = json.loads(run(capsys, "--json", "-o", "b.csv"))
    assert [once[key] for key in KEYS if key != "command"] == [
        again[key] for key in KEYS if key != "command"
    ]
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    assert main(["explore", "s.toml", "--export-only", "-o", "c.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("c.csv").read_bytes()
    shown = capsys.readouterr().out
    infeasible = sum(not point["feasible"] for point in once["points"])
    assert f"24 of 24: infeasible {infeasible} (" in shown
    assert "), failed none" in shown


def test_exports_have_the_same_points(capsys):
    pq = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("matplotlib")
    for suffix in ("csv", "json", "parquet"):
        run(capsys, "-o", f"out.{suffix}", "--plot", "front.png")
    points = json.loads(Path("out.json").read_text())["points"]
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    table = pq.read_table("out.parquet")
    assert json.loads(table.schema.metadata[b"oleaster"])["study"] == "s"
    assert table.num_rows == len(rows) == len(points)
    for point, row, column in zip(points, rows, table.to_pylist(), strict=True):
        assert float(row["energy_uj"]) == column["energy_uj"] == point["values"]["energy_uj"]
        assert row["workload.memory"] == column["workload.memory"]
        assert int(row["rows"]) == column["rows"] == point["parameters"]["rows"]
        assert row["feasible"] == str(point["feasible"])
    assert Path("front.png").read_bytes().startswith(b"\x89PNG")


def test_points_that_cannot_be_are_told_and_not_the_end(capsys):
    write(("rows = [8, 16, 32]", "rows = [1, 8]"), ("ovp8:ovp4-flint", "ovp8"))
    answer = json.loads(run(capsys, "--json"))
    failed = [point for point in answer["points"] if point["state"] == "failed"]
    assert len(failed) == 4
    for point in failed:
        parameters = point["parameters"]
        assert (parameters["rows"], parameters["formats"]) == (1, "ovp8")
        assert (point["values"], point["feasible"]) == ({}, False)
        assert point["number"] not in answer["pareto"]
        assert point["reason"]
    shown = run(capsys)
    assert "failed 4 (16.7 %)" not in shown  # of 16
    assert "failed 4 (25.0 %)" in shown
    words = " ".join(shown.split())
    assert any(point["reason"][:60] in words for point in failed)


def test_random_points_depend_on_their_index_alone():
    write(
        ("[8, 16, 32]", "{min = 2, max = 64, step = 2}"),
        ("min = 250, max = 500, step = 250", "min = 100.0, max = 1e3, log = true"),
        ('design = "olive-64x64"', 'design = "olive-64x64"\nsampler = "random"\ntrials = 12'),
    )
    whole = run_study("s.toml", store="whole.db")
    first = run_study("s.toml", store="shared.db", worker=(2, 2))
    assert [point.number for point in first.points] == [1, 3, 5, 7, 9, 11]
    both = run_study("s.toml", store="shared.db", worker=(1, 2))
    assert both.points == whole.points
    assert len({repr(point.parameters) for point in whole.points}) == 12
    for point in whole.points:
        assert point.parameters["rows"] in range(2, 65, 2)
        assert 100 <= point.parameters["clock_mhz"] <= 1000
    seeded = Path("s.toml").read_text().replace("trials = 12", "trials = 12\nseed = 1")
    Path("s.toml").write_text(seeded)
    other = run_study("s.toml", store="other.db")
    assert all(a != b for a, b in zip(other.points, whole.points, strict=True))


@pytest.mark.parametrize(("sampler", "share"), [("tpe", 0.6), ("nsga2", 0.85)])
def test_samplers_that_learn_get_better(sampler, share):
    write(
        ("[8, 16, 32]", "{min = 4, max = 128, step = 4}"),
        ("step = 250", "step = 10"),
        ('energy_uj = "min"\n', ""),
        ('design = "olive-64x64"', f'design = "olive-64x64"\nsampler = "{sampler}"\ntrials = 30'),
        ("[constraints]\ngate_equivalents = {max = 1_600_000}", ""),
    )
    found = run_study("s.toml")
    assert len(found.points) == 30
    early, late = (
        np.mean([point.values["time_us"] for point in part])
        for part in (found.points[:10], found.points[-10:])
    )
    assert late < share * early
    more = Path("s.toml").read_text().replace("trials = 30", "trials = 32")
    Path("s.toml").write_text(more)
    assert run_study("s.toml").points[:30] == found.points


def test_designs_may_be_a_parameter():
    write(
        ('design = "olive-64x64"', ""),
        ("rows = [8, 16, 32]", 'design = ["olive-64x64", "int8-32x32"]'),
        ('formats = ["ovp4-flint", "ovp8:ovp4-flint"]', 'dataflow = ["os", "ws"]'),
        ("[constraints]\ngate_equivalents = {max = 1_600_000}", ""),
    )
    found = run_study("s.toml")
    network = read_csv("net.csv")
    for point in found.points:
        name, flow, clock, memory = (
            point.parameters[key] for key in ("design", "dataflow", "clock_mhz", "workload.memory")
        )
        design = load_design(name, {"dataflow": flow, "clock_mhz": clock})
        assert design.dataflow == flow
        assert point.values["cycles"] == simulate(network, design, memory=memory).total.cycles
    assert len(found.points) == 16
    assert found.to_dict()["design"] == ["olive-64x64", "int8-32x32"]


def test_ranges():
    assert read_parameter("x", {"min": 0.1, "max": 0.5, "step": 0.1}).size == 5
    tenths = read_parameter("x", {"min": 0.1, "max": 0.5, "step": 0.1})
    assert [tenths.value(at) for at in range(5)] == [0.1, 0.2, 0.3, 0.4, 0.5]
    factors = read_parameter("x", {"min": 3, "max": 48, "step": 2, "log": True})
    assert factors.choices == (3, 6, 12, 24, 48)
    ends = read_parameter("y", {"min": 1, "max": 9, "step": 3})
    assert [ends.value(at) for at in range(ends.size)] == [1, 4, 7]
    assert read_parameter("x", {"min": 5, "max": 5}).size == 1
    space = Space((factors, ends))
    seen = {tuple(space.point(at).values()) for at in range(space.size)}
    assert seen == set(product((3, 6, 12, 24, 48), (1, 4, 7)))


def test_studies_that_come_with_us_load(capsys):
    assert {"bert-array", "lego-renderers", "opt-decode"} <= set(study_names())
    assert main(["explore", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["studies"]
    assert [one["name"] for one in listed] == study_names()
    bert = load_study("bert-array")
    assert bert.workload.load(bert.folder) == load_network("bert-base")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("rows =", "row ="), "unknown parameter 'row' of design olive-64x64; did you mean 'rows'"),
        (("workload.memory", "workload.memori"), "unknown parameter 'workload.memori'; did you m"),
        (('"real"]', '"best"]'), "parameters.workload.memory is 'best'; it must be 'ideal' or"),
        (("min = 250", "min = 600"), "clock_mhz is an empty range: min is 600 and max 500"),
        (("[8, 16, 32]", "[]"), "parameters.rows has no choices"),
        (("[8, 16, 32]", "[8, 16, 8]"), "parameters.rows has 8 twice"),
        (("[8, 16, 32]", "[8, 8.0]"), "parameters.rows has 8.0 twice"),
        (("[8, 16, 32]", "[8, nan]"), "parameters.rows[1] is nan; it must be finite"),
        (("[8, 16, 32]", "[8, 0]"), "rows is 0; input should be greater than or equal to 1"),
        (("[8, 16, 32]", "[8, 2.5]"), "rows is 2.5; "),
        (("[8, 16, 32]", "[8, true]"), "rows is True; "),
        (("[8, 16, 32]", "8"), "parameters.rows is 8; expected a list of choices"),
        (("[8, 16, 32]", "{min = 1}"), "the key parameters.rows.max is missing"),
        (("max = 500", "max = inf"), "clock_mhz.max is inf; it must be finite"),
        (("step = 250", "step = 0"), "clock_mhz.step is 0; it must be above 0"),
        (("step = 250", "step = nan"), "clock_mhz.step is nan"),
        (("step = 250", "stepp = 2"), "parameters.clock_mhz.stepp is no key of a range"),
        (("step = 250", "log = true"), "parameters.clock_mhz has no step; a grid needs"),
        (("step = 250", "step = 1, log = true"), "with log it is a factor, above 1"),
        (("step = 250", "step = 1.000001, log = true"), "by factors at most 1,000"),
        (("step = 250", "step = 0.0001"), "the grid has 30,000,012 points, and at most 250,000"),
        (('"ovp8:ovp4-flint"', '"ovp7"'), "'ovp7' is not one of `oleaster formats`"),
        (('time_us = "min"', 'fps = "max"'), "does not produce fps, scenes do"),
        (('time_us = "min"', 'time = "min"'), "objectives.time is no metric; did you mean 'time_u"),
        (('time_us = "min"', 'accuracy_cosine = "max"'), "networks minilm do, others with"),
        (('time_us = "min"', 'time_us = "least"'), "objectives.time_us is 'least'; it must be '"),
        (("gate_equivalents =", "gates ="), "constraints.gates is no metric"),
        (("max = 1_600_000", "max = nan"), "constraints.gate_equivalents.max is nan"),
        (("max = 1_600_000", "min = 2, max = 1"), "cannot hold: min is above max"),
        (("max = 1_600_000", "most = 1"), "unknown key constraints.gate_equivalents.most"),
        (("max = 1_600_000", ""), "constraints.gate_equivalents has neither min nor max"),
        (('"net.csv"', '"none.csv"'), "none.csv: cannot be read"),
        (('"net.csv"', '"bert-bas"'), "'bert-bas'; did you mean 'bert-base'"),
        (("network =", "scenes ="), "[workload] has a key network or a key scene"),
        (('network = "net.csv"', 'scene = "lego"'), "does not produce time_us, networks do"),
        (("network =", "batsh = 2\nnetwork ="), "unknown key workload.batsh; did you mean 'batch'"),
        (('"olive-64x64"', '"olive"'), "unknown design 'olive'; did you mean"),
        (('design = "olive-64x64"', ""), "the key design is missing, or a parameter design"),
        (('title = "Small"', 'titel = "Small"'), "unknown key titel; did you mean 'title'"),
        (('title = "Small"', 'sampler = "tp"'), "sampler is 'tp'; it must be 'grid', 'random'"),
        (('title = "Small"', "trials = 5"), "trials is for random, tpe and nsga2"),
        (('title = "Small"', "seed = -1"), "seed is -1; it must be greater than or equal to 0"),
        (("[objectives]", "[objectivs]"), "the key objectives is missing"),
        (("[objectives]", "[objectives"), "s.toml: is not TOML"),
    ],
)
def test_bad_studies(capsys, change, sentence):
    write(change)
    assert sentence in refused(capsys)
    assert not Path("s.db").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.toml"], "none.toml: no such file"),
        (["bert-arra"], "unknown study 'bert-arra'; did you mean 'bert-array'"),
        (["s.toml", "-o", "out.txt"], "ends in .csv, .json, .parquet"),
        (["s.toml", "-o", "none/out.csv"], "the folder none does not exist"),
        (["s.toml", "--plot", "out.jpg"], "a figure's name ends in .png"),
        (["s.toml", "--worker", "3/2"], "--worker 3/2: expected K/N"),
        (["s.toml", "--jobs", "0"], "'--jobs': it must be greater"),
        (["s.toml", "--export-only"], "s.db: no such store; run the study first"),
        (["s.toml", "--store", "net.csv"], "net.csv: cannot be read as a store"),
        (["s.toml", "--store", "none/s.db"], "the folder none does not exist"),
        (["s.toml", "--store", "cache"], "cache: is no file"),
        (["s.toml", "--store", "nodb://me:secret@host/x"], "nodb"),
        (["s.toml", "--store", "postgresql://me:secret@localhost:1/x"], "postgresql://me:***@"),
    ],
)
def test_wrong_use(capsys, arguments, sentence):
    Path("cache").mkdir()
    error = refused(capsys, *arguments)
    assert sentence in error
    assert "secret" not in error


def test_a_database_of_something_else_is_left_alone(capsys):
    with sqlite3.connect("s.db") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    before = Path("s.db").read_bytes()
    assert "is a database of something else (table 'recipes')" in refused(capsys)
    assert Path("s.db").read_bytes() == before


def test_another_study_of_the_same_name_is_refused(capsys):
    run(capsys)
    count = len(stored_study("s.toml").points)
    for change, sentence in (
        (("[8, 16, 32]", "[8, 16]"), "parameters.rows was [8, 16, 32], and is [8, 16]"),
        (('energy_uj = "min"', 'energy_uj = "max"'), "energy_uj was 'min', and is 'max'"),
        (("1_600_000", "1_500_000"), "constraints.gate_equivalents was"),
        (('title = "Small"', "seed = 4"), "seed was 0, and is 4"),
    ):
        write(change)
        error = refused(capsys)
        assert sentence in error
        assert "give this one another name" in error
    lines = STUDY.replace("rows = [8, 16, 32]\n", "").replace("[objectives]", "\n[objectives]")
    write(text=lines.replace("\n\n\n[obj", "\nrows = [8, 16, 32]\n\n[obj"))
    assert "came in another order" in refused(capsys)
    write()
    Path("net.csv").write_text("Layer, M, N, K\nfirst, 64, 128, 255\n")
    assert "net.csv had another content" in refused(capsys)
    write(('title = "Small"', 'name = "other"'))
    run(capsys)  # two studies in one store
    Path("net.csv").write_text("Layer, M, N, K\nfirst, 64, 128, 256\nsecond, 8, 24, 48\n")
    write()
    assert len(stored_study("s.toml").points) == count
