"""Functions that are compiled: the cycle model's inner loops, which Python is too slow for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from oleaster import models, sim
from oleaster.models.cache import cache_root

__all__ = ["CompilerMissingError", "kernel"]

Function = TypeVar("Function", bound=Callable[..., object])

_SOURCES = (
    (sim, "nerf/*.py"),
    (sim, "nerf/renderer/*.py"),
    (models, "nerf/fixed/*.py"),
    (models, "nerf/renderer/*.py"),
)


class CompilerMissingError(ImportError):
    """The cycle model needs the extra "nerf"."""


def kernel(function: Function) -> Function:
    """Compile a function at its first call; machine code is kept in oleaster's cache.

    It may be called from threads at once. The cache's folder is named after the sources that
    kernels are made of: numba itself does not see that a function or a constant which a kernel
    takes from another file has changed.
    """
    try:
        numba: Any = import_module("numba")
    except ImportError as error:
        raise CompilerMissingError(
            'the renderer\'s cycle model needs numba: pip install "oleaster[nerf]"'
        ) from error
    config = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = _folder()
    try:
        # Kernels make no arrays; counting who holds their arguments would take half of the time.
        return cast(Function, numba.njit(cache=True, nogil=True, _nrt=False)(function))
    finally:
        config.CACHE_DIR = before


@cache
def _folder() -> str:
    digest = hashlib.sha256()
    for package, pattern in _SOURCES:
        for source in sorted(Path(str(package.__file__)).parent.glob(pattern)):
            digest.update(source.read_bytes())
    folder = cache_root() / "kernels" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
