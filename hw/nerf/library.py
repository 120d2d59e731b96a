# amaranth: UnusedElaboratable=no
"""The renderer's part of the library of units."""

from __future__ import annotations

from typing import Any

from oleaster.hw.emit import Unit
from oleaster.hw.nerf.bitmap_search import BitmapSearch
from oleaster.hw.nerf.color import ColorUnit
from oleaster.hw.nerf.compositor import Compositor
from oleaster.hw.nerf.cubes import CubeStreamer
from oleaster.hw.nerf.curve import CurveTable
from oleaster.hw.nerf.density import DensityUnit
from oleaster.hw.nerf.features import FeatureUnit, SampleAddress
from oleaster.hw.nerf.finder import CubeFinder
from oleaster.hw.nerf.hybrid_decoder import HybridDecoder
from oleaster.hw.nerf.inverse import InverseRoot, Reciprocal
from oleaster.hw.nerf.projector import Projector
from oleaster.hw.nerf.rays import RayGenerator
from oleaster.hw.nerf.renderer.top import NerfRenderer
from oleaster.hw.nerf.samples import SampleGenerator
from oleaster.hw.nerf.search_tree import SearchTree
from oleaster.hw.nerf.shader import Shader
from oleaster.hw.nerf.slabs import SlabUnit
from oleaster.hw.nerf.walker import CubeWalker
from oleaster.hw.nerf.waves import WaveTable
from oleaster.hw.unit_spec import LARGEST_SIDE, Formats, Parameter, UnitSpec
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.widths import RANGES, FixedConfig
from oleaster.models.nerf.lookup import LARGEST_ELEMENT
from oleaster.models.nerf.renderer.config import SIZES, RendererConfig, check_sizes

__all__ = ["NERF_UNITS"]


def _fixed(width: str, description: str) -> Parameter:
    """A width of the renderer in fixed point."""
    return Parameter(getattr(FixedConfig(), width), *RANGES[width], description)


_INVERSE: dict[str, Parameter | Formats] = {
    "inverse_bits": _fixed("inverse_bits", "fraction of an inverse's mantissa"),
    "inverse_address_bits": _fixed("inverse_address_bits", "of its table, per octave"),
}
_AXIS_BITS = Parameter(8, 3, 10, "the mask has up to 2**axis_bits cubes on an axis")
_CELL_BITS = Parameter(10, 2, 16, "width of a point's number along the field's axes")
_CUBE_MEMORY: dict[str, Parameter | Formats] = {
    "word": Parameter(64, 4, 128, "bits read at once from the memory of cubes", (4, 16, 64, 128)),
    "depth": Parameter(1 << 12, 2, 1 << 20, "words of the memory of cubes"),
}
_FOUND: dict[str, Parameter | Formats] = {
    "axis_bits": Parameter(8, 5, 10, "the mask has up to 2**axis_bits cubes on an axis"),
    **_CUBE_MEMORY,
    "block_depth": Parameter(1 << 10, 2, 1 << 16, "words of the memory of blocks"),
}
_TILE_BITS = Parameter(5, 1, 8, "a tile has 2**tile_bits pixels on a side")
_TAG_BITS = Parameter(16, 1, 128, "width of a tag that is handed through")
_TILE_PIXELS = Parameter(
    256, 4, 4096, "pixels of a tile", tuple(1 << exponent for exponent in range(2, 13))
)
_TRANSMITTANCE_BITS = _fixed("transmittance_bits", "fraction of alpha, light and weight")
_PLANE_BITS = Parameter(8, 2, 16, "width of a plane's code")
_LINE_BITS = Parameter(10, 2, 16, "width of a line's code")

_COLOR_WIDTHS = {
    "feature_bits": "fraction of a colour feature",
    "direction_bits": "fraction of a unit direction",
    "wave_address_bits": "of the sines' table, over the circle",
    "wave_bits": "fraction of sine and cosine",
    "logit_bits": "fraction of what the network gives",
    "sigmoid_address_bits": "intervals of the sigmoid's table",
    "color_bits": "fraction of a colour",
}


def _power(default: int, low: int, high: int, description: str) -> Parameter:
    choices = tuple(1 << exponent for exponent in range(low, high + 1))
    return Parameter(default, choices[0], choices[-1], description, choices)


_RENDERER_SIZES = {
    "tile_bits": "a tile has 2**tile_bits pixels on a side",
    "axis_bits": "the mask has up to 2**axis_bits cubes on an axis",
    "cell_bits": "width of a point's number along the field's axes",
    "cube_word": "bits read at once from the memory of cubes, below 2**axis_bits",
    "cube_depth": "words of the memory of cubes",
    "block_depth": "words of the memory of blocks",
    "density_components": "of each pair of plane and line of density, at most",
    "color_at_once": "of colour's 12 components of each pair, in a cycle",
    "plane_bits": "width of a plane's code, at most",
    "line_bits": "width of a line's code, at most; 31 with plane_bits",
    "least_group": "components of an element, at least, as scenes are encoded for it",
    "density_words": "32-bit words of each pair's density memory",
    "color_words": "32-bit words of each pair's colour memory",
    "leaves": "values of a decoder's tree",
    "sum_bits": "width of each of them, signed",
    "alpha_sum_bits": "width of the sum that becomes a density",
    "alpha_largest_shift": "an interval of alpha's table is 2**this at most",
    "color_rows": "rows of PEs of the colour network, even; two a sample",
    "color_cols": "columns of its PEs",
    "color_encoders": "pairs of its inputs that become codes in a cycle, at most color_cols / 4",
    "networks": "colour networks side by side",
}


def _size(name: str, description: str) -> Parameter:
    """A size of the renderer."""
    size = SIZES[name]
    powers = range(size.least.bit_length() - 1, size.most.bit_length()) if size.powers else ()
    choices = tuple(1 << exponent for exponent in powers)
    default = getattr(RendererConfig(), name)
    return Parameter(default, size.least, size.most, description, choices)


def _renderer(**parameters: Any) -> Unit:
    config = RendererConfig(**parameters)
    check_sizes(config)
    return NerfRenderer(config)


def _color_unit(rows: int, cols: int, encoders: int, tag_bits: int, **parameters: int) -> Unit:
    widths = {name: parameters.pop(name) for name in _COLOR_WIDTHS}
    shape = NetworkShape(**parameters)
    return ColorUnit(FixedConfig(**widths), shape, rows, cols, encoders, tag_bits)


NERF_UNITS: dict[str, UnitSpec] = {
    "bitmap-search": UnitSpec(
        "high-density sparse search unit: presence and rank of two neighbours in a bitmap chunk",
        {"chunk": Parameter(64, 16, 128, "elements of a chunk", (16, 32, 64, 128))},
        BitmapSearch,
    ),
    "cube-streamer": UnitSpec(
        "non-zero cubes of the mask, front to back: order generator, bit memory, word scanner",
        {
            "axis_bits": _AXIS_BITS,
            **_CUBE_MEMORY,
        },
        CubeStreamer,
    ),
    "sample-generator": UnitSpec(
        "a range on a ray to the samples in a cube: coordinates on both lattices, and their tests",
        {
            "position_bits": _fixed("position_bits", "fraction of a coordinate"),
            "axis_bits": _AXIS_BITS,
            "cell_bits": _CELL_BITS,
            "tile_bits": _TILE_BITS,
        },
        lambda position_bits, **parameters: SampleGenerator(
            FixedConfig(position_bits=position_bits), **parameters
        ),
    ),
    "cube-finder": UnitSpec(
        "cubes that a tile may see, front to back: blocks are walked and projected before cubes",
        {**_INVERSE, **_FOUND, "tile_bits": _TILE_BITS},
        lambda inverse_bits, inverse_address_bits, **parameters: CubeFinder(
            FixedConfig(inverse_bits=inverse_bits, inverse_address_bits=inverse_address_bits),
            **parameters,
        ),
    ),
    "cube-walker": UnitSpec(
        "from a mask and a camera to the samples of a tile: finder, projector, slabs, tests",
        {
            "position_bits": _fixed("position_bits", "fraction of a coordinate"),
            "inverse_bits": _fixed("inverse_bits", "fraction of a reciprocal"),
            "inverse_address_bits": _fixed("inverse_address_bits", "of the reciprocals' table"),
            **_FOUND,
            "cell_bits": _CELL_BITS,
            "tile_bits": _TILE_BITS,
        },
        lambda position_bits, inverse_bits, inverse_address_bits, **parameters: CubeWalker(
            FixedConfig(
                position_bits=position_bits,
                inverse_bits=inverse_bits,
                inverse_address_bits=inverse_address_bits,
            ),
            **parameters,
        ),
    ),
    "projector": UnitSpec(
        "a cube to the window of a tile's pixels that may see it, one every 8 cycles",
        {
            "inverse_bits": _fixed("inverse_bits", "fraction of a reciprocal"),
            "inverse_address_bits": _fixed("inverse_address_bits", "of the reciprocals' table"),
            "axis_bits": _AXIS_BITS,
            "tile_bits": _TILE_BITS,
        },
        lambda inverse_bits, inverse_address_bits, **parameters: Projector(
            FixedConfig(inverse_bits=inverse_bits, inverse_address_bits=inverse_address_bits),
            **parameters,
        ),
    ),
    "slab-unit": UnitSpec(
        "a cube and its window of pixels to the ranges of samples that may lie in the cube",
        {
            "position_bits": _fixed("position_bits", "fraction of a coordinate"),
            "inverse_bits": _fixed("inverse_bits", "fraction of a reciprocal"),
            "axis_bits": _AXIS_BITS,
            "tile_bits": _TILE_BITS,
        },
        lambda position_bits, inverse_bits, **parameters: SlabUnit(
            FixedConfig(position_bits=position_bits, inverse_bits=inverse_bits), **parameters
        ),
    ),
    "reciprocal": UnitSpec(
        "1 / x by a table and one step of Newton's method, within 2^-17",
        {"width": Parameter(30, 2, 52, "bits of x"), **_INVERSE},
        Reciprocal,
    ),
    "inverse-root": UnitSpec(
        "1 / sqrt(x) by a table and one step of Newton's method, within 2^-17",
        {
            "width": Parameter(26, 2, 52, "bits of x"),
            "fraction": Parameter(20, 0, 36, "bits of x behind the binary point"),
            **_INVERSE,
        },
        InverseRoot,
    ),
    "curve-table": UnitSpec(
        "a function by a table that can be written, linear between entries: alpha, sigmoid",
        {
            "input_bits": Parameter(27, 8, 40, "bits of an input, signed"),
            "value_bits": Parameter(17, 2, 24, "bits of a value, unsigned"),
            "address_bits": Parameter(9, 2, 12, "the table has 2**address_bits intervals"),
            "largest_shift": Parameter(5, 1, 16, "an interval is 2**largest_shift inputs at most"),
        },
        CurveTable,
    ),
    "wave-table": UnitSpec(
        "sine or cosine of a colour feature or a direction's component, times a power of two",
        {
            "feature_bits": _fixed("feature_bits", "fraction of a colour feature"),
            "direction_bits": _fixed("direction_bits", "fraction of a unit direction"),
            "wave_address_bits": _fixed("wave_address_bits", "of the table, over the circle"),
            "wave_bits": _fixed("wave_bits", "fraction of sine and cosine"),
            "octaves": Parameter(2, 1, 16, "powers of two that an angle may be multiplied by"),
        },
        lambda octaves, **widths: WaveTable(FixedConfig(**widths), octaves),
    ),
    "ray-generator": UnitSpec(
        "from a pixel to its ray on the lattices of field and mask, one every three cycles",
        {
            "position_bits": _fixed("position_bits", "fraction of lattice coordinates"),
            "ray_bits": _fixed("ray_bits", "fraction of a direction before it has unit length"),
            "direction_bits": _fixed("direction_bits", "fraction of a unit direction"),
            **_INVERSE,
        },
        lambda **widths: RayGenerator(FixedConfig(**widths)),
    ),
    "search-tree": UnitSpec(
        "dual-purpose bi-direction adder & search tree: sums, and searches in sorted coordinates",
        {
            "leaves": Parameter(32, 4, 128, "values of a word", (4, 8, 16, 32, 64, 128)),
            "value_bits": Parameter(
                8, 5, 32, "width of each signed value; more than the bits of a coordinate"
            ),
            "chunk": Parameter(64, 16, 128, "elements of a chunk", (16, 32, 64, 128)),
        },
        SearchTree,
    ),
    "hybrid-decoder": UnitSpec(
        "two neighbours of an encoded tensor, on two lanes: directory, search units, values",
        {
            "words": Parameter(
                1 << 17, 64, 1 << 20, "32-bit words of the blob's memory, a power of two"
            ),
            "element_bits": Parameter(108, 2, LARGEST_ELEMENT, "width of the widest element"),
            "leaves": Parameter(32, 32, 128, "values of a sum, a power of two"),
            "sum_bits": Parameter(16, 8, 32, "width of each of them, signed"),
        },
        HybridDecoder,
    ),
    "sample-address": UnitSpec(
        "a sample's coordinates on the field's lattice to cells and weights",
        {
            "cell_bits": Parameter(10, 2, 16, "width of a cell's number along an axis"),
            "position_bits": _fixed("position_bits", "fraction of a coordinate"),
            "weight_bits": _fixed("weight_bits", "fraction of a weight"),
            "tag_bits": _TAG_BITS,
        },
        SampleAddress,
    ),
    "feature-unit": UnitSpec(
        "a plane and its line interpolated and multiplied, some components at once",
        {
            "components": Parameter(4, 1, 16, "components of a word"),
            "plane_bits": _PLANE_BITS,
            "line_bits": _LINE_BITS,
            "weight_bits": _fixed("weight_bits", "fraction of a weight"),
            "guard_bits": _fixed("guard_bits", "kept of a value below the unit of its code"),
            "tag_bits": _TAG_BITS,
        },
        FeatureUnit,
    ),
    "density-unit": UnitSpec(
        "products of all three pairs to the sum that becomes a sample's density",
        {
            "components": Parameter(4, 1, 16, "components of each pair"),
            "product_bits": Parameter(19, 2, 32, "width of a product"),
            "sum_bits": Parameter(27, 2, 40, "width of the sum, which saturates"),
            "tag_bits": _TAG_BITS,
        },
        DensityUnit,
    ),
    "color-unit": UnitSpec(
        "colour network on the OVP array: basis, waves, three layers, sigmoid, a batch at a time",
        {
            "rows": Parameter(8, 4, LARGEST_SIDE, "rows of PEs, even; two for each sample"),
            "cols": Parameter(
                8, 8, LARGEST_SIDE, "columns of PEs", tuple(1 << i for i in range(3, 9))
            ),
            "encoders": _power(1, 0, 6, "pairs of inputs that become codes in a cycle"),
            "products": Parameter(36, 1, 1024, "colour products of a sample"),
            "features": Parameter(27, 1, 1024, "that the basis makes of them"),
            "feature_octaves": Parameter(2, 0, 8, "sines and cosines of each feature"),
            "direction_octaves": Parameter(2, 0, 8, "sines and cosines of the direction"),
            "hidden": Parameter(128, 1, 1024, "units of the first and the second layer"),
            **{name: _fixed(name, text) for name, text in _COLOR_WIDTHS.items()},
            "tag_bits": _TAG_BITS,
        },
        _color_unit,
    ),
    "shader": UnitSpec(
        "alphas to weights: the light that each pixel of a tile still lets pass",
        {
            "pixels": _TILE_PIXELS,
            "transmittance_bits": _TRANSMITTANCE_BITS,
            "tag_bits": _TAG_BITS,
        },
        Shader,
    ),
    "compositor": UnitSpec(
        "weights and colours to pixels: sums of a tile, and what they are over the background",
        {
            "pixels": _TILE_PIXELS,
            "transmittance_bits": _TRANSMITTANCE_BITS,
            "color_bits": _fixed("color_bits", "fraction of a sample's colour"),
        },
        Compositor,
    ),
    "nerf-renderer": UnitSpec(
        "a scene's images: the whole renderer, with registers on AXI4-Lite and memory on AXI4",
        {name: _size(name, description) for name, description in _RENDERER_SIZES.items()},
        _renderer,
    ),
}
