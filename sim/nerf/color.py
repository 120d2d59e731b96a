"""The colour unit's tables, and when samples and colours pass it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oleaster.models.accelerator.requantize import channel_table
from oleaster.models.formats import get_format
from oleaster.models.nerf.fixed.network import FixedNetwork, Words
from oleaster.models.nerf.fixed.network_shape import COLORS, NetworkShape
from oleaster.sim.nerf.curve import curve_words
from oleaster.sim.nerf.latency import LATENCY
from oleaster.sim.nerf.pipe import PipeClock, receiver
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

__all__ = ["RESCALED", "batch_cycles", "color_cycles", "color_words"]

_FORMAT = "ovp8"
_LANES = 2  # that an element takes, in the array
RESCALED = 7
"""Cycles from a sum, or a product, until its code can be stored."""

_FETCHED = 7
"""Cycles from a step of the inputs until they are as far as products are when they come."""


def color_words(network: FixedNetwork, cols: int, encoders: int) -> list[int]:
    """The words of 64 bits of `NetworkShape.regions`, for an array of so many columns of PEs.

    ValueError if a weight is no value of ovp8.
    """
    columns = cols // _LANES
    weights: list[NDArray[np.uint8]] = []
    channels: list[NDArray[np.uint8]] = []
    fmt = get_format(_FORMAT)
    for stage in network.stages:
        n, k = stage.weights.shape
        tiles = -(-n // columns)
        padded = np.pad(stage.weights, ((0, tiles * columns - n), (0, 0)))
        codes = fmt.encode(padded)
        if np.any(fmt.decode(codes) != padded):
            raise ValueError(f"the weights are no values of {_FORMAT}")
        by_tile = codes.reshape(tiles, columns, k // 2, 2).transpose(0, 2, 1, 3)
        weights.append(np.ascontiguousarray(by_tile).reshape(-1))
        channels.append(_channels(stage.after, tiles * columns))
    steps = NetworkShape.of(network).steps(encoders)
    inputs = [
        _channels(each, 2 * encoders * count)
        for each, count in zip((network.products, network.inputs), steps, strict=True)
    ]
    raw = np.concatenate([*weights, *channels, *inputs])
    found: list[int] = raw.view("<u8").tolist()
    config = network.config
    return found + curve_words(network.sigmoid, config.color_bits + 1, config.sigmoid_address_bits)


def _channels(words: Words, count: int) -> NDArray[np.uint8]:
    """Channel words as bytes, filled up to so many with ones that give 0."""
    fill = 0, count - len(words.shift)
    columns = (np.pad(each, fill) for each in (words.bias, words.multiplier, words.shift))
    return channel_table(*columns).reshape(-1)


def batch_cycles(shape: NetworkShape, rows: int, cols: int, encoders: int, count: int) -> int:
    """From the first cycle with all products stored to that with the first logit at the sigmoid.

    count: samples of the batch; products of matrices take as long for fewer as for `rows / 2`.
    """
    cycles = 1  # in which it is seen that all is stored
    for stage, (k, n) in enumerate(shape.stages):
        if stage == 1:
            cycles += count * shape.steps(encoders)[1] + _FETCHED + RESCALED + 1
        tiling = Tiling(rows // _LANES, k, n, rows, cols, _LANES, _LANES, is_fusing=True)
        cycles += gemm_cycles(tiling) + RESCALED + 1
    return cycles


def color_cycles(
    offered: Sequence[int],
    ends: Sequence[bool],
    shape: NetworkShape,
    rows: int,
    cols: int,
    encoders: int,
    ready: NDArray[np.bool_],
) -> tuple[list[int], list[int]]:
    """Cycles in which each word is accepted, and in which each one leaves.

    offered: cycle from which the sender has each word, if the words before are accepted; rising,
    from a reset on. ends: which words are ends of tiles. rows, cols: PEs of the array. ready: as in
    `receiver`.
    """
    accepted: list[int] = []
    taken: list[int] = []
    sigmoid, take = PipeClock(LATENCY["curve-table"]), receiver(ready)
    idle = stored = count = 0
    for cycle, end in zip(offered, ends, strict=True):
        accepted.append(max(cycle, idle))
        idle = accepted[-1] + 1
        if not end:
            idle += shape.steps(encoders)[0]
            stored = idle + RESCALED
            count += 1
        if not end and count < rows // _LANES:
            continue
        if count:
            idle = max(idle, stored) + batch_cycles(shape, rows, cols, encoders, count)
            for _ in range(count):
                for color in range(COLORS):
                    idle = sigmoid.accept(idle)
                    sigmoid.answer(take if color == COLORS - 1 else None)
                taken.append(sigmoid.taken)
            idle = sigmoid.taken + 1  # in which it is seen that all is given
        if end:
            idle = take(idle)
            taken.append(idle)
        idle += 1
        count = 0
    return accepted, taken
