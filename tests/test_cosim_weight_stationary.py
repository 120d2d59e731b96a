"""Weight stationary: model = cycle model = RTL, in value and at every edge; benches find faults."""

from pathlib import Path

import numpy as np
import pytest

from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit
from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm_weight_stationary
from oleaster.models.lane import Lane, required_acc_bits
from oleaster.models.microscaling import windows
from oleaster.models.quantize import quantize
from oleaster.sim.operand import Operand, array_operand
from oleaster.sim.rtl.cosim import run_bench
from oleaster.sim.rtl.ws_engine import (
    WeightArraySimulator,
    build_weight_array,
    run_weight_array,
)
from oleaster.sim.weight_stationary import WeightGaps, gemm_cycles, step

pytestmark = pytest.mark.rtl

# rows, cols, formats of A and B, accumulator: smallest, square, tall and narrow enough to wrap,
# elements of two lanes on both sides or one, blocks and codebooks.
GEOMETRIES = [
    (2, 1, "olive4", "olive4", 32),
    (4, 4, "olive", "olive4", 32),
    (8, 3, "ovp4-flint", "ovp4-flint", 17),
    (4, 6, "olive", "olive", 32),
    (6, 5, "mxfp8-e4m3,mxfp6-e2m3", "mxfp4-e2m1,codebook", 60),
]
GEMMS_EACH = 25


def _build(folder, rows, cols, formats_a, formats_b, acc_bits):
    unit = build_unit(
        "weight-stationary",
        rows=rows,
        cols=cols,
        formats_a=formats_a,
        formats_b=formats_b,
        acc_bits=acc_bits,
    )
    return build_weight_array(*write_design(unit, folder))


def _random_gemm(rng, rows, cols):
    """M, K, N around the array's size: 1, odd, just below, at and above multiples of it."""
    m = int(rng.choice([1, 2, rows - 1, rows, rows + cols, rows + cols + 1, 3 * rows + cols]))
    n = int(rng.integers(1, 4 * cols + 2))
    k = int(rng.choice([1, 2, rows - 1, rows, rows + 1, 2 * rows, 4 * rows + 3, 70]))
    return m, k, n


def _random_gaps(rng):
    """None, one side, or all sides holding back, rarely or mostly."""
    density = rng.choice([0, 0, 0.1, 0.5, 0.9], 4)
    return WeightGaps(*(rng.random(1024) < d for d in density))


def _tensor(rng, shape, name, scales):
    values = rng.standard_t(1.5, shape).astype(np.float32)
    if get_format(name).block_size:
        return quantize(values * np.exp2(rng.integers(-6, 7, shape)).astype(np.float32), name)
    scale = None if name == "codebook" else float(rng.choice(scales))
    return quantize(values, name, scale=scale)


def edges(trace):
    """The harness's trace bytes from the cycle model's trace."""
    signals = [
        getattr(trace, f"{stream}_{signal}")
        for stream in ("a", "b", "partial", "sums")
        for signal in ("valid", "ready")
    ]
    return sum(signal.astype(np.uint8) << bit for bit, signal in enumerate(signals))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "{}x{}-{}-{}-{}".format(*g))
def test_model_cycle_and_rtl_agree(geometry, tmp_path):
    rows, cols, *_, acc_bits = geometry
    array = _build(tmp_path, *geometry)
    rng = np.random.default_rng([rows, cols, acc_bits])
    wrapped = 0
    scales = (0.005,) if acc_bits == 17 else (0.005, 0.1, 0.5)  # sums shall wrap, or seldom
    for _ in range(GEMMS_EACH):
        m, k, n = _random_gemm(rng, rows, cols)
        names = [str(rng.choice(lane.formats)) for lane in (array.lane_a, array.lane_b)]
        k += k % 2 if "codebook" in names else 0
        formats = [get_format(name) for name in names]
        spare = acc_bits - required_acc_bits(*formats, k)
        a, values_a, flushed_a = array_operand(
            _tensor(rng, (m, k), names[0], scales), 1, windows(*formats, spare)[0]
        )
        b, values_b, flushed_b = array_operand(
            _tensor(rng, (n, k), names[1], scales),
            cols // formats[1].lanes,
            windows(*formats, spare)[1],
        )
        gaps = _random_gaps(rng)
        tiling = array.tiling(a, b)
        expected = step(tiling, gaps)
        run = run_weight_array(array, a, b, gaps=gaps, trace=True, expected_cycles=expected.cycles)
        reference = gemm_weight_stationary(values_a, values_b, acc_bits)
        case = f"{m}x{k}x{n} {names}"
        np.testing.assert_array_equal(run.sums, reference.sums, case)
        np.testing.assert_array_equal(run.overflow, reference.overflow, case)
        flags = {"overflow": reference.overflow.any(), "flushed": flushed_a or flushed_b}
        assert run.flags == {name for name, is_set in flags.items() if is_set}, case
        assert run.cycles == expected.cycles, case
        np.testing.assert_array_equal(run.trace, edges(expected), case)
        if not any(gap.any() for gap in (gaps.a, gaps.b, gaps.partial, gaps.sums)):
            assert run.cycles == gemm_cycles(tiling), case
        wrapped += reference.overflow.any() and not reference.overflow.all()
    assert wrapped > 2 or acc_bits > 17


def test_wide_sums_wrap_in_either_column_and_together(tmp_path):
    array = _build(tmp_path, 4, 6, "olive", "olive", 32)
    rng = np.random.default_rng(3)
    fmt = get_format("ovp8")
    # Outliers, whose sums wrap in the odd column, and the largest normal values.
    values = rng.choice([32768, -32768, 127, -127, 0], (9, 12)).astype(float)
    values[:, 1::2] = rng.choice([0, 1, 127], (9, 6))
    a, b = (Operand(fmt.encode(x), fmt) for x in (values[:4], values))
    run = run_weight_array(array, a, b)
    lanes = fmt.lane_values(a.codes), fmt.lane_values(b.codes)
    reference = gemm_weight_stationary(*lanes)
    assert 0 < reference.overflow.sum() < reference.overflow.size
    np.testing.assert_array_equal(run.sums, reference.sums)
    np.testing.assert_array_equal(run.overflow, reference.overflow)


def test_codebooks_that_cannot_fill_a_tile_are_refused():
    lane = Lane(("codebook",))
    array = WeightArraySimulator(Path(), 6, 2, lane, lane, 32)
    fmt = get_format("codebook").with_table(np.full((256, 2), 3, np.uint8))
    operand = Operand(np.zeros((2, 8), np.uint8), fmt)
    with pytest.raises(ValueError, match=r"K = 8 is no multiple of 6 .* must be \(0, 0\)"):
        run_weight_array(array, operand, operand)


def test_bench_passes(tmp_path):
    unit = build_unit("weight-stationary", rows=4, cols=6)
    verilog, manifest = write_design(unit, tmp_path)
    result = run_bench("weight-stationary", verilog, manifest, folder=tmp_path)
    assert (result.passed, result.failed) == (8, 0), result.log.read_text()[-3000:]


def test_bench_fails_if_rows_load_before_the_last_swap_has_passed_them(tmp_path):
    formats = {"formats_a": "olive4", "formats_b": "olive4"}
    unit = build_unit("weight-stationary", rows=4, cols=2, **formats)
    verilog, manifest = write_design(unit, tmp_path)
    text = verilog.read_text()
    assert "? begun : 3'h0" in text
    verilog.write_text(text.replace("? begun : 3'h0", "? 3'h7 : 3'h0"))
    assert run_bench("weight-stationary", verilog, manifest, folder=tmp_path).failed > 0
