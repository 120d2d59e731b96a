"""The table of formats by name; names are the same in the command line, TOML and Python."""

from collections.abc import Iterable
from difflib import get_close_matches

from oleaster.models.formats.abfloat import abfloat
from oleaster.models.formats.codebook import CodebookFormat, pair8
from oleaster.models.formats.codec import FormatError
from oleaster.models.formats.floats import ocp_float
from oleaster.models.formats.format import MX_BLOCK, Format
from oleaster.models.formats.normal import flint4, two_complement
from oleaster.models.formats.rivals import RIVAL_FORMATS

_INT4 = two_complement("int4", 4)
_INT8 = two_complement("int8", 8)
_FLINT4 = flint4()

# The bias puts the first abfloat magnitude just above the largest normal value.
_BESIDE_INT4 = abfloat(2, 1, bias=2)  # 12 .. 96
_BESIDE_FLINT4 = abfloat(2, 1, bias=3)  # 24 .. 192
_BESIDE_INT8 = abfloat(4, 3, bias=4)  # 144 .. 32768

FLOATS = (
    ocp_float(2, 1),
    ocp_float(3, 2),
    ocp_float(2, 3),
    ocp_float(4, 3, "nan"),
    ocp_float(5, 2, "ieee"),
)

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("int4", _INT4, _BESIDE_INT4, has_outliers=False),
        Format("int8", _INT8, _BESIDE_INT8, has_outliers=False),
        Format("flint4", _FLINT4, _BESIDE_FLINT4, has_outliers=False),
        Format("ovp4-int", _INT4, _BESIDE_INT4, has_outliers=True),
        Format("ovp4-flint", _FLINT4, _BESIDE_FLINT4, has_outliers=True),
        Format("ovp8", _INT8, _BESIDE_INT8, has_outliers=True),
        *(Format(codec.name, codec) for codec in FLOATS),
        *(Format(f"mx{codec.name}", codec, block_size=MX_BLOCK) for codec in FLOATS),
        CodebookFormat("codebook", pair8()),
    )
}


def get_format(name: str) -> Format:
    """The format called `name`; FormatError names the known ones and the nearest."""
    if name in FORMATS:
        return FORMATS[name]
    if name in RIVAL_FORMATS:
        raise FormatError(
            f"{name!r} is another accelerator's format, which our arrays do not read "
            f"(they read: {', '.join(FORMATS)})"
        )
    raise unknown_format(name, FORMATS)


def any_format(name: str) -> Format:
    """As `get_format`, but the formats of other accelerators (`RIVAL_FORMATS`) are known too."""
    if name in FORMATS:
        return FORMATS[name]
    if name in RIVAL_FORMATS:
        return RIVAL_FORMATS[name]
    raise unknown_format(name, (*FORMATS, *RIVAL_FORMATS))


def unknown_format(name: str, known: Iterable[str]) -> FormatError:
    """What is raised for a name that is not among those `known`."""
    names = list(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return FormatError(f"unknown format {name!r}{hint} (known: {', '.join(names)})")
