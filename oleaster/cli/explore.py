"""The verb explore: a study of many designs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from oleaster import io
from oleaster.cli.output import (
    CommandError,
    Json,
    json_text,
    print_facts,
    print_json,
    print_table,
    say,
)
from oleaster.plots import check_figure_file, save_figure

if TYPE_CHECKING:
    from oleaster.explore import Exploration
    from oleaster.explore.run import Report

_MOST_LINES = 20
_MOST_REASONS = 3
_MOST_JOBS = 256


def explore(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|FILE.toml]", help="Without it: lists those that come along."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.db|URL", help="Where points are kept; STUDY.db beside the study's file."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST_JOBS, help="Processes. [default: the processors]"),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="The Kth of N runs that share the study and its store."),
    ] = None,
    export_only: Annotated[
        bool, typer.Option("--export-only", help="Run nothing; show what the store has.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write all points: .csv, .json or .parquet."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the Pareto front: .png, .svg or .pdf."),
    ] = None,
    json: Json = False,
) -> None:
    """Explore designs: evaluate the points of a study, keep them, show the best.

    A study names a design, a network or a scene, parameters, objectives and constraints
    (docs/explore.md). A run that was interrupted goes on where it stopped; one that is complete
    only shows what is there. `optuna-dashboard sqlite:///STUDY.db` browses a store.

    \b
    oleaster explore
    oleaster explore bert-array -o bert.csv --plot bert.png
    oleaster explore mine.toml --jobs 8
    oleaster explore mine.toml --store postgresql://me@host/studies --worker 2/3
    oleaster explore mine.toml --export-only -o mine.parquet
    """
    # Imported late: the radiance fields' part is slow to import.
    from oleaster.explore.results import check_export, export
    from oleaster.explore.run import run_study, stored_study
    from oleaster.explore.store import default_store
    from oleaster.explore.study import load_study

    if study is None:
        _list(json)
        return
    share = _worker(worker)
    loaded = load_study(study)
    where = store or default_store(loaded)
    inputs = [Path(name) for name in (study, where) if "://" not in name]
    if output is not None:
        check_export(output)
        io.check_output_file(output, *inputs)
    if plot is not None:
        check_figure_file(plot)
        io.check_output_file(plot, *inputs)
    started = time.perf_counter()
    if export_only:
        found = stored_study(loaded, store=where)
    else:
        count = jobs or len(os.sched_getaffinity(0))
        with _progress(loaded.name) as report:
            found = run_study(loaded, store=where, jobs=count, worker=share, report=report, say=say)
    seconds = time.perf_counter() - started
    if output is not None:
        if output.suffix == ".json":
            io.write_bytes(output, json_text(found.to_dict()).encode())
        else:
            export(found, output)
    if plot is not None:
        from oleaster.explore.plot import plot_exploration

        save_figure(plot_exploration(found), plot)
    if json:
        print_json(found.to_dict())
    else:
        _show(found, where, seconds)


def _list(json: bool) -> None:
    from oleaster.explore.study import load_study, study_names

    studies = [load_study(name) for name in study_names()]
    if json:
        keys = ("name", "title", "sampler", "trials")
        print_json({"studies": [{key: getattr(one, key) for key in keys} for one in studies]})
        return
    print_table(
        ("study", "sampler", ">points", "what"),
        [(one.name, one.sampler, f"{one.trials:,}", one.title) for one in studies],
    )


def _worker(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and len(n) < 6 and 1 <= int(k) <= int(n)):
        raise CommandError(f"--worker {text}: expected K/N, the Kth of N, as 2/3")
    return int(k), int(n)


class _Best(ProgressColumn):
    """What is cut first on a narrow terminal."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["best"], no_wrap=True, overflow="ellipsis")


@contextmanager
def _progress(label: str) -> Iterator[Report]:
    """A bar with throughput and the best so far, while a person is watching."""
    columns = (
        TextColumn(io.printable(label), markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        _Best(Column()),
    )
    console = Console(stderr=True)
    started: list[tuple[float, int]] = []
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=None, rate="", best="")

        def report(done: int, total: int, best: Mapping[str, float]) -> None:
            if not started:
                started.append((time.perf_counter(), done))
            seconds, before = time.perf_counter() - started[0][0], started[0][1]
            rate = f"{(done - before) / seconds:,.0f} points/s" if done > before else ""
            values = ", ".join(f"{name} {_number(value)}" for name, value in best.items())
            progress.update(
                task, completed=done, total=total, rate=rate, best=f"best: {values}" * bool(values)
            )

        yield report


def _show(found: Exploration, where: str, seconds: float) -> None:
    study, front = found.study, found.pareto
    varied = [
        each.name
        for each in study.space.parameters
        if len({repr(point.parameters[each.name]) for point in front}) > 1 or len(front) == 1
    ]
    metrics = list(study.asked)
    print_table(
        (">point", *(f">{name}" for name in (*varied, *metrics))),
        [
            (
                point.number,
                *(_value(point.parameters[name]) for name in varied),
                *(_number(point.values[name]) for name in metrics),
            )
            for point in front[:_MOST_LINES]
        ],
    )
    typer.echo()
    points = len(found.points)
    failed = sum(point.state == "failed" for point in found.points)
    infeasible = sum(point.state == "complete" and not point.feasible for point in found.points)
    several = len(study.objectives) > 1
    same = {
        each.name: _value(front[0].parameters[each.name])
        for each in study.space.parameters
        if front and each.name not in varied
    }
    shown = f", {_MOST_LINES} of them above" if len(front) > _MOST_LINES else ""
    goals = ", ".join(f"{name} {goal}" for name, goal in study.objectives.items())
    facts: dict[str, object] = {
        "study": f"{study.name}, {study.title}",
        "objectives": goals,
        "Pareto front" if several else "best": f"{_count(len(front), 'point')}{shown}",
    }
    if same:
        facts["all of them"] = ", ".join(f"{name} = {value}" for name, value in same.items())
    facts["points"] = (
        f"{points:,} of {study.trials:,}: infeasible {_share(infeasible, points)}, failed "
        f"{_share(failed, points)}"
    )
    facts |= {
        f"failed, {count:,}": reason for reason, count in found.failures.most_common(_MOST_REASONS)
    }
    facts["store"] = where if "://" not in where else where.rpartition("@")[2]
    facts["seconds"] = f"{seconds:.1f}"
    print_facts(facts)


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.1f} %)" if part else "none"


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.5g}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
