"""What the verbs share: results as JSON or as tables, progress on a terminal, sizes of images."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oleaster import __version__
from oleaster.io import printable

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/cli.md).")]

_command: ContextVar[str | None] = ContextVar("command", default=None)

_TEXT_COLUMNS = 16  # that words of a column get even on a narrow terminal
_PIPE_COLUMNS = 160  # a table that is written to a file is not cut at 80
_MOST_DIGITS = 5  # of a side in pixels
_LONGEST_SIDE = 1 << 14  # as of `Camera`


class CommandError(Exception):
    """A verb cannot do what it was asked; the message says why and what would work."""


def remember_command(arguments: Sequence[str]) -> None:
    """What was called, for `json_text` to say: the words after `oleaster`."""
    _command.set(shlex.join(["oleaster", *arguments]))


def called_as() -> str | None:
    """The command line; None outside of it."""
    return _command.get()


def json_text(result: dict[str, Any]) -> str:
    """One object, with oleaster's version and the command line, as `--json` and `-o` write it.

    Infinities and NaN, which JSON lacks, become null; so is the command outside the command line.
    """
    said = {"version": __version__, "command": called_as(), **result}
    return json.dumps(finite(said), indent=2, allow_nan=False) + "\n"


def print_json(result: dict[str, Any]) -> None:
    """Print `json_text`."""
    typer.echo(json_text(result), nl=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout. A column whose name begins with ">" is set flush right.

    Where a line is too short words are folded; numbers never are, the line runs on instead.
    """
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, show_header=any(columns))
    least = 2 * (len(columns) - 1)
    for index, column in enumerate(columns):
        name, right = column.removeprefix(">"), column.startswith(">")
        widest = max(map(cell_len, [name, *(row[index] for row in cells)]))
        width = widest if right else min(widest, _TEXT_COLUMNS)
        least += width
        table.add_column(
            name, justify="right" if right else "left", min_width=width, overflow="fold"
        )
    for row in cells:
        table.add_row(*row)
    # Names of layers and files are the user's, and may look like markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = max(least, console.width if sys.stdout.isatty() else _PIPE_COLUMNS)
    console.print(table)


def print_facts(facts: dict[str, object]) -> None:
    """Names and values, one a line."""
    print_table(("", ""), facts.items())


def warn(sentence: str) -> None:
    """A sentence on stderr that does not stop the work."""
    typer.echo(f"warning: {sentence}", err=True)


def say(line: str) -> None:
    """One line about a long step, if a person is watching stderr."""
    if sys.stderr.isatty():
        typer.echo(line, err=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while a person is watching; yields `report(done, total)`."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `--size`; CommandError says how to write them, and their range."""
    width, _, height = text.partition("x")
    if not all(each.isdecimal() and len(each) <= _MOST_DIGITS for each in (width, height)):
        raise CommandError(f"--size {text}: expected WIDTHxHEIGHT in pixels, as 400x400")
    if not all(1 <= int(each) <= _LONGEST_SIDE for each in (width, height)):
        raise CommandError(f"--size {text}: each side must be 1 .. {_LONGEST_SIDE} pixels")
    return int(width), int(height)


def finite(value: Any) -> Any:
    """The same, with None for infinities and NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
