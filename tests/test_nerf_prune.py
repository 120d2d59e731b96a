"""What pruning may change, and what it must not: not one bit of any sample it did not price."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_fields import blob_field, orbit_camera, random_field, with_mask

from oleaster.models.nerf.encoding import decode_all
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.importance import plane_importance
from oleaster.models.nerf.layout import quantize
from oleaster.models.nerf.prune import balance, drop_unseen, encode_field, prune, seen_cells
from oleaster.models.nerf.render import render
from oleaster.models.nerf.samples import cast_rays
from oleaster.models.nerf.tensors import TENSORS, field_tensors, with_tensors
from oleaster.models.nerf.uniform import uniform_samples

CAMERAS = [orbit_camera(angle, width=24, height=24) for angle in (0.2, 2.3, 4.4)]


def _same_at(a: Field, b: Field, points: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal(points.shape).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert len(points)
    assert np.array_equal(a.density(points), b.density(points))
    assert np.array_equal(a.colors(points, directions), b.colors(points, directions))


def _occupied_points(field: Field, seed: int) -> np.ndarray:
    """Inside, on faces, edges and corners of the non-zero cubes that lie in the field's box."""
    rng = np.random.default_rng(seed)
    assert field.mask is not None
    z, y, x = np.nonzero(field.mask.cubes)
    chosen = rng.integers(0, len(x), 4000)
    at = np.stack([x, y, z], axis=1)[chosen].astype(np.float32)
    inner = rng.random(at.shape).astype(np.float32)
    at += np.where(rng.random(at.shape) < 0.3, np.round(inner), inner)
    edge = (field.mask.box[1] - field.mask.box[0]) / (np.array(field.mask.size, np.float32) - 1)
    points = (field.mask.box[0] + at * edge).astype(np.float32)
    # The mask's box may be another; rounding may have left the field's.
    near = (points > field.box[0] - 1e-5) & (points < field.box[1] + 1e-5)
    return np.clip(points[near.all(axis=1)], field.box[0], field.box[1])


def test_tensors_of_a_field_go_back():
    field = random_field(5, size=(9, 8, 7))
    tensors = field_tensors(field)
    assert tuple(tensors) == TENSORS
    assert [tensors[f"density_planes[{m}]"].shape for m in range(3)] == [
        (8, 9, 2), (7, 9, 2), (7, 8, 2),
    ]  # fmt: skip
    assert [tensors[f"color_lines[{m}]"].shape for m in range(3)] == [
        (1, 7, 3), (1, 8, 3), (1, 9, 3),
    ]  # fmt: skip
    assert tensors["density_planes[1]"][3, 4, 1] == field.density_planes[1][1, 3, 4]
    back = with_tensors(field, tensors)
    for kind in ("density_planes", "density_lines", "color_planes", "color_lines"):
        for a, b in zip(getattr(field, kind), getattr(back, kind), strict=True):
            assert np.array_equal(a, b)


@given(
    st.integers(0, 1 << 20),
    st.tuples(*[st.integers(2, 40)] * 3),
    st.tuples(*[st.integers(2, 14)] * 3),
    st.sampled_from([0.002, 0.02, 0.2, 0.8]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_unseen_cells_change_no_sample(seed, size, mask_size, fill, other_box):
    field = random_field(seed, size=size, mask_size=mask_size, fill=fill)
    bits = field.mask.bits.copy()
    bits[tuple(np.random.default_rng(seed).integers(0, bits.shape))] = True
    box = field.box.copy()
    if other_box:
        box += np.float32([[-0.13, 0.2, -0.07], [0.11, 0.05, 0.3]])
    field = with_mask(field, Mask(bits, box))
    points = _occupied_points(field, seed)
    if len(points):
        _same_at(field, drop_unseen(field), points)


def test_every_seen_cell_is_read():
    """The other way round: a change in a cell that is kept moves a sample in a non-zero cube."""
    field = random_field(2, size=(10, 8, 9), mask_size=(6, 5, 7), fill=0.03)
    points = np.concatenate([_occupied_points(field, seed) for seed in range(2)])
    before = field.density(points)
    margin = 2e-3  # cells kept for rounding's sake alone
    for name, seen in seen_cells(field).items():
        if not name.startswith("density"):
            continue
        for v, u in np.argwhere(seen):
            tensors = field_tensors(field)
            tensors[name][v, u] += 1e6
            moved = with_tensors(field, tensors).density(points) != before
            assert moved.any() or _only_touched(field, name, int(v), int(u), margin)
    some = np.concatenate([seen.ravel() for seen in seen_cells(field).values()])
    assert 0.1 < some.mean() < 0.9


def _only_touched(field: Field, name: str, v: int, u: int, margin: float) -> bool:
    """Whether the cell is read only with weight 0, from a cube's face on the lattice."""
    assert field.mask is not None
    edges = [np.linspace(0, field.size[axis] - 1, field.mask.size[axis]) for axis in range(3)]
    m = int(name[-2])
    axes = ((0, 1), (0, 2), (1, 2))[m] if "planes" in name else ((2, 1, 0)[m],)
    return any(
        np.abs(np.abs(edges[axis] - at) - 1).min() < margin
        for axis, at in zip(axes, (u, v), strict=False)
    )


def test_without_a_mask_every_cell_is_seen():
    field = random_field(0, mask_size=None)
    assert all(seen.all() for seen in seen_cells(field).values())


def test_an_empty_mask_leaves_nothing():
    field = random_field(0)
    empty = with_mask(field, Mask(np.zeros_like(field.mask.bits), field.mask.box))
    assert not any(tensor.any() for tensor in field_tensors(drop_unseen(empty)).values())


@pytest.mark.parametrize("seed", range(4))
def test_balance_is_the_same_function_bit_for_bit(seed):
    field = random_field(seed, size=(20, 18, 16), components=(5, 7))
    rng = np.random.default_rng(seed)

    def unbalanced(tensors):
        return tuple(
            (t * 2 ** rng.uniform(-8, 8, (len(t), *[1] * (t.ndim - 1)))).astype(np.float32)
            for t in tensors
        )

    field = dataclasses.replace(
        field,
        color_lines=unbalanced(field.color_lines),
        density_lines=unbalanced(field.density_lines),
        basis=unbalanced([field.basis.T])[0].T.copy(),
    )
    balanced = balance(field)
    _same_at(field, balanced, _occupied_points(field, seed))
    for lines in (balanced.density_lines, balanced.color_lines):
        for line in lines:
            sizes = np.sqrt(np.square(line).mean(axis=1))
            assert ((sizes > 0.7) & (sizes < 1.42)).all()
    lengths = np.linalg.norm(balanced.basis, axis=0)
    assert ((lengths > 0.7) & (lengths < 1.42)).all()


def test_balance_leaves_dead_components_alone():
    field = random_field(0)
    lines = tuple(line * np.float32([[0], [1]]) for line in field.density_lines)
    basis = field.basis.copy()
    basis[:, 3] = 0
    dead = dataclasses.replace(field, density_lines=lines, basis=basis)
    _same_at(dead, balance(dead), _occupied_points(dead, 0))


def test_images_stay_when_unseen_cells_go():
    field = blob_field(32, 20)
    camera = orbit_camera(width=24, height=18)
    a, b = (render(each, camera).image for each in (field, drop_unseen(balance(field))))
    assert np.array_equal(a, b)
    assert a.std() > 0.1


class _Score:
    """A cheap stand-in for PSNR: of densities and features at samples of the field."""

    def __init__(self, field: Field) -> None:
        self.points = _occupied_points(field, 1)
        noise = np.random.default_rng(0).standard_normal(4000) * 0.05
        self.density = field.density(self.points) * (1 + noise)
        self.features = field.features(self.points) * (1 + noise[:, None])
        self.calls = 0

    def __call__(self, field: Field) -> float:
        self.calls += 1
        errors = [
            np.square(field.density(self.points) - self.density).mean() / self.density.var(),
            np.square(field.features(self.points) - self.features).mean() / self.features.var(),
        ]
        return float(-10 * np.log10(np.mean(errors)))


@pytest.fixture(scope="module")
def field() -> Field:
    return blob_field(40, 24)


def test_prune_keeps_its_budget_and_says_the_truth(field):
    score = _Score(field)
    found = prune(field, score, CAMERAS, 1.0, value_bits=(4, 8, 12), group=2)
    assert found.psnr_before == score(field)
    assert found.psnr == score(found.field) >= found.psnr_before - 1.0
    assert found.value_bits == 8
    decoded = with_tensors(found.field, decode_all(found.encoded))
    for name, tensor in field_tensors(decoded).items():
        assert np.array_equal(tensor, field_tensors(found.field)[name])
    assert found.density_share > 0.2
    zeros = {name: (t == 0).mean() for name, t in field_tensors(found.field).items()}
    unseen = {name: (~seen).mean() for name, seen in seen_cells(field).items()}
    assert all(zeros[name] >= unseen[name] for name in TENSORS)
    for array in (found.field.basis, *found.field.weights, *found.field.biases):
        assert np.array_equal(array.astype(np.float16), array)


def test_a_larger_budget_saves_more(field):
    small, large = (
        prune(field, _Score(field), CAMERAS, budget, value_bits=(8,), group=2)
        for budget in (0.3, 6.0)
    )
    assert large.density_share > small.density_share
    assert large.color_share > small.color_share
    sizes = [sum(each.size_bits for each in p.encoded.values()) for p in (small, large)]
    assert sizes[1] < sizes[0]


def test_encoding_follows_zeros_inside_cells(field):
    found = prune(field, _Score(field), CAMERAS, 3.0, value_bits=(8,))
    assert found.group is None
    assert found.density_share > 0
    sizes = []
    for group in (None, 4, 1):
        decoded, encoded = encode_field(found.field, 8, group)
        sizes.append(sum(each.size_bits for each in encoded.values()))
        for name, tensor in field_tensors(decoded).items():
            assert group is not None or encoded[name].layout.group in (0, tensor.shape[2])
    assert sizes[2] <= sizes[1] <= sizes[0]
    assert sizes[2] == sum(each.size_bits for each in found.encoded.values())


def test_prune_refuses_what_it_cannot_reach(field):
    with pytest.raises(FieldError, match="values of 3 bits alone cost"):
        prune(field, _Score(field), CAMERAS, 0.1, value_bits=(2, 3))
    with pytest.raises(FieldError, match="above 0"):
        prune(field, _Score(field), CAMERAS, 0.0)


def test_encoding_alone_loses_nothing(field):
    decoded, encoded = encode_field(field, 8)
    for name, tensor in field_tensors(field).items():
        bits = 8 if "planes" in name else 10
        assert np.array_equal(field_tensors(decoded)[name], quantize(tensor, bits).values())
        assert encoded[name].bits == bits
    again, twice = encode_field(decoded, 8)
    assert [each.payload for each in twice.values()] == [e.payload for e in encoded.values()]
    camera = orbit_camera(width=20, height=16)
    assert np.array_equal(render(again, camera).image, render(decoded, camera).image)


def test_importance_is_the_square_of_what_a_change_does():
    """Against differences: one value changed a little, the images of all cameras again."""
    field = dataclasses.replace(blob_field(16, 12), weight_threshold=0.0)
    field = dataclasses.replace(field, density_shift=-2.0)
    cameras = CAMERAS[:2]
    found = plane_importance(field, cameras)
    name = "density_planes[0]"
    expected = np.zeros_like(found[name])
    for camera in cameras:
        rays = cast_rays(field, camera)
        samples, _ = uniform_samples(field, rays)
        points, length = rays.points(samples), rays.lengths(samples) * 25
        optical = field.density(points).astype(np.float64) * length
        for v, u, r in ((8, 8, 0), (6, 9, 1), (9, 7, 2)):
            tensors = field_tensors(field)
            tensors[name][v, u, r] += 1e-2
            moved = with_tensors(field, tensors).density(points).astype(np.float64) * length
            for i in np.flatnonzero(moved != optical):
                earlier = (samples.ray == samples.ray[i]) & (samples.k <= samples.k[i])
                passed = np.exp(-optical[earlier].sum())
                expected[v, u, r] += (passed * (moved[i] - optical[i]) / 1e-2) ** 2
    for v, u, r in ((8, 8, 0), (6, 9, 1), (9, 7, 2)):
        assert expected[v, u, r] > 0
        least = 1e-3 * float(found[name].mean())
        assert found[name][v, u, r] == pytest.approx(expected[v, u, r], rel=0.05, abs=2 * least)


def test_importance_of_colour_is_weight_times_tap_times_line():
    field = blob_field(16, 12)
    camera = CAMERAS[0]
    found = plane_importance(field, [camera])
    rays = cast_rays(field, camera)
    samples, _ = uniform_samples(field, rays)
    points = rays.points(samples)
    alpha = 1 - np.exp(-field.density(points) * rays.lengths(samples) * 25)
    weights = np.zeros(len(alpha))
    for ray in np.unique(samples.ray):
        at = samples.ray == ray
        weights[at] = alpha[at] * np.cumprod(np.r_[1, 1 - alpha[at][:-1]])
    # The sum of taps squared over a plane's cells, with lines of 1, is a function of position.
    ones = tuple(np.ones_like(line) for line in field.color_lines)
    flat = plane_importance(dataclasses.replace(field, color_lines=ones), [camera])
    at = field.lattice(points)
    f = at - np.clip(at.astype(int), 0, 14)
    taps = ((1 - f) ** 2 + f**2)[:, [0, 1]].prod(axis=1)
    seen = weights > field.weight_threshold
    total = (weights**2 * taps)[seen].sum()
    plane = flat["color_planes[0]"][:, :, 0]
    assert plane.sum() == pytest.approx(total * (1 + 1e-3), rel=1e-3)
    assert not np.allclose(found["color_planes[0]"], flat["color_planes[0]"])
