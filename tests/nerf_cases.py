"""Cameras anywhere about a field, for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from nerf_fields import random_field

from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.field import Field

_UNIT = st.floats(-1, 1, width=32)


@st.composite
def fields(draw) -> Field:
    """Random masks, of which some are full, empty, or one cell thin; box and mask may differ."""
    sizes = st.integers(2, 9)
    field = random_field(
        draw(st.integers(0, 99)),
        size=draw(st.tuples(sizes, sizes, sizes)),
        mask_size=draw(st.tuples(sizes, sizes, sizes)),
        fill=draw(st.sampled_from([0.0, 0.03, 0.3, 1.0])),
        near=draw(st.sampled_from([0.01, 0.5, 2.0])),
    )
    if draw(st.booleans()):
        box = field.box * np.float32(draw(st.sampled_from([0.7, 1.3])))
        assert field.mask is not None
        field.mask.box[:] = box
    return field


@st.composite
def cameras(draw, field: Field) -> Camera:
    """Inside, outside, and on faces and edges of cells; looking anywhere, also along an axis."""
    mask = field.mask
    assert mask is not None
    origin = []
    for axis in range(3):
        low, high = mask.box[:, axis].astype(np.float64)
        planes = np.linspace(low, high, mask.size[axis])
        origin.append(
            draw(
                st.one_of(
                    st.sampled_from(list(planes)),
                    st.sampled_from(list((planes[1:] + planes[:-1]) / 2)),
                    st.floats(low - 3, high + 3),
                )
            )
        )
    turn = np.eye(3)[list(draw(st.permutations(range(3))))]
    if draw(st.booleans()):
        matrix = np.array([[draw(_UNIT) for _ in range(3)] for _ in range(3)])
        turn, _ = np.linalg.qr(matrix + 1e-3 * np.eye(3))
    turn = turn * draw(st.sampled_from([1, -1]))
    if draw(st.booleans()):  # directions next to 0, whose inverse overflows
        turn = turn + draw(st.sampled_from([1e-40, -1e-38, 1e-8]))
    pose = np.column_stack([turn, origin]).astype(np.float32)
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    # Odd sizes have a pixel whose ray runs along the camera's axis exactly.
    return Camera(width, height, draw(st.sampled_from([0.3, 1.0, 4.0])) * width, pose)
