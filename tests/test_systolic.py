"""The GEMM reference against plain Python, and the cycle model against its own closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.gemm import gemm
from oleaster.sim.systolic import Gaps, gemm_cycles, step
from oleaster.sim.tiling import Tiling, assemble_sums, operand_words

sizes = st.integers(1, 20)
sides = st.integers(1, 7)


def naive_gemm(a, b, acc_bits):
    """One multiplication at a time, wrapping after each."""
    limit = 1 << (acc_bits - 1)
    sums, overflow = [], []
    for x in a.tolist():
        for y in b.tolist():
            acc, wrapped = 0, False
            for p, q in zip(x, y, strict=True):
                acc += p * q
                wrapped |= not -limit <= acc < limit
                acc = (acc + limit) % (2 * limit) - limit
            sums.append(acc)
            overflow.append(wrapped)
    shape = (len(a), len(b))
    return np.array(sums).reshape(shape), np.array(overflow).reshape(shape)


@settings(deadline=None)
@given(sides, sizes, sides, st.sampled_from([8, 12, 20, 32]), st.integers(0, 2**32))
def test_gemm_wraps_like_a_register(m, k, n, acc_bits, seed):
    rng = np.random.default_rng(seed)
    # Magnitudes from 1 to 2**15, so that some sums wrap and come back, and some never leave.
    a, b = (
        rng.integers(-(1 << 15), (1 << 15) + 1, (lanes, k)) >> rng.integers(0, 16, (lanes, k))
        for lanes in (m, n)
    )
    sums, overflow = naive_gemm(a, b, acc_bits)
    result = gemm(a, b, acc_bits)
    np.testing.assert_array_equal(result.sums, sums)
    np.testing.assert_array_equal(result.overflow, overflow)


def test_gemm_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(M, K\) and \(N, K\)"):
        gemm(np.zeros((2, 3), int), np.zeros((3, 2), int))


@settings(deadline=None)
@given(sizes, sizes, sizes, sides, sides)
def test_closed_form_is_what_the_steps_take(m, k, n, rows, cols):
    trace = step(Tiling(m, k, n, rows, cols), Gaps.none())
    assert trace.cycles == gemm_cycles(m, k, n, rows, cols)
    assert m * k * n <= rows * cols * trace.cycles


@pytest.mark.parametrize(("rows", "cols"), [(1, 7), (3, 5), (4, 4), (16, 4)])
@pytest.mark.parametrize("extra", [0, 1, 8])
def test_back_to_back_tiles_leave_no_bubble(rows, cols, extra):
    k = rows + extra + (rows + extra) % 2
    trace = step(Tiling(3 * rows, k, 4 * cols, rows, cols), Gaps.none())
    taken = np.flatnonzero(trace.a_valid & trace.a_ready)
    assert len(taken) == 12 * k // 2
    assert set(np.diff(taken)) == {2}


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, sizes, sides, sides, st.integers(0, 2**32))
def test_holding_back_only_ever_delays(m, k, n, rows, cols, seed):
    rng = np.random.default_rng(seed)
    tiling = Tiling(m, k, n, rows, cols)
    gaps = Gaps(*(rng.random(64) < rng.choice([0, 0.3, 0.8]) for _ in range(3)))
    trace = step(tiling, gaps)
    assert trace.cycles >= gemm_cycles(m, k, n, rows, cols)
    taken = trace.sums_valid & trace.sums_ready
    np.testing.assert_array_equal(trace.sums_word[taken], np.arange(tiling.tiles * rows))
    words = trace.word[trace.a_valid & trace.a_ready]
    np.testing.assert_array_equal(words, np.arange(tiling.tiles * tiling.words))
    # Stream rules: once offered, a word stays until it is taken.
    for valid, ready in (
        (trace.a_valid, trace.a_ready),
        (trace.b_valid, trace.b_ready),
        (trace.sums_valid, trace.sums_ready),
    ):
        assert valid[1:][(valid & ~ready)[:-1]].all()


@given(sizes, sizes, sides, st.sampled_from([4, 8]))
def test_operand_words_hold_each_lanes_pairs(lanes_total, words, lanes, code_bits):
    pair_bytes = code_bits // 4
    rng = np.random.default_rng(lanes_total)
    packed = rng.integers(0, 256, (lanes_total, words * pair_bytes), dtype=np.uint8)
    arranged = operand_words(packed, lanes, code_bits)
    for tile, word, lane in np.ndindex(len(arranged), words, lanes):
        row = tile * lanes + lane
        want = (
            packed[row, word * pair_bytes : (word + 1) * pair_bytes]
            if row < lanes_total
            else np.zeros(pair_bytes, np.uint8)
        )
        got = arranged[tile, word, lane * pair_bytes : (lane + 1) * pair_bytes]
        np.testing.assert_array_equal(got, want)


def test_sums_go_back_to_their_place():
    tiling = Tiling(3, 2, 5, 2, 2)
    full = np.arange(4 * 6).reshape(4, 6)
    tiles = np.stack([full[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for i in (0, 1) for j in range(3)])
    np.testing.assert_array_equal(assemble_sums(tiles, tiling), full[:3, :5])
