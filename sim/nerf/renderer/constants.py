"""A frame's constants as the word that the renderer reads them from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from oleaster.models.accelerator.descriptor import CHANNEL_FIELDS
from oleaster.models.nerf.camera import Camera
from oleaster.models.nerf.encoding import Encoded
from oleaster.models.nerf.fixed.rays import make_frame
from oleaster.models.nerf.fixed.render import FixedScene
from oleaster.models.nerf.fixed.shade import limits
from oleaster.models.nerf.fixed.walk import Projection, project, project_blocks
from oleaster.models.nerf.fixed.widths import LARGEST_COUNT, PIXEL_BITS
from oleaster.models.nerf.fixed.words import corner_fields, frame_fields
from oleaster.models.nerf.layout import PLAIN
from oleaster.models.nerf.lookup import ELEMENT_BITS, GROUP_BITS
from oleaster.models.nerf.renderer.config import CODE_BITS, RendererConfig
from oleaster.models.nerf.renderer.targets import ITEM_BITS, PAIRS
from oleaster.sim.nerf.rays import frame_word
from oleaster.sim.nerf.words import packed

__all__ = ["constants_word"]

Field = tuple[int, int]
"""A value and its bits."""


def constants_word(
    scene: FixedScene,
    encoded: Mapping[str, Encoded],
    camera: Camera,
    config: RendererConfig,
    *,
    terminate: bool = True,
) -> bytes:
    """Of `hw/nerf/renderer/layouts.py`'s ConstantsWord, filled up to whole items.

    encoded: as it is in the renderer's memories. FieldError as by `make_frame` and `project`.
    """
    fixed, mask, tensors = config.fixed, scene.mask, scene.tensors
    frame = make_frame(scene.field, mask, camera, fixed)
    size = [int(each) for each in frame.mask_last]
    home = [
        int(np.clip(at >> fixed.position_bits, -1, n))
        for at, n in zip(frame.mask_origin, size, strict=True)
    ]
    dark, threshold = limits(scene.field.weight_threshold, fixed.transmittance_bits, terminate)
    share = fixed.transmittance_bits + 1
    widths = {field.name: field.bits for field in CHANNEL_FIELDS}
    frame_bits = sum(each.bits * math.prod(each.shape) for each in frame_fields(fixed).values())
    fields: list[Field] = [
        (frame_word(frame), frame_bits),
        *_projection(project(frame, mask)),
        *_projection(project_blocks(frame, mask)),
        (camera.width, PIXEL_BITS + 1),
        (camera.height, PIXEL_BITS + 1),
        *((each, config.axis_bits + 1) for each in size),
        *((each, config.axis_bits + 2) for each in home),
        *((int(each), config.cell_bits) for each in frame.field_last),
        *((each, config.axis_bits + 1) for each in size),
        (frame.count - 1, (LARGEST_COUNT - 1).bit_length()),
        *_pairs(encoded, "density"),
        *_pairs(encoded, "color"),
    ]
    for multiplier, shift in zip(tensors.density_multiplier, tensors.density_shift, strict=True):
        fields += [(int(multiplier), widths["multiplier"]), (int(shift), widths["shift"])]
    fields += [
        (tensors.alpha.lowest, config.alpha_sum_bits),
        (tensors.alpha.shift, config.alpha_largest_shift.bit_length()),
        (dark, share),
        (threshold, share),
        (int(scene.field.white_background), 1),
    ]
    bits = sum(width for _, width in fields)
    items = -(-bits // ITEM_BITS[0])
    return packed(fields).to_bytes(items * ITEM_BITS[0] // 8, "little")


def _projection(projection: Projection) -> Iterator[Field]:
    widths = [number.bits for number in corner_fields().values()]
    for row in (*projection.steps.T, *projection.corners):
        yield from zip(row.tolist(), widths, strict=True)


def _pairs(encoded: Mapping[str, Encoded], kind: str) -> Iterator[Field]:
    for m in range(PAIRS):
        for part in ("planes", "lines"):
            each = encoded[f"{kind}_{part}[{m}]"]
            plain = each.layout == PLAIN
            group = each.components if plain else each.layout.group
            yield each.components // group, GROUP_BITS
            yield group * each.bits, ELEMENT_BITS
            yield each.bits, CODE_BITS
