"""A scene as what is written into the renderer's memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.blob import ALIGNMENT
from oleaster.models.nerf.encoding import Encoded, decode, encode
from oleaster.models.nerf.field import FieldError
from oleaster.models.nerf.fixed.blocks import block_bits
from oleaster.models.nerf.fixed.network import FixedNetwork
from oleaster.models.nerf.fixed.network_shape import NetworkShape
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.layout import PLAIN, Layout, index_bits, layouts
from oleaster.models.nerf.lookup import LARGEST_ELEMENT, WORD_BYTES, TensorRow
from oleaster.models.nerf.renderer.config import SIZES, RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS, Target, item_bits
from oleaster.models.nerf.scene import Scene
from oleaster.sim.nerf.color import color_words
from oleaster.sim.nerf.cubes import cube_words
from oleaster.sim.nerf.curve import curve_words
from oleaster.sim.nerf.hybrid_decoder import row_word
from oleaster.sim.nerf.renderer.driver import Part

__all__ = ["SceneImage", "fitting", "pair_memory", "scene_image"]


@dataclass(frozen=True, eq=False)
class SceneImage:
    """parts: of all memories but the constants. encoded: the tensors as they are in them."""

    parts: tuple[Part, ...]
    encoded: dict[str, Encoded]

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(len(part.data) for part in self.parts)


def scene_image(
    scene: Scene, fixed: FixedScene, config: RendererConfig, name: str = "the scene"
) -> SceneImage:
    """What `RendererDriver.load` takes. fixed: of the scene, with the network in ovp8.

    Tensors whose elements are too wide for the decoders, or have fewer components than the
    renderer's `least_group`, are encoded again, without loss. FieldError if something does not fit
    the renderer: what of `name`, how large it is, and which size would do.
    """
    network = _check(fixed, config, name)
    _check_lattice(fixed, config, name)
    encoded = fitting(scene.encoded, config, name)
    parts: list[Part] = []
    for kind, blob, row, words in (
        ("density", Target.DENSITY_BLOB, Target.DENSITY_ROW, config.density_words),
        ("color", Target.COLOR_BLOB, Target.COLOR_ROW, config.color_words),
    ):
        for m in range(PAIRS):
            pair = encoded[f"{kind}_planes[{m}]"], encoded[f"{kind}_lines[{m}]"]
            data, rows = pair_memory(*pair)
            takes = len(data) // WORD_BYTES
            if takes > words:
                what = f"{takes} words of 32 bits for plane and line {m} of {kind}"
                _refuse(name, what, config, f"{kind}_words", takes)
            parts.append(Part(blob + m, data))
            parts.append(_items(row + m, [row_word(each, words) for each in rows]))
    mask, alpha = fixed.mask, fixed.tensors.alpha
    alpha_bits = config.fixed.transmittance_bits + 1, config.fixed.alpha_address_bits
    parts += [
        _bits(Target.CUBES, mask.cubes, config.cube_word),
        _bits(Target.BLOCKS, block_bits(mask.cubes), config.block_word),
        _items(Target.ALPHA, curve_words(alpha, *alpha_bits)),
        _items(Target.COLOR, color_words(network, config.color_cols, config.color_encoders)),
    ]
    return SceneImage(tuple(parts), encoded)


def fitting(
    encoded: Mapping[str, Encoded], config: RendererConfig, scene: str = "the scene"
) -> dict[str, Encoded]:
    """The tensors, those with too wide or too narrow elements for the renderer encoded again.

    FieldError if there are more components, or wider codes, than the renderer has room for.
    """
    found = {}
    for name, each in encoded.items():
        kind, part = name.split("[")[0].split("_")
        components = getattr(config, f"{kind}_components")
        for what, value, key in (
            ("components", each.components, f"{kind}_components"),
            ("bits for a code", each.bits, f"{part.removesuffix('s')}_bits"),
        ):
            if value > getattr(config, key):
                _refuse(scene, f"{value} {what} of {name}", config, key, value)
        widest = min(components * max(config.plane_bits, config.line_bits), LARGEST_ELEMENT)
        fit = [
            layout for layout in layouts(each.components) if _element_bits(each, layout) <= widest
        ]
        least = min(config.least_group, max(_group(each, layout) for layout in fit))
        allowed = [layout for layout in fit if _group(each, layout) >= least]
        if each.layout not in allowed:
            each = encode(decode(each), allowed)
        found[name] = each
    return found


def _element_bits(tensor: Encoded, layout: Layout) -> int:
    return tensor.bits * _group(tensor, layout)


def _group(tensor: Encoded, layout: Layout) -> int:
    """Components of an element."""
    return tensor.components if layout == PLAIN else layout.group


def pair_memory(plane: Encoded, line: Encoded) -> tuple[bytes, tuple[TensorRow, TensorRow]]:
    """What a decoder's memory holds of a pair, and its table's rows.

    Directory and payload of the plane, then of the line, each at a multiple of 64 bytes.
    """
    data = b""
    rows = []
    for each in (plane, line):
        at = []
        for piece in (each.directory.astype("<u4").tobytes(), each.payload):
            at.append(len(data) // WORD_BYTES)
            data += piece + bytes(-len(piece) % ALIGNMENT)
        plain = each.layout == PLAIN
        rows.append(
            TensorRow(
                directory=at[0],
                payload=at[1],
                payload_bytes=len(each.payload),
                stride=each.cells if plain else each.chunks,
                groups=1 if plain else each.groups,
                element=_element_bits(each, each.layout),
                chunk_log=0 if plain else index_bits(each.layout.chunk),
                unit=each.unit,
            )
        )
    return data, (rows[0], rows[1])


def _refuse(scene: str, what: str, config: RendererConfig, key: str, least: int) -> NoReturn:
    """least: of the size `key` that the scene would fit."""
    if key in SIZES and SIZES[key].powers:
        least = 1 << (least - 1).bit_length()
    raise FieldError(f"{scene} takes {what}; {key} is {getattr(config, key)}, {least} would do")


def _check_lattice(fixed: FixedScene, config: RendererConfig, name: str) -> None:
    """FieldError unless cubes, blocks and points have room."""
    cubes = fixed.mask.cubes
    for what, sides, key in (
        ("cubes", cubes.shape, "axis_bits"),
        ("points of the field", fixed.tensors.size, "cell_bits"),
    ):
        if max(sides) > 1 << getattr(config, key):
            taken = f"{max(sides)} {what} along an axis (2^{key} at most)"
            _refuse(name, taken, config, key, (max(sides) - 1).bit_length())
    for what, (nz, ny, nx), word, key in (
        ("cubes", cubes.shape, config.cube_word, "cube_depth"),
        ("blocks", block_bits(cubes).shape, config.block_word, "block_depth"),
    ):
        words = nz * ny * -(-nx // word)
        if words > getattr(config, key):
            _refuse(name, f"{words} words of {what}", config, key, words)


def _check(fixed: FixedScene, config: RendererConfig, name: str) -> FixedNetwork:
    """FieldError unless widths and network are those of the renderer."""
    if fixed.tensors.config != config.fixed:
        raise FieldError(f"{name} is in {fixed.tensors.config}; the renderer has {config.fixed}")
    if not isinstance(fixed.colors, FixedNetwork):
        raise FieldError(f"{name}: its network is in float; the renderer takes ovp8")
    shape = NetworkShape.of(fixed.colors)
    if shape != config.network:
        raise FieldError(f"{name}: its network is a {shape}; the renderer's is a {config.network}")
    alpha, room = fixed.tensors.alpha, 1 << (config.alpha_sum_bits - 1)
    end = alpha.lowest + (len(alpha.values) - 1 << alpha.shift)
    if not -room <= alpha.lowest < end <= room:
        least = max((-alpha.lowest - 1).bit_length(), (end - 1).bit_length()) + 1
        what = f"sums of {alpha.lowest} to {end} for alpha"
        _refuse(name, what, config, "alpha_sum_bits", least)
    if alpha.shift > config.alpha_largest_shift:
        what = f"intervals of 2^{alpha.shift} for alpha"
        _refuse(name, what, config, "alpha_largest_shift", alpha.shift)
    return fixed.colors


def _items(target: int, words: Sequence[int]) -> Part:
    size = item_bits(target) // 8
    return Part(target, b"".join(word.to_bytes(size, "little") for word in words))


def _bits(target: int, bits: NDArray[np.bool_], word: int) -> Part:
    """A lattice's bits, (nz, ny, nx), a word an item."""
    rows = cube_words(bits, word)
    padded = np.zeros((len(rows), ITEM_BITS[1]), bool)
    padded[:, :word] = rows
    return Part(target, np.packbits(padded, axis=1, bitorder="little").tobytes())
