"""Sparse chunks of planes and lines: nothing lost, nothing larger than the best pure format."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_fields import random_field

from oleaster.models.nerf.bits import field_at, get_fields, pack, put_fields, unpack
from oleaster.models.nerf.blob import ALIGNMENT, read_blob, write_blob
from oleaster.models.nerf.encoding import Encoded, decode, encode
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, FieldError
from oleaster.models.nerf.layout import (
    BITMAP,
    CHUNKS,
    COORDINATES,
    DENSE,
    PLAIN,
    TOO_LARGE,
    Codes,
    Layout,
    base_unit,
    hybrid_bits,
    layouts,
    pure_bits,
    quantize,
)
from oleaster.models.nerf.prune import encode_field
from oleaster.models.nerf.report import report, total
from oleaster.models.nerf.tensors import TENSORS


@st.composite
def sparse_codes(draw) -> Codes:
    rows, cells = draw(st.integers(1, 4)), draw(st.integers(1, 280))
    components, bits = draw(st.integers(1, 12)), draw(st.integers(2, 16))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    limit = (1 << (bits - 1)) - 1
    codes = rng.integers(-limit, limit, (rows, cells, components), endpoint=True)
    shares = st.sampled_from([0.0, 0.02, 0.1, 0.2, 0.5, 0.9, 1.0])
    codes *= rng.random(codes.shape) < draw(shares)  # values
    codes *= rng.random((rows, cells, 1)) < draw(shares)  # cells
    codes *= rng.random((rows, 1, 1)) < draw(st.sampled_from([0.5, 1.0]))
    return Codes(codes.astype(np.int16), bits, np.float32(0.25))


@given(sparse_codes(), st.data())
@settings(max_examples=60, deadline=None)
def test_decodes_to_what_was_encoded(codes, data):
    layout = data.draw(st.sampled_from(layouts(codes.codes.shape[2])))
    encoded = encode(codes, [layout])
    decoded = decode(encoded)
    assert decoded.codes.dtype == np.int16
    assert np.array_equal(decoded.codes, codes.codes)
    assert (decoded.bits, decoded.scale) == (codes.bits, codes.scale)
    assert encoded.size_bits == hybrid_bits(codes, layout)


@given(sparse_codes(), st.data())
@settings(max_examples=60, deadline=None)
def test_reads_a_cell_without_decoding(codes, data):
    encoded = encode(codes, [data.draw(st.sampled_from(layouts(codes.codes.shape[2])))])
    rows, cells, _ = codes.codes.shape
    for u in {0, cells - 1, *range(data.draw(st.integers(0, 30)), cells, 31)}:
        v = data.draw(st.integers(0, rows - 1))
        assert np.array_equal(encoded.cell(v, u), codes.codes[v, u])
    for v, u in ((rows, 0), (0, cells), (-1, 0), (0, -1)):
        with pytest.raises(IndexError):
            encoded.cell(v, u)


@given(sparse_codes())
@settings(max_examples=60, deadline=None)
def test_hybrid_is_at_most_every_pure_format(codes):
    cuts = layouts(codes.codes.shape[2])
    encoded = encode(codes, cuts)
    for cut in cuts[1:]:
        for mode in (DENSE, BITMAP, COORDINATES):
            assert encoded.size_bits <= pure_bits(codes, cut, mode)
            assert hybrid_bits(codes, cut) <= pure_bits(codes, cut, mode) or mode == DENSE


@pytest.mark.parametrize("n", CHUNKS)
@pytest.mark.parametrize("bits", [2, 8, 12])
def test_takes_the_smallest_mode_for_every_count(n, bits):
    """One chunk with 0 .. n stored elements of one component: sizes by hand, ties to the first."""
    for count in range(n + 1):
        codes = np.zeros((1, n, 1), np.int16)
        codes[0, :count] = 1
        encoded = encode(Codes(codes, bits, np.float32(1)), [Layout(n, 1)])
        values = -(-count * bits // 8)
        sizes = [
            -(-n * bits // 8),
            n // 8 + values,
            -(-count * {32: 5, 64: 6, 128: 7}[n] // 8) + values,
        ]
        assert len(encoded.payload) == min(sizes)
        assert encoded.modes.item() == sizes.index(min(sizes))
        assert encoded.counts.item() == (n if encoded.modes.item() == DENSE else count)


def test_every_bit_of_each_mode():
    codes = np.zeros((1, 40, 2), np.int16)
    codes[0, 1], codes[0, 30] = (3, -1), (0, 5)  # few: coordinates
    codes[0, 32:39, 0] = [1, 2, 3, 4, 5, 6, 7]  # 7 of 8: dense
    encoded = encode(Codes(codes, 4, np.float32(1)), [Layout(32, 2)])
    assert [int(entry) for entry in encoded.directory] == [
        2 | 2 << 2 | 0 << 10,  # 2 coordinates in 10 bits, then 2 elements of 8 bits
        0 | 8 << 2 | 4 << 10,  # 8 elements of 8 bits
    ]
    start = (1 | 30 << 5).to_bytes(2, "little")
    assert encoded.payload == start + bytes([0xF3, 0x50, 1, 2, 3, 4, 5, 6, 7, 0])
    codes[0, :16, 1] = -7  # many
    encoded = encode(Codes(codes, 4, np.float32(1)), [Layout(32, 2)])
    assert int(encoded.directory[0]) == 1 | 17 << 2
    assert encoded.payload[:4] == (0x4000FFFF).to_bytes(4, "little")
    assert encoded.payload[4:21] == bytes([0x90, 0x93] + [0x90] * 14 + [0x50])


def test_a_tie_goes_to_the_earlier_layout():
    codes = Codes(np.ones((1, 128, 4), np.int16), 8, np.float32(1))
    cuts = [Layout(128, 4), Layout(128, 4), PLAIN]
    assert hybrid_bits(codes, cuts[0]) > hybrid_bits(codes, PLAIN)
    assert encode(codes, cuts).layout == PLAIN
    empty = Codes(np.zeros((2, 128, 4), np.int16), 8, np.float32(1))
    tied = [Layout(128, 4), Layout(128, 4)]
    assert encode(empty, layouts(4)).layout == tied[0]


def test_bases_count_larger_units_when_bytes_do_not_fit():
    assert base_unit(np.array([1 << 22])) == 0
    assert base_unit(np.array([1 << 22, 1])) == 1
    assert base_unit(np.array([1 << 25])) == 3
    assert base_unit(np.array([1 << 25, 1])) == 4
    rng = np.random.default_rng(0)
    codes = Codes(rng.integers(-7, 8, (230, 100, 96)).astype(np.int16), 16, np.float32(1))
    encoded = encode(codes, [Layout(32, 12)])
    assert encoded.unit == 1
    assert len(encoded.payload) % 2 == 0
    assert np.array_equal(decode(encoded).codes, codes.codes)
    assert np.array_equal(encoded.cell(229, 99), codes.codes[229, 99])


def test_refuses_a_tensor_that_no_directory_reaches(monkeypatch):
    monkeypatch.setattr("oleaster.models.nerf.layout.BASE_BITS", 4)
    codes = Codes(np.ones((4, 128, 4), np.int16), 8, np.float32(1))
    assert hybrid_bits(codes, Layout(128, 4)) == TOO_LARGE
    with pytest.raises(FieldError, match="too large for the directory"):
        encode(codes, [Layout(128, 4)])
    assert encode(codes, layouts(4)).layout == PLAIN


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_quantises_to_the_nearest_code(bits):
    values = np.random.default_rng(bits).standard_t(4, (3, 50, 4)).astype(np.float32)
    codes = quantize(values, bits)
    limit = (1 << (bits - 1)) - 1
    assert np.abs(codes.codes).max() == limit
    inside = np.abs(values) <= limit * codes.scale
    assert np.abs(codes.values() - values)[inside].max() <= codes.scale * 0.503
    assert (np.abs(codes.codes) == limit)[~inside].all()
    again = quantize(codes.values(), bits)
    assert np.array_equal(again.codes, codes.codes)


def test_quantising_trades_range_for_steps():
    values = np.random.default_rng(0).standard_normal((4, 500, 4)).astype(np.float32)
    values[0, 0, 0] = 7
    whole = np.abs(values - np.rint(values / (7 / 15)) * (7 / 15))
    ours = np.abs(values - quantize(values, 5).values())
    assert np.square(ours).mean() < 0.6 * np.square(whole).mean()
    exact = np.array([-15, 3, 15], np.float32).reshape(1, 3, 1)
    assert quantize(exact, 5).scale == 1


def test_quantising_refuses_what_it_cannot_hold():
    with pytest.raises(FieldError, match=r"2 \.\. 16"):
        quantize(np.zeros((1, 1, 1)), 17)
    with pytest.raises(FieldError, match="NaN"):
        quantize(np.full((1, 1, 1), np.nan), 8)
    assert not quantize(np.zeros((1, 2, 3), np.float32), 8).codes.any()


@given(st.integers(1, 16), st.integers(0, 1 << 30))
@settings(max_examples=20, deadline=None)
def test_fields_of_bits(width, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << width, 37)
    positions = np.arange(37, dtype=np.int64) * (width + 1) + 3
    bits = np.zeros(8 * 90, np.uint8)
    put_fields(bits, positions, values, width)
    data = pack(bits)
    assert np.array_equal(get_fields(unpack(data), positions, width), values)
    assert [field_at(data, int(at), width) for at in positions] == values.tolist()
    whole = sum(int(value) << int(at) for value, at in zip(values, positions, strict=True))
    assert int.from_bytes(data, "little") == whole


# The blob ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoded() -> dict[str, Encoded]:
    field = random_field(3, size=(70, 40, 33), components=(4, 6))
    rng = np.random.default_rng(0)
    sparse, half, lower = field.color_planes
    sparse = sparse * (rng.random(sparse.shape[1:]) < 0.05)
    half = half * (rng.random(half.shape[1:]) < 0.5)
    lower = lower * (np.arange(lower.shape[1]) < 12)[:, None]
    thinned = dataclasses.replace(field, color_planes=(sparse, half, lower.astype(np.float32)))
    return encode_field(thinned, 8)[1]


def test_a_blob_reads_back(encoded):
    data = write_blob(encoded)
    assert len(data) % ALIGNMENT == 0
    back = read_blob(data)
    assert list(back) == list(TENSORS)
    for name in TENSORS:
        assert np.array_equal(decode(back[name]).codes, decode(encoded[name]).codes)
    assert write_blob(back) == data
    assert {int(mode) for each in back.values() for mode in np.unique(each.modes)} == {0, 1, 2}


def test_every_truncation_of_a_blob_is_refused(encoded):
    data = write_blob(encoded)
    for size in [0, 3, 63, 64, 831, 832, *range(833, len(data), 997), len(data) - 1]:
        with pytest.raises(FieldError, match="truncated"):
            read_blob(data[:size])


def _table(data: bytes, name: str, at: int, value: bytes) -> bytes:
    at += 64 * (1 + TENSORS.index(name))
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, bytes(4), "0 rows"),
        (0, b"\xff\xff\xff\x7f", "rows of"),
        (10, b"\x05\0", "groups divide"),
        (12, b"\x21\0", "a chunk has 32, 64, 128"),
        (14, b"\x11", "2 .. 16 bits"),
        (15, b"\x04", "units 0 .. 3"),
        (16, bytes(4), "scale"),
        (16, b"\0\0\xc0\x7f", "scale nan"),
        (20, b"\x01\0", "directory entries"),
        (24, b"\x01", "its directory"),
        (24, b"\0\0\0\0\x01", "its directory"),
        (32, b"\0\0\0\0\x01", "its payload"),
        (40, b"\0\0\0\x01", "its payload"),
        (40, bytes(8), "ends outside its payload"),
    ],
)
def test_a_wrong_table_is_refused(encoded, at, value, says):
    data = _table(write_blob(encoded), "color_planes[0]", at, value)
    with pytest.raises(FieldError, match=rf"^color_planes\[0\]: .*{says}"):
        read_blob(data)


def test_another_file_is_refused(encoded):
    data = write_blob(encoded)
    with pytest.raises(FieldError, match="begins with"):
        read_blob(b"PK\3\4" + data[4:])
    with pytest.raises(FieldError, match="version 9"):
        read_blob(data[:4] + b"\x09\0" + data[6:])


def _one(mode: int, count: int, base: int, payload: bytes) -> bytes:
    """A blob whose first tensor is one chunk of 8 cells of one component."""
    directory = np.array([mode | count << 2 | base << 10], np.uint32)
    tensors = {name: _ones(cells) for name, cells in zip(TENSORS, _CELLS, strict=True)}
    first = dataclasses.replace(tensors[TENSORS[0]], directory=directory, payload=payload)
    return write_blob({**tensors, TENSORS[0]: first})


_CELLS = (8, 8, 1, 1, 1, 8) * 2  # of a lattice of 8 x 1 x 1 points


def _ones(cells: int) -> Encoded:
    codes = Codes(np.ones((1, cells, 1), np.int16), 8, np.float32(1))
    return encode(codes, [Layout(32, 1)])


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        ((3, 1, 0, bytes(9)), "mode 3"),
        ((0, 7, 0, bytes(9)), "does not count every element"),
        ((1, 9, 0, bytes(20)), "more elements than the chunk has"),
        ((1, 2, 0, b"\3\0\0\0\1"), "ends outside"),
        ((1, 1, 1 << 20, bytes(9)), "ends outside"),
        ((1, 2, 0, b"\1\0\0\0\1\1"), "bitmap and count differ"),
        ((1, 1, 0, b"\0\1\0\0\1"), "beyond the row's end"),
        ((2, 2, 0, b"\x22\0\1\1"), "do not rise"),  # 2, 1
        ((2, 2, 0, b"\x21\0\1\1"), "do not rise"),  # 1, 1
        ((2, 1, 0, b"\x08\1"), "beyond the row's end"),
        ((0, 8, 0, b"\1\1\1\x80\1\1\1\1"), "code -128, which is not used"),
        ((1, 2, 0, b"\3\0\0\0\x81\x80"), "code -128, which is not used"),
    ],
)
def test_a_wrong_chunk_is_refused(chunk, says):
    with pytest.raises(FieldError, match=f"row 0, chunk 0, group 0: .*{says}"):
        read_blob(_one(*chunk))


def test_right_chunks_of_the_same_kind_are_read():
    for chunk in ((0, 8, 0, bytes(8)), (1, 2, 0, b"\3\0\0\0\1\1"), (2, 2, 0, b"\x41\0\1\1")):
        read_blob(_one(*chunk))


def test_the_most_negative_code_of_a_plain_tensor_is_refused():
    tensors = {name: _ones(cells) for name, cells in zip(TENSORS, _CELLS, strict=True)}
    plain = encode(Codes(np.full((1, 8, 1), -7, np.int16), 4, np.float32(1)), [PLAIN])
    read_blob(write_blob({**tensors, "color_lines[2]": plain}))
    worse = dataclasses.replace(plain, payload=b"\x99\x98\x99\x99")
    with pytest.raises(FieldError, match=r"^color_lines\[2\]: has the code -8, which"):
        read_blob(write_blob({**tensors, "color_lines[2]": worse}))


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_other_lattices_are_refused(encoded, name):
    each = encoded[name]
    shapes = [(each.rows, each.cells + 1, each.components), (each.rows + 1, each.cells, 4)]
    for rows, cells, components in [*shapes, (each.rows, each.cells, each.components + 1)]:
        codes = Codes(np.zeros((rows, cells, components), np.int16), 8, np.float32(1))
        with pytest.raises(FieldError, match="where the lines ask for"):
            read_blob(write_blob({**encoded, name: encode(codes, [PLAIN])}))


@pytest.mark.parametrize("points", [(4096, 4096, 4096), (1 << 22, 2, 2)])
def test_tensors_that_decode_to_too_much_are_refused(points):
    """Empty chunks take four bytes, whatever they decode to; of short rows most is padding."""
    tensors = {}
    for m, ((u, v), w) in enumerate(zip(PLANE_AXES, LINE_AXES, strict=True)):
        for kind in ("density", "color"):
            for name, rows, cells in (
                (f"{kind}_planes[{m}]", points[v], points[u]),
                (f"{kind}_lines[{m}]", 1, points[w]),
            ):
                empty = np.full(rows * -(-cells // 128), 2, np.uint32)
                tensors[name] = Encoded(
                    rows, cells, 16, 6, np.float32(1), Layout(128, 16), 0, empty, b""
                )
    with pytest.raises(FieldError, match=r"the tensors decode to \d+ values"):
        read_blob(write_blob(tensors))


# The report -------------------------------------------------------------------------------------


def test_report_counts_and_sums(encoded):
    rows = report(encoded)
    assert [row.name for row in rows] == list(TENSORS)
    for row, each in zip(rows, encoded.values(), strict=True):
        codes = decode(each).codes
        assert row.values == codes.size == row.fp16_bits // 16
        assert row.zero_values == (codes == 0).sum()
        assert row.zero_cells == (codes == 0).all(axis=2).sum()
        assert row.hybrid_bits <= min(row.dense_bits, row.bitmap_bits, row.coordinate_bits)
        assert row.hybrid_bits == 8 * len(each.payload) + 32 * len(each.directory)
        modes = row.dense_chunks, row.bitmap_chunks, row.coordinate_chunks, row.empty_chunks
        assert sum(modes) == len(each.directory)
    sums = total(rows)
    assert sums.hybrid_bits == sum(row.hybrid_bits for row in rows)
    assert sums.ratio == pytest.approx(sum(row.values for row in rows) * 16 / sums.hybrid_bits)
