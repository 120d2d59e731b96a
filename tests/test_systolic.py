"""The GEMM reference against plain Python, and the cycle model against its own closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm, gemm_on_lanes
from oleaster.models.lane import Lane
from oleaster.sim.operand import Operand, operand_words
from oleaster.sim.systolic import Gaps, gemm_cycles, step
from oleaster.sim.tiling import Tiling, assemble_sums

sizes = st.integers(1, 20)
sides = st.integers(1, 7)
lanes = st.integers(1, 2)


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


@pytest.mark.parametrize("step", [1, 3])
def test_gemm_of_sums_beyond_int64(step):
    a, b = np.full((2, 9), 1 << 30), np.full((1, 9), 1 << 31)
    a[1, 1:] = 0
    result = gemm(a, b, 62, step)
    assert result.sums.tolist() == [[-(1 << 61)], [-(1 << 61)]]  # 9 and 1 times 2**61
    assert result.overflow.all()
    assert not gemm(a[1:] >> 1, b, 62, step).overflow.any()


def test_gemm_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(M, K\) and \(N, K\)"):
        gemm(np.zeros((2, 3), int), np.zeros((3, 2), int))


@settings(deadline=None, max_examples=50)
@given(sides, sizes, sides, lanes, lanes, st.sampled_from([12, 20, 32]), st.integers(0, 2**32))
def test_gemm_on_lanes_adds_the_sums_of_pes(m, k, n, lanes_a, lanes_b, acc_bits, seed):
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(-(1 << 12), (1 << 12) + 1, (rows, of, k)) >> rng.integers(0, 12, (rows, of, k))
        for rows, of in ((m, lanes_a), (n, lanes_b))
    )
    limit = 1 << (acc_bits - 1)
    result = gemm_on_lanes(a, b, acc_bits)
    for i, j in np.ndindex(m, n):
        parts, flags = naive_gemm(a[i], b[j], acc_bits)
        total = int(parts.sum())
        assert result.sums[i, j] == (total + limit) % (2 * limit) - limit
        assert result.overflow[i, j] == (flags.any() or not -limit <= total < limit)


def tiling(m, k, n, rows, cols, lanes_a=1, lanes_b=1, is_fusing=False):
    """On an array that is large enough for elements of two lanes."""
    fuses = is_fusing or lanes_a * lanes_b > 1
    return Tiling(m, k, n, rows * lanes_a, cols * lanes_b, lanes_a, lanes_b, fuses)


@settings(deadline=None)
@given(sizes, sizes, sizes, sides, sides, lanes, lanes, st.booleans())
def test_closed_form_is_what_the_steps_take(m, k, n, rows, cols, lanes_a, lanes_b, is_fusing):
    tiles = tiling(m, k, n, rows, cols, lanes_a, lanes_b, is_fusing)
    trace = step(tiles, Gaps.none())
    assert trace.cycles == gemm_cycles(tiles)
    assert tiles.macs <= tiles.rows * tiles.cols * trace.cycles


@pytest.mark.parametrize(("rows", "cols"), [(1, 7), (3, 5), (4, 4), (16, 4)])
@pytest.mark.parametrize("extra", [0, 1, 8])
def test_back_to_back_tiles_leave_no_bubble(rows, cols, extra):
    k = rows + extra + (rows + extra) % 2
    trace = step(Tiling(3 * rows, k, 4 * cols, rows, cols), Gaps.none())
    taken = np.flatnonzero(trace.a_valid & trace.a_ready)
    assert len(taken) == 12 * k // 2
    assert set(np.diff(taken)) == {2}


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, sizes, sides, sides, lanes, lanes, st.integers(0, 2**32))
def test_holding_back_only_ever_delays(m, k, n, rows, cols, lanes_a, lanes_b, seed):
    rng = np.random.default_rng(seed)
    tiles = tiling(m, k, n, rows, cols, lanes_a, lanes_b)
    gaps = Gaps(*(rng.random(64) < rng.choice([0, 0.3, 0.8]) for _ in range(3)))
    trace = step(tiles, gaps)
    assert trace.cycles >= gemm_cycles(tiles)
    taken = trace.sums_valid & trace.sums_ready
    np.testing.assert_array_equal(trace.sums_word[taken], np.arange(tiles.tiles * rows))
    words = trace.word[trace.a_valid & trace.a_ready]
    np.testing.assert_array_equal(words, np.arange(tiles.tiles * tiles.words))
    # Stream rules: once offered, a word stays until it is taken.
    for valid, ready in (
        (trace.a_valid, trace.a_ready),
        (trace.b_valid, trace.b_ready),
        (trace.sums_valid, trace.sums_ready),
    ):
        assert valid[1:][(valid & ~ready)[:-1]].all()


LANE_CASES = [
    ("ovp4-int", "olive"),
    ("ovp8", "olive"),
    ("fp6-e3m2", "fp6-e3m2"),
    ("fp4-e2m1", "fp4-e2m1,fp6-e3m2"),
    ("int8", "int8,fp8-e4m3"),
    ("mxfp6-e2m3", "mxfp6-e2m3"),
    ("fp4-e2m1", "mxfp4-e2m1,fp4-e2m1"),
]


@given(sizes, sizes, sides, st.sampled_from(LANE_CASES), st.integers(0, 2**32))
def test_operand_words_hold_each_lanes_codes(rows, words, height, case, seed):
    fmt, lane = get_format(case[0]), Lane.named(case[1])
    rng = np.random.default_rng(seed)
    lanes, tiles = height * fmt.lanes * (lane.group // fmt.lanes), -(-rows // height)
    height = lanes // fmt.lanes
    tiles = -(-rows // height)
    codes = rng.integers(0, 1 << fmt.code_bits, (rows, 2 * words)).astype(np.uint8)
    scales = base = None
    if fmt.block_size:
        scales = rng.integers(0, 255, (rows, -(-2 * words // 32))).astype(np.uint8)
        base = rng.integers(0, 255, tiles).astype(np.uint8)
    arranged = operand_words(Operand(codes, fmt, scales, base), lane, lanes)
    assert arranged.shape == (tiles, words, -(-lane.word_bits(lanes) // 8))
    width = 2 * lane.code_bits * fmt.lanes
    for tile, word in np.ndindex(tiles, words):
        value = int.from_bytes(arranged[tile, word].tobytes(), "little")
        for place in range(height):
            row = tile * height + place
            even, odd = codes[row, 2 * word : 2 * word + 2].tolist() if row < rows else (0, 0)
            field = value >> (width * place) & ((1 << width) - 1)
            assert field == even | odd << fmt.code_bits
        above = value >> (2 * lane.code_bits * lanes)
        if not lane.has_blocks:
            assert above == 0
            continue
        assert above >> (8 * lanes) == (base[tile] if base is not None else 0)
        for place in range(lanes):
            row = tile * height + place // fmt.lanes
            want = 0 if base is None else scales[row, word // 16] if row < rows else base[tile]
            assert above >> (8 * place) & 255 == want


def test_sums_go_back_to_their_place():
    tiling = Tiling(3, 2, 5, 2, 2)
    full = np.arange(4 * 6).reshape(4, 6)
    tiles = np.stack([full[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for i in (0, 1) for j in range(3)])
    np.testing.assert_array_equal(assemble_sums(tiles, tiling), full[:3, :5])
