"""The wheel installs one top-level name, and everything that the package needs at run time."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "hw", "models", "oleaster", "scenes", "sim")
SOURCES = (*FOLDERS, "pyproject.toml", "README.md", "LICENSE")
SUFFIXES = {
    *(".py", ".toml", ".json", ".npz", ".md"),
    *(".sv", ".cpp", ".h", ".vlt"),
    *(".html", ".css", ".js"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # A build writes beside its sources, so it gets a copy of them.
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_only_oleaster_is_installed(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    package, metadata = sorted(top)
    assert package == "oleaster"
    assert metadata.startswith("oleaster-")
    assert metadata.endswith(".dist-info")


def test_every_source_file_is_in_the_wheel(wheel):
    expected = {"oleaster/py.typed"}
    for folder, package in {
        "oleaster": "oleaster",
        "hw": "oleaster/hw",
        "models": "oleaster/models",
        "sim": "oleaster/sim",
        "configs": "oleaster/configs",
        "scenes": "oleaster/scenes",
    }.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SUFFIXES:
                expected.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    assert expected <= set(wheel.namelist())
