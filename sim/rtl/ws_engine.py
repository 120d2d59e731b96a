"""Runs whole GEMMs through a generated weight-stationary array, without Python in the loop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oleaster.models.lane import Lane
from oleaster.sim.operand import Operand
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.engine import (
    RtlRun,
    flag_names,
    operand_arguments,
    operand_build,
    read_sums,
    simulate,
    write_gaps,
)
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_stationary import WeightGaps
from oleaster.sim.weight_tiling import (
    WeightTiling,
    activation_words,
    pads_with_zeros,
    weight_words,
)

__all__ = ["HARNESS", "WeightArraySimulator", "build_weight_array", "run_weight_array"]

HARNESS = Path(__file__).with_name("ws_harness.sv")


@dataclass(frozen=True)
class WeightArraySimulator:
    """A simulator that `build_weight_array` made, and what it must know of its array."""

    executable: Path
    rows: int
    cols: int
    lane_a: Lane
    lane_b: Lane
    acc_bits: int

    def tiling(self, a: Operand, b: Operand) -> WeightTiling:
        """The passes of C = A B^T on this array."""
        (m, k), n = a.codes.shape, len(b.codes)
        return WeightTiling(m, k, n, self.rows, self.cols, a.format.lanes, b.format.lanes)


def build_weight_array(verilog: Path, manifest: Path) -> WeightArraySimulator:
    """The simulator of the weight-stationary array in `verilog`; takes seconds the first time."""
    of = json.loads(manifest.read_text())["parameters"]
    lane_a, lane_b = (Lane(tuple(of[f"formats_{side}"])) for side in "ab")
    parameters = {
        **{"COLS": of["cols"], "ACC_BITS": of["acc_bits"]},
        **{"REPEAT_BITS": lane_a.group - 1, "FUSE_BITS": lane_b.group - 1},
    }
    defines = {"DUT": verilog.stem}
    operand_build(parameters, defines, "a", lane_a, of["rows"] // 2)
    operand_build(parameters, defines, "b", lane_b, of["cols"])
    executable = build_native(
        [HARNESS, verilog],
        HARNESS.with_name("native_main.cpp"),
        top="ws_harness",
        arguments=[
            *(f"-D{name}={value}" for name, value in defines.items()),
            *(f"-G{name}={value}" for name, value in parameters.items()),
        ],
    )
    return WeightArraySimulator(executable, of["rows"], of["cols"], lane_a, lane_b, of["acc_bits"])


def run_weight_array(
    array: WeightArraySimulator,
    a: Operand,
    b: Operand,
    *,
    gaps: WeightGaps | None = None,
    trace: bool = False,
    expected_cycles: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RtlRun:
    """Stream C = A B^T through the simulator that `build_weight_array` returned.

    Parameters
    ----------
    a, b: Operand
        In formats that the array's lanes read. Block exponents of A have a base for every row,
        those of B one for every `cols // lanes` rows.
    expected_cycles: int
        The run is given up as stuck after 8 times as many.
    progress: callable
        Called with (finished passes, all passes).

    Returns
    -------
    RtlRun
        `cycles` from the first weight word taken; `trace` one byte a cycle, bits {sums_ready,
        sums_valid, partial_ready, partial_valid, b_ready, b_valid, a_ready, a_valid}.

    Raises
    ------
    ValueError
        If K does not fill its tiles and both operands have codebooks without (0, 0) in entry 0.
    ToolError
        If the simulation fails or does not come to its end.
    """
    tiling = array.tiling(a, b)
    if tiling.k % tiling.tile_k and not (pads_with_zeros(a.format) or pads_with_zeros(b.format)):
        raise ValueError(
            f"K = {tiling.k} is no multiple of {tiling.tile_k} and must be filled up, but no "
            "operand has a code for zeros; entry 0 of a codebook must be (0, 0)"
        )
    with tempfile.TemporaryDirectory(prefix="oleaster-") as scratch:
        folder = Path(scratch)
        arguments = {
            **operand_arguments(
                folder, "a", a, array.lane_a, activation_words(a, array.lane_a, tiling)
            ),
            **operand_arguments(
                folder, "b", b, array.lane_b, weight_words(b, array.lane_b, tiling)
            ),
            "sums": folder / "sums.bin",
            "rows": tiling.m,
            "words": tiling.words,
            "tiles_k": tiling.tiles_k,
            "tiles_b": tiling.tiles_b,
            "group": tiling.group,
            "repeat": tiling.lanes_a - 1,
            "fuse": tiling.lanes_b - 1,
        }
        if gaps is not None:
            patterns = (gaps.a, gaps.b, gaps.partial, gaps.sums)
            arguments["gaps"] = write_gaps(folder / "gaps.hex", patterns)
        if trace:
            arguments["trace"] = folder / "trace.bin"
        if expected_cycles is not None:
            arguments["max_cycles"] = 8 * expected_cycles + 10_000
        command = [str(array.executable), *(f"+{name}={x}" for name, x in arguments.items())]
        cycles, flags = simulate(command, tiling.m, tiling.passes, progress)
        # The last passes give all rows of A for one tile of B after the other.
        columns = Tiling(tiling.m, tiling.k, tiling.n, tiling.m, tiling.cols, 1, tiling.lanes_b)
        sums, overflow = read_sums(folder / "sums.bin", columns, array.acc_bits)
        edges = np.fromfile(folder / "trace.bin", np.uint8) if trace else None
    return RtlRun(sums, overflow, cycles, flag_names(flags), edges)
