"""Encoded tensors as one block of bytes, as hardware reads it: docs/nerf-encoding.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oleaster.models.nerf.bits import unpack
from oleaster.models.nerf.encoding import (
    Encoded,
    coordinates,
    plain_codes,
    stored_codes,
    stored_elements,
    values_at,
)
from oleaster.models.nerf.field import LINE_AXES, PLANE_AXES, FieldError
from oleaster.models.nerf.layout import (
    BITMAP,
    CHUNKS,
    COORDINATES,
    DENSE,
    LARGEST_UNIT,
    PLAIN,
    Layout,
    whole_bytes,
)
from oleaster.models.nerf.tensors import TENSORS

__all__ = [
    "ALIGNMENT",
    "TENSOR_ENTRY",
    "TENSOR_TABLE_AT",
    "check_encoded",
    "read_blob",
    "write_blob",
]

ALIGNMENT = 64  # bytes: eight beats of a 64-bit bus, one line of most caches

_MAGIC = b"OLEN"
_VERSION = 1
_HEADER = np.dtype(
    [("magic", "S4"), ("version", "<u2"), ("tensors", "<u2"), ("size", "<u8"), ("zero", "V48")]
)
TENSOR_ENTRY = np.dtype(
    [
        ("rows", "<u4"),
        ("cells", "<u4"),
        ("components", "<u2"),
        ("group", "<u2"),
        ("chunk", "<u2"),
        ("bits", "u1"),
        ("unit", "u1"),
        ("scale", "<f4"),
        ("entries", "<u4"),
        ("directory", "<u8"),
        ("payload", "<u8"),
        ("payload_bytes", "<u8"),
        ("zero", "V16"),
    ]
)
TENSOR_TABLE_AT = _HEADER.itemsize  # of the blob, where its entries begin
_MOST_VALUES = 1 << 27  # of all tensors: a field of 512^3 and 64 components has 50 million


def write_blob(encoded: Mapping[str, Encoded]) -> bytes:
    """The twelve tensors of `TENSORS` as bytes, a multiple of 64 of them."""
    header, table = np.zeros((), _HEADER), np.zeros(len(TENSORS), TENSOR_ENTRY)
    parts, end = [b""], _HEADER.itemsize + table.nbytes
    for entry, name in zip(table, TENSORS, strict=True):
        each = encoded[name]
        for key in ("rows", "cells", "components", "bits", "unit", "scale"):
            entry[key] = getattr(each, key)
        entry["chunk"], entry["group"] = each.layout.chunk, each.layout.group
        entry["entries"], entry["payload_bytes"] = each.directory.size, len(each.payload)
        for key, data in (
            ("directory", each.directory.astype("<u4").tobytes()),
            ("payload", each.payload),
        ):
            entry[key] = end
            parts.append(data + bytes(-len(data) % ALIGNMENT))
            end += len(parts[-1])
    header["magic"], header["version"], header["tensors"] = _MAGIC, _VERSION, len(TENSORS)
    header["size"] = end
    parts[0] = header.tobytes() + table.tobytes()
    return b"".join(parts)


def read_blob(data: bytes) -> dict[str, Encoded]:
    """The tensors of `write_blob`, each one checked; FieldError says what is wrong."""
    start = _HEADER.itemsize + len(TENSORS) * TENSOR_ENTRY.itemsize
    if len(data) < start:
        raise FieldError(f"an encoding of {len(data)} bytes is truncated: it begins with {start}")
    header = np.frombuffer(data, _HEADER, 1)[0]
    if header["magic"] != _MAGIC:
        raise FieldError(f"an encoding begins with {_MAGIC!r}, not {bytes(data[:4])!r}")
    if header["version"] != _VERSION or header["tensors"] != len(TENSORS):
        raise FieldError(
            f"an encoding of version {header['version']} with {header['tensors']} tensors; "
            f"version {_VERSION} with {len(TENSORS)} can be read"
        )
    if header["size"] != len(data):
        raise FieldError(
            f"an encoding of {len(data)} bytes says that it has {header['size']}: it is truncated"
            " or damaged"
        )
    table = np.frombuffer(data, TENSOR_ENTRY, len(TENSORS), _HEADER.itemsize)
    _check_shapes(dict(zip(TENSORS, table, strict=True)))
    return {name: _read(data, entry, name) for name, entry in zip(TENSORS, table, strict=True)}


def _shape(entry: Any) -> tuple[int, int, int]:
    return int(entry["rows"]), int(entry["cells"]), int(entry["components"])


def _check_shapes(entries: Mapping[str, Any]) -> None:
    """FieldError unless all tensors are of one lattice, and fit memory when they are decoded."""
    values = 0
    for name, entry in entries.items():
        kind, m = name.split("_")[0], int(name[-2])
        cells = [_shape(entries[f"{kind}_lines[{LINE_AXES.index(axis)}]"])[1] for axis in range(3)]
        u, v = PLANE_AXES[m]
        components = _shape(entries[f"{kind}_lines[{m}]"])[2]
        expected = cells[v], cells[u], components
        if "line" in name:
            lattice = _shape(entries[f"density_lines[{m}]"])[1]
            expected = 1, lattice, components
        found = _shape(entry)
        text = "{} rows of {} cells of {} components"
        if min(found) < 1:
            raise FieldError(f"{name}: {text.format(*found)}")
        if found != expected:
            raise FieldError(
                f"{name}: {text.format(*found)}, where the lines ask for {text.format(*expected)}"
            )
        # The last chunk of a row is decoded as a whole one.
        chunk = max(1, int(entry["chunk"]))
        values += found[0] * -(-found[1] // chunk) * chunk * components
    if values > _MOST_VALUES:
        raise FieldError(
            f"the tensors decode to {values} values, short rows padded to whole chunks;"
            f" {_MOST_VALUES} are the most"
        )


def _read(data: bytes, entry: Any, name: str) -> Encoded:
    rows, cells, components = _shape(entry)
    layout = Layout(int(entry["chunk"]), int(entry["group"]))
    if layout != PLAIN and (
        layout.chunk not in CHUNKS or layout.group < 1 or components % layout.group
    ):
        raise FieldError(
            f"{name}: chunks of {layout.chunk} elements of {layout.group} components; a chunk has"
            f" {', '.join(map(str, CHUNKS))}, and groups divide the {components} components"
        )
    if not 2 <= entry["bits"] <= 16 or entry["unit"] > LARGEST_UNIT:
        raise FieldError(
            f"{name}: values of {entry['bits']} bits, unit {entry['unit']}; 2 .. 16 bits and"
            f" units 0 .. {LARGEST_UNIT} can be read"
        )
    if not (np.isfinite(entry["scale"]) and entry["scale"] > 0):
        raise FieldError(f"{name}: scale {entry['scale']}; it must be a finite number above 0")
    expected = 0
    if layout != PLAIN:
        expected = rows * -(-cells // layout.chunk) * (components // layout.group)
    if entry["entries"] != expected:
        raise FieldError(f"{name}: {entry['entries']} directory entries; it must have {expected}")
    for what, size in (("directory", 4 * expected), ("payload", int(entry["payload_bytes"]))):
        first = int(entry[what])
        if first % ALIGNMENT or first + size > len(data):
            raise FieldError(
                f"{name}: its {what} of {size} bytes is said to begin at byte {first} of"
                f" {len(data)}; it must begin at a multiple of {ALIGNMENT} and end inside"
            )
    directory = np.frombuffer(data, "<u4", expected, int(entry["directory"]))
    first = int(entry["payload"])
    payload = bytes(data[first : first + int(entry["payload_bytes"])])
    encoded = Encoded(
        rows, cells, components, int(entry["bits"]), np.float32(entry["scale"]), layout,
        int(entry["unit"]), directory.astype(np.uint32), payload,
    )  # fmt: skip
    check_encoded(encoded, name)
    return encoded


def check_encoded(encoded: Encoded, name: str) -> None:
    """FieldError unless every chunk can be decoded: the checks that hardware also makes.

    Mode 3; more elements than a chunk has; a chunk outside the payload; a bitmap that does not
    count as many as its entry; coordinates that do not rise; an element beyond the row's end. Also
    the most negative code, for which widths of fixed point have no room.
    """
    lowest = -1 << (encoded.bits - 1)
    if encoded.layout == PLAIN:
        values = encoded.rows * encoded.cells * encoded.components
        needed = int(whole_bytes(values * encoded.bits))
        if len(encoded.payload) != needed:
            raise FieldError(f"{name}: {len(encoded.payload)} bytes of values; it needs {needed}")
        if (plain_codes(encoded, unpack(encoded.payload)) == lowest).any():
            raise FieldError(f"{name}: has the code {lowest}, which is not used")
        return
    n, shape = encoded.layout.chunk, encoded.modes.shape
    modes, counts = encoded.modes.ravel(), encoded.counts.ravel()
    in_row = np.minimum(n, encoded.cells - n * np.arange(shape[1]))
    lengths = np.broadcast_to(in_row[:, None], shape).ravel()

    def refuse(wrong: Any, what: str) -> None:
        if wrong.any():
            at = np.unravel_index(int(np.argmax(wrong)), shape)
            row, chunk, group = map(int, at)
            raise FieldError(f"{name}: row {row}, chunk {chunk}, group {group}: {what}")

    refuse(modes > COORDINATES, "mode 3; a chunk is dense (0), bitmap (1) or coordinates (2)")
    refuse(counts > lengths, "counts more elements than the chunk has")
    refuse((modes == DENSE) & (counts != lengths), "is dense but does not count every element")
    element = encoded.layout.group * encoded.bits
    ends = values_at(encoded) + 8 * whole_bytes(counts * element)
    refuse(ends > 8 * len(encoded.payload), f"ends outside its payload of {len(encoded.payload)} B")
    bits = unpack(encoded.payload)
    chunk, at = coordinates(encoded, bits)
    falls = (chunk[1:] == chunk[:-1]) & (at[1:] <= at[:-1])
    wrong = np.zeros(len(modes), bool)
    wrong[chunk[1:][falls]] = True
    refuse(wrong, "its coordinates do not rise")
    stored = stored_elements(encoded, bits)
    refuse((modes == BITMAP) & (stored.sum(axis=1) != counts), "its bitmap and count differ")
    refuse((stored & (np.arange(n) >= lengths[:, None])).any(axis=1), "stores beyond the row's end")
    chunk, codes = stored_codes(encoded, bits)
    wrong = np.zeros(len(modes), bool)
    wrong[chunk[(codes == lowest).any(axis=1)]] = True
    refuse(wrong, f"has the code {lowest}, which is not used")
