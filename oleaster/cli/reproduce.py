"""The verb reproduce: published evaluations, computed anew."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from oleaster.cli.models import load_encoder
from oleaster.cli.output import CommandError, Json, print_json, say
from oleaster.io import check_output_folder, writing

_MODELS = ("minilm", "mpnet")


def reproduce(
    evaluation: Annotated[Literal["olive"], typer.Argument()],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER")] = Path("reproduced"),
    models: Annotated[
        str,
        typer.Option(metavar="M,N", help="Models whose weights are counted: minilm, mpnet."),
    ] = "minilm,mpnet",
    json: Json = False,
) -> None:
    """Write a page and its figures (PNG and SVG): ours beside the published figures, with reasons.

    Half a minute, once the models are there (84 and 405 MB), and a minute more the first time
    that Yosys runs. Needs the extras models, plots and synth.
    """
    from oleaster.plots import check_figure_file
    from oleaster.reproduce.olive import evaluate_olive
    from oleaster.reproduce.page import write_page
    from oleaster.synthesis import SynthesisError

    check_output_folder(output)
    with writing(output):
        output.mkdir(exist_ok=True)
    check_figure_file(output / "olive.png")
    names = [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        if name not in _MODELS:
            raise CommandError(f"--models: {name!r} is not one of {', '.join(_MODELS)}")
    try:
        found = evaluate_olive({name: load_encoder(None, name) for name in names}, say)
    except SynthesisError as error:
        raise CommandError(str(error)) from error
    written = write_page(found, output)
    if json:
        print_json({**found.to_dict(), "files": [str(path) for path in written]})
    else:
        typer.echo(written[0])
