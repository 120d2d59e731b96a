"""What the tensor core computes: registers, one `mmaovp`, a whole GEMM.

A register has 128 bytes. An operand register holds 8 rows of 16 bytes, row-major; a row is K codes
as `Format.pack` gives them: 32 codes of 4 bits, or 16 of 8 bits. In a multiplication of width 8 a
4-bit operand has 16 codes a row, in the lower 8 bytes; the upper 8 are not read. Rows are those
of A and of B^T, so that pairs lie along K in both. C and D are 8 x 8 little-endian signed 32-bit
integers, rows 0 to 3 in the even register and rows 4 to 7 in the odd one.

Sizes follow OliVe's tensor core (8 x 8 x 32 at 4 bits); layout and overflow are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oleaster.models.formats import Format
from oleaster.models.gemm import GemmSums
from oleaster.models.gemm import gemm as gemm_of_values
from oleaster.models.mmaovp import Instruction, Opcode

__all__ = [
    "DEPTH",
    "EDP_DEPTH",
    "REGISTER_BYTES",
    "SIDE",
    "Flags",
    "execute",
    "fragments",
    "gemm",
    "mma",
    "operand_codes",
]

SIDE = 8  # rows of A, columns of B
DEPTH = {4: 32, 8: 16}  # K of one instruction, by width of the multiplication
EDP_DEPTH = {4: 16, 8: 8}  # products that are summed exactly, then added to the accumulator
REGISTER_BYTES = 128
_ROW_BYTES = REGISTER_BYTES // SIDE


@dataclass(frozen=True)
class Flags:
    """Whether a sum wrapped, and whether an operand held two identifiers in a pair."""

    overflow: bool
    illegal: bool


def fragments(packed: np.ndarray, code_bits: int, width: int) -> np.ndarray:
    """Cut one operand of a GEMM into operand registers.

    Parameters
    ----------
    packed: uint8 (L, bytes)
        Packed codes of the operand's rows (rows of A, or of B^T).
    code_bits, width: int
        Of the operand's codes and of the multiplication.

    Returns
    -------
    uint8 (tiles, steps, 128)
        8 rows and K = `DEPTH[width]` each; what is missing is 0.
    """
    rows, size = packed.shape
    step = DEPTH[width] * code_bits // 8
    tiles, steps = -(-rows // SIDE), -(-size // step)
    padded = np.zeros((tiles * SIDE, steps * step), np.uint8)
    padded[:rows, :size] = packed
    whole = np.zeros((tiles, steps, SIDE, _ROW_BYTES), np.uint8)
    whole[..., :step] = padded.reshape(tiles, SIDE, steps, step).transpose(0, 2, 1, 3)
    return whole.reshape(tiles, steps, REGISTER_BYTES)


def operand_codes(register: np.ndarray, fmt: Format, width: int) -> np.ndarray:
    """(8, K) codes in an operand register, uint8 (128,); K = `DEPTH[width]`."""
    rows = register.reshape(SIDE, _ROW_BYTES)
    return fmt.unpack(rows[:, : DEPTH[width] * fmt.code_bits // 8])


def mma(a: np.ndarray, b: np.ndarray, c: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """D = A B + C as one instruction computes it.

    Parameters
    ----------
    a, b: integers (8, K)
        Decoded values, of magnitude at most 2**15; `b` is B^T. K = `DEPTH[width]`.
    c: integers (8, 8)
        Signed 32-bit.
    width: int
        4 or 8.

    Returns
    -------
    (8, 8) int64 within signed 32 bits, and (8, 8) bool: some step left that range. K is walked in
    two steps of `EDP_DEPTH[width]`; the sum of a step is exact, the accumulator wraps.
    """
    total = c.astype(np.int64)
    overflow = np.zeros(total.shape, bool)
    step = EDP_DEPTH[width]
    for k in range(0, DEPTH[width], step):
        exact = total + a[:, k : k + step].astype(np.int64) @ b[:, k : k + step].astype(np.int64).T
        total = exact.astype(np.int32).astype(np.int64)
        overflow |= total != exact
    return total, overflow


def execute(registers: np.ndarray, instruction: Instruction) -> Flags:
    """Carry out one instruction on a register file, uint8 (registers, 128), in place."""
    opcode = instruction.opcode
    formats = opcode.formats
    operands = [
        operand_codes(registers[number], fmt, opcode.width)
        for number, fmt in zip((instruction.a, instruction.b), formats, strict=True)
    ]
    illegal = False
    for fmt, codes in zip(formats, operands, strict=True):
        reserved = codes == 1 << (fmt.code_bits - 1)
        illegal |= bool((reserved[:, 0::2] & reserved[:, 1::2]).any())
    a, b = (fmt.decode_pairs_lenient(codes) for fmt, codes in zip(formats, operands, strict=True))
    c = registers[instruction.c : instruction.c + 2].reshape(-1).view("<i4").reshape(SIDE, SIDE)
    d, overflow = mma(a, b, c, opcode.width)
    registers[instruction.d : instruction.d + 2] = d.astype("<i4").reshape(2, -1).view(np.uint8)
    return Flags(bool(overflow.any()), illegal)


def gemm(codes_a: np.ndarray, codes_b: np.ndarray, opcode: Opcode) -> GemmSums:
    """C = A B^T by `mmaovp` along K, from C = 0.

    Parameters
    ----------
    codes_a, codes_b: uint8 (M, K) and (N, K)
        Codes of the opcode's formats, K even.

    Returns
    -------
    GemmSums
        `overflow[m, n]` tells that some step of `EDP_DEPTH` products wrapped.

    Raises
    ------
    ValueError
        If the shapes do not fit or a pair is illegal.
    """
    fmt_a, fmt_b = opcode.formats
    return gemm_of_values(fmt_a.decode(codes_a), fmt_b.decode(codes_b), 32, EDP_DEPTH[opcode.width])
