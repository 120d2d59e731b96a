"""The verb accuracy: what each number format costs a real model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oleaster.cli.models import load_encoder
from oleaster.cli.output import Json, print_json, print_table, say
from oleaster.models.fetch import fetch
from oleaster.models.formats import get_format

if TYPE_CHECKING:
    from oleaster.models.accuracy import FormatAccuracy

_FORMATS = "int4,ovp4-int,ovp4-flint,auto,int8,ovp8"


def accuracy(
    model: Annotated[Literal["minilm"], typer.Argument()] = "minilm",
    folder: Annotated[
        Path | None, typer.Option("--model", metavar="FOLDER", help="Another BERT folder.")
    ] = None,
    formats: Annotated[str, typer.Option(metavar="F,F", help="Formats, auto too.")] = _FORMATS,
    texts: Annotated[int, typer.Option(min=3, max=50, help="Texts of Lee50.")] = 50,
    activations: Annotated[
        Literal["static", "dynamic"],
        typer.Option(help="Scales from 16 calibration texts, or from each text itself."),
    ] = "static",
    json: Json = False,
) -> None:
    """Report, per layer and at the end, what 4- and 8-bit operands cost a sentence encoder."""
    names = [name.strip() for name in formats.split(",")]
    for name in names:
        if name != "auto":
            get_format(name)
    encoder = load_encoder(folder)
    from oleaster.models.accuracy import evaluate, load_lee50  # needs the extra, as the encoder

    lee = load_lee50(fetch("lee50", progress=say))
    results = evaluate(
        encoder,
        names,
        lee.texts[:texts],
        lee.human_similarity[:texts, :texts],
        lee.calibration_texts,
        activations=activations,
        progress=say,
    )
    if json:
        measured = [asdict(result) for result in results]
        shown = model if folder is None else str(folder)
        print_json(
            {"model": shown, "texts": texts, "activations": activations, "results": measured}
        )
        return
    for result in results:
        if result.layers:
            _print_layers(result)
    typer.echo(f"\n{texts} texts, {activations} activation scales\n")
    print_table(
        ("format", ">cosine to float", ">Spearman", ">worst output SQNR", "of layer"),
        [_summary(result) for result in results],
    )


def _print_layers(result: "FormatAccuracy") -> None:
    typer.echo(f"\n{result.format}\n")
    print_table(
        (
            "layer",
            "weights",
            "activations",
            ">outlier pairs W",
            ">A",
            ">SQNR W",
            ">A",
            ">output",
            ">overflows",
        ),
        [
            (
                layer.name,
                layer.weight_format,
                layer.activation_format,
                _percent(layer.weight_outlier_normal + layer.weight_outlier_outlier),
                _percent(layer.activation_outlier_normal + layer.activation_outlier_outlier),
                f"{layer.weight_sqnr_db:.1f} dB",
                f"{layer.activation_sqnr_db:.1f} dB",
                f"{layer.output_sqnr_db:.1f} dB",
                layer.overflows,
            )
            for layer in result.layers
        ],
    )


def _summary(result: "FormatAccuracy") -> tuple[object, ...]:
    head = (result.format, f"{result.cosine:.3f}", f"{result.spearman:.3f}")
    if not result.layers:
        return head
    worst = min(result.layers, key=lambda layer: layer.output_sqnr_db)
    return (*head, f"{worst.output_sqnr_db:.1f} dB", worst.name)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
