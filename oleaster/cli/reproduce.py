"""The verb reproduce: published evaluations, computed anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from oleaster.cli.models import load_encoder
from oleaster.cli.output import CommandError, Json, print_json, progress_bar, say
from oleaster.io import check_output_folder, writing

_MODELS = ("minilm", "mpnet")


def reproduce(
    evaluation: Annotated[Literal["olive", "rtnerf"], typer.Argument()],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER")] = Path("reproduced"),
    models: Annotated[
        str | None,
        typer.Option(
            metavar="M,N",
            help="With olive: models whose weights are counted.  [default: minilm,mpnet]",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a page and its figures (PNG and SVG): ours beside the published figures, with reasons.

    olive takes half a minute, once the models are there (84 and 405 MB), and a minute more the
    first time that Yosys runs. It needs the extras models, plots and synth. rtnerf draws eight
    scenes of 800x800 in the cycle model, a minute or two each, with the extras nerf and plots.
    """
    from oleaster.plots import check_figure_file

    if evaluation == "rtnerf" and models is not None:
        raise CommandError("--models is for olive")
    with _folder(output):
        check_figure_file(output / f"{evaluation}.png")
        found, written = (
            _olive("minilm,mpnet" if models is None else models, output)
            if evaluation == "olive"
            else _rtnerf(output)
        )
    if json:
        print_json({**found, "files": [str(path) for path in written]})
    else:
        typer.echo(written[0])


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A folder to write into, which does not stay if it was not there and nothing was written."""
    check_output_folder(path)
    is_new = not path.exists()
    with writing(path):
        path.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if is_new and not any(path.iterdir()):
            path.rmdir()


def _olive(models: str, output: Path) -> tuple[dict[str, Any], list[Path]]:
    from oleaster.reproduce.olive import evaluate_olive
    from oleaster.reproduce.page import write_page
    from oleaster.synth.tools import SynthesisError

    names = [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        if name not in _MODELS:
            raise CommandError(f"--models: {name!r} is not one of {', '.join(_MODELS)}")
    try:
        found = evaluate_olive({name: load_encoder(None, name) for name in names}, say)
    except SynthesisError as error:
        raise CommandError(str(error)) from error
    return found.to_dict(), write_page(found, output)


def _rtnerf(output: Path) -> tuple[dict[str, Any], list[Path]]:
    from oleaster.reproduce.rtnerf import evaluate_rtnerf
    from oleaster.reproduce.rtnerf_page import write_rtnerf_page
    from oleaster.sim.nerf.renderer.jit import CompilerMissingError

    with progress_bar("scenes") as report:
        try:
            found = evaluate_rtnerf(report)
        except CompilerMissingError as error:
            raise CommandError(str(error)) from error
    return found.to_dict(), write_rtnerf_page(found, output)
