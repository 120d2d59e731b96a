"""Orders of cubes: no ray goes back, wherever the camera is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_cases import cameras, fields

from oleaster.models.nerf.cubes import CubeCounts, plan_walk
from oleaster.models.nerf.field import Mask
from oleaster.models.nerf.order import camera_cell, mask_lattice, octant_ranks, outward_ranks
from oleaster.models.nerf.samples import Samples, cast_rays


def cells_of(mask, rays, samples):
    """(n, 3) cell of each sample, as the mask's test takes it."""
    distances = rays.distances(*samples)
    found = [
        np.floor(mask_lattice(mask, axis, rays.along(axis, samples.ray, distances)))
        for axis in range(3)
    ]
    return np.minimum(np.stack(found, axis=1), np.array(mask.size) - 2).astype(int)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_ray_goes_back(data):
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    mask, rays = field.mask, cast_rays(field, camera)
    ray, k = np.indices((len(rays), rays.count), np.int32).reshape(2, -1)
    samples = Samples(ray, k)
    cells = cells_of(mask, rays, samples)
    inside = ((cells >= 0) & (cells < np.array(mask.size) - 1)).all(axis=1)
    ray, cells = ray[inside], cells[inside]
    same_ray = np.diff(ray) == 0
    moved = (np.diff(cells, axis=0) != 0).any(axis=1) & same_ray
    outward = np.diff(outward_ranks(cells, mask, camera.origin, camera.pose[:, 2]))
    assert (outward[moved] > 0).all()
    assert (outward[same_ray & ~moved] == 0).all()
    octants = np.diff(octant_ranks(cells, mask, camera.origin))
    assert (octants[same_ray] >= 0).all()


@pytest.mark.parametrize("order", ["exact", "octants"])
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_batches_of_a_walk_never_go_back(order, data):
    """Cut as finely as can be: the exact walk at every cube, octants where they end."""
    field = data.draw(fields())
    camera = data.draw(cameras(field))
    rays = cast_rays(field, camera)
    walk = plan_walk(field, camera, order=order)
    last = np.full(len(rays), -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oleaster.models.nerf.cubes._TESTS_AT_ONCE", (1, 1))
        batches = list(walk.batches(rays, 0, camera.height, CubeCounts()))
    for ray, k in batches:
        assert (k > last[ray]).all()
        np.maximum.at(last, ray, k)
    seen = int(np.count_nonzero(walk.windows.pixels))
    assert len(batches) == seen if order == "exact" else len(batches) <= 8


def unit_mask(*size):
    nx, ny, nz = size
    box = np.array([[0, 0, 0], [nx - 1, ny - 1, nz - 1]], np.float32)
    return Mask(np.ones((nz, ny, nx), bool), box)


def all_cells(mask):
    return np.array(list(product(*(range(n - 1) for n in mask.size))), np.int32)


@pytest.mark.parametrize("near", list(product((0, 1), repeat=3)))
def test_octants_by_planes_between(near):
    """From each octant: itself, then those behind one plane, then two, then the opposite one."""
    mask = unit_mask(5, 5, 5)
    cells = all_cells(mask)
    ranks = octant_ranks(cells, mask, np.array(near, np.float32) * 8 - 2)
    planes = ((cells >= 2) != np.array(near)).sum(axis=1)
    assert sorted(set(ranks)) == list(range(8))
    for rank, count in enumerate((0, 1, 1, 1, 2, 2, 2, 3)):
        assert set(planes[ranks == rank]) == {count}


def test_outermost_loop_is_the_axis_looked_along():
    mask = unit_mask(4, 5, 6)
    cells = all_cells(mask)
    ranks = outward_ranks(cells, mask, np.array([9, 9, 9], np.float32), np.array([0.1, -0.9, 0.4]))
    walk = cells[np.argsort(ranks)]
    assert walk[:3].tolist() == [[2, 3, 4], [1, 3, 4], [0, 3, 4]]
    assert walk[3].tolist() == [2, 3, 3]
    assert walk[-1].tolist() == [0, 0, 0]


def test_cell_of_a_camera_on_a_face():
    mask = unit_mask(4, 4, 4)
    at = camera_cell(mask, np.array([2, 3, -0.5], np.float32))
    assert at.tolist() == [2, 3, -1]
