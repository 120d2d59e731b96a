"""Runs whole GEMMs through a generated array in Verilator, without Python in the loop."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oleaster.models.formats import CodebookFormat
from oleaster.models.lane import Lane
from oleaster.sim.operand import Operand, operand_words
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.toolchain import ToolError
from oleaster.sim.systolic import Gaps
from oleaster.sim.tiling import Tiling, assemble_sums

__all__ = [
    "HARNESS",
    "ArraySimulator",
    "RtlRun",
    "build_array",
    "flag_names",
    "harness_arguments",
    "harness_build",
    "operand_arguments",
    "operand_build",
    "read_sums",
    "run_array",
    "simulate",
    "write_gaps",
]

HARNESS = Path(__file__).with_name("gemm_harness.sv")
GAP_PERIOD = 1024  # entries of the harness's gap memory


@dataclass(frozen=True)
class RtlRun:
    """What came out of the array.

    sums, overflow: (M, N), int64 and bool. cycles: first operand word taken to last word of sums
    taken, inclusive. flags: the sticky flags that are set. trace: uint8, one byte a cycle from
    the first after reset, bits {sums_ready, sums_valid, b_ready, b_valid, a_ready, a_valid}.
    """

    sums: np.ndarray
    overflow: np.ndarray
    cycles: int
    flags: frozenset[str]
    trace: np.ndarray | None


@dataclass(frozen=True)
class ArraySimulator:
    """A simulator that `build_array` made, and what it must know of its array."""

    executable: Path
    rows: int
    cols: int
    lane_a: Lane
    lane_b: Lane
    acc_bits: int

    @property
    def is_fusing(self) -> bool:
        """PEs can be fused: some format takes two lanes."""
        return max(self.lane_a.group, self.lane_b.group) == 2

    def tiling(self, a: Operand, b: Operand) -> Tiling:
        """The tiles of C = A B^T on this array."""
        return Tiling(
            len(a.codes),
            a.codes.shape[1],
            len(b.codes),
            self.rows,
            self.cols,
            a.format.lanes,
            b.format.lanes,
            self.is_fusing,
        )


def build_array(verilog: Path, manifest: Path) -> ArraySimulator:
    """The simulator of the array in `verilog`; takes seconds the first time."""
    of = json.loads(manifest.read_text())["parameters"]
    lane_a, lane_b = (Lane(tuple(of[f"formats_{side}"])) for side in "ab")
    parameters, defines = harness_build(verilog, manifest)
    executable = build_native(
        [HARNESS, verilog],
        HARNESS.with_name("native_main.cpp"),
        top="gemm_harness",
        arguments=[
            *(f"-D{name}={value}" for name, value in defines.items()),
            *(f"-G{name}={value}" for name, value in parameters.items()),
        ],
    )
    return ArraySimulator(executable, of["rows"], of["cols"], lane_a, lane_b, of["acc_bits"])


def harness_build(verilog: Path, manifest: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Verilog parameters and defines of gemm_harness for the array that `manifest` describes."""
    of = json.loads(manifest.read_text())["parameters"]
    parameters = {"COLS": of["cols"], "ACC_BITS": of["acc_bits"]}
    defines = {"DUT": verilog.stem}
    for side, lanes in (("a", of["rows"]), ("b", of["cols"])):
        operand_build(parameters, defines, side, Lane(tuple(of[f"formats_{side}"])), lanes)
    return parameters, defines


def operand_build(
    parameters: dict[str, int], defines: dict[str, str], side: str, lane: Lane, lanes: int
) -> None:
    """Add what a harness must know of the words of operand "a" or "b"."""
    parameters[f"WORD_BITS_{side.upper()}"] = lane.word_bits(lanes)
    parameters[f"FORMAT_BITS_{side.upper()}"] = lane.select_bits
    if lane.has_codebook:
        defines[f"TABLE_{side.upper()}"] = "1"
    if lane.has_blocks:
        defines["FLUSHED"] = "1"


def harness_arguments(
    folder: Path, array: ArraySimulator, a: Operand, b: Operand, gaps: Gaps | None
) -> list[str]:
    """Write the harness's input files to `folder` and return its plusargs."""
    tiling = array.tiling(a, b)
    arguments: dict[str, object] = {
        "sums": folder / "sums.bin",
        "tiles_a": tiling.tiles_a,
        "tiles_b": tiling.tiles_b,
        "tile_rows": tiling.tile_rows,
        "words": tiling.words,
    }
    for side, operand, lane, lanes in (
        ("a", a, array.lane_a, array.rows),
        ("b", b, array.lane_b, array.cols),
    ):
        arguments |= operand_arguments(
            folder, side, operand, lane, operand_words(operand, lane, lanes)
        )
    if gaps is not None:
        arguments["gaps"] = write_gaps(folder / "gaps.hex", (gaps.a, gaps.b, gaps.sums))
    return [f"+{name}={value}" for name, value in arguments.items()]


def operand_arguments(
    folder: Path, side: str, operand: Operand, lane: Lane, words: np.ndarray
) -> dict[str, object]:
    """Write the files of operand "a" or "b" to `folder` and return its plusargs by name.

    words: uint8 (..., bytes), as the harness reads them.
    """
    arguments: dict[str, object] = {side: folder / f"{side}.bin"}
    # $fread takes the first byte as the most significant one.
    (folder / f"{side}.bin").write_bytes(words[..., ::-1].tobytes())
    arguments[f"format_{side}"] = lane.select[operand.format.name]
    if isinstance(operand.format, CodebookFormat) and operand.format.entries is not None:
        table = operand.format.entries.astype(int) @ (1, 256)
        (folder / f"table_{side}.hex").write_text("\n".join(f"{entry:x}" for entry in table))
        arguments[f"table_{side}"] = folder / f"table_{side}.hex"
    return arguments


def write_gaps(path: Path, patterns: Sequence[np.ndarray]) -> Path:
    """Write the gap memory of a harness, the first pattern in its lowest bit."""
    bits = np.zeros(GAP_PERIOD, int)
    for position, pattern in enumerate(patterns):
        if GAP_PERIOD % len(pattern):
            raise ValueError(f"a gap pattern of {len(pattern)} does not divide {GAP_PERIOD}")
        bits |= np.tile(pattern, GAP_PERIOD // len(pattern)).astype(int) << position
    path.write_text("\n".join(f"{value:x}" for value in bits))
    return path


def read_sums(path: Path, tiling: Tiling, acc_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(sums int64, overflow bool), both (M, N), from the file that the harness wrote."""
    cols = tiling.cols
    word_bytes = -(-((acc_bits + 1) * cols + 1) // 32) * 4
    raw = np.fromfile(path, np.uint8)
    if raw.size != tiling.tiles * tiling.tile_rows * word_bytes:
        raise ToolError(f"the simulation wrote {raw.size} bytes of sums instead of all")
    raw = raw.reshape(-1, word_bytes)
    if acc_bits == 32:
        sums = raw[:, : 4 * cols].copy().view("<i4").astype(np.int64)
        bits = np.unpackbits(raw[:, 4 * cols :], axis=1, bitorder="little")[:, : cols + 1]
    else:
        every = np.unpackbits(raw, axis=1, bitorder="little")
        fields = every[:, : acc_bits * cols].reshape(-1, cols, acc_bits).astype(np.int64)
        weights = 1 << np.arange(acc_bits, dtype=np.int64)
        weights[-1] = -weights[-1]
        sums = fields @ weights
        bits = every[:, acc_bits * cols : (acc_bits + 1) * cols + 1]
    last = bits[:, cols].astype(bool).reshape(tiling.tiles, tiling.tile_rows)
    if last[:, :-1].any() or not last[:, -1].all():
        raise ToolError("the array marked the wrong rows as the last of their tiles")
    overflow = bits[:, :cols].astype(bool)
    # Between sums of elements of two lanes there are places without one.
    for lane in range(1, tiling.lanes_b):
        if sums[:, lane :: tiling.lanes_b].any() or overflow[:, lane :: tiling.lanes_b].any():
            raise ToolError("the array left something in the places between its sums")
    used = tiling.tile_cols * tiling.lanes_b
    shape = (tiling.tiles, tiling.tile_rows, tiling.tile_cols)
    return (
        assemble_sums(sums[:, : used : tiling.lanes_b].reshape(shape), tiling),
        assemble_sums(overflow[:, : used : tiling.lanes_b].reshape(shape), tiling),
    )


def run_array(
    array: ArraySimulator,
    a: Operand,
    b: Operand,
    *,
    gaps: Gaps | None = None,
    trace: bool = False,
    expected_cycles: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RtlRun:
    """Stream C = A B^T through the simulator that `build_array` returned.

    Parameters
    ----------
    a, b: Operand
        In formats that the array's lanes read.
    expected_cycles: int
        The run is given up as stuck after 8 times as many.
    progress: callable
        Called with (finished tiles, all tiles).

    Raises
    ------
    ToolError
        If the simulation fails or does not come to its end.
    """
    tiling = array.tiling(a, b)
    with tempfile.TemporaryDirectory(prefix="oleaster-") as scratch:
        folder = Path(scratch)
        arguments = harness_arguments(folder, array, a, b, gaps)
        if trace:
            arguments.append(f"+trace={folder / 'trace.bin'}")
        if expected_cycles is not None:
            arguments.append(f"+max_cycles={8 * expected_cycles + 10_000}")
        command = [str(array.executable), *arguments]
        cycles, flags = simulate(command, tiling.tile_rows, tiling.tiles, progress)
        sums, overflow = read_sums(folder / "sums.bin", tiling, array.acc_bits)
        edges = np.fromfile(folder / "trace.bin", np.uint8) if trace else None
    return RtlRun(sums, overflow, cycles, flag_names(flags), edges)


def flag_names(bits: int) -> frozenset[str]:
    """Those of an array's sticky flags that are set."""
    names = ("overflow", "illegal", "misaligned", "flushed")
    return frozenset(name for bit, name in enumerate(names) if bits >> bit & 1)


def simulate(
    command: list[str], tile_rows: int, tiles: int, progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    """Run a simulator of an array; (cycles, flags). A tile gives `tile_rows` words of sums.

    Raises ToolError if it does not come to its end.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if progress is not None and line.startswith("rows "):
                    progress(int(line.split()[1]) // tile_rows, tiles)
        except BaseException:
            process.kill()
            raise
    outcome = lines[-1].split() if lines else []
    if process.returncode or not outcome or outcome[0] != "done":
        tail = "; ".join(lines[-4:]) or f"exit code {process.returncode}"
        raise ToolError(f"the simulation did not finish: {tail}")
    if progress is not None:
        progress(tiles, tiles)
    return int(outcome[1]), int(outcome[2])
