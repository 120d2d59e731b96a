"""Operands that the tests of the tensor core share."""

from itertools import product

import numpy as np

from oleaster.models.mmaovp import TYPES, Opcode
from oleaster.models.quantize import quantize
from oleaster.models.tensor_core import DEPTH, SIDE

OPCODES = [Opcode(a, b) for a, b in product(TYPES.values(), repeat=2)]


def slots(fmt):
    """(code, value) of every normal slot, and of every outlier's slot beside an identifier."""
    rows = {"normal": [], "outlier": []}
    for row in fmt.table():
        if row.role in rows:
            rows[row.role].append((row.code, row.integer << row.exponent))
    return [np.array(kind) for kind in rows.values() if kind]


def every_product(opcode):
    """Codes and values of both operands, (T, 8, K) each, for T instructions in which every slot
    of A's format meets every slot of B's."""
    depth = DEPTH[opcode.width]
    made = []
    for kinds in product(*(enumerate(slots(fmt)) for fmt in opcode.formats)):
        with_outliers = any(outlier for outlier, _ in kinds)
        # Both slots of a pair take their turn beside an identifier.
        used = np.arange(depth)
        if with_outliers:
            used = used[0::2] + np.arange(depth // 2) % 2
        blocks = [pad(rows).reshape(-1, SIDE, 2) for _, rows in kinds]
        meetings = np.array(list(product(*(range(len(b)) for b in blocks))))
        count = -(-len(meetings) // len(used))
        meetings = np.resize(meetings, (count, len(used), 2))
        operands = []
        for side, (outlier, _) in enumerate(kinds):
            fmt = opcode.formats[side]
            whole = np.zeros((2, count, SIDE, depth), np.int64)
            if outlier:
                whole[0] = 1 << (fmt.code_bits - 1)
            whole[..., used] = blocks[side][meetings[..., side]].transpose(3, 0, 2, 1)
            operands += [whole[0].astype(np.uint8), whole[1]]
        made.append(operands)
    return [np.concatenate(arrays) for arrays in zip(*made, strict=True)]


def pad(rows):
    return np.resize(rows, (-(-len(rows) // SIDE) * SIDE, 2))


def random_operand(rng, name, shape):
    """Quantised with heavy tails, so that many pairs hold an outlier."""
    values = rng.standard_t(1.5, shape).astype(np.float32)
    return quantize(values, name, scale=float(rng.uniform(0.05, 0.5)))
