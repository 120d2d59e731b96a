"""Bytes of embeddings that an image reads: against a count cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.models.nerf.encoding import encode
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES
from oleaster.models.nerf.layout import BITMAP, COORDINATES, PLAIN, Layout, quantize
from oleaster.models.nerf.render import render
from oleaster.models.nerf.tensors import TENSORS, field_tensors
from oleaster.models.nerf.traffic import Visits, encoded_bytes


def test_reads_cell_by_cell():
    field = random_field(3, size=(5, 6, 4))
    rng = np.random.default_rng(0)
    points = {
        kind: rng.uniform(field.box[0], field.box[1], (n, 3)).astype(np.float32)
        for kind, n in (("density", 50), ("color", 30))
    }
    points["density"][0], points["density"][1] = field.box  # both outermost corners
    visits = Visits(field.size)
    expected = {name: np.zeros(t.shape[:2], int) for name, t in field_tensors(field).items()}
    for kind, at in points.items():
        visits.add(kind, field.lattice(at))
        for x in field.lattice(at):
            low = np.minimum(x.astype(int), np.array(field.size) - 2)
            for m in range(3):
                u, v = (low[axis] for axis in PLANE_AXES[m])
                w = low[LINE_AXES[m]]
                expected[f"{kind}_planes[{m}]"][v : v + 2, u : u + 2] += 1
                expected[f"{kind}_lines[{m}]"][0, w : w + 2] += 1
    for name in TENSORS:
        assert np.array_equal(visits.cells(name), expected[name]), name


def test_plain_in_16_bits_reads_what_dense_reads():
    field, camera = blob_field(24, 16), orbit_camera()
    visits = Visits(field.size)
    counters = render(field, camera, visits=visits).counters
    encoded = {
        name: encode(quantize(values, 16), [PLAIN]) for name, values in field_tensors(field).items()
    }
    assert encoded_bytes(encoded, visits) == counters.dense_bytes > 0


@pytest.mark.parametrize("group", [1, 2])
def test_bits_of_a_look_up(group):
    """A bitmap, a list and an empty chunk; 40 cells are a chunk of 32 and one of 8."""
    rng = np.random.default_rng(group)
    values = np.zeros((3, 40, 2))
    values[0] = rng.random((40, 2)) < 0.5
    values[1, 7] = values[1, 35, 1] = 1
    codes = quantize(values, 8)
    encoded = encode(codes, [Layout(32, group)])
    assert {BITMAP, COORDINATES} <= set(encoded.modes.ravel().tolist())

    class One:
        def __init__(self, at):
            self.at = at

        def cells(self, name):
            reads = np.zeros((3, 40), np.int64)
            reads[self.at] = 8
            return reads

    for at in np.ndindex(3, 40):
        bits = 0
        for first in range(0, 2, group):
            chunk = at[0], at[1] // 32, first // group
            mode, count = encoded.modes[chunk], int(encoded.counts[chunk])
            head = 32 if mode == BITMAP else 5 * count if mode == COORDINATES else 0
            element = codes.codes[at][first : first + group]
            # A dense chunk stores its zeros as well.
            inside = element.any() or (mode not in (BITMAP, COORDINATES) and count > 0)
            bits += 32 + head + (8 * group if inside else 0)
        assert encoded_bytes({"x": encoded}, One(at)) == bits, at
