# amaranth: UnusedElaboratable=no
"""The library's units of a tile's pipeline that are made of other units."""

from __future__ import annotations

from oleaster.hw.nerf.renderer.alpha import AlphaUnit
from oleaster.hw.nerf.renderer.color_features import ColorFeatures
from oleaster.hw.nerf.renderer.taps import TapReader
from oleaster.hw.unit_spec import Formats, Parameter, UnitSpec
from oleaster.models.nerf.renderer.config import RendererConfig

__all__ = ["RENDERER_UNITS"]

_TAG_BITS = Parameter(16, 8, 128, "width of a tag that is handed through")
_CODES: dict[str, Parameter | Formats] = {
    "plane_bits": Parameter(8, 2, 16, "width of a plane's code, at most"),
    "line_bits": Parameter(10, 2, 16, "width of a line's code, at most"),
}

RENDERER_UNITS: dict[str, UnitSpec] = {
    "tap-reader": UnitSpec(
        "a sample's cells to the codes around it: three decoders, their requests and answers",
        {
            "components": Parameter(4, 1, 16, "components of each pair, at most"),
            "words": Parameter(
                1 << 14, 64, 1 << 20, "32-bit words of each pair's memory, a power of two"
            ),
            **_CODES,
            "cell_bits": Parameter(8, 2, 13, "width of a cell's number along an axis"),
            "leaves": Parameter(32, 32, 128, "values of a decoder's sums, a power of two"),
            "sum_bits": Parameter(16, 8, 32, "width of each of them, signed"),
            "tag_bits": _TAG_BITS,
        },
        lambda components, words, tag_bits, **parameters: TapReader(
            RendererConfig(**parameters), components, words, tag_bits
        ),
    ),
    "alpha-unit": UnitSpec(
        "a sample's codes to its alpha: features of all pairs, density, table",
        {
            "density_components": Parameter(4, 1, 16, "components of each pair"),
            **_CODES,
            "alpha_sum_bits": Parameter(27, 8, 40, "width of the sum, which saturates"),
            "alpha_largest_shift": Parameter(5, 1, 16, "a table's interval is 2**this at most"),
            "tag_bits": _TAG_BITS,
        },
        lambda tag_bits, **parameters: AlphaUnit(RendererConfig(**parameters), tag_bits),
    ),
    "color-features": UnitSpec(
        "a sample's codes to the products of its colour, some components of each pair at once",
        {
            "color_components": Parameter(12, 4, 48, "of each pair", tuple(range(4, 49, 4))),
            "color_at_once": Parameter(4, 1, 4, "of each pair, in a cycle", (1, 2, 4)),
            **_CODES,
            "tile_bits": Parameter(4, 1, 8, "a tile has 2**tile_bits pixels on a side"),
            "tag_bits": Parameter(16, 16, 128, "width of a tag whose lowest bits are a pixel"),
        },
        lambda tag_bits, **parameters: ColorFeatures(RendererConfig(**parameters), tag_bits),
    ),
}
"""A unit's other sizes are those of the renderer by default."""
