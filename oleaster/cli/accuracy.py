"""The verb accuracy: what each number format costs a real model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oleaster.cli.models import load_decoder, load_encoder, needs_models_extra
from oleaster.cli.output import CommandError, Json, print_json, print_table, say
from oleaster.models.fetch import fetch

if TYPE_CHECKING:
    from oleaster.models.accuracy import FormatAccuracy

_ENCODER_TEXTS = 50
_DECODER_TEXTS = 20

Task = Literal["lee50", "rotten", "vader"]


def accuracy(
    model: Annotated[Literal["minilm", "mpnet", "smollm2"], typer.Argument()] = "minilm",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="PATH",
            help="Another BERT or MPNet folder, or, with smollm2, another GGUF file.",
        ),
    ] = None,
    task: Annotated[
        Task, typer.Option(help="Texts: news, or film reviews (the encoders only).")
    ] = "lee50",
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="F,W:A",
            help="Formats, or W:A for weights and activations; auto and float too. [default: all]",
        ),
    ] = None,
    texts: Annotated[
        int | None,
        typer.Option(
            min=3, help="Texts to measure. [default: all 50 of lee50, 20 with smollm2; 974; 1000]"
        ),
    ] = None,
    activations: Annotated[
        Literal["static", "dynamic"],
        typer.Option(help="Scales from calibration texts, or from each text itself."),
    ] = "static",
    layers: Annotated[bool, typer.Option("--layers", help="Print every layer too.")] = False,
    json: Json = False,
) -> None:
    """Report what number formats cost a sentence encoder, or a decoder (its activations only)."""
    is_decoder = model == "smollm2"
    if task != "lee50" and is_decoder:
        raise typer.BadParameter("a decoder is measured on lee50 only", param_hint="--task")
    if task == "lee50" and texts is not None and texts > _ENCODER_TEXTS:
        raise typer.BadParameter(f"lee50 has {_ENCODER_TEXTS}", param_hint="--texts")
    with needs_models_extra():
        from oleaster.models.accuracy import evaluate_decoder, evaluate_encoder, load_lee50
        from oleaster.models.quantized_linear import FLOAT, all_operands, parse_operands

    # SmolLM2's weights come in 4 bits: nothing can be said of what another format does to them.
    weights = FLOAT if is_decoder else None
    if formats is None:
        operands = all_operands(weights=weights)
    else:
        operands = [parse_operands(name.strip(), weights=weights) for name in formats.split(",")]
    names = [str(pair) for pair in operands]
    if task != "lee50":
        count, results = _sentiment(task, model, folder, names, texts, activations)
    elif is_decoder:
        count = texts or _DECODER_TEXTS
        decoder = load_decoder(folder)
        lee = load_lee50(fetch("lee50", progress=say))
        results = evaluate_decoder(
            decoder,
            names,
            lee.texts[:count],
            lee.calibration_texts,
            activations=activations,
            progress=say,
        )
    else:
        count = texts or _ENCODER_TEXTS
        encoder = load_encoder(folder, model)
        lee = load_lee50(fetch("lee50", progress=say))
        results = evaluate_encoder(
            encoder,
            names,
            lee.texts[:count],
            lee.human_similarity[:count, :count],
            lee.calibration_texts,
            activations=activations,
            progress=say,
        )
    if json:
        measured = [asdict(result) for result in results]
        shown = model if folder is None else str(folder)
        facts = {"model": shown, "task": task, "texts": count, "activations": activations}
        print_json(facts | {"results": measured})
        return
    if layers:
        for result in results[1:]:
            _print_layers(result)
    typer.echo(f"\n{count} texts, {activations} activation scales; SQNR: mean of the layers\n")
    print_table(
        (
            "format",
            ">bits W",
            ">A",
            ">SQNR W",
            ">A",
            ">output",
            ">worst",
            "of layer",
            ">cosine to float",
            _score(results[0])[0],
        ),
        [_summary(result) for result in results],
    )


def _sentiment(
    task: Task,
    model: str,
    folder: Path | None,
    names: list[str],
    texts: int | None,
    activations: Literal["static", "dynamic"],
) -> tuple[int, list["FormatAccuracy"]]:
    """How many texts were measured, and the results."""
    with needs_models_extra():
        import sklearn  # noqa: F401  the head's; its absence shall not be noticed halfway

        from oleaster.models import sentiment
    encoder = load_encoder(folder, model)
    source = fetch(task, progress=say)
    try:
        if task == "rotten":
            data = sentiment.load_rotten(source, texts or sentiment.ROTTEN_TEXTS)
        else:
            data = sentiment.load_vader(source, texts or sentiment.VADER_TEXTS)
    except sentiment.SentimentError as error:
        raise CommandError(str(error)) from error
    results = sentiment.evaluate_sentiment(
        encoder, names, data, activations=activations, progress=say
    )
    return len(data.texts), results


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
    worst = min(result.layers, key=lambda layer: layer.output_sqnr_db, default=None)
    return (
        result.format,
        f"{result.weight_bits:.4g}",
        f"{result.activation_bits:.4g}",
        f"{result.weight_sqnr_db:.1f} dB",
        f"{result.activation_sqnr_db:.1f} dB",
        f"{result.output_sqnr_db:.1f} dB",
        worst and f"{worst.output_sqnr_db:.1f} dB",
        worst and worst.name,
        f"{result.cosine:.3f}",
        _score(result)[1],
    )


def _score(result: "FormatAccuracy") -> tuple[str, str]:
    """Heading and cell of what the task itself measures."""
    if result.perplexity is not None:
        return ">perplexity", f"{result.perplexity:.4g}"
    if result.accuracy is not None:
        return ">right", f"{100 * result.accuracy:.1f} %"
    return ">Spearman", f"{result.spearman:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
