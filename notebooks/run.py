"""Runs notebooks top to bottom: `make notebooks` writes their outputs, the tests only look.

A notebook is a .py file in jupytext's percent format; the .ipynb beside it holds the same cells and
what they print and draw, without anything that tells when, where or by whom it was run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))

CELL_LIMIT_S = 300  # of a machine that is busy with other work; on two free cores it is 30
LARGEST_BYTES = 400_000
# Home folders, temporary folders, dates and addresses in memory.
UNWANTED = re.compile(r"/home/|/root|/Users/|/tmp/|\d{4}-\d{2}-\d{2}T\d{2}:|0x[0-9a-f]{10}")


def execute(script: Path) -> tuple[Any, list[float]]:
    """(the notebook with its outputs, seconds that each cell took); raises on a cell's error."""
    notebook = jupytext.read(script)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=CELL_LIMIT_S,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        ).execute()
    seconds = [_seconds(cell) for cell in notebook.cells if cell.cell_type == "code"]
    return _bare(notebook), seconds


def faults(script: Path) -> list[str]:
    """What is wrong with a notebook's committed outputs; empty if nothing is."""
    stored = script.with_suffix(".ipynb")
    if not stored.exists():
        return [f"{stored.name} is missing"]
    notebook, source = nbformat.read(stored, as_version=4), jupytext.read(script)
    found = []
    if _cells(notebook) != _cells(source):
        found.append(f"{stored.name} has other cells than {script.name}")
    if stored.stat().st_size > LARGEST_BYTES:
        found.append(f"{stored.name} has more than {LARGEST_BYTES:,} bytes")
    for cell in notebook.cells:
        if cell.metadata:
            found.append(f"{stored.name} has metadata: {dict(cell.metadata)}")
        for output in cell.get("outputs", ()):
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"{stored.name} shows an error or a warning: {str(output)[:200]}")
            for text in re.findall(UNWANTED, _text(output)):
                found.append(f"{stored.name} shows {text!r}")
    if any(c.cell_type == "code" and not c.execution_count for c in notebook.cells):
        found.append(f"{stored.name} has cells that were not run")
    return found


def _bare(notebook: Any) -> Any:
    """The same without times of execution, in an order of its own, with numbers for names."""
    for index, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"cell-{index}"
    notebook.metadata = {
        "kernelspec": notebook.metadata["kernelspec"],
        "language_info": {"name": "python"},
    }
    return notebook


def _seconds(cell: Any) -> float:
    times = cell.metadata["execution"]
    begin, end = (datetime.fromisoformat(times[f"iopub.status.{x}"]) for x in ("busy", "idle"))
    return (end - begin).total_seconds()


def _cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def _text(output: Any) -> str:
    """Of an output what is text: not images, whose bytes may spell anything."""
    data = output.get("data", {})
    return "".join(
        [output.get("text", ""), *(str(v) for k, v in data.items() if not k.startswith("image/p"))]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names, as 01; all by default")
    parser.add_argument("--look", action="store_true", help="run, but write nothing")
    options = parser.parse_args()
    chosen = [
        script
        for script in NOTEBOOKS
        if not options.names or script.name.startswith(tuple(options.names))
    ]
    for script in chosen:
        print(f"{script.name} ...", flush=True)
        notebook, seconds = execute(script)
        print(f"  {sum(seconds):.1f} s, the longest cell {max(seconds):.1f} s", flush=True)
        if not options.look:
            stored = script.with_suffix(".ipynb")
            stored.write_text(nbformat.writes(notebook) + "\n")
            print(f"  {stored.name}: {stored.stat().st_size:,} bytes", flush=True)
            if wrong := faults(script):
                print("\n".join(wrong), file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
