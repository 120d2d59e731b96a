"""A training run's state in one file, read back without running any code that is in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oleaster.models.nerf.check import check_field
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.store import write_aside

__all__ = ["load_state", "save_state"]

_VERSION = 1


def save_state(path: Path, field: Field, **rest: Any) -> None:
    """Write a field and the rest of a run's state (numbers, text, tensors; in lists and dicts).

    The file appears whole or not at all. Raises FieldError if it cannot be written.
    """
    state = {"version": _VERSION, "field": _packed(field), **rest}
    with write_aside(path) as aside, aside.open("wb") as file:
        torch.save(state, file)


def load_state(path: Path) -> tuple[Field, dict[str, Any]]:
    """The field of `save_state`, and the rest by name.

    Raises:
        FieldError: there is no such file, or it is not a whole one of ours.
    """
    if not path.is_file():
        raise FieldError(f"{path}: no such checkpoint; start without resuming")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("version") != _VERSION:
            raise FieldError(f"{path}: a checkpoint of another version; start the run anew")
        field = _unpacked(state.pop("field"))
        check_field(field)
    except Exception as error:  # PyTorch and its unpickler raise many kinds for a damaged file
        if isinstance(error, FieldError):
            raise
        raise FieldError(
            f"{path}: is not a whole checkpoint of `oleaster nerf train`; start without resuming"
        ) from error
    return field, state


def _packed(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fact in dataclasses.fields(field):
        value = getattr(field, fact.name)
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        elif isinstance(value, tuple):
            value = [torch.from_numpy(np.ascontiguousarray(array)) for array in value]
        elif isinstance(value, Mask):
            value = {"bits": torch.from_numpy(value.bits), "box": torch.from_numpy(value.box)}
        found[fact.name] = value
    return found


def _unpacked(values: dict[str, Any]) -> Field:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            value = value.numpy()
        elif isinstance(value, list):
            value = tuple(tensor.numpy() for tensor in value)
        elif isinstance(value, dict):
            value = Mask(value["bits"].numpy(), value["box"].numpy())
        found[name] = value
    return Field(**found)
