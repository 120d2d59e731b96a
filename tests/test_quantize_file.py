"""The file of a quantised tensor: whole or refused, with one sentence that names it."""

import zipfile

import numpy as np
import pytest

from oleaster.models.formats import FORMATS
from oleaster.models.quantize import QuantizeError, load_quantized, quantize, save_quantized


def sample(shape):
    return np.random.default_rng(10).standard_t(2, shape).astype(np.float32)


def some(name, k=16):
    """A tensor of that format, with a scale for each channel if it can have them."""
    granularity = "tensor" if FORMATS[name].block_size else "channel"
    return quantize(sample((2, 3, k)), name, granularity=granularity)


@pytest.mark.parametrize("k", [15, 16, 70])
@pytest.mark.parametrize("name", list(FORMATS))
def test_file_round_trip(tmp_path, name, k):
    if name == "codebook" and k == 15:
        pytest.skip("needs an even K")
    q = some(name, k)
    path = tmp_path / "weights"
    save_quantized(path, q)
    again = load_quantized(path)
    assert (again.format, again.shape) == (q.format, q.shape)
    np.testing.assert_array_equal(again.packed, q.packed)
    np.testing.assert_array_equal(again.scale, q.scale)
    for member in ("block_exponents", "codebook"):
        mine, found = getattr(q, member), getattr(again, member)
        assert (mine is None) is (found is None)
        np.testing.assert_array_equal(mine, found)
    np.testing.assert_array_equal(again.dequantize(), q.dequantize())
    assert again.scale.dtype == np.float32
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]
    first = path.read_bytes()
    save_quantized(path, again)
    assert path.read_bytes() == first


def members(q=None, **changes):
    q = q or quantize(np.array([[1, 2, 3], [4, 50, 6.0]]), "ovp4-int", scale=1)
    kept = {
        "schema": np.int64(2),
        "format": np.str_(q.format),
        "shape": np.array(q.shape),
        "packed": q.packed,
        "scale": q.scale,
        "block_exponents": q.block_exponents,
        "codebook": q.codebook,
    }
    return {name: value for name, value in (kept | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": None, "scale": None}, "lacks schema, scale"),
        ({"packed": None}, "lacks packed"),
        ({"schema": np.int64(3)}, "schema 3 is not 1 to 2"),
        ({"schema": np.int64(0)}, "schema 0 is not 1 to 2"),
        ({"schema": np.float64(1)}, "schema has type float64"),
        ({"format": np.str_("int5")}, "unknown format 'int5'"),
        ({"format": np.int64(4)}, "format has type int64"),
        ({"format": np.array(["int4"])}, "format has 1 axes"),
        ({"shape": np.array([2, 5])}, r"packed codes are uint8 \(2, 2\), expected uint8 \(2, 3\)"),
        ({"shape": np.array([2, -3])}, r"shape \(2, -3\) is empty"),
        ({"shape": np.array([], int)}, r"shape \(\) is empty"),
        ({"shape": np.array([[2, 3]])}, "shape has 2 axes"),
        ({"shape": np.array([2.0, 3.0])}, "shape has type float64"),
        ({"packed": np.zeros((2, 2), np.uint16)}, "packed codes are uint16"),
        ({"packed": np.zeros((2, 2), np.int8)}, "packed has type int8"),
        ({"packed": np.array([[0, 0], [0x88, 0]], np.uint8)}, r"pair \[1, 0\] holds two ident"),
        ({"packed": np.array([[0, 0], [0, 0x10]], np.uint8)}, "pads K to an even length"),
        ({"scale": np.float64(1)}, "scale is float64"),
        ({"scale": np.ones(3, np.float32)}, r"shape \(3,\), expected \(\) or \(2,\)"),
        ({"scale": np.float32(-1)}, "scale -1.0 is not above 0"),
        ({"scale": np.float32(np.nan)}, "scale nan"),
        ({"scale": np.array(1, object)}, "not a whole .npz file"),
        (
            {"format": np.str_("int4"), "packed": np.array([[0, 0], [8, 0]], np.uint8)},
            "no number 1000",
        ),
        ({"block_exponents": np.zeros((2, 1), np.uint8)}, "ovp4-int has no block exponents"),
        ({"block_exponents": np.float32(1)}, "block_exponents has type float32"),
        ({"codebook": np.zeros((256, 2), np.uint8)}, "ovp4-int has no codebook"),
    ],
)
def test_files_that_hold_something_else(tmp_path, changes, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **members(**changes))
    with pytest.raises(QuantizeError, match=message) as caught:
        load_quantized(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mxfp4-e2m1", {"block_exponents": None}, "mxfp4-e2m1 lacks block_exponents"),
        (
            "mxfp4-e2m1",
            {"block_exponents": np.zeros((2, 3), np.uint8)},
            r"\(2, 3\), expected uint8",
        ),
        ("mxfp4-e2m1", {"block_exponents": np.zeros((2, 3, 1), np.uint16)}, "exponents are uint16"),
        ("mxfp4-e2m1", {"block_exponents": np.zeros((2, 3, 1), np.int8)}, "has type int8"),
        ("mxfp4-e2m1", {"block_exponents": np.full((2, 3, 1), 255, np.uint8)}, "255, which is NaN"),
        ("mxfp4-e2m1", {"scale": np.float32(1)}, "has the unit 0.5"),
        ("mxfp8-e4m3", {"packed": np.full((2, 3, 16), 127, np.uint8)}, "no number 0111_1111"),
        ("fp8-e5m2", {"packed": np.full((2, 3, 16), 252, np.uint8)}, "no number 1111_1100"),
        ("fp6-e2m3", {"packed": np.zeros((2, 3, 11), np.uint8)}, "expected uint8 .2, 3, 12"),
        ("codebook", {"codebook": None}, "codebook lacks its table"),
        ("codebook", {"codebook": np.zeros((255, 2), np.uint8)}, "a codebook is uint8 .255, 2"),
        ("codebook", {"codebook": np.zeros((256, 2), np.int64)}, "codebook has type int64"),
        ("codebook", {"shape": np.array([2, 3, 15])}, "which must be even; K is 15"),
    ],
)
def test_files_of_other_formats_that_hold_something_else(tmp_path, name, changes, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **members(some(name), **changes))
    with pytest.raises(QuantizeError, match=message) as caught:
        load_quantized(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_bits_that_pad_the_last_byte(tmp_path):
    """Two 6-bit codes have four bits of their last byte to spare."""
    q = some("fp6-e3m2", 2)
    packed = q.packed.copy()
    packed[1, 2, 1] |= 0x40
    np.savez(tmp_path / "bad.npz", **members(q, packed=packed))
    with pytest.raises(QuantizeError, match=r"bad\.npz: the bits that pad the packed codes"):
        load_quantized(tmp_path / "bad.npz")


def test_files_of_schema_1_are_read(tmp_path):
    """It had the same members but for the optional ones."""
    q = quantize(sample((4, 10)), "ovp4-int")
    np.savez(tmp_path / "old.npz", **members(q, schema=np.int64(1)))
    again = load_quantized(tmp_path / "old.npz")
    np.testing.assert_array_equal(again.dequantize(), q.dequantize())


@pytest.mark.parametrize(
    "name", ["schema", "format", "shape", "packed", "scale", "block_exponents", "codebook"]
)
def test_a_member_that_is_no_array(tmp_path, name):
    path = tmp_path / "bad.npz"
    np.savez(path, **members(**{name: None}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", b"some text")
    with pytest.raises(QuantizeError, match=rf"bad\.npz: {name} is no \.npy array$"):
        load_quantized(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(QuantizeError, match=r"none\.npz: no such file"):
        load_quantized(tmp_path / "none.npz")
    with pytest.raises(QuantizeError, match=r"not a whole \.npz file"):
        load_quantized(tmp_path)
    bare = tmp_path / "bare.npy"
    np.save(bare, np.zeros(3))
    with pytest.raises(QuantizeError, match="bare array"):
        load_quantized(bare)
    for content in (b"", b"some text", b"PK\x03\x04", b"\x80\x04."):
        (tmp_path / "junk").write_bytes(content)
        with pytest.raises(QuantizeError, match=r"junk: not a whole \.npz file"):
            load_quantized(tmp_path / "junk")


@pytest.mark.parametrize("name", ["ovp4-int", "mxfp6-e3m2", "codebook"])
def test_truncated_and_damaged_files(tmp_path, name):
    path = tmp_path / "q.npz"
    save_quantized(path, quantize(sample((8, 64)), name))
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(QuantizeError, match=r"q\.npz: "):
            load_quantized(path)
    with zipfile.ZipFile(tmp_path / "q.npz", "w") as archive:
        archive.writestr("packed.npy", b"\x93NUMPY")
    with pytest.raises(QuantizeError, match="lacks schema"):
        load_quantized(path)


@pytest.mark.parametrize("name", ["ovp4-int", "mxfp6-e3m2", "codebook"])
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, name):
    path = tmp_path / "q.npz"
    q = quantize(sample((8, 64)), name)
    save_quantized(path, q)
    whole = path.read_bytes()
    rng = np.random.default_rng(12)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            again = load_quantized(path)
        except QuantizeError:
            continue
        # Some of the archive's own fields, such as a date, mean nothing to us.
        np.testing.assert_array_equal(again.dequantize(), q.dequantize())


def test_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "q.npz"
    save_quantized(path, quantize(np.ones(4)))
    before = path.read_bytes()

    def break_off(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", break_off)
    with pytest.raises(OSError, match="disk full"):
        save_quantized(path, quantize(np.ones(400)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
