"""Networks from CSV files: a row for each GEMM, as in SCALE-Sim's GEMM topology."""

import csv
import re
from pathlib import Path

from oleaster.sim.networks.layer import MAX_SIDE, Layer, Network, NetworkError

__all__ = ["read_csv"]


def read_csv(path: Path | str) -> Network:
    """Read a table whose first line is `Layer, M, N, K`, each row the GEMM (M, K) x (K, N).

    Names are in the first column. The others are found by name, in any order and case; a comma at
    a line's end, blanks and empty lines do not matter. SCALE-Sim's column `Sparsity` may be there
    if it says 1:1 (dense) in every row. Layers are of kind "linear".

    Raises
    ------
    NetworkError
        The file cannot be read or is not UTF-8, a column is missing or not known, or a value is
        no whole number 1 .. `MAX_SIDE`, or a name has control characters; the message has the
        line's number.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise NetworkError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    reader = csv.reader(text.splitlines(keepends=True), skipinitialspace=True)
    columns: dict[str, int] | None = None
    layers = []
    try:
        for fields in reader:
            row = [value.strip() for value in fields]
            while row and not row[-1]:
                row.pop()
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            if columns is None:
                columns = _columns(row, where)
            else:
                layers.append(_layer(row, columns, where))
    except csv.Error as error:
        raise NetworkError(f"{path}, line {reader.line_num}: is not CSV: {error}") from error
    if columns is None:
        raise NetworkError(f"{path}: is empty; its first line must be Layer, M, N, K")
    if not layers:
        raise NetworkError(f"{path}: has no row below the names of its columns")
    return Network(path.stem, f"GEMMs of {path.name}", tuple(layers))


def _columns(row: list[str], where: str) -> dict[str, int]:
    """Column name in lower case -> index."""
    names = [name.lower() for name in row]
    if any(name.startswith("ifmap") for name in names):
        raise NetworkError(
            f"{where}: is SCALE-Sim's topology of convolutions; only that of GEMMs, whose columns "
            "are Layer, M, N, K, is read"
        )
    if names[0] in ("m", "n", "k"):
        raise NetworkError(f"{where}: the first column must have the layers' names, then M, N, K")
    for name in names[1:]:
        if name not in ("m", "n", "k", "sparsity"):
            raise NetworkError(f"{where}: the column {name!r} is not known; those are M, N, K")
        if names.count(name) > 1:
            raise NetworkError(f"{where}: the column {name.upper()} is there more than once")
    for name in ("m", "n", "k"):
        if name not in names:
            raise NetworkError(
                f"{where}: the column {name.upper()} is missing from {', '.join(row)}"
            )
    return {name: index for index, name in enumerate(names) if index}


def _layer(row: list[str], columns: dict[str, int], where: str) -> Layer:
    if len(row) > len(columns) + 1:
        raise NetworkError(f"{where}: has {len(row)} values for {len(columns) + 1} columns")
    if not row[0]:
        raise NetworkError(f"{where}: the layer's name is empty")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", row[0]):
        raise NetworkError(f"{where}: the layer's name {row[0]!r} has control characters")
    sizes = {}
    for name, index in columns.items():
        value = row[index] if index < len(row) else ""
        if name == "sparsity":
            if value not in ("", "1:1"):
                raise NetworkError(
                    f"{where}: sparsity is {value!r}; only dense GEMMs, 1:1, are read"
                )
            continue
        if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= MAX_SIDE:
            raise NetworkError(
                f"{where}: {name.upper()} is {value!r}; it must be a whole number, 1 .. {MAX_SIDE}"
            )
        sizes[name] = int(value)
    return Layer(row[0], "linear", sizes["m"], sizes["k"], sizes["n"])
