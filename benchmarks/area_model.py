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
from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.synth.area import accelerator_memory_bits, accelerator_terms, array_terms
from oleaster.synth.synthesis import synthesise

OUTPUT = Path("oleaster/synth/area_model.json")

ROWS, COLS = (2, 4, 8), (2, 4, 8)
ROWS_OF_FOUR = (4, 8, 12)  # where they must be multiples of four
CHECKS = ((16, 16), (4, 16), (16, 4))
UNITS = {"os": "systolic", "ws": "weight-stationary"}
ACCELERATOR_KEYS = ("rows", "cols", "data_bits", "scratchpad_beats", "outstanding")
ACCELERATORS = (
    (4, 4, 64, 128, 64),
    (8, 4, 64, 128, 64),
    (4, 8, 64, 128, 64),
    (8, 8, 64, 128, 64),
    (4, 8, 128, 128, 64),
    (8, 8, 128, 128, 64),
    (12, 8, 128, 128, 64),
    (4, 16, 128, 128, 64),
    (4, 16, 256, 128, 64),
    (8, 16, 256, 128, 64),
    (8, 8, 128, 32, 64),
    (4, 8, 64, 1024, 64),
    (8, 8, 64, 128, 16),
    (4, 8, 128, 128, 256),
)
ACCELERATOR_CHECKS = ((16, 16, 128, 128, 64),)
LANES = (("olive4", "olive4"), ("olive4", "olive"), ("olive", "olive"))


def array_point(dataflow: str, a: str, b: str, rows: int, cols: int) -> dict[str, Any]:
    unit = build_unit(UNITS[dataflow], rows=rows, cols=cols, formats_a=a, formats_b=b)
    area = synthesise(unit).gate_equivalents
    print(f"{unit.module_name}: {area:,.0f}", file=sys.stderr, flush=True)
    return {"rows": rows, "cols": cols, "gate_equivalents": area}


def fit(terms: np.ndarray, areas: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Coefficients of least squared error, relative to `areas`, of which `known` is not fitted.

    terms: (points, terms).
    """
    scaled = terms / areas[:, None]
    size = np.abs(scaled).max(axis=0)  # columns of one magnitude, for the solver's sake
    return np.linalg.lstsq(scaled / size, 1 - known / areas, rcond=None)[0] / size


def family(points: list[Any], checks: list[Any], terms_of: Any, known_of: Any) -> Any:
    """Fits `points`, compares `checks`; what of a point its area is a sum of, and what is known."""
    areas, held = (
        np.array([each["gate_equivalents"] for each in some]) for some in (points, checks)
    )
    terms = np.array([terms_of(each) for each in points], float)
    known = np.array([known_of(each) for each in points], float)
    coefficients = fit(terms, areas, known)
    errors = []
    for out in range(len(areas)):
        kept = np.arange(len(areas)) != out
        found = fit(terms[kept], areas[kept], known[kept])
        errors.append(100 * ((terms[out] @ found + known[out]) / areas[out] - 1))
        points[out]["left_out_error_pct"] = round(errors[-1], 3)
    for check, area in zip(checks, held, strict=True):
        found = np.array(terms_of(check)) @ coefficients + known_of(check)
        check["error_pct"] = round(100 * (found / area - 1), 3)
    return {
        "coefficients": [float(f"{each:.8g}") for each in coefficients],
        "loo_error_pct": round(max(map(abs, errors)), 3),
        "points": points,
        "checks": checks,
    }


def array_family(dataflow: str, a: str, b: str, found: Any) -> Any:
    rows = ROWS_OF_FOUR if dataflow == "ws" and a == "olive" else ROWS
    points = [array_point(dataflow, a, b, *size) for size in (*product(rows, COLS), (8, 6))]
    checks = [array_point(dataflow, a, b, *size) for size in CHECKS]
    return family(
        points, checks, lambda x: array_terms(dataflow, x["rows"], x["cols"]), lambda x: 0.0
    )


def accelerator_point(**sizes: int) -> dict[str, Any]:
    unit = build_unit("accelerator", **sizes)
    found = synthesise(unit)
    print(f"{unit.module_name}: {found.gate_equivalents:,.0f}", file=sys.stderr, flush=True)
    config = AcceleratorConfig(**sizes)
    if found.memory_bits != accelerator_memory_bits(config):
        raise SystemExit(
            f"{unit.module_name}: memories of {found.memory_bits} bits, and "
            f"accelerator_memory_bits says {accelerator_memory_bits(config)}"
        )
    return {**sizes, "gate_equivalents": found.gate_equivalents}


def accelerator_family(found: Any) -> Any:
    """Of all but the array, which has its own fit."""
    points, checks = (
        [accelerator_point(**dict(zip(ACCELERATOR_KEYS, each, strict=True))) for each in some]
        for some in (ACCELERATORS, ACCELERATOR_CHECKS)
    )
    array = found["array-os-olive-olive"]["coefficients"]

    def terms(point: Any) -> list[float]:
        config = AcceleratorConfig(**{key: point[key] for key in ACCELERATOR_KEYS})
        return accelerator_terms(config)

    def known(point: Any) -> float:
        return float(np.dot(array, array_terms("os", point["rows"], point["cols"])))

    return family(points, checks, terms, known)


FAMILIES = {
    f"array-{dataflow}-{a}-{b}": partial(array_family, dataflow, a, b)
    for dataflow in UNITS
    for a, b in LANES
} | {"accelerator-olive-olive": accelerator_family}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    found = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {"families": {}}
    for name in parser.parse_args().families or FAMILIES:
        found["families"][name] = FAMILIES[name](found["families"])
        print(f"{name}: {found['families'][name]['loo_error_pct']} %", file=sys.stderr)
        OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
