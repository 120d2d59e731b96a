"""The verb demo: what `make demo` shows."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from oleaster.cli.models import load_encoder
from oleaster.cli.output import Json, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from oleaster.demo import DemoReport

ROWS, COLS = 16, 16


def demo(json: Json = False) -> None:
    """Run a layer of MiniLM through generated Verilog and check every sum and cycle count.

    Exit 1 if any differs.
    """
    encoder = load_encoder(None)
    from oleaster.demo import run_demo  # needs the extra, as the encoder

    say(f"quantising MiniLM; {ROWS} x {COLS} array in Verilator, built on the first run")
    with progress_bar("tiles") as report:
        result = run_demo(encoder, rows=ROWS, cols=COLS, progress=report)
    if json:
        print_json({"passed": result.passed, **asdict(result)})
    else:
        _print(result)
    if not result.passed:
        raise typer.Exit(1)


def _print(result: "DemoReport") -> None:
    typer.echo(f'"{result.sentence}" ({result.tokens} tokens)')
    typer.echo(
        f"MiniLM layer {result.layer}, 4-bit outlier-victim pairs, "
        f"{result.rows} x {result.cols} array in Verilog\n"
    )
    print_table(
        (
            "GEMM",
            ">M x K x N",
            "weights",
            ">outlier pairs",
            "activations",
            ">outlier pairs",
            ">RTL cycles",
            ">model cycles",
            ">utilisation",
            ">mismatches",
        ),
        [
            (
                check.name.split(".", 2)[2],
                f"{check.m} x {check.k} x {check.n}",
                check.weight_format,
                f"{100 * check.weight_outlier_pairs:.2f} %",
                check.activation_format,
                f"{100 * check.activation_outlier_pairs:.2f} %",
                f"{check.rtl_cycles:,}",
                f"{check.model_cycles:,}",
                f"{100 * check.utilization:.1f} %",
                check.mismatches,
            )
            for check in result.gemms
        ],
    )
    typer.echo(
        "\nCosine of the sentence's embedding to the float model's:\n"
        f"  {result.cosine_layer:.4f}  this layer in Verilog, the others in float\n"
        f"  {result.cosine_all:.4f}  this layer in Verilog, the others quantised in numpy"
    )
    verdict = "identical to" if result.passed else "DIFFERENT from"
    typer.echo(f"Sums and cycle counts of the Verilog are {verdict} the models'.")
