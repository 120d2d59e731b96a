"""Other accelerators' formats: every code, rounding by brute force, and bits as they are stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from oleaster.models.formats import RIVAL_FORMATS, FormatError, any_format, get_format
from oleaster.models.lane import Lane
from oleaster.models.outlier_list import (
    OutlierListTensor,
    fit_dictionary,
    quantize_gobo,
    quantize_olaccel,
)
from oleaster.models.quantize import (
    QuantizeError,
    load_quantized,
    quantization_stats,
    quantize,
    save_quantized,
)
from oleaster.models.rivals import RIVALS, quantize_any, stats

POT4 = [0, 1, 2, 4, 8, 16, 32, 64]
# By octave: 1, 1 1/16 .. 1 15/16 in units of 1/16; the very first gives its place to zero.
ADAFLOAT8 = [0, *range(17, 32)] + [m << e for e in range(1, 8) for m in range(16, 32)]

TENSORS = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 60)),
    elements=st.floats(-1e4, 1e4, width=32),
)


def heavy(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)


@pytest.mark.parametrize(("name", "magnitudes"), [("pot4", POT4), ("adafloat8", ADAFLOAT8)])
def test_every_code(name: str, magnitudes: list[int]) -> None:
    fmt = RIVAL_FORMATS[name]
    half = len(magnitudes)
    assert 2 * half == 1 << fmt.code_bits
    codes = np.array([code for code in range(2 * half) if code != half])
    values = np.array([*magnitudes, *(-m for m in magnitudes[1:])])
    pairs = np.stack([codes, np.zeros_like(codes)], axis=-1)
    assert (fmt.decode(pairs)[:, 0] == values).all()
    written = np.stack([values, np.zeros_like(values)], axis=-1)
    assert (fmt.encode(written) == pairs).all()
    assert (fmt.unpack(fmt.pack(pairs)) == pairs).all()
    if name == "pot4":
        with pytest.raises(FormatError, match="has no number 1000"):
            fmt.decode([half, 0])
    else:
        assert fmt.decode([half, half]).tolist() == [0, 0]


@pytest.mark.parametrize("largest", [1.0, 1.9375, 1.99, 2.0, 0.3, 7e-5, 2.0**-110, 3.4e38])
def test_adaptivfloat_takes_its_exponent_from_the_largest_value(largest: float) -> None:
    q = quantize(np.array([largest, -largest / 3], np.float32), "adafloat8")
    top = float(q.scale) * max(ADAFLOAT8)
    octave = 2.0 ** float(np.floor(np.log2(np.float32(largest))))
    assert top == octave * 31 / 16
    assert q.dequantize()[0] == min(top, float(np.round(largest / octave * 16)) * octave / 16)


@settings(max_examples=60)
@given(TENSORS)
def test_adaptivfloat_rounds_to_the_nearest_of_its_values(x: np.ndarray) -> None:
    q = quantize(x, "adafloat8")
    grid = np.array([*ADAFLOAT8, *(-m for m in ADAFLOAT8)]) * float(q.scale)
    nearest = np.abs(x[..., None].astype(float) - grid).min(axis=-1)
    assert (np.abs(x - q.dequantize().astype(float)) == nearest).all()
    assert q.bits_per_value == 8


def test_adaptivfloat_by_channel_zeros_and_given_scale(tmp_path) -> None:
    x = np.array([[1.5, 0.1], [0, 0], [100, 3]], np.float32)
    q = quantize(x, "adafloat8", granularity="channel")
    assert q.scale.tolist() == [2.0**-11, 1, 2.0**-5]
    assert (quantize(x, "adafloat8", scale=0.25).dequantize()[2] == [100, 4.25]).all()
    save_quantized(tmp_path / "x.npz", q)
    assert (load_quantized(tmp_path / "x.npz").dequantize() == q.dequantize()).all()
    with pytest.raises(QuantizeError, match=r"scale 0\.3.* is no power of two"):
        quantize(x, "adafloat8", scale=0.3)
    least = quantize(np.full(2, 1e-44, np.float32), "adafloat8")
    assert least.scale == np.finfo(np.float32).tiny
    assert not least.dequantize().any()


def test_our_arrays_do_not_read_rivals() -> None:
    for name in RIVAL_FORMATS:
        assert any_format(name).name == name
        for refuse in (get_format, lambda name: Lane((name,))):
            with pytest.raises(FormatError, match="which our arrays do not read"):
                refuse(name)
    with pytest.raises(FormatError, match="'adafloat9'; did you mean 'adafloat8'"):
        any_format("adafloat9")


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("int4", np.random.default_rng(0).uniform(-1, 1, (4, 400))),
        ("flint4", np.random.default_rng(0).laplace(size=(4, 400))),
        ("pot4", 2.0 ** np.random.default_rng(0).integers(0, 7, (4, 400))),
    ],
)
def test_ant_takes_the_type_with_the_least_error(granularity, name: str, x: np.ndarray) -> None:
    q = quantize(x, "ant4", granularity=granularity)
    errors = {
        each: np.square(quantize(x, each, granularity=granularity).dequantize() - x).sum()
        for each in ("int4", "flint4", "pot4")
    }
    assert q.format == name == min(errors, key=lambda each: errors[each])
    assert q.bits_per_value == 4
    with pytest.raises(QuantizeError, match="'ant4' searches the scale"):
        quantize(x, "ant4", scale=1)


@settings(max_examples=100)
@given(TENSORS)
def test_olaccel_rounds_to_one_grid(x: np.ndarray) -> None:
    q = quantize_olaccel(x)
    assert len(q.positions) <= 0.03 * x.size
    step = float(q.scale)
    assert (np.abs(q.dequantize() - x.astype(float)) <= step * 0.50001).all()
    integers = q.integers()
    listed = np.zeros(x.size, bool)
    listed[q.positions] = True
    assert ((np.abs(integers) > 7).reshape(-1) == listed).all()
    assert ((integers * step).astype(np.float32) == q.dequantize()).all()


def test_olaccel_lists_its_share_of_the_largest() -> None:
    x = heavy(31, 100)
    q = quantize_olaccel(x)
    order = np.argsort(-np.abs(x).reshape(-1))
    assert len(q.positions) == 93
    assert set(q.positions) == set(order[:93])
    border = np.abs(x).reshape(-1)[order[93]]
    assert float(q.scale) == pytest.approx(border / 7.5, rel=1e-6)
    again = quantize_olaccel(x * 2, scale=q.scale)
    assert again.scale == q.scale
    assert len(again.positions) > 300


def test_olaccel_at_the_ends() -> None:
    assert quantize_olaccel(np.zeros((2, 3))).scale == 1
    sparse = np.zeros(1000, np.float32)
    sparse[[3, 500]] = 5, -0.001
    q = quantize_olaccel(sparse)
    assert q.positions.tolist() == [3]
    assert q.dequantize()[3] == pytest.approx(5)
    assert quantize_olaccel([1e9, 1], scale=1).integers().tolist() == [32767, 1]


def slow_dictionary(values: np.ndarray) -> np.ndarray:
    """GOBO's iteration on lists: bins of equal population, then nearest centroid and mean."""
    bins = [list(part) for part in np.array_split(np.sort(values).astype(float), 8)]
    best: list[float] = []
    least = np.inf
    while True:
        centroids = [float(np.mean(part)) for part in bins]
        bins = [[] for _ in centroids]
        error = 0.0
        for value in np.sort(values).astype(float):
            distances = [abs(value - c) for c in centroids]
            bins[int(np.argmin(distances))].append(value)
            error += min(distances)
        if error >= least:
            return np.array(best)
        best, least = centroids, error


@pytest.mark.parametrize("seed", range(5))
def test_gobo_finds_its_dictionary(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 0.04, 800).astype(np.float32)
    found = fit_dictionary(values)
    np.testing.assert_allclose(found, slow_dictionary(values), rtol=1e-5)

    def error(centroids: np.ndarray) -> float:
        return float(np.abs(values[:, None] - centroids).min(axis=1).sum())

    quantiles = np.array([part.mean() for part in np.array_split(np.sort(values), 8)])
    assert error(found) < error(quantiles)


@pytest.mark.parametrize("deviation", [0.04, 1.0])
def test_gobo_lists_what_is_far_out_in_a_gaussian(deviation: float) -> None:
    x = heavy(40, 100) * np.float32(deviation)
    q = quantize_gobo(x)
    density = norm.logpdf(x.astype(float), x.mean(dtype=float), x.std(dtype=float))
    assert (q.positions == np.flatnonzero(density < -4)).all()
    back = q.dequantize()
    listed = np.zeros(x.size, bool)
    listed[q.positions] = True
    listed = listed.reshape(x.shape)
    assert 0 < listed.mean() < 0.1
    assert (back[listed] == x[listed]).all()
    assert q.dictionary is not None
    nearest = np.abs(x[..., None] - q.dictionary).min(axis=-1)
    assert (np.abs(x - back)[~listed] == nearest[~listed]).all()


def test_gobo_at_the_ends() -> None:
    for x in (np.zeros((2, 3)), np.full(5, 3.25), np.array([1.0]), np.array([0.5, -0.5])):
        assert (quantize_gobo(x).dequantize() == x).all()
    wide = np.array([-1e6, 1e6, 3e5])  # a density this flat makes all of them outliers
    q = quantize_gobo(wide)
    assert len(q.positions) == 3
    assert (q.dequantize() == wide).all()


def test_every_code_of_a_list() -> None:
    none = np.zeros(0, np.int64)
    unit = np.array(0.5, np.float32)
    codes = np.arange(16, dtype=np.uint8)
    q = OutlierListTensor("olaccel4", (16,), codes, none, none.astype(np.int16), unit)
    assert (q.integers() == [*range(8), *range(-8, 0)]).all()
    assert (q.dequantize() == q.integers() / 2).all()
    entries = np.array([-4, -2, -1, 0, 0.5, 1, 3, 9], np.float32)
    one = np.array(1, np.float32)
    g = OutlierListTensor("gobo3", (8,), codes[:8], none, none.astype(np.float32), one, entries)
    assert (g.dequantize() == entries).all()
    for each in (q, g):
        packed = each.pack()
        back = OutlierListTensor.unpack(each.format, each.shape, each.scale, packed)
        assert (back.dequantize() == each.dequantize()).all()
    assert (q.pack() == [(2 * i) | (2 * i + 1) << 4 for i in range(8)]).all()


@settings(max_examples=60)
@given(TENSORS)
@pytest.mark.parametrize("name", ["olaccel4", "gobo3"])
def test_bytes_hold_the_tensor_and_no_more(name: str, x: np.ndarray) -> None:
    q = quantize_any(x, name)
    assert isinstance(q, OutlierListTensor)
    packed = q.pack()
    entry = q.index_bits + (16 if name == "olaccel4" else 32)
    dense = 4 * x.size if name == "olaccel4" else 3 * x.size + 8 * 32
    assert q.stored_bits == dense + len(q.positions) * entry
    assert 2**q.index_bits >= x.size
    assert len(packed) == -(-q.stored_bits // 8)
    back = OutlierListTensor.unpack(name, q.shape, q.scale, packed)
    assert (back.codes == q.codes).all()
    assert (back.positions == q.positions).all()
    assert (back.dequantize() == q.dequantize()).all()


def test_bits_per_value() -> None:
    x = heavy(384, 384) * np.float32(0.05)
    for name, bits in (("ant4", 4), ("adafloat8", 8), ("int8", 8)):
        assert quantize_any(x, name).bits_per_value == bits
    share = int(0.03 * x.size) / x.size
    assert quantize_any(x, "olaccel4").bits_per_value == 4 + share * (16 + 18)
    gobo = quantize_gobo(x)
    outliers = len(gobo.positions) / x.size
    expected = 3 + 256 / x.size + outliers * (32 + 18)
    assert gobo.bits_per_value == pytest.approx(expected)


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("shape", [(7, 40), (3, 5, 9)])
def test_stats(name: str, shape: tuple[int, ...]) -> None:
    x = heavy(*shape) * np.float32(0.1)
    q = quantize_any(x, name)
    found = stats(x, q)
    off = x.astype(float) - q.dequantize()
    assert found["mse"] == pytest.approx(np.square(off).mean(), rel=1e-5)
    assert found["max_abs_error"] == pytest.approx(np.abs(off).max(), rel=1e-5)
    signal, noise = np.square(x, dtype=float).sum(), np.square(off).sum()
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(signal / noise), rel=1e-4)
    if isinstance(q, OutlierListTensor):
        listed = np.zeros(x.size, bool)
        listed[q.positions] = True
        rows = listed.reshape(-1, shape[-1]).tolist()
        pairs = [sum(row[i : i + 2]) for row in rows for i in range(0, shape[-1], 2)]
        assert found["outlier_normal"] == pytest.approx(pairs.count(1) / len(pairs))
        assert found["outlier_outlier"] == pytest.approx(pairs.count(2) / len(pairs))
        with pytest.raises(QuantizeError, match="has shape"):
            stats(x[:2], q)
    else:
        assert found == quantization_stats(x, q)


def test_wrong_use() -> None:
    x = heavy(4, 6)
    for name in ("olaccel4", "gobo3"):
        with pytest.raises(QuantizeError, match="no scales of channels"):
            quantize_any(x, name, granularity="channel")
        with pytest.raises(QuantizeError, match=r"nan at \[1, 2\] is not a finite"):
            quantize_any(np.where(np.arange(24).reshape(4, 6) == 8, np.nan, x), name)
        with pytest.raises(QuantizeError, match="nothing to quantise"):
            quantize_any(x[:0], name)
    with pytest.raises(QuantizeError, match="give no scale"):
        quantize_any(x, "gobo3", scale=1)
    for scale in (0, -1, np.nan, [1, 2]):
        with pytest.raises(QuantizeError, match="expected one positive number"):
            quantize_any(x, "olaccel4", scale=scale)
    with pytest.raises(QuantizeError, match="holds real numbers"):
        quantize_gobo(x).integers()
    with pytest.raises(QuantizeError, match="3 bytes are no gobo3 tensor"):
        OutlierListTensor.unpack("gobo3", (4,), np.float32(1), np.zeros(3, np.uint8))
    with pytest.raises(FormatError, match="'int4' keeps no list of outliers"):
        OutlierListTensor.unpack("int4", (4,), np.float32(1), np.zeros(2, np.uint8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codes": np.zeros(3, np.uint8)}, r"expected uint8 \(4,\)"),
        ({"codes": np.full(4, 16, np.uint8)}, r"codes of olaccel4 are 0 \.\. 15"),
        ({"scale": np.array(0, np.float32)}, "one positive float32"),
        ({"outliers": np.ones(2, np.float32)}, "expected int16"),
        ({"outliers": np.ones(1, np.int16)}, "one for each position"),
        ({"positions": np.array([2, 1])}, r"must rise within 0 \.\. 3"),
        ({"positions": np.array([1, 4])}, r"must rise within 0 \.\. 3"),
        ({"dictionary": np.ones(8, np.float32)}, "belongs to gobo3"),
        ({"format": "gobo3", "outliers": np.ones(2, np.float32)}, "belongs to gobo3"),
    ],
)
def test_parts_that_do_not_fit(changed: dict[str, object], message: str) -> None:
    parts: dict[str, object] = {
        "format": "olaccel4",
        "shape": (4,),
        "codes": np.zeros(4, np.uint8),
        "positions": np.array([0, 3]),
        "outliers": np.array([9, -9], np.int16),
        "scale": np.array(1, np.float32),
    }
    with pytest.raises(QuantizeError, match=message):
        OutlierListTensor(**(parts | changed))  # type: ignore[arg-type]
