"""A scene as what is written into the renderer's memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from oleaster.models.nerf.renderer.config import RendererConfig
from oleaster.models.nerf.renderer.scene_list import capacities, target_name
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


def scene_image(scene: Scene, fixed: FixedScene, config: RendererConfig) -> SceneImage:
    """What `RendererDriver.load` takes. fixed: of the scene, with the network in ovp8.

    Tensors whose elements are too wide for the decoders, or have fewer components than the
    renderer's `least_group`, are encoded again, without loss. FieldError if something does not fit
    the renderer, with what and how large it is.
    """
    network = _check(fixed, config)
    encoded = fitting(scene.encoded, config)
    parts: list[Part] = []
    for kind, blob, row, words in (
        ("density", Target.DENSITY_BLOB, Target.DENSITY_ROW, config.density_words),
        ("color", Target.COLOR_BLOB, Target.COLOR_ROW, config.color_words),
    ):
        for m in range(PAIRS):
            pair = encoded[f"{kind}_planes[{m}]"], encoded[f"{kind}_lines[{m}]"]
            data, rows = pair_memory(*pair)
            if len(data) > words * WORD_BYTES:
                raise FieldError(
                    f"{kind}: plane and line {m} take {len(data)} bytes; the renderer has"
                    f" {words * WORD_BYTES} for them"
                )
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
    room = capacities(config)
    for part in parts:
        if part.items > room[part.target]:
            raise FieldError(
                f"{target_name(part.target)} takes {part.items} items; the renderer has"
                f" {room[part.target]}"
            )
    return SceneImage(tuple(parts), encoded)


def fitting(encoded: Mapping[str, Encoded], config: RendererConfig) -> dict[str, Encoded]:
    """The tensors, those with too wide or too narrow elements for the renderer encoded again.

    FieldError if there are more components, or wider codes, than the renderer has room for.
    """
    found = {}
    for name, each in encoded.items():
        kind, part = name.split("[")[0].split("_")
        components = getattr(config, f"{kind}_components")
        bits = config.plane_bits if part == "planes" else config.line_bits
        for what, value, most in (
            ("components", each.components, components),
            ("bits of a code", each.bits, bits),
        ):
            if value > most:
                raise FieldError(f"{name} has {value} {what}; the renderer has room for {most}")
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


def _check(fixed: FixedScene, config: RendererConfig) -> FixedNetwork:
    """FieldError unless lattices, widths and network are those of the renderer."""
    if fixed.tensors.config != config.fixed:
        raise FieldError(f"the scene is in {fixed.tensors.config}; the renderer has {config.fixed}")
    if not isinstance(fixed.colors, FixedNetwork):
        raise FieldError("the scene's network is in float; the renderer takes ovp8")
    shape = NetworkShape.of(fixed.colors)
    if shape != config.network:
        raise FieldError(f"the scene's network is a {shape}; the renderer's is a {config.network}")
    cubes = fixed.mask.cubes.shape
    for what, sides, most in (
        ("cubes", cubes, 1 << config.axis_bits),
        ("points of the field", fixed.tensors.size, 1 << config.cell_bits),
    ):
        if max(sides) > most:
            raise FieldError(
                f"there are {max(sides)} {what} along an axis; the renderer has room for {most}"
            )
    alpha, room = fixed.tensors.alpha, 1 << (config.alpha_sum_bits - 1)
    end = alpha.lowest + (len(alpha.values) - 1 << alpha.shift)
    if not -room <= alpha.lowest < end <= room:
        raise FieldError(
            f"the table of alpha is of {alpha.lowest} to {end}; the renderer's sums are within"
            f" +-{room}"
        )
    if alpha.shift > config.alpha_largest_shift:
        raise FieldError(
            f"intervals of the table of alpha are 2^{alpha.shift} wide; the renderer's are"
            f" 2^{config.alpha_largest_shift} at most"
        )
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
