"""Notebooks run at small size, and what is committed of them is in step with their sources."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "notebooks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_are_there(runner):
    assert [each.stem[:2] for each in SCRIPTS] == ["01", "02", "03", "04", "05"]
    assert runner.NOTEBOOKS == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_outputs_are_in_step(runner, script):
    assert runner.faults(script) == []


def test_faults_are_found(runner, tmp_path):
    """Another cell, an error, a machine's path, a cell that was not run, metadata."""
    script = tmp_path / "01-x.py"
    script.write_text("# %%\nprint(1)\n")

    def faults(source="print(1)", count=1, text="1\n", metadata=None, name="stdout"):
        output = nbformat.v4.new_output("stream", text=text, name=name)
        cell = nbformat.v4.new_code_cell(
            source, execution_count=count, outputs=[output], metadata=metadata or {}
        )
        notebook = nbformat.v4.new_notebook(cells=[cell])
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        return runner.faults(script)

    assert faults() == []
    assert "other cells" in faults(source="print(2)")[0]
    assert "not run" in faults(count=None)[0]
    assert "shows '/home/'" in faults(text="/home/someone/x")[0]
    assert "warning" in faults(name="stderr")[0]
    assert "metadata" in faults(metadata={"tags": ["mine"]})[0]


@pytest.mark.rtl
@pytest.mark.model
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_runs(script):
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), "--look", script.stem]
    environment = {**os.environ, "OLEASTER_SMALL": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
