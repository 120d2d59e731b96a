"""Runs whole GEMMs through a generated array in Verilator, without Python in the loop."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.toolchain import ToolError
from oleaster.sim.systolic import Gaps
from oleaster.sim.tiling import Tiling, assemble_sums

__all__ = [
    "HARNESS",
    "RtlRun",
    "build_array",
    "harness_arguments",
    "harness_parameters",
    "read_sums",
    "run_array",
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


def build_array(verilog: Path, manifest: Path) -> Path:
    """The simulator of the array in `verilog`; takes seconds the first time."""
    parameters = harness_parameters(manifest)
    return build_native(
        [HARNESS, verilog],
        HARNESS.with_name("native_main.cpp"),
        top="gemm_harness",
        arguments=[f"-DDUT={verilog.stem}", *(f"-G{k}={v}" for k, v in parameters.items())],
    )


def harness_parameters(manifest: Path) -> dict[str, int]:
    """The Verilog parameters of gemm_harness for the array that `manifest` describes."""
    names = ("rows", "cols", "code_bits_a", "code_bits_b", "acc_bits")
    parameters = json.loads(manifest.read_text())["parameters"]
    return {name.upper(): parameters[name] for name in names}


def harness_arguments(
    folder: Path,
    tiling: Tiling,
    words_a: np.ndarray,
    words_b: np.ndarray,
    *,
    flint: tuple[bool, bool],
    gaps: Gaps | None,
) -> list[str]:
    """Write the harness's input files to `folder` and return its plusargs."""
    for name, words in (("a", words_a), ("b", words_b)):
        # $fread takes the first byte as the most significant one.
        (folder / f"{name}.bin").write_bytes(words[..., ::-1].tobytes())
    arguments = {
        "a": folder / "a.bin",
        "b": folder / "b.bin",
        "sums": folder / "sums.bin",
        "tiles_a": tiling.tiles_a,
        "tiles_b": tiling.tiles_b,
        "words": tiling.words,
        "flint_a": int(flint[0]),
        "flint_b": int(flint[1]),
    }
    if gaps is not None:
        arguments["gaps"] = write_gaps(folder / "gaps.hex", gaps)
    return [f"+{name}={value}" for name, value in arguments.items()]


def write_gaps(path: Path, gaps: Gaps) -> Path:
    bits = np.zeros(GAP_PERIOD, int)
    for position, pattern in enumerate((gaps.a, gaps.b, gaps.sums)):
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
    if raw.size != tiling.tiles * tiling.rows * word_bytes:
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
    last = bits[:, cols].astype(bool).reshape(tiling.tiles, tiling.rows)
    if last[:, :-1].any() or not last[:, -1].all():
        raise ToolError("the array marked the wrong rows as the last of their tiles")
    shape = (tiling.tiles, tiling.rows, cols)
    return (
        assemble_sums(sums.reshape(shape), tiling),
        assemble_sums(bits[:, :cols].astype(bool).reshape(shape), tiling),
    )


def run_array(
    executable: Path,
    tiling: Tiling,
    words_a: np.ndarray,
    words_b: np.ndarray,
    *,
    acc_bits: int = 32,
    flint: tuple[bool, bool] = (False, False),
    gaps: Gaps | None = None,
    trace: bool = False,
    expected_cycles: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RtlRun:
    """Stream a GEMM through the simulator that `build_array` returned.

    Parameters
    ----------
    words_a, words_b: uint8 arrays
        From `tiling.operand_words`.
    flint: (bool, bool)
        Normal type of A and B is flint4.
    expected_cycles: int
        The run is given up as stuck after 8 times as many.
    progress: callable
        Called with (finished tiles, all tiles).

    Raises
    ------
    ToolError
        If the simulation fails or does not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="oleaster-") as scratch:
        folder = Path(scratch)
        arguments = harness_arguments(folder, tiling, words_a, words_b, flint=flint, gaps=gaps)
        if trace:
            arguments.append(f"+trace={folder / 'trace.bin'}")
        if expected_cycles is not None:
            arguments.append(f"+max_cycles={8 * expected_cycles + 10_000}")
        cycles, flags = _simulate([str(executable), *arguments], tiling, progress)
        sums, overflow = read_sums(folder / "sums.bin", tiling, acc_bits)
        edges = np.fromfile(folder / "trace.bin", np.uint8) if trace else None
    names = ("overflow", "illegal", "misaligned")
    present = frozenset(name for bit, name in enumerate(names) if flags >> bit & 1)
    return RtlRun(sums, overflow, cycles, present, edges)


def _simulate(
    command: list[str], tiling: Tiling, progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if progress is not None and line.startswith("rows "):
                    progress(int(line.split()[1]) // tiling.rows, tiling.tiles)
        except BaseException:
            process.kill()
            raise
    outcome = lines[-1].split() if lines else []
    if process.returncode or not outcome or outcome[0] != "done":
        tail = "; ".join(lines[-4:]) or f"exit code {process.returncode}"
        raise ToolError(f"the simulation did not finish: {tail}")
    if progress is not None:
        progress(tiling.tiles, tiling.tiles)
    return int(outcome[1]), int(outcome[2])
