"""Emission of a complete 64x64 array: time, bytes and modules, with the bounds beside.

    python benchmarks/emit_verilog.py [--json]

Beside it, Amaranth's own `verilog.convert` of the same source at 8x8 and 16x16, which writes a
module for each instance. Exits 1 if a bound does not hold. Takes about half a minute.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from amaranth.back import verilog as amaranth_verilog

from oleaster.hw.emit import Unit, verilog, write_design
from oleaster.hw.library import build_unit

SIZE = 64
MOST_SECONDS = 8.0
MOST_BYTES = 120_000
MOST_MODULES = 12
COMPARED_SIZES = (8, 16)


def measure(text: str, seconds: float) -> dict[str, float]:
    modules = len(re.findall(r"^module ", text, re.M))
    return {"seconds": round(seconds, 2), "bytes": len(text.encode()), "modules": modules}


def array(size: int, formats: str = "olive4") -> Unit:
    """4-bit formats alone, unless said otherwise."""
    return build_unit("systolic", rows=size, cols=size, formats_a=formats, formats_b=formats)


def shared(size: int, formats: str = "olive4") -> dict[str, float]:
    """Our emission, files and manifest included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        source, _ = write_design(array(size, formats), Path(folder))
        seconds = time.perf_counter() - start
        return measure(source.read_text(), seconds)


def unshared(size: int) -> dict[str, float]:
    """Amaranth's own emission of the same source."""
    start = time.perf_counter()
    text = amaranth_verilog.convert(array(size), name="top", emit_src=False)
    return measure(text, time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    as_json = parser.parse_args().json

    verilog(array(2))  # Yosys compiles itself on its first run
    found, olive = shared(SIZE), shared(SIZE, "olive")
    bounds = {"seconds": MOST_SECONDS, "bytes": MOST_BYTES, "modules": MOST_MODULES}
    compared = [
        {"size": size, "shared": shared(size), "amaranth": unshared(size)}
        for size in COMPARED_SIZES
    ]
    holds = all(found[key] <= bound for key, bound in bounds.items())
    report = {
        "size": SIZE,
        "found": found,
        "olive": olive,
        "bounds": bounds,
        "holds": holds,
        "compared": compared,
    }
    if as_json:
        print(json.dumps(report, indent=2))
        return 0 if holds else 1
    print(f"{SIZE}x{SIZE} array, 4-bit operands")
    for key, bound in bounds.items():
        print(f"  {key:8} {found[key]:>10}   bound {bound:>8}")
    print(f"the same with 8 bits: {olive}")
    print("against Amaranth's own conversion (seconds, bytes, modules)")
    for row in compared:
        for kind in ("shared", "amaranth"):
            figures = row[kind]
            print(
                f"  {row['size']:>2}x{row['size']:<2} {kind:8} {figures['seconds']:>6} "
                f"{figures['bytes']:>9} {figures['modules']:>5}"
            )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
