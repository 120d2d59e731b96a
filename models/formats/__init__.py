"""Number formats: codes, the values they stand for, and outlier-victim pairs.

A new format is one codec (see `normal.py`, `abfloat.py`, `floats.py`) and one row in `registry.py`.
"""

from oleaster.models.formats.codebook import CodebookFormat
from oleaster.models.formats.codec import Codec, FormatError
from oleaster.models.formats.format import (
    LANE_INTEGER_BITS,
    MX_BLOCK,
    Format,
    IllegalPairError,
    Rule,
    TableRow,
)
from oleaster.models.formats.registry import FORMATS, any_format, get_format, unknown_format
from oleaster.models.formats.rivals import RIVAL_FORMATS, AdaptivFloat

__all__ = [
    "FORMATS",
    "LANE_INTEGER_BITS",
    "MX_BLOCK",
    "RIVAL_FORMATS",
    "AdaptivFloat",
    "CodebookFormat",
    "Codec",
    "Format",
    "FormatError",
    "IllegalPairError",
    "Rule",
    "TableRow",
    "any_format",
    "get_format",
    "unknown_format",
]
