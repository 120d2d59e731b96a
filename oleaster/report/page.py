"""The page: sections of runs and images, with style, script and Plotly inside."""

from __future__ import annotations

import gzip
import shlex
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from oleaster import __version__
from oleaster.report.blocks import Block, Code, Facts, Fold, Section
from oleaster.report.frames import frame_section, image_block, render_section
from oleaster.report.inputs import (
    AreaRun,
    Exploration,
    FrameRun,
    NetworkRun,
    OliveRun,
    Picture,
    RenderRun,
    RtnerfRun,
    Run,
)
from oleaster.report.networks import network_section
from oleaster.report.others import area_section, olive_section, rtnerf_section
from oleaster.report.points import MOST_VALUES, exploration_section

__all__ = ["MOST_BYTES", "ReportError", "make_page"]

MOST_BYTES = 6_000_000
"""What a page should not pass; only images can make it larger."""

# Keys whose values a section shows, and which are no part of what was asked.
_SHOWN = {"version", "command", "results", "points", "pareto", "claims", "counters", "ideas"}
_MOST_FACTS = 400


class ReportError(ValueError):
    """A page that cannot be made; the message says what is missing."""


def make_page(inputs: Sequence[Run | Picture], title: str | None, command: str | None) -> str:
    """HTML of all inputs in their order; equal inputs give equal pages.

    Images stand in the section of the run whose JSON names them, others at the end.
    title: by default the only section's. command: what made the page, for its last line.
    Raises ReportError if the extra "report" is not installed.
    """
    jinja2, library = _libraries()
    pictures = [one for one in inputs if isinstance(one, Picture)]
    runs = [one for one in inputs if isinstance(one, Run)]
    explorations = sum(isinstance(run, Exploration) for run in runs)
    sections, used = [], []
    for run in runs:
        own = _own_pictures(run, pictures)
        used += own
        section = _section(run, own, MOST_VALUES // max(1, explorations))
        section.blocks.append(_how(run))
        sections.append(section)
    others = [picture for picture in pictures if picture not in used]
    if others:
        name = "Image" if len(others) == 1 else "Images"
        sections.append(Section(name, "files", "", [image_block(each) for each in others]))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "allow_nan": False,
        "ensure_ascii": False,
    }
    folder = files("oleaster.report")
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    page: str = environment.from_string((folder / "page.html").read_text(encoding="utf-8")).render(
        title=title or (sections[0].title if len(sections) == 1 else "Oleaster report"),
        sections=sections,
        command=command,
        version=__version__,
        style=style,
        script=script,
        library=library,
    )
    return page


@cache  # packing takes as long as all the rest
def _libraries() -> tuple[Any, str]:
    """Jinja; and plotly.js, packed to less than half: 2 of a page's 6 MB instead of 5."""
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ReportError(f"reports need {error.name}: pip install 'oleaster[report]'") from error
    return jinja2, b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode("ascii")


def _section(run: Run, pictures: list[Picture], most_values: int) -> Section:
    match run:
        case NetworkRun():
            return network_section(run)
        case FrameRun():
            return frame_section(run, pictures)
        case RenderRun():
            return render_section(run, pictures)
        case Exploration():
            return exploration_section(run, most_values)
        case AreaRun():
            return area_section(run)
        case OliveRun():
            return olive_section(run)
        case RtnerfRun():
            return rtnerf_section(run)
    raise TypeError(f"no section for {type(run).__name__}")


def _own_pictures(run: Run, pictures: list[Picture]) -> list[Picture]:
    """Images that the run wrote: by path, or by a name that no other image has."""
    if not isinstance(run, FrameRun | RenderRun) or run.output is None:
        return []
    output = Path(run.output)
    places = {output.resolve(), (run.path.parent / output).resolve()}
    named = [one for one in pictures if one.path.name == output.name]
    return [one for one in named if one.path.resolve() in places] or named[: len(named) == 1]


def _how(run: Run) -> Block:
    blocks: list[Block] = []
    if run.command:
        blocks.append(Code(run.command))
    facts = [("file", str(run.path)), ("oleaster", run.version)]
    if not run.command:
        facts.append(("command", "not recorded"))
    blocks.append(Facts(facts))
    asked = {key: value for key, value in run.data.items() if key not in _SHOWN}
    blocks.append(Fold("Configuration", [Facts(_flat(asked))]))
    for result in run.data.get("results", ()):
        design = result.get("design")
        if isinstance(design, dict):
            name = str(design.get("name", ""))
            blocks.append(Fold(f"Design {name}", [Facts(_flat(design))]))
    return Fold("How this was made", blocks)


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys with dots between, of all that is nested."""
    facts = list(_leaves("", values))
    if len(facts) > _MOST_FACTS:
        rest = len(facts) - _MOST_FACTS
        return [*facts[:_MOST_FACTS], ("...", f"{rest:,} more are in the file")]
    return facts


def _leaves(path: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for i, item in enumerate(value):
            yield from _leaves(f"{path}.{i}", item)
    elif isinstance(value, list):
        yield path, shlex.join(map(str, value)) if value else "none"
    else:
        words = {None: "none", True: "yes", False: "no"}
        yield path, words[value] if value is None or isinstance(value, bool) else str(value)
