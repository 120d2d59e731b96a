"""The GEMM reference against Python's integers, term by term."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oleaster.models.gemm import MAX_ACC_BITS, gemm


def accumulate(row: list[int], column: list[int], acc_bits: int, step: int) -> tuple[int, bool]:
    """One element as the accumulator holds it, and whether it left its range."""
    low, high = -(1 << acc_bits - 1), (1 << acc_bits - 1) - 1
    exact, wrapped = 0, False
    for k, (x, y) in enumerate(zip(row, column, strict=True), start=1):
        exact += x * y
        if k % step == 0 or k == len(row):
            wrapped |= not low <= exact <= high
    return (exact - low) % (1 << acc_bits) + low, wrapped


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 700), st.integers(1, 3)),
    bits=st.tuples(st.integers(1, 31), st.integers(1, 30)),
    acc_bits=st.integers(2, MAX_ACC_BITS),
    step=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
@example(shape=(2, 700, 2), bits=(7, 7), acc_bits=32, step=1, seed=0)  # float32 in parts
@example(shape=(2, 700, 2), bits=(31, 22), acc_bits=62, step=1, seed=0)  # float64 in parts
@example(shape=(2, 700, 2), bits=(31, 30), acc_bits=32, step=1, seed=0)  # beyond int64
@example(shape=(3, 100, 3), bits=(9, 9), acc_bits=22, step=1, seed=0)  # some wrap, some do not
def test_gemm(
    shape: tuple[int, int, int], bits: tuple[int, int], acc_bits: int, step: int, seed: int
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(seed)
    # Both ends of the range, and rows of very different magnitude.
    a, b = (
        rng.integers(-(1 << width), (1 << width) + 1, (rows, k))
        >> rng.integers(0, width, (rows, 1))
        for rows, width in ((m, bits[0]), (n, bits[1]))
    )
    got = gemm(a, b, acc_bits, step)
    assert got.sums.dtype == np.int64
    for i, j in np.ndindex(m, n):
        expected = accumulate(a[i].tolist(), b[j].tolist(), acc_bits, step)
        assert (got.sums[i, j], got.overflow[i, j]) == expected


@pytest.mark.parametrize(
    ("value", "k"),
    [
        (1 << 12, 1),
        (1 << 12, 2),
        (181, 512),
        (1 << 26, 1),
        (1 << 26, 2),
        (1 << 26, 3),
        (1 << 26, 200),
        ((1 << 26) + 1, 3),
        ((1 << 28) + 1, 7),
    ],
)
def test_sums_at_the_edge_of_what_a_float_holds(value: int, k: int) -> None:
    """Squares whose sum is near the largest that float32, float64 or a part of K may have."""
    a = np.full((1, k + 1), value)
    b = np.full((1, k + 1), value)
    a[0, -1] = b[0, -1] = 1
    assert gemm(a, b, 62).sums[0, 0] == k * value * value + 1


def test_wraps_at_the_very_limit() -> None:
    """The bound on sums must not miss one that is just too large, nor flag one that fits."""
    a, b = np.array([[1 << 15, 1 << 15]]), np.array([[1 << 15, (1 << 15) - 1], [1 << 15, 1 << 15]])
    got = gemm(a, b, 32)
    assert got.sums.tolist() == [[(1 << 31) - (1 << 15), -(1 << 31)]]
    assert got.overflow.tolist() == [[False, True]]
    # The last sum counts even if fewer than `step` products led to it.
    assert gemm(np.array([[1, 1, 1 << 15]]), np.array([[0, 0, 1 << 16]]), 32, 2).overflow.all()


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32])
def test_types_at_their_ends(kind: type) -> None:
    """The magnitude of the least value does not fit the type."""
    ends = np.iinfo(kind)
    a, b = np.array([[ends.min, ends.max]], kind), np.array([[1, 0], [0, 1]], kind)
    for acc_bits in (ends.bits - 1, 40):
        got = gemm(a, b, acc_bits)
        expected = [accumulate(a[0].tolist(), y, acc_bits, 1) for y in b.tolist()]
        assert list(zip(got.sums[0], got.overflow[0], strict=True)) == expected


@pytest.mark.parametrize(("a", "b"), [((2, 3), (4, 5)), ((2, 3, 1), (4, 3)), ((3,), (4, 3))])
def test_shapes_that_do_not_fit(a: tuple, b: tuple) -> None:
    with pytest.raises(ValueError, match="they must be"):
        gemm(np.zeros(a, np.int64), np.zeros(b, np.int64))


@pytest.mark.parametrize("bits", range(48, 55))
def test_sums_around_the_ends_of_float64(bits):
    """Sums of two products on either side of each power of two, odd ones and negative ones."""
    a = np.array([[(1 << 24) + 1, (1 << 24) - 1], [-(1 << 24) - 3, -(1 << 24)]])
    b = np.array([[(1 << (bits - 25)) + 1, 1 << (bits - 25)], [(1 << (bits - 25)) - 1, 5]])
    expected = a.astype(object) @ b.astype(object).T
    assert gemm(a, b, acc_bits=62).sums.tolist() == expected.tolist()
