"""Verilator builds, cached by content."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from oleaster.sim.rtl.toolchain import (
    ToolError,
    cache_dir,
    check_compiler,
    run_tool,
    tool_key,
    verilator_env,
)

__all__ = [
    "CONTROL_FILES",
    "OPTIMIZATION",
    "build_native",
    "content_key",
    "harvest_runtime",
    "seed_runtime",
]

_HERE = Path(__file__).parent

# What Verilator is told about generated Verilog: lint waivers, and what not to inline.
CONTROL_FILES = (_HERE / "generated.vlt", _HERE / "build.vlt")

# For make: start-up code is compiled fast, the rest so that it also runs fast.
OPTIMIZATION = ("OPT_FAST=-O1", "OPT_SLOW=-O0")


def content_key(files: Sequence[Path], arguments: Sequence[str]) -> str:
    """Hash of everything a build depends on: file contents, arguments, tool versions."""
    digest = hashlib.sha256(tool_key().encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\n{file.name} {len(content)}\n".encode() + content)
    digest.update("\n".join(arguments).encode())
    return digest.hexdigest()[:24]


def build_native(
    sources: Sequence[Path],
    main: Path,
    *,
    top: str,
    arguments: Sequence[str] = (),
    headers: Sequence[Path] = (),
) -> Path:
    """Executable of `top` driven by the C++ file `main`, which includes Vtop.h and `headers`.

    Built once for each content and shared by all processes. ToolError if a tool fails.
    """
    sources = [*CONTROL_FILES, *sources]
    arguments = [
        *("--cc", "--exe", "--top-module", top, "--prefix", "Vtop", "-o", "simulate"),
        *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "-Wno-fatal"),
        *arguments,
    ]
    key = content_key([*sources, main, *headers], arguments)
    folder = cache_dir() / key
    executable = folder / "simulate"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if executable.exists():
            return executable
        check_compiler()
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="build-") as scratch:
            build = Path(scratch)
            inputs = [str(path) for path in (*sources, main)]
            _run(["verilator", *arguments, "-Mdir", str(build), *inputs], build)
            seed_runtime(build, "native")
            _run(["make", "-j2", "-f", "Vtop.mk", *OPTIMIZATION], build)
            harvest_runtime(build, "native")
            folder.mkdir(exist_ok=True)
            shutil.move(build / "simulate", executable)
    return executable


def _run(command: Sequence[str], folder: Path) -> None:
    pipe = subprocess.PIPE
    result = run_tool(command, folder, verilator_env(), pipe, pipe)
    if result.returncode:
        log = cache_dir() / "failed-build.log"
        log.write_text(result.stdout + result.stderr)
        raise ToolError(
            f"{command[0]} failed with exit code {result.returncode}; {log} has its output"
        )


# Most of a small build is Verilator's own runtime, the same objects in every folder. make does
# not rebuild objects that are newer than their sources, so they are compiled once and copied in.


def seed_runtime(build: Path, flavour: str) -> None:
    """Put the runtime objects of this `flavour` of build into `build`, if there are any yet."""
    for stored in _runtime_folder(flavour).glob("verilated*.o"):
        shutil.copyfile(stored, build / stored.name)


def harvest_runtime(build: Path, flavour: str) -> None:
    """Keep the runtime objects of a finished build for the next one of its flavour."""
    folder = _runtime_folder(flavour)
    folder.mkdir(parents=True, exist_ok=True)
    for built in build.glob("verilated*.o"):
        if not (folder / built.name).exists():
            aside = folder / f".{built.name}.{build.name}"
            shutil.copyfile(built, aside)
            aside.replace(folder / built.name)


def _runtime_folder(flavour: str) -> Path:
    return cache_dir() / f"runtime-{flavour}-{tool_key()}"
