"""Fields against a plain PyTorch evaluation of the same formulas, and what check_field refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_random import random_field

from oleaster.models.nerf import field as implementation
from oleaster.models.nerf.camera import Camera, look_at
from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.field import (
    LINE_AXES,
    PLANE_AXES,
    Array,
    Field,
    FieldError,
    Mask,
)

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def _sampled(field: Field, planes: tuple, lines: tuple, points: Array) -> list:
    """For each pair a tensor (components, n), by grid_sample."""
    low, high = torch.from_numpy(field.box)
    at = (torch.from_numpy(points) - low) * (2 / (high - low)) - 1
    found = []
    for m in range(3):
        on_plane = at[None, :, None, list(PLANE_AXES[m])]
        on_line = torch.stack([torch.zeros(len(at)), at[:, LINE_AXES[m]]], dim=-1)[None, :, None]
        plane, line = torch.from_numpy(planes[m])[None], torch.from_numpy(lines[m])[None, ..., None]
        found.append(
            functional.grid_sample(plane, on_plane, align_corners=True)[0, :, :, 0]
            * functional.grid_sample(line, on_line, align_corners=True)[0, :, :, 0]
        )
    return found


def _torch_density(field: Field, points: Array) -> Array:
    found = _sampled(field, field.density_planes, field.density_lines, points)
    total = sum(products.sum(dim=0) for products in found)
    if field.softplus:
        return functional.softplus(total + field.density_shift).numpy()
    return functional.relu(total).numpy()


def _torch_colors(field: Field, points: Array, directions: Array) -> Array:
    products = torch.cat(_sampled(field, field.color_planes, field.color_lines, points))
    features = functional.linear(products.T, torch.from_numpy(field.basis))
    towards = torch.from_numpy(directions)
    inputs = [features, towards]
    for values, count in (
        (features, field.feature_frequencies),
        (towards, field.direction_frequencies),
    ):
        if count:
            angles = (values[..., None] * 2 ** torch.arange(count).float()).flatten(1)
            inputs += [torch.sin(angles), torch.cos(angles)]
    x = torch.cat(inputs, dim=1)
    for i in range(3):
        weight, bias = torch.from_numpy(field.weights[i]), torch.from_numpy(field.biases[i])
        x = functional.linear(x, weight, bias)
        x = functional.relu(x) if i < 2 else torch.sigmoid(x)
    return x.numpy()


def _points(field: Field, seed: int, n: int) -> Array:
    """Points anywhere in the box, and on its faces, edges, corners and lattice planes."""
    rng = np.random.default_rng(seed)
    at = rng.random((n, 3))
    steps = np.array(field.size) - 1
    snapped = np.rint(at * steps) / steps
    at = np.where(rng.random((n, 3)) < 0.3, snapped, at)
    at = np.where(rng.random((n, 3)) < 0.2, np.rint(at), at)
    at[:8] = list(np.ndindex(2, 2, 2))
    low, high = field.box.astype(np.float64)
    return np.clip((low + at * (high - low)).astype(np.float32), *field.box)


def _directions(seed: int, n: int) -> Array:
    found = np.random.default_rng(seed).standard_normal((n, 3))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(*[st.integers(2, 12)] * 3),
    density=st.tuples(*[st.integers(1, 5)] * 3),
    color=st.tuples(*[st.integers(1, 7)] * 3),
    frequencies=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    softplus=st.booleans(),
)
def test_equals_pytorch(
    seed: int,
    size: tuple[int, int, int],
    density: tuple[int, int, int],
    color: tuple[int, int, int],
    frequencies: tuple[int, int],
    softplus: bool,
) -> None:
    field = random_field(seed, size, density, color, frequencies)
    field = replace(field, softplus=softplus, density_shift=-0.5)
    check_field(field)
    points, directions = _points(field, seed, 64), _directions(seed, 64)
    expected = _torch_density(field, points)
    assert expected.max() > 0
    np.testing.assert_allclose(field.density(points), expected, atol=1e-5, rtol=1e-5)
    expected = _torch_colors(field, points, directions)
    np.testing.assert_allclose(field.colors(points, directions), expected, atol=1e-5)


def test_equals_pytorch_in_the_published_size() -> None:
    field = random_field(1, (33, 30, 31), (16, 16, 16), (48, 48, 48), (2, 2), features=27)
    points, directions = _points(field, 2, 10_000), _directions(3, 10_000)
    np.testing.assert_allclose(
        field.density(points), _torch_density(field, points), atol=1e-5, rtol=1e-5
    )
    expected = _torch_colors(field, points, directions)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(field.colors(points, directions), expected, atol=1e-5)


def test_order_of_the_network_input() -> None:
    field = random_field(0, (4, 4, 4), (1, 1, 1), (1, 1, 1), (2, 1), features=2)
    found = field.network_input(
        np.array([[0.1, 0.2]], np.float32), np.array([[0.3, 0.4, 0.5]], np.float32)
    )
    angles = [0.1, 0.2, 0.2, 0.4]
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, *np.sin(angles), *np.cos(angles)]
    expected += [*np.sin([0.3, 0.4, 0.5]), *np.cos([0.3, 0.4, 0.5])]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_a_density_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    field = random_field(5, (9, 8, 7), (16, 4, 4), (2, 2, 2), (1, 1))
    points = _points(field, 6, 1000)
    together = field.density(points)
    order = np.random.default_rng(7).permutation(len(points))
    monkeypatch.setattr(implementation, "_PART", 37)  # many parts, several threads
    assert np.array_equal(field.density(points[order]), together[order])
    assert np.array_equal(field.density(points[3:4]), together[3:4])
    np.testing.assert_allclose(
        field.colors(points, points)[order], field.colors(points[order], points[order]), atol=1e-6
    )


def test_no_points() -> None:
    field = random_field(0, (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1))
    nothing = np.empty((0, 3), np.float32)
    assert field.density(nothing).shape == (0,)
    assert field.colors(nothing, nothing).shape == (0, 3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    share=st.sampled_from([0.02, 0.2, 0.9]),
)
def test_occupied_is_the_trilinear_test(
    seed: int, steps: tuple[int, int, int], share: float
) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random([n + 1 for n in steps[::-1]]) < share
    box = np.array([[-1, -2, 0.5], [1, 2, 1.5]], np.float32)
    field = replace(random_field(0, (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1)), mask=Mask(bits, box))
    # 32nds of a box whose sides are powers of two: PyTorch's coordinates are exact as ours are.
    at = rng.integers(0, 33, (500, 3)).astype(np.float32) / 32
    at[:8] = list(np.ndindex(2, 2, 2))
    points = box[0] + at * (box[1] - box[0])
    volume = torch.from_numpy(bits.astype(np.float32))[None, None]
    value = functional.grid_sample(
        volume, torch.from_numpy(at * 2 - 1)[None, None, None], align_corners=True
    )
    assert np.array_equal(field.occupied(points), value.numpy().ravel() > 0)
    # Outside nothing is occupied, where zero padding would let the value fade over one cell.
    for beyond in (1 / 64, 1 / (2 * max(steps)), 8):
        for side in (-beyond, 1 + beyond):
            outside = points.copy()
            axis = seed % 3
            outside[:, axis] = box[0, axis] + side * (box[1, axis] - box[0, axis])
            assert not field.occupied(outside).any()


def test_everywhere_is_occupied_without_a_mask() -> None:
    field = random_field(0, (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1))
    assert field.occupied(_points(field, 0, 20)).all()


def _with_nan(array: Array) -> Array:
    damaged = array.copy()
    damaged.flat[0] = np.nan
    return damaged


_GOOD = random_field(0, (5, 4, 3), (2, 1, 1), (1, 3, 2), (1, 2), mask=True)
_BAD = {
    "box is": replace(_GOOD, box=_GOOD.box[::-1]),
    r"density_planes\[1\] is": replace(_GOOD, density_planes=(_GOOD.density_planes[0],) * 3),
    r"color_lines\[2\] holds NaN": replace(
        _GOOD, color_lines=(*_GOOD.color_lines[:2], _with_nan(_GOOD.color_lines[2]))
    ),
    r"color_planes\[0\] is .* 3 axes": replace(
        _GOOD, color_planes=(_GOOD.basis, *_GOOD.color_planes[1:])
    ),
    "basis is": replace(_GOOD, basis=_GOOD.basis[:, 1:]),
    "basis is float64": replace(_GOOD, basis=_GOOD.basis.astype(np.float64)),
    r"weights\[0\] is": replace(_GOOD, feature_frequencies=2),
    "must be 0 .. 16": replace(_GOOD, direction_frequencies=-1),
    "nothing to render": replace(_GOOD, mask=Mask(np.zeros((2, 2, 2), bool), _GOOD.box)),
    "mask has": replace(_GOOD, mask=Mask(np.ones((1, 2, 2), bool), _GOOD.box)),
    "far is": replace(_GOOD, far=1.0),
    "near is": replace(_GOOD, near=float("nan")),
    "density_shift is": replace(_GOOD, density_shift=float("inf")),
    "weight_threshold is": replace(_GOOD, weight_threshold=2.0),
}


@pytest.mark.parametrize("message", _BAD)
def test_bad_fields(message: str) -> None:
    check_field(_GOOD)
    with pytest.raises(FieldError, match=message):
        check_field(_BAD[message])


def test_camera_looks_through_pixel_centres() -> None:
    camera = look_at(np.array([4.0, 0, 0]), np.zeros(3), width=3, height=3, focal=2.0)
    rays = camera.directions().reshape(3, 3, 3)
    np.testing.assert_allclose(rays[1, 1], [-1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(rays[0, 1], np.array([-2, 0, 1]) / np.sqrt(5), atol=1e-6)
    np.testing.assert_allclose(rays[1, 2], np.array([-2, 1, 0]) / np.sqrt(5), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-6)
    half = camera.scaled(6, 4)
    assert (half.width, half.height, half.focal) == (6, 4, 4.0)


@pytest.mark.parametrize(
    ("width", "focal", "pose", "message"),
    [
        (0, 1.0, np.eye(4)[:3], "0 x 4 pixels"),
        (4, 0.0, np.eye(4)[:3], "focal length"),
        (4, 1.0, np.eye(4), "a pose is"),
        (4, 1.0, np.eye(4)[:3] * np.nan, "a pose is"),
        (4, 1.0, np.eye(4)[:3] * 2, "of length 1"),
    ],
)
def test_bad_cameras(width: int, focal: float, pose: Array, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        Camera(width, 4, focal, pose.astype(np.float32))
