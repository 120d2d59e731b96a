# amaranth: UnusedElaboratable=no
"""What the colour unit refuses, and that its tables and inputs are as its network has them."""

from dataclasses import replace

import numpy as np
import pytest

from oleaster.hw.nerf.color import ColorUnit
from oleaster.models.formats import get_format
from oleaster.models.nerf.fixed.network import (
    FixedNetwork,
    Rounding,
    Stage,
    Words,
    encode_inputs,
)
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.tables import sigmoid_curve, wave
from oleaster.models.nerf.fixed.widths import FixedConfig
from oleaster.sim.nerf.color import color_words

CONFIG = FixedConfig()
SHAPE = NetworkShape(products=5, features=4, feature_octaves=1, direction_octaves=3, hidden=6)


def network(weight):
    rounding = Rounding.of(get_format("ovp8"))

    def stage(k, n):
        return Stage(rounding, np.full((n, k + k % 2), weight), Words.of(np.ones(n)))

    a, b, c, d = (stage(*size) for size in SHAPE.stages)
    return FixedNetwork(
        CONFIG,
        Words.of(np.ones(SHAPE.products)),
        Words.of(np.ones(SHAPE.inputs)),
        (a, b, c, d),
        (SHAPE.feature_octaves, SHAPE.direction_octaves),
        sigmoid_curve(CONFIG),
    )


@pytest.mark.parametrize(
    ("rows", "cols", "encoders", "message"),
    [
        (5, 8, 1, "rows is 5; it must be even and at least 4"),
        (2, 8, 1, "rows is 2"),
        (8, 4, 1, "cols is 4; it must be a power of two, at least 8"),
        (8, 24, 1, "cols is 24"),
        (8, 8, 0, "encoders is 0; it must be a power of two, at most cols / 4 = 2"),
        (8, 16, 3, "encoders is 3"),
        (8, 16, 8, "encoders is 8"),
    ],
)
def test_units_that_cannot_be(rows, cols, encoders, message):
    with pytest.raises(ValueError, match=message):
        ColorUnit(CONFIG, NetworkShape(), rows, cols, encoders, 1)


def test_the_shape_of_a_network_is_found():
    assert NetworkShape.of(network(1)) == SHAPE
    assert replace(SHAPE, hidden=7) != SHAPE


def test_sources_are_in_the_order_of_the_inputs():
    rng = np.random.default_rng(1)
    features = rng.integers(-3000, 3000, (7, SHAPE.features))
    directions = rng.integers(-1 << 20, 1 << 20, (7, 3))
    octaves = SHAPE.feature_octaves, SHAPE.direction_octaves
    columns = []
    for source in SHAPE.sources():
        values = (directions if source.direction else features)[:, source.element]
        fraction = CONFIG.direction_bits if source.direction else CONFIG.feature_bits
        if source.wave:
            values = wave(values, fraction, source.octave, source.cosine, CONFIG)
        columns.append(values)
    want = encode_inputs(features, directions, octaves, CONFIG)
    assert np.array_equal(np.stack(columns, axis=1), want)
    assert SHAPE.inputs == want.shape[1]


def test_tables_fill_their_regions():
    for cols, encoders in ((8, 1), (8, 2), (32, 8)):
        regions = SHAPE.regions(cols // 2, CONFIG, encoders)
        words = color_words(network(3), cols, encoders)
        assert len(words) == sum(region.size for region in regions.values())
        # Four columns of the basis' first tile, K = 0 and 1.
        assert words[0] == 0x0303_0303_0303_0303
        # A column that the basis does not have gives 0.
        start, _ = regions["channels"]
        bits = [words[start + j] for j in range(SHAPE.features, cols // 2)]
        assert not any(bits)
        assert words[start] >> 32 & 0xFFFF == 1 << 15
        # Inputs begin with a step of their own.
        start, size = regions["inputs"]
        steps = SHAPE.steps(encoders)
        assert size == 2 * encoders * sum(steps)
        first = start + 2 * encoders * steps[0]
        assert all(words[start : start + SHAPE.products])
        assert not any(words[start + SHAPE.products : first])
        assert all(words[first : first + SHAPE.inputs])


def test_weights_of_other_formats_are_refused():
    with pytest.raises(ValueError, match="no values of ovp8"):
        color_words(network(130), 8, 1)
