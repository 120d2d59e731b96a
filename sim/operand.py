"""One operand of a GEMM as the lanes of an array read it: the words of its stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oleaster.models.formats import MX_BLOCK, Format
from oleaster.models.lane import Lane
from oleaster.models.microscaling import aligned_values
from oleaster.models.quantize import QuantizedTensor

__all__ = ["Operand", "array_operand", "as_bits", "operand_words"]


@dataclass(frozen=True)
class Operand:
    """Rows of codes, and what goes with them.

    codes: (L, K) uint8, K even. format: bound to its table if it is a codebook.
    scales: (L, ceil(K / 32)) uint8, E8M0 exponents of the blocks, and base: (tiles,) uint8, the one
    that stands for 2**0 in each tile; None without MX blocks.
    """

    codes: np.ndarray
    format: Format
    scales: np.ndarray | None = None
    base: np.ndarray | None = None


def array_operand(
    tensor: QuantizedTensor, tile_rows: int, window: int = 0
) -> tuple[Operand, np.ndarray, int]:
    """A matrix as an array reads it in tiles of so many rows.

    Returns (operand, (L, lanes, K) integers that its lanes hold, number of MX blocks that lie below
    the window and count as zero). Raises FormatError for codes that the circuit would only flag.
    """
    codes, fmt = tensor.codes, tensor.number_format
    if tensor.block_exponents is None:
        fmt.decode(codes)
        return Operand(codes, fmt), fmt.lane_values(codes), 0
    values, blocks = aligned_values(tensor, tile_rows, window)
    # A block of zeros must not look flushed.
    base = np.repeat(blocks.base, tile_rows)[: len(codes), None]
    scales = np.where(blocks.flushed, tensor.block_exponents, base + blocks.shift)
    operand = Operand(codes, fmt, scales.astype(np.uint8), blocks.base)
    return operand, values[:, None, :], int(blocks.flushed.sum())


def operand_words(operand: Operand, lane: Lane, lanes: int) -> np.ndarray:
    """The words of one operand, each tile once.

    Parameters
    ----------
    operand: Operand
    lane: Lane
        Of the array, which must read the operand's format.
    lanes: int
        Lanes of the array; a tile has `lanes // operand.format.lanes` rows of the operand.

    Returns
    -------
    uint8 (tiles, K / 2, bytes)
        Fields `codes`, `scales` and `base` of an operand word, filled up to whole bytes.
    """
    fmt = operand.format
    rows, k = operand.codes.shape
    height = lanes // fmt.lanes
    tiles = -(-rows // height)
    codes = np.zeros((tiles * height, k), np.uint8)
    codes[:rows] = operand.codes
    pairs = codes[:, 0::2].astype("<u4") | codes[:, 1::2].astype("<u4") << fmt.code_bits
    by_word = np.ascontiguousarray(pairs.reshape(tiles, height, k // 2).transpose(0, 2, 1))
    bits = 2 * lane.code_bits * fmt.lanes
    if bits % 8 == 0:
        words = by_word[..., None].view(np.uint8)[..., : bits // 8].reshape(tiles, k // 2, -1)
        return np.concatenate([words, *_block_fields(operand, lane, lanes)], axis=2)
    every = [as_bits(by_word, bits)]
    every += [as_bits(field.astype("<u4"), 8) for field in _block_fields(operand, lane, lanes)]
    return np.packbits(np.concatenate(every, axis=2), axis=2, bitorder="little")


def _block_fields(operand: Operand, lane: Lane, lanes: int) -> list[np.ndarray]:
    """Fields `scales` and `base`, uint8 (tiles, words, lanes or 1); none if the lane has none."""
    if not lane.has_blocks:
        return []
    rows, k = operand.codes.shape
    height = lanes // operand.format.lanes
    tiles = -(-rows // height)
    if operand.scales is None or operand.base is None:
        return [np.zeros((tiles, k // 2, lanes), np.uint8), np.zeros((tiles, k // 2, 1), np.uint8)]
    # What has no row counts as in range: it must not look flushed.
    blocks = np.repeat(operand.base, height)[:, None].repeat(operand.scales.shape[1], axis=1)
    blocks[:rows] = operand.scales
    by_pair = blocks.repeat(MX_BLOCK // 2, axis=1)[:, : k // 2]
    scales = by_pair.reshape(tiles, height, k // 2).transpose(0, 2, 1)
    base = operand.base[:, None, None].repeat(k // 2, axis=1)
    return [scales, base]


def as_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """(..., n) little-endian uint32 to (..., n * bits) of 0 and 1."""
    every = np.unpackbits(values[..., None].view(np.uint8), axis=-1, bitorder="little")
    return every[..., :bits].reshape(*values.shape[:-1], -1)
