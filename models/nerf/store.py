"""What the files here share: written whole or not at all, and read within limits.

Files are passed around, so a small one may claim anything; sizes are checked before memory is
taken for them.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from oleaster.models.nerf.check import MOST_MASK_POINTS
from oleaster.models.nerf.field import FieldError

__all__ = ["read_arrays", "unpack_mask", "write_aside"]

_LARGEST_FILE = 1 << 30  # bytes, unpacked: more than any field of 512^3 needs
_NUMBERS_AND_TEXT = "biufU"  # numpy's kinds
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's; others unpack without bound


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end, or vanishes on an error.

    Raises FieldError if it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise FieldError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_arrays(file: IO[bytes], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays `names` that an .npz file holds; no others are unpacked.

    Raises FieldError for a file that unpacks to more than 1 GiB, or an array of anything but
    numbers or text; for a damaged file whatever zipfile, zlib and numpy raise.
    """
    found = {}
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        size = sum(each.file_size for each in entries)
        if size > _LARGEST_FILE:
            raise FieldError(f"it unpacks to {size} bytes; at most {_LARGEST_FILE} are read")
        if any(each.compress_type not in _COMPRESSIONS for each in entries):
            raise FieldError("it is compressed in a way that .npz files never are")
        members = {each.filename for each in entries}
        for name in names:
            if f"{name}.npy" not in members:
                continue
            with archive.open(f"{name}.npy") as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
            # Values of no bytes at all could be any number of them.
            if array.dtype.kind not in _NUMBERS_AND_TEXT or not array.dtype.itemsize:
                raise FieldError(f"{name} is {array.dtype}; it must be numbers or text")
            found[name] = array
    return found


def unpack_mask(
    packed: NDArray[Any],
    size: tuple[int, int, int],
    bitorder: Literal["big", "little"] = "big",
) -> NDArray[np.bool_]:
    """Bits of a mask (nz, ny, nx) from bytes. size: points along x, y, z.

    Raises FieldError unless the bytes are just those of so many points, and these not too many.
    """
    points, shape = math.prod(size), " x ".join(map(str, size))
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise FieldError(f"its mask is {packed.ndim} axes of {packed.dtype}; it must be bytes")
    if min(size) < 1 or points > MOST_MASK_POINTS:
        raise FieldError(f"its mask has {shape} points; 1 to {MOST_MASK_POINTS} can be read")
    if len(packed) != (points + 7) // 8:
        raise FieldError(f"its mask has {len(packed)} bytes, wrong for {shape} points")
    bits = np.unpackbits(packed, count=points, bitorder=bitorder)
    return bits.astype(bool).reshape(size[::-1])
