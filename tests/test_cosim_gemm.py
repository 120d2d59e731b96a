"""Model = cycle model = RTL, in value and cycle, for random GEMMs on many geometries."""

import numpy as np
import pytest

from oleaster.designs import design_files
from oleaster.gemm import ENGINES, UNITS, GemmError, run_gemm
from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit
from oleaster.models.formats import FORMATS, CodebookFormat, get_format
from oleaster.models.gemm import gemm_on_lanes
from oleaster.models.lane import Lane, required_acc_bits
from oleaster.models.microscaling import windows
from oleaster.models.quantize import QuantizedTensor, quantize
from oleaster.sim.operand import Operand, array_operand
from oleaster.sim.rtl.engine import build_array, run_array
from oleaster.sim.systolic import Gaps, gemm_cycles, step
from oleaster.sim.tiling import Tiling

pytestmark = pytest.mark.rtl

# rows, cols, formats of A and B, accumulator: square, tall, wide (drained early), single PE; 4 bits
# alone, 4 and 8 on both sides or on one; floats, blocks and codebooks, also beside two lanes.
GEOMETRIES = [
    (1, 1, "olive4", "olive4", 32),
    (1, 7, "olive4", "olive4", 32),
    (3, 5, "olive4", "olive4", 32),
    (4, 4, "olive", "olive", 32),
    (8, 8, "olive", "olive", 32),
    (16, 4, "olive", "olive", 32),
    (2, 9, "olive", "olive4", 32),
    (5, 2, "olive4", "int8,ovp8", 32),
    (3, 4, "mxfp4-e2m1", "codebook", 32),
    (4, 6, "int8,fp8-e4m3,mxfp6-e3m2", "fp6-e2m3,mxfp8-e5m2,ovp4-int", 60),
]
GEMMS_EACH = 25


def _array(rows, cols, formats_a, formats_b, acc_bits):
    sizes = {"rows": rows, "cols": cols, "acc_bits": acc_bits}
    return build_array(*design_files("systolic", **sizes, formats_a=formats_a, formats_b=formats_b))


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


def _tensor(rng, shape, name):
    """Heavy-tailed values in that format; MX blocks 40 binary orders apart."""
    fmt = get_format(name)
    values = rng.standard_t(1.5, shape).astype(np.float32)
    if fmt.block_size:
        blocks = np.repeat(np.ldexp(1.0, rng.integers(-20, 20, (shape[0], 99))), 32, axis=1)
        return quantize(values * blocks[:, : shape[1]], name)
    if isinstance(fmt, CodebookFormat):
        k = shape[1] + shape[1] % 2
        packed = rng.integers(0, 256, (shape[0], k // 2)).astype(np.uint8)
        table = rng.integers(0, 256, (256, 2)).astype(np.uint8)
        return QuantizedTensor(name, (shape[0], k), packed, np.float32(1), codebook=table)
    return quantize(values, name, scale=float(rng.uniform(0.05, 0.5)) * 7 / fmt.max_normal)


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


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "{}x{}-{}-{}-{}".format(*g))
def test_model_cycle_and_rtl_agree(geometry):
    rows, cols, formats_a, formats_b, acc_bits = geometry
    lanes = Lane.named(formats_a), Lane.named(formats_b)
    array = _array(rows, cols, formats_a, formats_b, acc_bits)
    rng = np.random.default_rng([rows, cols, acc_bits])
    flushed = 0
    for _ in range(GEMMS_EACH):
        m, k, n = _random_gemm(rng, rows, cols)
        names = [str(rng.choice(lane.formats)) for lane in lanes]
        k += k % 2 if "codebook" in names else 0
        a, b = _tensor(rng, (m, k), names[0]), _tensor(rng, (n, k), names[1])
        formats = a.number_format, b.number_format
        gaps = _random_gaps(rng)
        is_fusing = array.is_fusing
        tiling = Tiling(m, k, n, rows, cols, formats[0].lanes, formats[1].lanes, is_fusing)
        spare = acc_bits - required_acc_bits(*formats, k)
        window_a, window_b = windows(*formats, spare)
        operand_a, values_a, flushed_a = array_operand(a, tiling.tile_rows, window_a)
        operand_b, values_b, flushed_b = array_operand(b, tiling.tile_cols, window_b)
        expected = step(tiling, gaps)
        run = run_array(
            array, operand_a, operand_b, gaps=gaps, trace=True, expected_cycles=expected.cycles
        )
        case = f"{m}x{k}x{n} {names}"
        reference = gemm_on_lanes(values_a, values_b, acc_bits)
        np.testing.assert_array_equal(run.sums, reference.sums, case)
        np.testing.assert_array_equal(run.overflow, reference.overflow, case)
        flags = {"overflow"} if reference.overflow.any() else set()
        flags |= {"flushed"} if flushed_a or flushed_b else set()
        assert run.flags == flags, case
        assert run.cycles == expected.cycles, case
        np.testing.assert_array_equal(run.trace, edges(expected), case)
        if not (gaps.a.any() or gaps.b.any() or gaps.sums.any()):
            assert run.cycles == gemm_cycles(tiling), case
        flushed += flushed_a + flushed_b
    assert bool(flushed) == any(lane.has_blocks for lane in lanes)


# Every pair of formats whose largest product fits the widest accumulator.
WIDEST = 62
EXHAUSTIVE = (2, 16)  # few rows leave fast, where K is 2
ALL = tuple(FORMATS)
PAIRS = [
    (ALL, tuple(f for f in ALL if not f.endswith("fp8-e5m2"))),
    (tuple(f for f in ALL if not f.endswith("fp8-e5m2")), ("fp8-e5m2", "mxfp8-e5m2")),
]


def _every_element(name, rng):
    """(rows, 2) codes: every code that stands for a number beside a zero, every outlier beside its
    victim; for a codebook, every index. (Odd places: test_hw_codecs.)"""
    fmt = get_format(name)
    if isinstance(fmt, CodebookFormat):
        index = np.arange(256).astype(np.uint8)
        return np.stack([index & 15, index >> 4], axis=1)
    zero = int(np.flatnonzero((fmt.normal.values == 0) & fmt.normal.usable)[0])
    identifier = next((row.code for row in fmt.table() if row.role == "identifier"), None)
    partner = {"normal": zero, "outlier": identifier}
    elements = [(row.code, partner[row.role]) for row in fmt.table() if row.role in partner]
    return np.array(elements, np.uint8)


@pytest.mark.parametrize("lanes", PAIRS, ids=["all", "e5m2"])
def test_every_product_of_two_elements(lanes):
    """All codes of A against all codes of B: M x N products of K = 2, for each pair of formats."""
    array = _array(*EXHAUSTIVE, ",".join(lanes[0]), ",".join(lanes[1]), WIDEST)
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (256, 2)).astype(np.uint8)
    operands = []
    for names, size in zip(lanes, EXHAUSTIVE, strict=True):
        operands.append([])
        for name in names:
            codes, fmt = _every_element(name, rng), get_format(name)
            if isinstance(fmt, CodebookFormat):
                fmt = fmt.with_table(table)
            values = fmt.lane_values(codes).astype(np.int64)
            if not fmt.block_size:
                operands[-1].append((name, Operand(codes, fmt), values))
                continue
            # Shifts that leave room for the widest products: 0 .. 3, and some blocks flushed.
            base = np.full(-(-len(codes) // size), 100, np.uint8)
            scales = rng.choice([99, 100, 101, 103], (len(codes), 1)).astype(np.uint8)
            shift = scales.astype(int) - 100
            shifted = np.where(shift >= 0, values[:, 0] << shift.clip(0), 0)
            operands[-1].append((name, Operand(codes, fmt, scales, base), shifted[:, None]))
    tried = 0
    for name_a, a, values_a in operands[0]:
        for name_b, b, values_b in operands[1]:
            if required_acc_bits(a.format, b.format, 1) + 6 > WIDEST:
                continue
            run = run_array(array, a, b)
            expected = gemm_on_lanes(values_a, values_b, WIDEST)
            np.testing.assert_array_equal(run.sums, expected.sums, f"{name_a} x {name_b}")
            assert not expected.overflow.any()
            assert run.flags <= {"flushed"}
            tried += 1
    assert tried > len(lanes[0]) * len(lanes[1]) * 0.8


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("format_a", "format_b", "macs_per_mac"),
    [("ovp4-int", "ovp4-flint", 1), ("int8", "ovp4-int", 2), ("ovp8", "int8", 4)],
)
def test_units_and_engines_agree_on_a_float_gemm(unit, format_a, format_b, macs_per_mac):
    rng = np.random.default_rng(5)
    a = quantize(rng.standard_t(3, (13, 31)).astype(np.float32), format_a)
    b = quantize(rng.standard_t(3, (9, 31)).astype(np.float32), format_b)
    cols = 8 if unit == "accelerator" else 4
    model, cycle, rtl = (
        run_gemm(a, b, unit=unit, engine=engine, rows=4, cols=cols) for engine in ENGINES
    )
    np.testing.assert_array_equal(rtl.accumulators, model.accumulators)
    np.testing.assert_array_equal(cycle.accumulators, model.accumulators)
    exact = a.dequantize().astype(np.float64) @ b.dequantize().T.astype(np.float64)
    np.testing.assert_allclose(rtl.values(), exact, rtol=1e-5, atol=1e-5)
    assert (model.cycles, model.utilization, rtl.macs) == (None, None, 13 * 31 * 9)
    assert rtl.cycles == cycle.cycles
    if unit == "tensorcore":  # multipliers of nibble by byte: two of them for a product of bytes
        busy, multipliers = rtl.macs * min(macs_per_mac, 2), 256
    else:
        busy, multipliers = rtl.macs * macs_per_mac, 4 * cols
    assert rtl.utilization == cycle.utilization == pytest.approx(busy / multipliers / rtl.cycles)


def test_accumulators_wrap_and_say_so():
    largest = np.full((1, 4), 32768.0, np.float32)
    a = quantize(largest * [1, 0, 1, 0], "ovp8", scale=1.0)
    runs = [run_gemm(a, a, engine=e, rows=6, cols=2) for e in ("model", "cycle", "rtl")]
    for run in runs:
        assert run.overflow
        np.testing.assert_array_equal(run.accumulators, [[-(2**31)]])


def test_widths_that_cannot_hold_the_sums_are_refused():
    x = quantize(np.ones((2, 64), np.float32), "fp8-e4m3")
    with pytest.raises(GemmError, match=r"exact sum over K = 64 can need 43 bits.* have 32"):
        run_gemm(x, x)
    assert not run_gemm(x, x, engine="rtl", rows=2, cols=2, acc_bits=43).overflow
    y = quantize(np.ones((2, 64), np.float32), "fp8-e5m2")
    with pytest.raises(GemmError, match=r"can need 71 bits.*62 is the most"):
        run_gemm(y, y, acc_bits=62)
    z = quantize(np.ones((2, 64), np.float32), "ovp8")
    with pytest.raises(GemmError, match="one product can need 32 bits"):
        run_gemm(z, z, acc_bits=31)
    # The window of MX blocks is what exact sums leave free: none may wrap.
    mx = quantize(np.ones((2, 64), np.float32), "mxfp8-e4m3")
    with pytest.raises(GemmError, match="exact sum over K = 64 can need 40 bits"):
        run_gemm(mx, z)
    with pytest.raises(GemmError, match="rows is 70000; it must be 1 to 65536"):
        run_gemm(x, x, rows=70000)
    with pytest.raises(GemmError, match="rows is 3; it must be a multiple of 2, for an element of"):
        run_gemm(z, z, rows=3)
    with pytest.raises(GemmError, match=r"rows is 6; it must be a multiple of 4, .* holds pairs"):
        run_gemm(z, z, unit="ws", rows=6)
    with pytest.raises(GemmError, match="mmaovp has no type for format 'fp8-e4m3' of A; it takes"):
        run_gemm(x, z, unit="tensorcore")


@pytest.mark.parametrize("unit", ["os", "ws"])
@pytest.mark.parametrize(
    ("format_a", "format_b", "acc_bits"),
    [("int4", "fp8-e4m3", 32), ("ovp4-int", "ovp4-flint", 17), ("ovp4-int", "mxfp4-e2m1", 24)],
)
def test_lanes_need_not_hold_more_than_is_asked_for(unit, format_a, format_b, acc_bits):
    # An array with ovp8 on its lanes would want wider accumulators than these.
    rng = np.random.default_rng(2)
    a = quantize(rng.normal(size=(5, 14)).astype(np.float32), format_a)
    b = quantize(rng.normal(size=(6, 14)).astype(np.float32), format_b)
    model, cycle, rtl = (
        run_gemm(a, b, unit=unit, engine=e, rows=4, cols=4, acc_bits=acc_bits) for e in ENGINES
    )
    np.testing.assert_array_equal(rtl.accumulators, model.accumulators)
    assert rtl.cycles == cycle.cycles
    assert rtl.overflow == model.overflow


def test_utilisation_of_a_large_gemm():
    rng = np.random.default_rng(0)
    a, b = (quantize(rng.standard_t(3, (512, 512)).astype(np.float32)) for _ in "ab")
    cycle, rtl = (run_gemm(a, b, engine=e, rows=16, cols=16) for e in ("cycle", "rtl"))
    np.testing.assert_array_equal(rtl.accumulators, cycle.accumulators)
    assert rtl.cycles == cycle.cycles
    assert rtl.utilization == cycle.utilization > 0.99


def test_narrow_accumulators_wrap(tmp_path):
    unit = build_unit(
        "systolic",
        rows=4,
        cols=2,
        acc_bits=17,
        formats_a="int4,ovp4-flint,int8",
        formats_b="olive4",
    )
    array = build_array(*write_design(unit, tmp_path))
    rng = np.random.default_rng(1)
    a, b = (
        quantize(192 * rng.choice([-1, 1, 0.02], (n, 9)), "ovp4-flint", scale=1.0) for n in (7, 5)
    )
    c = quantize(127 * rng.choice([-1, 1, 0.02], (7, 9)), "int8", scale=1.0)
    for left in (a, c):
        operand_a, values_a, _ = array_operand(left, 4)
        operand_b, values_b, _ = array_operand(b, 2)
        run = run_array(array, operand_a, operand_b)
        reference = gemm_on_lanes(values_a, values_b, 17)
        assert 0 < reference.overflow.sum() < reference.overflow.size
        np.testing.assert_array_equal(run.sums, reference.sums)
        np.testing.assert_array_equal(run.overflow, reference.overflow)


def test_deep_4_bit_sums_overflow_only_beyond_the_known_depth():
    # 192 * 192 fits 58,254 times into 31 bits (olive.md 3.1); one product in each pair.
    for k, overflows in ((2 * 58_254, False), (2 * 58_255, True)):
        values = np.zeros((1, k), np.float32)
        values[:, ::2] = 192
        a = quantize(values, "ovp4-flint", scale=1.0)
        runs = [run_gemm(a, a, engine=e, rows=1, cols=1) for e in ("model", "rtl")]
        assert [run.overflow for run in runs] == [overflows, overflows]
        np.testing.assert_array_equal(runs[0].accumulators, runs[1].accumulators)
