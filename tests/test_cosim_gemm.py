"""Model = cycle model = RTL, in value and cycle, for random GEMMs on many geometries."""

import numpy as np
import pytest

from oleaster.gemm import array_files, run_gemm
from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit
from oleaster.models.formats import FORMATS, get_format
from oleaster.models.gemm import gemm
from oleaster.models.quantize import quantize
from oleaster.sim.rtl.engine import build_array, run_array
from oleaster.sim.systolic import Gaps, gemm_cycles, step, stream_sums
from oleaster.sim.tiling import Tiling, assemble_sums, operand_words

pytestmark = pytest.mark.rtl

# rows, cols, code bits of A and B: square, tall, wide (drained early), single PE, 8-bit, mixed.
GEOMETRIES = [
    (1, 1, 4, 4),
    (1, 7, 4, 4),
    (3, 5, 4, 4),
    (4, 4, 4, 4),
    (8, 8, 4, 4),
    (16, 4, 4, 4),
    (5, 2, 8, 8),
    (2, 9, 8, 4),
    (4, 4, 8, 8),
]
GEMMS_EACH = 25


def _random_gemm(rng, rows, cols):
    """M, K, N around the array's size: 1, odd, just below, at and above multiples of it."""
    m = int(rng.integers(1, 3 * rows + 2))
    n = int(rng.integers(1, 3 * cols + 2))
    k = int(rng.choice([1, 2, 3, 7, rows - 1 or 1, rows, rows + 1, 2 * rows, 29, 64]))
    return m, k, n


def _random_gaps(rng):
    """None, one side, or all sides holding back, rarely or mostly."""
    density = rng.choice([0, 0, 0.1, 0.5, 0.9], 3)
    return Gaps(*(rng.random(1024) < d for d in density))


def _operand(rng, shape, code_bits):
    name = rng.choice([f.name for f in FORMATS.values() if f.code_bits == code_bits])
    values = rng.standard_t(1.5, shape).astype(np.float32)
    return quantize(values, str(name), scale=float(rng.uniform(0.05, 0.5)))


def edges(trace):
    """The harness's trace bytes from the cycle model's trace."""
    signals = (
        trace.a_valid,
        trace.a_ready,
        trace.b_valid,
        trace.b_ready,
        trace.sums_valid,
        trace.sums_ready,
    )
    return sum(signal.astype(np.uint8) << bit for bit, signal in enumerate(signals))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "{}x{}-a{}b{}".format(*g))
def test_model_cycle_and_rtl_agree(geometry):
    rows, cols, bits_a, bits_b = geometry
    executable = build_array(*array_files(bits_a, bits_b, rows, cols))
    rng = np.random.default_rng([rows, cols, bits_a, bits_b])
    for _ in range(GEMMS_EACH):
        m, k, n = _random_gemm(rng, rows, cols)
        a, b = _operand(rng, (m, k), bits_a), _operand(rng, (n, k), bits_b)
        gaps = _random_gaps(rng)
        tiling = Tiling(m, k, n, rows, cols)
        expected = step(tiling, gaps)
        run = run_array(
            executable,
            tiling,
            operand_words(a.packed, rows, bits_a),
            operand_words(b.packed, cols, bits_b),
            flint=("flint" in a.format, "flint" in b.format),
            gaps=gaps,
            trace=True,
            expected_cycles=expected.cycles,
        )
        case = f"{m}x{k}x{n} {a.format} {b.format}"
        reference = gemm(get_format(a.format).decode(a.codes), get_format(b.format).decode(b.codes))
        np.testing.assert_array_equal(run.sums, reference.sums, case)
        np.testing.assert_array_equal(run.overflow, reference.overflow, case)
        assert run.flags == ({"overflow"} if reference.overflow.any() else set()), case
        assert run.cycles == expected.cycles, case
        np.testing.assert_array_equal(run.trace, edges(expected), case)
        if not (gaps.a.any() or gaps.b.any() or gaps.sums.any()):
            assert run.cycles == gemm_cycles(m, k, n, rows, cols), case


@pytest.mark.parametrize("engine", ["cycle", "rtl"])
def test_engines_agree_on_a_float_gemm(engine):
    rng = np.random.default_rng(5)
    a = quantize(rng.standard_t(3, (13, 31)).astype(np.float32), "ovp4-int")
    b = quantize(rng.standard_t(3, (9, 31)).astype(np.float32), "ovp4-flint")
    model = run_gemm(a, b, engine="model", rows=4, cols=4)
    run = run_gemm(a, b, engine=engine, rows=4, cols=4)
    np.testing.assert_array_equal(run.accumulators, model.accumulators)
    assert model.cycles is None
    assert run.cycles == gemm_cycles(13, 31, 9, 4, 4)
    assert run.macs == 13 * 31 * 9
    assert run.utilization == pytest.approx(run.macs / (16 * run.cycles))


def test_accumulators_wrap_and_say_so():
    largest = np.full((1, 4), 32768.0, np.float32)
    a = quantize(largest * [1, 0, 1, 0], "ovp8", scale=1.0)
    runs = [run_gemm(a, a, engine=e, rows=5, cols=2) for e in ("model", "cycle", "rtl")]
    for run in runs:
        assert run.overflow
        np.testing.assert_array_equal(run.accumulators, [[-(2**31)]])


def test_utilisation_of_a_large_gemm():
    rng = np.random.default_rng(0)
    a, b = (quantize(rng.standard_t(3, (512, 512)).astype(np.float32)) for _ in "ab")
    cycle, rtl = (run_gemm(a, b, engine=e, rows=16, cols=16) for e in ("cycle", "rtl"))
    np.testing.assert_array_equal(rtl.accumulators, cycle.accumulators)
    assert rtl.cycles == cycle.cycles
    assert rtl.utilization == cycle.utilization > 0.99


def test_narrow_accumulators_wrap(tmp_path):
    verilog, manifest = write_design(build_unit("systolic", rows=3, cols=2, acc_bits=17), tmp_path)
    executable = build_array(verilog, manifest)
    rng = np.random.default_rng(1)
    a, b = (
        quantize(192 * rng.choice([-1, 1, 0.02], (n, 9)), "ovp4-flint", scale=1.0) for n in (7, 5)
    )
    tiling = Tiling(7, 9, 5, 3, 2)
    words = operand_words(a.packed, 3, 4), operand_words(b.packed, 2, 4)
    run = run_array(executable, tiling, *words, acc_bits=17, flint=(True, True))
    fmt = get_format("ovp4-flint")
    reference = gemm(fmt.decode(a.codes), fmt.decode(b.codes), 17)
    assert 0 < reference.overflow.sum() < reference.overflow.size
    np.testing.assert_array_equal(run.sums, reference.sums)
    np.testing.assert_array_equal(run.overflow, reference.overflow)
    streamed = stream_sums(tiling, *words, fmt, fmt, 17)
    np.testing.assert_array_equal(assemble_sums(streamed.sums, tiling), run.sums)


def test_deep_4_bit_sums_overflow_only_beyond_the_known_depth():
    # 192 * 192 fits 58,254 times into 31 bits (olive.md 3.1); one product in each pair.
    for k, overflows in ((2 * 58_254, False), (2 * 58_255, True)):
        values = np.zeros((1, k), np.float32)
        values[:, ::2] = 192
        a = quantize(values, "ovp4-flint", scale=1.0)
        runs = [run_gemm(a, a, engine=e, rows=1, cols=1) for e in ("model", "rtl")]
        assert [run.overflow for run in runs] == [overflows, overflows]
        np.testing.assert_array_equal(runs[0].accumulators, runs[1].accumulators)
