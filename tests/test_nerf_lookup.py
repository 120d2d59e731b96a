"""Look-ups as the decoder makes them, against cells of the encoding and its own checks."""

from dataclasses import replace

import numpy as np
import pytest

from oleaster.models.nerf.blob import check_encoded, write_blob
from oleaster.models.nerf.encoding import encode
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.layout import (
    BASE_AT,
    BITMAP,
    COORDINATES,
    COUNT_AT,
    DENSE,
    PLAIN,
    Codes,
    Layout,
)
from oleaster.models.nerf.lookup import Fault, fault_of, look_up, splits, tensor_rows
from oleaster.models.nerf.tensors import TENSORS


def mixed(rng, layout, cells=150, rows=6, components=4, bits=6):
    """A tensor whose rows go from nearly empty to full, so that all modes occur."""
    kept = rng.random((rows, cells, components)) < np.linspace(0.03, 1, rows)[:, None, None] ** 2
    codes = rng.integers(1, 1 << bits - 1, (rows, cells, components)) * kept
    signs = rng.choice([-1, 1], codes.shape)
    return encode(Codes((codes * signs).astype(np.int16), bits, np.float32(1)), [layout])


@pytest.mark.parametrize("layout", [PLAIN, Layout(32, 2), Layout(64, 4), Layout(128, 1)], ids=str)
def test_look_ups_give_the_codes_of_both_cells(layout):
    rng = np.random.default_rng(1)
    encoded = mixed(rng, layout)
    if layout != PLAIN:
        assert {DENSE, BITMAP, COORDINATES} <= set(encoded.modes.ravel().tolist())
    size = encoded.layout.group or encoded.components
    for v in range(encoded.rows):
        for u in range(encoded.cells - 1):
            for group in range(encoded.components // size):
                found = look_up(encoded, v, u, group)
                for at, hit, element in (
                    (u, found.hit, found.first),
                    (u + 1, found.next_hit, found.second),
                ):
                    codes = encoded.cell(v, at)[group * size : (group + 1) * size]
                    fields = [element >> i * 6 & 63 for i in range(size)]
                    assert fields == [code & 63 for code in codes.tolist()]
                    assert hit or not codes.any()


def entry(mode, count, base):
    return np.uint32(mode | count << COUNT_AT | base << BASE_AT)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda e: entry(3, 1, 0), Fault.MODE),
        (lambda e: entry(BITMAP, 65, 0), Fault.COUNT),
        (lambda e: entry(COORDINATES, 19, 0), Fault.COUNT),
        (lambda e: entry(BITMAP, 4, len(e.payload)), Fault.OUTSIDE),
        (lambda e: entry(DENSE, 64, (1 << 22) - 1), Fault.OUTSIDE),
        # The coordinates 63, 63, ...: the payload is all ones.
        (lambda e: entry(COORDINATES, 2, 0), Fault.FALLING),
    ],
)
def test_faults_are_what_a_loader_refuses(wrong, fault):
    encoded = mixed(np.random.default_rng(2), Layout(64, 4))
    encoded = replace(encoded, payload=b"\xff" * len(encoded.payload))
    directory = encoded.directory.copy()
    directory[encoded.chunks] = wrong(encoded)  # the first of row 1
    bad = replace(encoded, directory=directory)
    with pytest.raises(FieldError):
        check_encoded(bad, "plane")
    assert fault_of(bad, 1, 5, 0) == fault
    assert look_up(bad, 1, 5, 0) == (False, False, 0, 0)


def test_a_right_tensor_has_no_fault():
    encoded = mixed(np.random.default_rng(3), Layout(128, 1))
    check_encoded(encoded, "plane")
    assert not any(
        fault_of(encoded, v, u, group)
        for v in range(encoded.rows)
        for u in (0, 130)
        for group in range(4)
    )


def test_rows_say_where_tensors_are():
    rng = np.random.default_rng(4)
    layouts = [PLAIN, Layout(32, 2), Layout(64, 4), Layout(128, 1)]
    encoded = {name: mixed(rng, layouts[i % 4], 40 + i) for i, name in enumerate(TENSORS)}
    blob = write_blob(encoded)
    for row, each in zip(tensor_rows(blob), encoded.values(), strict=True):
        payload = 4 * row.payload
        assert blob[payload : payload + row.payload_bytes] == each.payload
        entries = np.frombuffer(blob, "<u4", each.directory.size, 4 * row.directory)
        assert np.array_equal(entries, each.directory)
        assert row.element == (each.layout.group or each.components) * each.bits
        assert splits(row, 31) == (each.layout.chunk == 32)
        assert row.groups == max(each.groups, 1)
        assert row.stride == (each.chunks or each.cells)
