"""The verb run: a whole model on the accelerator, as numpy, as cycle model or in RTL."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oleaster.cli.hardware import parameter_overrides
from oleaster.cli.models import load_encoder, needs_models_extra
from oleaster.cli.output import (
    CommandError,
    Json,
    print_json,
    print_table,
    progress_bar,
    say,
    warn,
)
from oleaster.config import load_unit
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.accelerator.memory import MemoryTiming

if TYPE_CHECKING:
    from oleaster.device_executor import GemmCost, ListCost
    from oleaster.run import EncoderRun

_UNIT = "accelerator"


def run(
    model: Annotated[Literal["minilm", "mpnet"], typer.Argument()],
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="To be embedded; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A text on each line that is not blank.")
    ] = None,
    engine: Annotated[
        Literal["model", "cycle", "rtl"], typer.Option(help="numpy; cycles too; or Verilog.")
    ] = "cycle",
    folder: Annotated[
        Path | None, typer.Option("--model", metavar="PATH", help="Another BERT or MPNet folder.")
    ] = None,
    weights: Annotated[str, typer.Option(metavar="F", help="Format of the weights.")] = "ovp8",
    activations: Annotated[
        str, typer.Option(metavar="F", help="Format of all that is not a weight.")
    ] = "ovp8",
    layers: Annotated[
        int | None, typer.Option(min=1, help="Only the first N, for a quick look.")
    ] = None,
    design: Annotated[
        Path | None, typer.Option(metavar="CONFIG.toml", help="Of unit accelerator.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="The same as --set rows=N.")] = None,
    cols: Annotated[int | None, typer.Option(help="The same as --set cols=N.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the accelerator."),
    ] = None,
    latency: Annotated[int, typer.Option(min=1, help="Of the memory, in cycles.")] = 100,
    bandwidth: Annotated[
        float, typer.Option(help="Of the memory, in beats a cycle each way, up to 1.")
    ] = 1.0,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="Show times at this clock too.")
    ] = None,
    json: Json = False,
) -> None:
    """Embed texts with a sentence encoder whose GEMMs all run on the accelerator.

    Exit 1 unless the embeddings are the quantised numpy model's, bit for bit, and, in rtl, the
    cycles of every descriptor list the cycle model's.
    """
    given = [*(texts or ()), *(_lines(file) if file else ())]
    if not given:
        raise CommandError("there is no text; give --text or --file")
    if any(not text.strip() for text in given):
        raise CommandError("a --text is empty; give words to embed")
    if not all(map(_is_unicode, given)):
        raise CommandError("a --text is no UTF-8; give it in that encoding, or in a --file")
    if clock is not None and not 0 < clock < float("inf"):
        raise CommandError(f"--clock is {clock:g}; it must be above 0 and finite")
    config = _config(design, parameter_overrides(rows, cols, settings))
    try:
        timing = MemoryTiming.with_bandwidth(latency, bandwidth, bandwidth)
    except ValueError as error:
        raise CommandError(f"--bandwidth: {error}") from error
    with needs_models_extra():
        from oleaster.models.integer_encoder import IntegerEncoder
        from oleaster.run import run_encoder
        from oleaster.sim.driver import DeviceError

    encoder = load_encoder(folder, model)
    say("quantising the weights and calibrating")
    try:
        quantized = IntegerEncoder(encoder, weights=weights, activations=activations, layers=layers)
        if engine == "rtl":
            say("building the accelerator in Verilator, unless that was done before")
        with progress_bar("descriptor lists") as report:
            result = run_encoder(
                quantized, given, engine=engine, config=config, timing=timing, progress=report
            )
    except (ValueError, DeviceError) as error:
        raise CommandError(str(error)) from error
    if result.overflows:
        warn(f"sums left 32 bits and wrapped in {', '.join(sorted(set(result.overflows)))}")
    sums = _Sums(result.lists, config)
    of_texts = [
        {"text": text, "tokens": len(encoder.tokenize(text)), "cosine": cosine}
        for text, cosine in zip(given, result.cosines, strict=True)
    ]
    if json:
        print_json(
            {
                "model": model if folder is None else str(folder),
                "engine": engine,
                "weights": weights,
                "activations": activations,
                "layers": quantized.layers,
                "accelerator": None if engine == "model" else asdict(config),
                "latency": latency,
                "bandwidth": bandwidth,
                "passed": result.passed,
                "identical": result.identical,
                "texts": of_texts,
                "overflows": result.overflows,
                "total": sums.total,
                "kinds": sums.kinds,
                "lists": sums.lists,
                "wall_s": result.wall_s,
            }
        )
    else:
        print_table(
            (">tokens", ">cosine to float", "text"),
            [(one["tokens"], f"{one['cosine']:.4f}", one["text"]) for one in of_texts],
        )
        typer.echo(f"\n{weights} weights, {activations} activations, engine {engine}")
        if engine != "model":
            _print_costs(sums, config, clock)
            _print_verdict(result)
    if not result.passed:
        raise typer.Exit(1)


class _Sums:
    """Costs as the tables and the JSON show them; empty without lists."""

    def __init__(self, of_texts: list[list[ListCost]], config: AcceleratorConfig) -> None:
        self._config = config
        lists = [cost for costs in of_texts for cost in costs]
        gemms = [gemm for cost in lists for gemm in cost.gemms]
        kinds = dict.fromkeys(gemm.kind for gemm in gemms)
        layers = sorted({cost.layer for cost in lists})
        self.total = self._sum(gemms) if gemms else None
        self.kinds = [
            {"kind": kind, **self._sum([gemm for gemm in gemms if gemm.kind == kind])}
            for kind in kinds
        ]
        self.layers = [
            {
                "layer": layer,
                **self._sum([gemm for cost in lists if cost.layer == layer for gemm in cost.gemms]),
            }
            for layer in layers
        ]
        self.lists = [
            {"text": place, **asdict(cost), "gemms": [self._one(gemm) for gemm in cost.gemms]}
            for place, costs in enumerate(of_texts)
            for cost in costs
        ]

    def _one(self, gemm: GemmCost) -> dict[str, Any]:
        return {"kind": gemm.kind, "shape": gemm.shape, **self._sum([gemm])}

    def _sum(self, gemms: list[GemmCost]) -> dict[str, Any]:
        config = self._config
        cycles = sum(gemm.cycles for gemm in gemms)
        busy = sum(gemm.lane_macs for gemm in gemms)
        return {
            "gemms": sum(gemm.count for gemm in gemms),
            "macs": sum(gemm.macs for gemm in gemms),
            "cycles": cycles,
            "utilization": busy / (config.rows * config.cols * cycles),
            "read_bytes": config.beat_bytes * sum(gemm.read_beats for gemm in gemms),
            "write_bytes": config.beat_bytes * sum(gemm.write_beats for gemm in gemms),
        }


def _print_costs(sums: _Sums, config: AcceleratorConfig, clock: float | None) -> None:
    columns = (">GEMMs", ">MACs", ">cycles", ">utilisation", ">bytes read", ">written")
    times = (">ms",) if clock else ()

    def cells(sum_: dict[str, Any]) -> tuple[str, ...]:
        shown = (
            f"{sum_['gemms']:,}",
            f"{sum_['macs']:,}",
            f"{sum_['cycles']:,}",
            f"{100 * sum_['utilization']:.1f} %",
            f"{sum_['read_bytes']:,}",
            f"{sum_['write_bytes']:,}",
        )
        return (*shown, f"{sum_['cycles'] / clock / 1e3:.3f}") if clock else shown

    total = ("total", *cells(sums.total or {}))
    typer.echo(f"{config.rows} x {config.cols} PEs, {config.data_bits}-bit AXI\n")
    print_table(
        ("GEMM", *columns, *times), [*((one["kind"], *cells(one)) for one in sums.kinds), total]
    )
    typer.echo("")
    print_table(
        ("layer", *columns, *times), [*((one["layer"], *cells(one)) for one in sums.layers), total]
    )


def _print_verdict(result: EncoderRun) -> None:
    lists = [cost for costs in result.lists for cost in costs]
    same = sum(cost.cycles == cost.model_cycles for cost in lists)
    bits = "identical to" if result.identical else "DIFFERENT from"
    typer.echo(f"\nEmbeddings are {bits} the quantised numpy model's.")
    if result.engine == "rtl":
        typer.echo(f"Cycles of {same:,} of {len(lists):,} lists are the cycle model's.")


def _lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: is not UTF-8 text: {error.reason}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise CommandError(f"{file}: holds no text")
    return found


def _config(design: Path | None, overrides: dict[str, int | str]) -> AcceleratorConfig:
    name, unit = load_unit(str(design) if design else _UNIT, overrides)
    if name != _UNIT:
        raise CommandError(f"{design}: is a design of {name}; this verb needs one of {_UNIT}")
    parameters: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in unit.parameters.items()
    }
    return AcceleratorConfig(**parameters)


def _is_unicode(text: str) -> bool:
    """Not so for bytes of another encoding in an argument."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
