# amaranth: UnusedElaboratable=no
"""Fits areas to small sizes: oleaster/synth/area_model.json, which `estimate_area` reads.

    python benchmarks/area_model.py [FAMILY ...]

Each size is synthesised for generic gates, its modules apart. The fit is least squares of relative
errors; each size is then left out of it once, and the largest error of such a size is the family's.
Sizes in `CHECKS` are never fitted. Families that are not named stay as they are in the file. All
of them take an hour, from the cache seconds.
"""

import argparse
import json
import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from oleaster.hw.library import build_unit
from oleaster.synth.area import array_terms
from oleaster.synth.synthesis import synthesise

OUTPUT = Path("oleaster/synth/area_model.json")

ROWS, COLS = (2, 4, 8), (2, 4, 8)
ROWS_OF_FOUR = (4, 8, 12)  # where they must be multiples of four
CHECKS = ((16, 16), (4, 16), (16, 4))
UNITS = {"os": "systolic", "ws": "weight-stationary"}
LANES = (("olive4", "olive4"), ("olive4", "olive"), ("olive", "olive"))


def array_point(dataflow: str, a: str, b: str, rows: int, cols: int) -> dict[str, Any]:
    unit = build_unit(UNITS[dataflow], rows=rows, cols=cols, formats_a=a, formats_b=b)
    area = synthesise(unit).gate_equivalents
    print(f"{unit.module_name}: {area:,.0f}", file=sys.stderr, flush=True)
    return {"rows": rows, "cols": cols, "gate_equivalents": area}


def fit(terms: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Coefficients of least squared relative error; terms: (points, terms)."""
    scaled = terms / areas[:, None]
    size = np.abs(scaled).max(axis=0)  # columns of one magnitude, for the solver's sake
    return np.linalg.lstsq(scaled / size, np.ones(len(areas)), rcond=None)[0] / size


def family(terms: list[list[float]], points: list[Any], checks: list[Any], held: Any) -> Any:
    """held: terms of the checks."""
    matrix = np.array(terms, float)
    areas = np.array([point["gate_equivalents"] for point in points])
    coefficients = fit(matrix, areas)
    errors = []
    for out in range(len(areas)):
        kept = np.arange(len(areas)) != out
        errors.append(100 * (matrix[out] @ fit(matrix[kept], areas[kept]) / areas[out] - 1))
    for check, row in zip(checks, held, strict=True):
        check["error_pct"] = round(100 * (row @ coefficients / check["gate_equivalents"] - 1), 3)
    for point, error in zip(points, errors, strict=True):
        point["left_out_error_pct"] = round(error, 3)
    return {
        "coefficients": [float(f"{each:.8g}") for each in coefficients],
        "loo_error_pct": round(max(map(abs, errors)), 3),
        "points": points,
        "checks": checks,
    }


def array_family(dataflow: str, a: str, b: str) -> Any:
    rows = ROWS_OF_FOUR if dataflow == "ws" and a == "olive" else ROWS
    points = [array_point(dataflow, a, b, *size) for size in (*product(rows, COLS), (8, 6))]
    checks = [array_point(dataflow, a, b, *size) for size in CHECKS]
    terms, held = (
        [array_terms(dataflow, each["rows"], each["cols"]) for each in some]
        for some in (points, checks)
    )
    return family(terms, points, checks, held)


FAMILIES = {
    f"array-{dataflow}-{a}-{b}": partial(array_family, dataflow, a, b)
    for dataflow in UNITS
    for a, b in LANES
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    found = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {"families": {}}
    for name in parser.parse_args().families or FAMILIES:
        found["families"][name] = FAMILIES[name]()
        print(f"{name}: {found['families'][name]['loo_error_pct']} %", file=sys.stderr)
        OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
