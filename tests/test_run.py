"""A whole encoder through descriptors: bit for bit the numpy one; and the verb `run`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_encoder import random_tensors, write_folder

from oleaster.cli import main
from oleaster.device_executor import DeviceExecutor
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.gemm_list import ModelExecutor
from oleaster.models.encoder import Encoder, load_encoder
from oleaster.models.integer_encoder import LISTS, IntegerEncoder
from oleaster.models.quantize import QuantizedTensor, quantize
from oleaster.run import run_encoder
from oleaster.sim.accelerator.device import CycleDevice
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.driver import Driver

TEXTS = ["wild olive tree", "", "olive unheard", "tree tree tree tree tree tree"]
CALIBRATION = ["olive tree wild", "tree", "unheard wild wild olive olive"]
# That of the bus benches too, so that Verilator builds it once.
SMALL = AcceleratorConfig(
    rows=4, cols=4, data_bits=64, scratchpad_beats=8, outstanding=4, burst_beats=8
)
KINDS = [
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.scores",
    "attention.context",
    "attention.output",
    "intermediate",
    "output",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bert", random_tensors())


@pytest.fixture
def tiny(folder: Path) -> Encoder:
    return load_encoder(folder)


def on_device(model: IntegerEncoder) -> DeviceExecutor:
    device = CycleDevice(SMALL, MemoryTiming(7), 1 << 16)
    return DeviceExecutor(Driver(device), model.constants, MemoryTiming(7), 1 << 14)


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("ovp8", "ovp8"), ("ovp4-flint", "ovp8"), ("ovp4-int", "ovp4-int"), ("int8", "int4")],
)
def test_descriptors_leave_the_bytes_of_numpy(
    tiny: Encoder, weights: str, activations: str
) -> None:
    model = IntegerEncoder(
        tiny, weights=weights, activations=activations, calibration_texts=CALIBRATION
    )
    executor = on_device(model)
    found = model.embed(TEXTS, executor)
    assert found.tobytes() == model.embed(TEXTS, ModelExecutor()).tobytes()
    assert len(executor.costs) == len(TEXTS)
    for costs in executor.costs:
        assert [cost.name for cost in costs] == [f"layer.{i}.{n}" for i in range(2) for n in LISTS]


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_any_number_of_tokens(tiny: Encoder, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = IntegerEncoder(tiny, calibration_texts=CALIBRATION)
    monkeypatch.setattr(tiny, "tokenize", lambda text: [1, 3, 4, 5, 2][:tokens])
    found = model.embed(["any"], on_device(model))
    assert found.tobytes() == model.embed(["any"], ModelExecutor()).tobytes()


def test_costs(tiny: Encoder) -> None:
    model = IntegerEncoder(tiny, weights="int4", calibration_texts=CALIBRATION)
    run = run_encoder(model, TEXTS[:1], engine="cycle", config=SMALL, timing=MemoryTiming(7))
    (costs,) = run.lists
    gemms = [gemm for cost in costs if cost.layer == 0 for gemm in cost.gemms]
    assert [gemm.kind for gemm in gemms] == KINDS
    tokens = 5  # three words between [CLS] and [SEP]
    shapes = [
        *[(tokens, 8, 8)] * 2,
        (8, 8, tokens),
        (tokens, 4, tokens),
        (tokens, tokens, 4),
        (tokens, 8, 8),
        (tokens, 8, 12),
        (tokens, 12, 8),
    ]
    assert [gemm.shape for gemm in gemms] == shapes
    assert [gemm.count for gemm in gemms] == [1, 1, 1, 2, 2, 1, 1, 1]
    for gemm in gemms:
        assert gemm.macs == gemm.count * np.prod(gemm.shape)
        # ovp8 takes two lanes; the attention's products have it on both sides.
        of_attention = gemm.kind in ("attention.scores", "attention.context")
        assert gemm.lane_macs == gemm.macs * (4 if of_attention else 2)
        assert gemm.cycles * SMALL.rows * SMALL.cols > gemm.lane_macs
    for cost in costs:
        assert cost.cycles == cost.model_cycles == sum(gemm.cycles for gemm in cost.gemms)
        assert cost.read_beats == sum(gemm.read_beats for gemm in cost.gemms)
        assert cost.write_beats == sum(gemm.write_beats for gemm in cost.gemms)
    assert run.passed
    costs[3] = replace(costs[3], model_cycles=costs[3].cycles + 1)
    assert not run.passed
    assert not replace(run, lists=[], identical=False).passed


def test_engines_agree(tiny: Encoder) -> None:
    model = IntegerEncoder(tiny, calibration_texts=CALIBRATION)
    steps: list[tuple[int, int]] = []
    numpy = run_encoder(model, TEXTS, engine="model", progress=lambda *at: steps.append(at))
    cycle = run_encoder(model, TEXTS, engine="cycle", progress=lambda *at: steps.append(at))
    lists = len(TEXTS) * 2 * len(LISTS)
    assert steps == [(step, lists) for step in range(1, lists + 1)] * 2
    assert numpy.passed
    assert cycle.passed
    assert numpy.embeddings.tobytes() == cycle.embeddings.tobytes()
    assert numpy.lists == []
    assert numpy.cosines == cycle.cosines
    exact = model.embed_float(TEXTS)
    np.testing.assert_allclose(numpy.cosines, (numpy.embeddings * exact).sum(1), atol=1e-6)


def test_a_different_embedding_does_not_pass(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = IntegerEncoder(tiny, calibration_texts=CALIBRATION)
    run = DeviceExecutor.run

    def faulty(self: DeviceExecutor, name: str, *arguments: Any) -> Any:
        (packed,) = run(self, name, *arguments)
        if name == "layer.1.output":
            packed[0, 0] ^= 0x80
        return [packed]

    monkeypatch.setattr(DeviceExecutor, "run", faulty)
    result = run_encoder(model, TEXTS[:2], engine="cycle")
    assert not result.identical
    assert not result.passed


def test_overflow_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_fine(x: Any, format: str, *, granularity: Any = "tensor") -> QuantizedTensor:
        found = quantize(x, format, granularity=granularity).scale
        return quantize(x, format, granularity=granularity, scale=found / np.float32(2000))

    monkeypatch.setattr("oleaster.models.integer_encoder.quantize", too_fine)
    tensors = random_tensors()
    for name, tensor in tensors.items():
        if name.endswith(".bias") and "LayerNorm" not in name:
            tensor[:] = 0  # or it would not fit a channel word
    folder = write_folder(tmp_path / "bert", tensors)
    model = IntegerEncoder(load_encoder(folder), calibration_texts=CALIBRATION)
    plain = run_encoder(model, TEXTS, engine="model").overflows
    cycle = run_encoder(model, TEXTS, engine="cycle")
    assert cycle.identical
    alone = [f"layer.{i}.{name}" for i in range(2) for name in ("intermediate", "output")]
    assert set(plain) & set(alone)
    for name in alone:  # lists of one GEMM, which bears their name
        assert plain.count(name) == cycle.overflows.count(name)
    assert main(["run", "minilm", "--model", str(folder), "--text", TEXTS[0]]) == 0
    assert "warning: sums left 32 bits and wrapped in layer.0." in capsys.readouterr().err


def test_what_cannot_be(tiny: Encoder) -> None:
    model = IntegerEncoder(tiny, weights="ovp4-flint", calibration_texts=CALIBRATION)
    with pytest.raises(ValueError, match="unknown engine 'gpu'; it must be one of model, cycle"):
        run_encoder(model, TEXTS, engine="gpu")
    with pytest.raises(ValueError, match="no text"):
        run_encoder(model, [], engine="model")
    only_4_bits = AcceleratorConfig(formats_b=("int4", "ovp4-flint"))
    with pytest.raises(ValueError, match="the accelerator's B reads int4, ovp4-flint, not ovp8"):
        run_encoder(model, TEXTS, config=only_4_bits)


@pytest.mark.rtl
def test_rtl(tiny: Encoder) -> None:
    model = IntegerEncoder(tiny, weights="ovp4-flint", calibration_texts=CALIBRATION)
    timing = MemoryTiming.random(11, 0.3, 5)
    run = run_encoder(model, TEXTS, engine="rtl", config=SMALL, timing=timing)
    assert run.identical
    assert run.passed
    assert sum(cost.cycles for costs in run.lists for cost in costs) > 1000


@pytest.mark.model
def test_minilm_layer_on_the_cycle_model(cached: Callable[[str], Path]) -> None:
    encoder = load_encoder(cached("minilm"))
    model = IntegerEncoder(encoder, weights="ovp4-flint", layers=1)
    run = run_encoder(model, ["Wild olives and cultivated ones"], engine="cycle")
    assert run.passed
    assert run.cosines[0] > 0.97
    assert not run.overflows


# The verb.


def verb(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["run", *arguments]) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


@pytest.fixture
def options(folder: Path) -> list[str]:
    return ["minilm", "--model", str(folder), "--rows", "4", "--cols", "8"]


def test_json(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    texts = ["--text", "wild olive", "--text", "tree"]
    answer = json.loads(verb(capsys, *options, *texts, "--latency", "9", "--json"))
    assert list(answer) == [
        "version",
        "command",
        "model",
        "engine",
        "weights",
        "activations",
        "layers",
        "accelerator",
        "latency",
        "bandwidth",
        "passed",
        "identical",
        "texts",
        "overflows",
        "total",
        "kinds",
        "lists",
        "wall_s",
    ]
    assert answer["passed"] is True
    assert answer["accelerator"]["rows"] == 4
    assert answer["accelerator"]["data_bits"] == 128
    assert [(one["text"], one["tokens"]) for one in answer["texts"]] == [
        ("wild olive", 4),
        ("tree", 3),
    ]
    assert [kind["kind"] for kind in answer["kinds"]] == KINDS
    assert len(answer["lists"]) == 2 * 2 * len(LISTS)
    for key in ("gemms", "macs", "cycles", "read_bytes", "write_bytes"):
        of_lists = sum(gemm[key] for cost in answer["lists"] for gemm in cost["gemms"])
        assert answer["total"][key] == of_lists == sum(kind[key] for kind in answer["kinds"])
    assert answer["total"]["cycles"] == sum(cost["cycles"] for cost in answer["lists"])
    one = answer["lists"][0]["gemms"][0]
    assert one["utilization"] == 4 * one["macs"] / (4 * 8 * one["cycles"])
    assert answer["lists"][-1]["text"] == 1


def test_tables(capsys: pytest.CaptureFixture[str], options: list[str], tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("wild olive\n\n  tree\n", encoding="utf-8")
    shown = verb(capsys, *options, "--file", str(file), "--layers", "1", "--clock", "500")
    for kind in (*KINDS, "total"):
        assert f"\n{kind} " in shown
    assert "4 x 8 PEs, 128-bit AXI" in shown
    assert shown.rstrip().endswith("identical to the quantised numpy model's.")
    assert shown.count(" ms") == 2
    plain = verb(capsys, *options, "--file", str(file), "--engine", "model")
    assert "utilisation" not in plain
    assert "engine model" in plain


def test_a_design_from_a_file(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    design = tmp_path / "small.toml"
    design.write_text('unit = "accelerator"\n[parameters]\nrows = 8\ncols = 8\ndata_bits = 64\n')
    base = ["minilm", "--model", str(folder), "--text", "olive", "--design", str(design)]
    answer = json.loads(verb(capsys, *base, "--set", "scratchpad_beats=16", "--json"))
    found = answer["accelerator"]
    assert (found["rows"], found["data_bits"], found["scratchpad_beats"]) == (8, 64, 16)
    design.write_text('unit = "systolic"\n')
    assert "is a design of systolic; this verb needs one of accelerator" in verb(
        capsys, *base, status=2
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no text; give --text or --file"),
        (["--text", " "], "a --text is empty; give words to embed"),
        (["--file", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--file", "blank.txt"], "blank.txt: holds no text"),
        (["--file", "latin.txt"], "latin.txt: is not UTF-8 text"),
        (["--text", "olive", "--weights", "int9"], "weights are 'int9'; they must be one of int4"),
        (["--text", "olive", "--activations", "auto"], "activations are 'auto'; they must be"),
        (["--text", "olive", "--layers", "3"], "layers is 3; the model has 1 to 2"),
        (["--text", "olive", "--clock", "0"], "--clock is 0; it must be above 0"),
        (["--text", "olive", "--bandwidth", "2"], "--bandwidth: a bandwidth is 2.0 beats"),
        (["--text", "olive", "--latency", "0"], "--latency'"),
        (["--text", "olive", "--engine", "fpga"], "'fpga' is not one of"),
        (["--text", "olive", "--rows", "5"], "rows is 5; it must be a multiple of 2"),
        (["--text", "olive", "--set", "colour=3"], "colour"),
        (["--text", "olive", "--design", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--text", "olive", "--set", "formats_b=int4"], "B reads int4, not ovp8"),
    ],
)
def test_wrong_use(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("Öl".encode("latin-1"))
    sentence = verb(capsys, "minilm", "--model", str(folder), *arguments, status=2)
    assert sentence.startswith("error: ")
    assert sentence.count("\n") == 1
    assert message in sentence


def test_unknown_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "'gpt2' is not one of" in verb(capsys, "gpt2", "--text", "olive", status=2)
    arguments = ["minilm", "--text", "olive", "--model", str(tmp_path / "nowhere")]
    assert "is not a folder" in verb(capsys, *arguments, status=2)


def test_a_difference_exits_1(
    capsys: pytest.CaptureFixture[str], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oleaster.run.EncoderRun.passed", property(lambda self: False))
    verb(capsys, *options, "--text", "olive", status=1)
