"""What is read from a field in integers, and its colour network: against Python's own integers."""

from fractions import Fraction

import numpy as np
import pytest
from nerf_fields import random_field

from oleaster.models.accelerator.requantize import requantize
from oleaster.models.formats import get_format
from oleaster.models.gemm import gemm
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, FieldError
from oleaster.models.nerf.fixed.features import fix_field
from oleaster.models.nerf.fixed.network import (
    Rounding,
    Words,
    encode_inputs,
    fix_network,
    float_network,
)
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.models.nerf.layout import quantize
from oleaster.models.nerf.tensors import field_tensors

CONFIGS = [
    FixedConfig(),
    FixedConfig(weight_bits=3, guard_bits=6, density_bits=4),
    FixedConfig(weight_bits=12, guard_bits=6, density_bits=14, value_bits=12),
    FixedConfig(weight_bits=4, guard_bits=0, position_bits=16),
]


def coordinates(field, config, count, seed=0):
    """Random ones, and all corners of the lattice."""
    rng = np.random.default_rng(seed)
    last = (np.array(field.size) - 1) << config.position_bits
    corners = np.array(list(np.ndindex(2, 2, 2))) * last
    return np.concatenate([rng.integers(0, last + 1, (count, 3)), corners]).T


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def product_by_hand(plane, line, m, at, config):
    """(components,) of codes (rows, cells, components) and (cells, components), at one place."""
    low, weight = [], []
    for axis in range(3):
        sizes = {PLANE_AXES[m][0]: plane.shape[1], PLANE_AXES[m][1]: plane.shape[0]}
        size = sizes.get(axis, line.shape[0])
        cell = min(at[axis] >> config.position_bits, size - 2)
        beyond = at[axis] - (cell << config.position_bits)
        low.append(cell)
        weight.append(Fraction(beyond * 2**config.weight_bits // 2**config.position_bits))
    (u, v), w = PLANE_AXES[m], LINE_AXES[m]
    found = []
    for c in range(plane.shape[2]):
        share = [each / 2**config.weight_bits for each in weight]
        flat = sum(
            int(plane[low[v] + j, low[u] + i, c])
            * (share[u] if i else 1 - share[u])
            * (share[v] if j else 1 - share[v])
            for i in (0, 1)
            for j in (0, 1)
        )
        along = sum(int(line[low[w] + i, c]) * (share[w] if i else 1 - share[w]) for i in (0, 1))
        guard = 2**config.guard_bits
        found.append(half_up(Fraction(half_up(flat * guard) * half_up(along * guard), guard)))
    return found


@pytest.mark.parametrize("config", CONFIGS)
def test_products_and_density_sums_are_exact_integers_rounded_where_stated(config):
    field = random_field(5)
    fixed = fix_field(field, config, None)
    codes = {
        name: quantize(tensor, config.value_bits + (0 if "planes" in name else 2)).codes
        for name, tensor in field_tensors(field).items()
    }
    at = coordinates(field, config, 60)
    products, sums = fixed.color_products(at), fixed.density_sums(at)
    for i, place in enumerate(at.T.tolist()):
        by_pair = {
            kind: [
                product_by_hand(
                    codes[f"{kind}_planes[{m}]"], codes[f"{kind}_lines[{m}]"][0], m, place, config
                )
                for m in range(3)
            ]
            for kind in ("density", "color")
        }
        assert products[i].tolist() == [p for pair in by_pair["color"] for p in pair]
        expected = sum(
            half_up(
                Fraction(
                    sum(by_pair["density"][m]) * int(fixed.density_multiplier[m]),
                    2 ** int(fixed.density_shift[m]),
                )
            )
            for m in range(3)
        )
        assert sums[i] == expected


def test_parts_change_nothing(monkeypatch):
    field, config = random_field(6), FixedConfig()
    fixed = fix_field(field, config, None)
    at = coordinates(field, config, 500)
    whole = fixed.density_sums(at), fixed.color_products(at)
    monkeypatch.setattr("oleaster.models.nerf.fixed.features._PART", 7)
    assert (fixed.density_sums(at) == whole[0]).all()
    assert (fixed.color_products(at) == whole[1]).all()


def test_density_and_alpha_are_near_the_field_s():
    field = random_field(7)
    config = FixedConfig(value_bits=12, weight_bits=12, density_bits=12)
    fixed = fix_field(field, config, None)
    at = coordinates(field, config, 4000)
    span = (field.box[1] - field.box[0]) / (np.array(field.size) - 1)
    points = (np.ldexp(at.T, -config.position_bits) * span + field.box[0]).astype(np.float32)
    optical = field.density(points) * field.step * field.distance_scale
    alpha = np.ldexp(fixed.alpha(fixed.density_sums(at)), -config.transmittance_bits)
    # 12-bit codes and weights: products of a few units are off by some 2^-9.
    assert np.abs(alpha - (1 - np.exp(-optical))).max() < 0.02


def calibration(field, fixed, config, count=600):
    at = coordinates(field, config, count)
    rng = np.random.default_rng(1)
    d = rng.standard_normal((at.shape[1], 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    directions = np.rint(np.ldexp(d, config.direction_bits)).astype(np.int64)
    return fixed.color_products(at), directions


def test_network_inputs_are_the_field_s():
    field, config = random_field(8), FixedConfig(wave_address_bits=12, wave_bits=12)
    rng = np.random.default_rng(2)
    features = rng.integers(-8000, 8000, (300, 4))
    directions = rng.integers(-(1 << 20), 1 << 20, (300, 3))
    found = encode_inputs(features, directions, (2, 2), config)
    real = field.network_input(
        np.ldexp(features, -config.feature_bits).astype(np.float32),
        np.ldexp(directions, -config.direction_bits).astype(np.float32),
    )
    bits = [config.feature_bits] * 4 + [config.direction_bits] * 3 + [config.wave_bits] * 28
    assert np.abs(np.ldexp(found, -np.array(bits)) - real).max() < 2e-3


@pytest.mark.parametrize(
    ("formats", "allowed"), [("int8", 0.02), ("ovp8", 0.02), ("ovp4-flint", 0.12)]
)
def test_networks_are_near_the_float_one(formats, allowed):
    field, config = random_field(9), FixedConfig()
    fixed = fix_field(field, config, None)
    products, directions = calibration(field, fixed, config)
    scales = fixed.color_scales
    network = fix_network(field, scales, products, directions, formats, config)
    found = network(products, directions)
    exact = float_network(field, scales, config)(products, directions)
    error = np.ldexp(found - exact, -config.color_bits)
    assert found.min() >= 0
    assert found.max() <= 1 << config.color_bits
    assert np.sqrt(np.square(error).mean()) < allowed


def test_a_stage_is_the_array_and_its_output_stage():
    """Codes, sums and requantisation by the functions that the accelerator's circuits equal."""
    field, config = random_field(10), FixedConfig()
    fixed = fix_field(field, config, None)
    products, directions = calibration(field, fixed, config, 200)
    for formats in ("int8", "ovp8", "ovp4-flint"):
        network = fix_network(field, fixed.color_scales, products, directions, formats, config)
        x = network.products(products)
        stage, fmt = network.stages[0], get_format(formats)
        operands = fmt.decode(fmt.encode(np.pad(x, ((0, 0), (0, x.shape[1] % 2)))))
        sums = gemm(operands, stage.weights).sums
        after = stage.after
        assert (stage(x) == requantize(sums, after.bias, after.multiplier, after.shift)).all()


@pytest.mark.parametrize("name", ["int8", "int4", "ovp8", "ovp4-int", "ovp4-flint"])
def test_rounding_is_the_format_s_own(name):
    fmt = get_format(name)
    rounding = Rounding.of(fmt)
    every = np.arange(-32767, 32768)
    rng = np.random.default_rng(3)
    small = np.stack(np.meshgrid(np.arange(-160, 161), np.arange(-160, 161)), axis=-1)
    pairs = np.concatenate(
        [
            small.reshape(-1, 2),
            np.stack([every, rng.permutation(every)], axis=1),
            np.stack([every, -every], axis=1),
            rng.integers(-32767, 32768, (20_000, 2)),
        ]
    )
    assert (rounding(pairs) == fmt.decode(fmt.encode(pairs))).all()


@pytest.mark.parametrize("relu", [True, False])
def test_words_are_the_output_stage_s_requantisation(relu):
    rng = np.random.default_rng(4)
    shift = np.repeat(np.arange(64), 3)
    multiplier = rng.integers(1 << 15, 1 << 16, len(shift))
    multiplier[::3] = 1 << 15  # halves
    bias = rng.integers(-(1 << 31), 1 << 31, len(shift))
    edges = np.array([-(1 << 31), (1 << 31) - 1, 0, 1, -1])
    scale = np.exp2(rng.uniform(0, 31, (400, 1)))
    sums = np.rint(scale * rng.uniform(-1, 1, (400, len(shift)))).astype(np.int64)
    sums = np.concatenate([sums, np.repeat(edges[:, None], len(shift), axis=1), -bias[None]])
    sums = np.clip(sums, -(1 << 31), (1 << 31) - 1)
    expected = requantize(sums, bias, multiplier, shift, relu)
    assert (Words(bias, multiplier, shift)(sums, relu) == expected).all()


def test_without_samples_to_calibrate_there_is_a_network_all_the_same():
    field, config = random_field(11), FixedConfig()
    fixed = fix_field(field, config, None)
    products, directions = calibration(field, fixed, config, 20)
    network = fix_network(field, fixed.color_scales, products[:0], directions[:0], "int8", config)
    assert network(products, directions).shape == (28, 3)


def test_products_that_are_too_wide_are_refused():
    with pytest.raises(FieldError, match="product has 33 bits; 32 at most"):
        fix_field(
            random_field(12),
            FixedConfig(value_bits=12, guard_bits=6),
            {
                name: quantize(tensor, 14)
                for name, tensor in field_tensors(random_field(12)).items()
            },
        )
