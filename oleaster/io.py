"""Arrays in and out of .npy files: whole and checked, or one sentence about what is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_ROWS_AT_ONCE = 1 << 20  # elements checked together, so that a mapped file is not copied whole


class FileError(ValueError):
    """A file that cannot be read or written; the message names it and what is wrong."""


def printable(text: str) -> str:
    """The same in one line, with escapes as in Python (\\n, \\x1b) for what does not print."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


def read_tensor(path: Path) -> NDArray[Any]:
    """The array of an .npy file, mapped read-only: not empty, real, every value a finite float32.

    Raises FileError for anything else, with the index of the first value that is not finite.
    """
    array = _map(path)
    if array.dtype.kind not in "iuf":
        raise FileError(f"{path}: holds {array.dtype}, expected real numbers (float or integer)")
    if array.ndim == 0 or array.size == 0:
        raise FileError(f"{path}: an array of shape {array.shape} is empty, expected values")
    _require_finite(path, array)
    return array


def read_matrix(path: Path, axes: str) -> NDArray[Any]:
    """`read_tensor`, and FileError unless it has two axes; `axes` names them, e.g. "(M, K)"."""
    array = _map(path)
    if array.ndim != 2:
        raise FileError(f"{path}: shape {array.shape} has {array.ndim} axes, expected {axes}")
    return read_tensor(path)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file, whole or not at all; raises FileError."""
    with _written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; raises FileError."""
    with _written_aside(path) as aside:
        aside.write_bytes(data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any OSError inside into a FileError that names the output file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_output_file(path: Path, *inputs: Path) -> None:
    """Raise FileError unless a file can be put at `path`: asked before long work, not after it.

    None of the `inputs` may be that file: it would be gone.
    """
    _check_parent(path)
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        raise FileError(f"{path}: is an input of this command; give another name to write to")
    # A device must not be replaced by a file, which is what an atomic write would do.
    if path.exists() and not path.is_file():
        raise FileError(f"{path}: is not a regular file; give the name of a file to write")
    # Only who tries it knows: to root, all folders look writable.
    aside = _aside(path)
    with writing(path):
        aside.touch()
        aside.unlink()


def check_output_folder(path: Path) -> None:
    """Raise FileError unless `path` is a folder or can be made one in a folder that exists."""
    _check_parent(path)
    if path.exists() and not path.is_dir():
        raise FileError(f"{path}: is a file; give the name of a folder to write into")


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end, or vanishes on an error."""
    aside = _aside(path)
    with writing(path):
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"{path}: the folder {path.parent} cannot be written to")


def _map(path: Path) -> NDArray[Any]:
    if not path.exists():
        raise FileError(f"{path}: no such file")
    if not path.is_file():
        raise FileError(f"{path}: is not a regular file, expected an .npy file")
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if start != _MAGIC:
        kind = "an empty file" if not start else f"not an .npy file (it starts with {start!r})"
        raise FileError(f"{path}: is {kind}, expected an array written by numpy.save")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy hands the header to Python's parser, which raises anything
        if "Python objects" in str(error):
            raise FileError(f"{path}: holds Python objects, expected real numbers") from error
        raise FileError(f"{path}: is truncated or damaged ({error})") from error
    return array


def _require_finite(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.kind != "f":
        return
    rows = max(1, _ROWS_AT_ONCE // max(1, array[0].size))
    for first in range(0, len(array), rows):
        part = array[first : first + rows]
        with np.errstate(over="ignore"):  # beyond float32 is reported as what it becomes
            finite = np.isfinite(part.astype(np.float32, copy=False))
        if not finite.all():
            where = np.unravel_index(int(np.argmin(finite)), finite.shape)
            value = part[where]
            at = ", ".join(map(str, (first + int(where[0]), *map(int, where[1:]))))
            raise FileError(f"{path}: {value} at [{at}] is not a finite float32 number")
