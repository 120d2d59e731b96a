"""What a page is made of; `page.html` says how each looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from oleaster.io import printable

__all__ = [
    "Block",
    "Code",
    "Facts",
    "Figure",
    "Fold",
    "Image",
    "Points",
    "Section",
    "Table",
    "Text",
    "Tiles",
    "digits",
    "label",
]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """A command line."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Tiles:
    """The few numbers that matter, large: (value, what it is)."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A column whose name begins with ">" is set flush right, as `print_table` does."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    facts: Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A plot: Plotly's traces and layout, without fonts and colours of the page, which differ.

    rows: number of bars of a figure of horizontal bars, from which its height follows; else 0.
    """

    kind: ClassVar[str] = "figure"
    title: str
    note: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    rows: int = 0

    @property
    def spec(self) -> dict[str, Any]:
        """What the page's script takes."""
        return {"data": self.data, "layout": self.layout, "rows": self.rows}


@dataclass(frozen=True)
class Points:
    """Points of an exploration with choosable axes; see `report.js` for what `spec` holds."""

    kind: ClassVar[str] = "points"
    title: str
    note: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Image:
    """A picture with its name; data: a PNG in base64."""

    kind: ClassVar[str] = "image"
    name: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]
    opened: bool = False


Block = Text | Code | Tiles | Table | Facts | Figure | Points | Image | Fold


@dataclass
class Section:
    """One run. what: the verb it is of, in a word or two."""

    title: str
    what: str
    lead: str
    blocks: list[Block] = field(default_factory=list)


def label(text: str) -> str:
    """A user's name for Plotly, which would read a part of it as HTML."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def digits(value: float) -> str:
    """For reading: whole numbers from 1,000 on, with commas, and four digits below."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"
