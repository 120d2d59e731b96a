"""The twelve tensors of a field that are encoded, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oleaster.models.nerf.field import Array, Field

__all__ = ["TENSORS", "field_tensors", "tensor_parts", "with_tensors"]

_KINDS = ("density_planes", "density_lines", "color_planes", "color_lines")
TENSORS = tuple(f"{kind}[{m}]" for kind in _KINDS for m in range(3))
"""Their names, in the order in which they are stored."""


def field_tensors(field: Field) -> dict[str, Array]:
    """Name -> (rows, cells, components) float32. A row lies along a plane's first axis; a line is
    one row.
    """
    found = {}
    for kind in _KINDS:
        for m, tensor in enumerate(getattr(field, kind)):
            by_row = tensor if tensor.ndim == 3 else tensor[:, None]
            found[f"{kind}[{m}]"] = np.ascontiguousarray(by_row.transpose(1, 2, 0))
    return found


def tensor_parts(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """All twelve as a `Field` takes them: density_planes and so on, components first."""
    parts = {}
    for kind in _KINDS:
        back = [tensors[f"{kind}[{m}]"].transpose(2, 0, 1) for m in range(3)]
        if kind.endswith("lines"):
            back = [tensor[:, 0] for tensor in back]
        parts[kind] = tuple(np.ascontiguousarray(tensor) for tensor in back)
    return parts


def with_tensors(field: Field, tensors: Mapping[str, Array]) -> Field:
    """The field with all twelve replaced."""
    return replace(field, **tensor_parts(tensors))
