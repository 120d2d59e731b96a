"""The quantiser against brute force: every candidate, every element, the nearest grid value."""

import tracemalloc
import warnings

import numpy as np
import pytest
from format_tables import EXPECTED
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models import scale_search
from oleaster.models.formats import FORMATS, FormatError, IllegalPairError
from oleaster.models.quantize import (
    QuantizedTensor,
    QuantizeError,
    quantization_stats,
    quantize,
    search_scale,
)

# Magnitudes: (normal, outlier).
GRIDS = {
    name: [
        sorted({abs(value) for value in codes.values()})
        for codes in (row.normal, row.outlier if row.has_outliers else {})
    ]
    for name, row in EXPECTED.items()
}
NAMES = list(GRIDS)


def brute_force(x, scale, name, rule):
    """(rows, K) fake-quantised in float64 with one scale; K is even."""
    normal, outlier = GRIDS[name]
    grid = np.array(normal + outlier, float)
    magnitude = np.abs(x) / scale
    # Of two grid values equally near, argmin takes the first.
    first = np.arange(len(grid))[::-1]
    if EXPECTED[name].tie == "even":
        first = first[np.argsort(first % 2, kind="stable")]
    place = first[np.abs(magnitude[..., None] - grid[first]).argmin(axis=-1)]
    stored = grid[place] * np.sign(x)
    is_outlier = place >= len(normal)
    left, right = is_outlier[:, 0::2], is_outlier[:, 1::2]
    right_is_larger = magnitude[:, 1::2] >= magnitude[:, 0::2]
    if rule == "artifact":
        right_is_larger[:] = False
    stored[:, 1::2][left & ~(right & right_is_larger)] = 0
    stored[:, 0::2][right & (~left | right_is_larger)] = 0
    return stored * scale


def even(x):
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] % 2)])


def sample(family, seed, shape):
    rng = np.random.default_rng(seed)
    if family == "heavy":
        x = rng.standard_t(2, shape) * rng.choice([1e-6, 1, 300])
    elif family == "normal with outliers":
        x = rng.normal(0.3, 1, shape)
        x[rng.random(shape) < 0.03] *= 25
    elif family == "ties":
        x = rng.integers(-60, 60, shape) * rng.choice([0.5, 0.25], shape)
        x[rng.random(shape) < 0.02] = 96
    else:
        x = rng.choice([0, 0, 0, -1, 40], shape).astype(float)
    return x.astype(np.float32)


FAMILIES = ["heavy", "normal with outliers", "ties", "sparse"]


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_every_candidate_has_the_error_of_brute_force(name, granularity, data):
    rows, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 260))
    family = data.draw(st.sampled_from(FAMILIES))
    rule = data.draw(st.sampled_from(["paper", "artifact"]))
    x = sample(family, data.draw(st.integers(0, 10**6)), (rows, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale_search, "_BLOCK", data.draw(st.sampled_from([32, 240, 1 << 18])))
        found = search_scale(x, name, granularity=granularity, rule=rule)
    groups = x[:, None, :] if granularity == "channel" else x[None]
    for group, alphas, errors, scale, squared_error in zip(
        groups.astype(np.float64),
        found.alphas.reshape(-1, 88),
        found.errors.reshape(-1, 88),
        found.scale.reshape(-1),
        found.squared_error.reshape(-1),
        strict=True,
    ):
        scales = (alphas / FORMATS[name].max_normal).astype(np.float32)
        padded = even(group)
        expected = [
            np.square(brute_force(padded, np.float64(one), name, rule) - padded).sum()
            for one in scales
        ]
        # Sums of squares cancel: what is left is exact to rounding of the tensor's own energy.
        np.testing.assert_allclose(errors, expected, rtol=1e-11, atol=1e-13 * np.sum(group**2))
        assert squared_error == errors.min() >= 0
        assert scale == scales[errors.argmin()]


@pytest.mark.parametrize("rule", ["paper", "artifact"])
@pytest.mark.parametrize("name", NAMES)
def test_ties_at_every_edge(name, rule):
    """Scales and values in eighths, so that values lie on midpoints and on the outlier border."""
    scales = np.arange(1, 89) / 8
    top = {4: 400, 6: 800, 8: 3000}[FORMATS[name].code_bits]
    x = np.random.default_rng(0).integers(-top, top, (1, 3000)).astype(np.float32) / 8
    x[0, ::2] /= 8
    found = scale_search._squared_errors(x, 1, scales[None], FORMATS[name], rule)
    wide = x.astype(np.float64)
    expected = [np.square(brute_force(wide, one, name, rule) - wide).sum() for one in scales]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-13 * np.sum(wide**2))


def test_candidates_are_the_artifacts(monkeypatch):
    monkeypatch.setattr(scale_search, "_BLOCK", 16)
    x = sample("heavy", 1, (5, 64)) + np.float32(0.5)
    found = search_scale(x, "ovp4-int", granularity="channel")
    assert (found.scale.shape, found.alphas.shape, found.errors.shape) == ((5,), (5, 88), (5, 88))
    wide = x.astype(np.float64)
    mean, sigma = wide.mean(axis=1), wide.std(axis=1)
    start = np.maximum(abs(mean + 3 * sigma), abs(mean - 3 * sigma))
    expected = [start * percent / 100 for percent in range(75, 250, 2)]
    np.testing.assert_allclose(found.alphas, np.transpose(expected), rtol=1e-12)


def test_candidates_without_outliers_reach_the_maximum(monkeypatch):
    monkeypatch.setattr(scale_search, "_BLOCK", 16)
    x = sample("heavy", 2, (400,))
    found = search_scale(x, "int8")
    top = float(np.abs(x).max())
    assert found.alphas[-1] == top
    start = abs(float(np.mean(x, dtype=np.float64))) + 3 * float(np.std(x, dtype=np.float64))
    assert found.alphas[0] == pytest.approx(min(0.75 * start, top / 2), rel=1e-12)
    ratios = found.alphas[1:] / found.alphas[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(7,), (1,), (6, 40), (2, 3, 5), (3, 131)])
def test_quantized_tensor_holds_the_encoders_codes(monkeypatch, name, granularity, shape):
    monkeypatch.setattr(scale_search, "_BLOCK", 64)  # several blocks, also within a row
    fmt = FORMATS[name]
    x = sample("normal with outliers", 3, shape)
    q = quantize(x, name, granularity=granularity)
    lead = shape[:-1] if granularity == "channel" else ()
    assert (q.format, q.shape, q.scale.shape) == (name, shape, lead)
    assert (q.scale.dtype, q.packed.dtype) == (np.float32, np.uint8)
    assert q.packed.shape == (*shape[:-1], fmt.packed_bytes(shape[-1] + shape[-1] % 2))
    scale = np.asarray(q.scale)[..., None] if lead else q.scale
    codes = fmt.encode(even(x).astype(np.float64) / scale.astype(np.float64))
    np.testing.assert_array_equal(q.codes, codes)
    values = (fmt.decode(codes) * scale.astype(np.float64)).astype(np.float32)[..., : shape[-1]]
    np.testing.assert_array_equal(q.dequantize(), values)
    assert q.dequantize().dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_given_scale(name):
    x = sample("ties", 4, (3, 64))
    scales = np.array([0.5, 0.25, 3], np.float32)
    q = quantize(x, name, granularity="channel", scale=scales)
    for row, scale, values in zip(x, scales, q.dequantize(), strict=True):
        expected = brute_force(row[None].astype(np.float64), float(scale), name, "paper")
        np.testing.assert_array_equal(values, expected[0])
    one = quantize(x, name, scale=0.5)
    np.testing.assert_array_equal(one.packed[0], q.packed[0])


def test_quotient_is_exact():
    """Just below a midpoint, a quotient in float32 would round up to it."""
    scales = np.random.default_rng(13).uniform(0.1, 10, 2000).astype(np.float32)
    middles = 2.5 * scales.astype(np.float64)
    below = middles.astype(np.float32)
    below = np.where(below < middles, below, np.nextafter(below, np.float32(0)))
    q = quantize(np.stack([below, -below], axis=1), granularity="channel", scale=scales)
    np.testing.assert_array_equal(q.codes, [[2, 14]] * 2000)


def test_artifact_rule_reaches_codes_and_search():
    x = np.array([[30, 40] + [0.5, -1, 2, 3, 1, -2] * 1000], np.float32)
    found = {}
    for rule, pair in [("paper", [0, 40]), ("artifact", [30, 0])]:
        q = quantize(x, "ovp4-int", rule=rule)
        stored = q.dequantize()[0].astype(np.float64)
        np.testing.assert_array_equal(stored[:2] != 0, np.array(pair) != 0)
        found[rule] = search_scale(x, "ovp4-int", rule=rule).squared_error
        assert np.square(stored - x).sum() == pytest.approx(float(found[rule]), rel=1e-6)
    assert found["artifact"] > found["paper"] + 500


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("family", FAMILIES)
def test_auto_takes_the_type_with_less_error(family, granularity):
    for seed in range(4):
        x = sample(family, seed, (4, 200))
        both = [
            search_scale(x, name, granularity=granularity) for name in ("ovp4-int", "ovp4-flint")
        ]
        errors = [found.squared_error.sum() for found in both]
        q = quantize(x, "auto", granularity=granularity)
        assert q.format == ("ovp4-flint" if errors[1] < errors[0] else "ovp4-int")
        np.testing.assert_array_equal(q.scale, both[int(errors[1] < errors[0])].scale)


def test_auto_takes_either_type():
    rng = np.random.default_rng(0)
    flat = quantize(rng.normal(size=(8, 512)), "auto")
    peaked = quantize(rng.laplace(size=(8, 512)), "auto")
    assert (flat.format, peaked.format) == ("ovp4-int", "ovp4-flint")


@pytest.mark.parametrize("name", NAMES)
def test_zeros(name):
    x = np.zeros((3, 50), np.float32)
    x[1] = sample("heavy", 5, (50,))
    found = search_scale(x, name, granularity="channel")
    assert (found.scale[0], found.scale[2]) == (1, 1)
    assert (found.squared_error[0], found.squared_error[2]) == (0, 0)
    q = quantize(x, name, granularity="channel")
    assert not q.dequantize()[[0, 2]].any()
    nothing = quantize(np.zeros(6), name)
    assert nothing.scale == 1
    assert not nothing.codes.any()
    assert quantization_stats(np.zeros(6), nothing)["sqnr_db"] == np.inf


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e-45, 1e-39, 1e38, 3.4e38])
def test_ends_of_float32(name, size):
    """Denormal and huge tensors quantise without a warning and to finite values."""
    x = np.array([1, -1, 0.5, 0.25, 0, 1, 1, -0.5] * 40) * size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        q = quantize(x, name)
        values = q.dequantize()
        quantization_stats(x, q)
    assert np.isfinite(values).all()
    assert np.isfinite(q.scale)
    assert q.scale > 0


@pytest.mark.parametrize("make", [np.asfortranarray, lambda x: x[:, ::-1][:, ::-1], np.flip])
def test_memory_layout_does_not_matter(make):
    x = sample("heavy", 6, (6, 50))
    strange = make(x)
    plain = np.ascontiguousarray(strange)
    np.testing.assert_array_equal(quantize(strange).packed, quantize(plain).packed)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.int64])
def test_types_are_read_as_float32(dtype):
    x = np.array([[-7, 3, 100, 1, 0, 5]]).astype(dtype)
    np.testing.assert_array_equal(quantize(x).packed, quantize(x.astype(np.float32)).packed)
    assert quantize([[1, 2, 3]]).shape == (1, 3)


def test_mapped_file(tmp_path):
    x = sample("heavy", 7, (64, 128))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    q = quantize(mapped, "ovp4-flint", granularity="channel")
    expected = quantize(x, "ovp4-flint", granularity="channel")
    np.testing.assert_array_equal(q.packed, expected.packed)
    np.testing.assert_array_equal(q.scale, expected.scale)


@pytest.mark.parametrize(
    ("name", "granularity"),
    [("ovp4-int", "tensor"), ("ovp4-int", "channel"), ("mxfp6-e2m3", "tensor")],
)
def test_memory_stays_below_three_tensors(name, granularity):
    """The tensor itself is the first of the three."""
    x = np.zeros((2048, 4096), np.float32)
    rng = np.random.default_rng(8)
    for row in x:
        row[:] = rng.standard_t(4, 4096)
    tracemalloc.start()
    try:
        q = quantize(x, name, granularity=granularity)
        q.dequantize()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * x.nbytes


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1, 2, 3], [4, np.nan, np.nan]], r"nan at \[1, 1\] is not a finite float32"),
        ([1, -np.inf], r"-inf at \[1\]"),
        ([[[0.0, 1e39]]], r"1e\+39 at \[0, 0, 1\]"),
        ([], r"shape \(0,\) has nothing"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (3.0, r"shape \(\)"),
        ([1j], "real numbers is needed, not complex128"),
        ([True], "not bool"),
        (["1"], "real numbers"),
    ],
)
def test_tensors_that_cannot_be_quantised(x, message):
    for call in (quantize, lambda x: search_scale(x, "int4"), lambda x: quantize(x, scale=1)):
        with pytest.raises(QuantizeError, match=message):
            call(x)


def test_first_bad_element_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr(scale_search, "_BLOCK", 8)
    x = np.zeros((2, 3, 21), np.float32)
    x[1, 2, 17] = np.inf
    with pytest.raises(QuantizeError, match=r"inf at \[1, 2, 17\]"):
        quantize(x)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ([1, 0], r"scale 0.0 is not above 0"),
        ([-1, 1], "scale -1.0"),
        ([1, np.nan], "scale nan"),
        ([1, np.inf], "scale inf"),
        ([1, 1e38], "at most 3.545e"),
        ([1, 1e-60], "scale 0.0"),
        (1, r"shape \(\), expected \(2,\)"),
        ([1, 1, 1], r"shape \(3,\), expected \(2,\)"),
        (["a", "b"], "expected real numbers"),
    ],
)
def test_bad_scales(scale, message):
    with pytest.raises(QuantizeError, match=message):
        quantize(np.ones((2, 4)), granularity="channel", scale=scale)


def test_wrong_use():
    with pytest.raises(QuantizeError, match=r"shape \(1,\), expected \(\)"):
        quantize(np.ones((1, 4)), scale=[1])
    with pytest.raises(QuantizeError, match=r"granularity 'row' \(known: tensor, channel\)"):
        quantize(np.ones(4), granularity="row")
    with pytest.raises(QuantizeError, match="'auto' searches"):
        quantize(np.ones(4), "auto", scale=1)
    with pytest.raises(FormatError, match="unknown format 'int5'"):
        quantize(np.ones(4), "int5")
    with pytest.raises(FormatError, match="unknown rule"):
        quantize(np.ones(4), rule="left")
    with pytest.raises(QuantizeError, match=r"x has shape \(4,\), the quantised tensor \(5,\)"):
        quantization_stats(np.ones(4), quantize(np.ones(5)))


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("name", NAMES)
def test_stats(monkeypatch, name, granularity):
    monkeypatch.setattr(scale_search, "_BLOCK", 128)
    x = sample("normal with outliers", 9, (6, 151)).astype(np.float64)
    q = quantize(x, name, granularity=granularity)
    scale = np.broadcast_to(q.scale.astype(np.float64).reshape(-1, 1), (6, 1))
    border = {"ovp4-int": 9.5, "ovp4-flint": 20, "ovp8": 135.5}.get(name, np.inf)
    reach = (np.abs(even(x)) / scale >= border).reshape(6, -1, 2).sum(axis=2)
    stats = quantization_stats(x, q)
    assert stats["outlier_normal"] == pytest.approx(np.mean(reach == 1))
    assert stats["outlier_outlier"] == pytest.approx(np.mean(reach == 2))
    off = q.dequantize() - x
    assert stats["mse"] == pytest.approx(np.mean(off**2), rel=1e-5)
    assert stats["max_abs_error"] == pytest.approx(np.abs(off).max(), rel=1e-5)
    assert stats["sqnr_db"] == pytest.approx(10 * np.log10(np.sum(x**2) / np.sum(off**2)), rel=1e-5)
    found = search_scale(x, name, granularity=granularity)
    assert stats["mse"] * x.size == pytest.approx(found.squared_error.sum(), rel=1e-10)


def test_stats_count_pairs_with_two_outliers():
    x = np.array([1.0, 2, 9.5, 0, 0, -12, 20, 30, 9.4, 9.4, 1, 1])
    stats = quantization_stats(x, quantize(x, "ovp4-int", scale=1))
    assert (stats["outlier_normal"], stats["outlier_outlier"]) == (2 / 6, 1 / 6)


def test_illegal_pair_is_found_in_the_tensor_not_in_its_block(monkeypatch):
    monkeypatch.setattr(scale_search, "_BLOCK", 8)
    good = quantize(np.ones((2, 3, 20)), "ovp4-int")
    packed = good.packed.copy()
    packed[1, 0, 9] = 0x88
    bad = QuantizedTensor("ovp4-int", good.shape, packed, good.scale)
    with pytest.raises(IllegalPairError, match=r"pair \[1, 0, 9\]"):
        bad.dequantize()


def test_tensors_must_fit_together():
    good = quantize(np.ones((2, 4)), "int4")
    with pytest.raises(QuantizeError, match=r"expected uint8 \(2, 4\)"):
        QuantizedTensor("int8", good.shape, good.packed, good.scale)
    with pytest.raises(FormatError, match="unknown format"):
        QuantizedTensor("int3", good.shape, good.packed, good.scale)
