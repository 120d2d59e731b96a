"""The verb report: runs and images as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oleaster import io
from oleaster.cli.output import (
    CommandError,
    Json,
    called_as,
    print_facts,
    print_json,
    warn,
)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN.json|IMAGE.png...", help="What verbs wrote with --json or -o, and images."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.html", help="Where to write.")
    ] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="The page's title; by default it says what is shown.")
    ] = None,
    json: Json = False,
) -> None:
    """One HTML page of several runs, with everything inside: it opens without a network.

    Shows what simulate, nerf simulate, nerf render, explore, synth and reproduce wrote as JSON:
    designs compared, cycles and energy of each layer, rooflines, points of explorations to hover
    over and select, areas, images, and the command line behind each. Needs the extra report.

    \b
    oleaster simulate bert-base --design ant-64x64-os,olive-64x64 -o bert.json
    oleaster nerf simulate lego -o lego.png --json > lego.json
    oleaster report bert.json lego.json lego.png -o report.html --title "Two workloads"
    """
    if output.suffix not in (".html", ".htm"):
        raise CommandError(f"{output}: the name after -o ends in .html")
    io.check_output_file(output, *runs)
    seen: set[Path] = set()
    for path in runs:
        if path.resolve() in seen:
            raise CommandError(f"{path}: is given twice; give each file once")
        seen.add(path.resolve())
    # Imported late: other verbs do without it.
    from oleaster.report import MOST_BYTES, ReportError, make_page
    from oleaster.report.inputs import read_input

    inputs = [read_input(path) for path in runs]
    try:
        page = make_page(inputs, title, called_as()).encode()
    except ReportError as error:
        raise CommandError(str(error)) from error
    io.write_bytes(output, page)
    if len(page) > MOST_BYTES:
        images = sum(path.stat().st_size for path in runs if path.suffix == ".png")
        warn(
            f"{output} has {len(page) / 1e6:.1f} MB, of which images {images * 4 / 3e6:.1f}; "
            "smaller images make it easier to send"
        )
    result = {
        "output": str(output),
        "bytes": len(page),
        "runs": [
            {"file": str(path), "verb": one.verb} for path, one in zip(runs, inputs, strict=True)
        ],
    }
    if json:
        print_json(result)
    else:
        print_facts({"page": output, "size": f"{len(page) / 1e6:.1f} MB"})
