"""Runs whole programs of `mmaovp` through a generated tensor core, without Python in the loop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oleaster.models.mmaovp import Opcode
from oleaster.models.tensor_core import REGISTER_BYTES, SIDE, fragments
from oleaster.sim.rtl.build import build_native
from oleaster.sim.rtl.engine import simulate, write_gaps
from oleaster.sim.rtl.toolchain import ToolError
from oleaster.sim.tensor_core import Program, assemble, gemm_cycles, gemm_program

__all__ = ["GemmResult", "MmaRun", "build_tensor_core", "run_gemm", "run_program"]

HARNESS = Path(__file__).with_name("mma_harness.sv")


@dataclass(frozen=True)
class MmaRun:
    """What came out of the tensor core.

    results: int32 (stores, 8, 8), in program order. cycles: first instruction taken to last D
    written, inclusive. flags: the sticky flags that are set. trace: uint32 (cycles, 2) from the
    first after reset, as mma_harness.sv describes.
    """

    results: np.ndarray
    cycles: int
    flags: frozenset[str]
    trace: np.ndarray | None


@dataclass(frozen=True)
class GemmResult:
    """The result of one GEMM.

    sums: int64 (M, N). overflow: whether any of them wrapped. cycles: as in `MmaRun`.
    """

    sums: np.ndarray
    overflow: bool
    cycles: int


def build_tensor_core(verilog: Path, manifest: Path) -> Path:
    """The simulator of the tensor core in `verilog`; takes seconds the first time."""
    address_bits = json.loads(manifest.read_text())["parameters"]["address_bits"]
    return build_native(
        [HARNESS, verilog],
        HARNESS.with_name("native_main.cpp"),
        top="mma_harness",
        arguments=[f"-DDUT={verilog.stem}", f"-GADDRESS_BITS={address_bits}"],
    )


def run_gemm(
    executable: Path,
    packed_a: np.ndarray,
    packed_b: np.ndarray,
    k: int,
    opcode: Opcode,
    *,
    address_bits: int = 9,
    gaps: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GemmResult:
    """C = A B^T through the simulator that `build_tensor_core` returned.

    Parameters
    ----------
    packed_a, packed_b: uint8 (M, bytes), (N, bytes)
        Packed codes of the opcode's formats, pairs along K.
    address_bits: int
        As the tensor core was generated.
    gaps, progress:
        As in `run_program`.

    Raises
    ------
    ToolError
        If the simulation does not finish.
    """
    m, n = len(packed_a), len(packed_b)
    fmt_a, fmt_b = opcode.formats
    operands = [
        fragments(packed, fmt.code_bits, opcode.width).reshape(-1, REGISTER_BYTES)
        for packed, fmt in ((packed_a, fmt_a), (packed_b, fmt_b))
    ]
    memory = np.concatenate([*operands, np.zeros((1, REGISTER_BYTES), np.uint8)])
    run = run_program(
        executable,
        gemm_program(m, k, n, opcode, address_bits),
        memory,
        address_bits=address_bits,
        gaps=gaps,
        expected_cycles=None if gaps is not None else gemm_cycles(m, k, n, opcode.width),
        progress=progress,
    )
    sums = assemble(run.results.astype(np.int64), m, n, address_bits)
    return GemmResult(sums, "overflow" in run.flags, run.cycles)


def run_program(
    executable: Path,
    program: Program,
    memory: np.ndarray,
    *,
    address_bits: int = 9,
    gaps: np.ndarray | None = None,
    trace: bool = False,
    expected_cycles: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MmaRun:
    """Run a program of at least one instruction through the simulator.

    Parameters
    ----------
    memory: uint8 (fragments, 128)
        What the program's loads number.
    gaps: bool, of a length that divides 1024
        As in `oleaster.sim.tensor_core.step`.
    expected_cycles: int
        The run is given up as stuck after 8 times as many.
    progress: callable
        Called with (instructions done, all instructions).

    Raises
    ------
    ToolError
        If the simulation does not finish.
    """
    with tempfile.TemporaryDirectory(prefix="oleaster-") as scratch:
        folder = Path(scratch)
        arguments = _write_inputs(folder, program, memory, address_bits)
        if gaps is not None:
            arguments.append(f"+gaps={write_gaps(folder / 'gaps.hex', [gaps])}")
        if trace:
            arguments.append(f"+trace={folder / 'trace.bin'}")
        if expected_cycles is not None:
            arguments.append(f"+max_cycles={8 * expected_cycles + 10_000}")
        total = len(program.instructions)
        cycles, bits = simulate([str(executable), *arguments], 2, total, progress)  # 2 writes each
        results = np.fromfile(folder / "results.bin", "<i4")
        if results.size != int(program.stores.sum()) * SIDE * SIDE:
            raise ToolError(f"the simulation wrote {4 * results.size} bytes of results, not all")
        edges = np.fromfile(folder / "trace.bin", "<u4").reshape(-1, 2) if trace else None
    flags = frozenset(name for bit, name in enumerate(("overflow", "illegal")) if bits >> bit & 1)
    return MmaRun(results.reshape(-1, SIDE, SIDE), cycles, flags, edges)


def _write_inputs(
    folder: Path, program: Program, memory: np.ndarray, address_bits: int
) -> list[str]:
    # $fread takes the first byte as the most significant one.
    count = len(program.instructions)
    entries = np.zeros((count, 2), ">u8")
    loads = np.bincount(program.loads[:, 0], minlength=count)
    entries[:, 0] = loads << 32 | program.stores
    entries[:, 1] = [instruction.encode(address_bits) for instruction in program.instructions]
    contents = {
        "instructions": entries.tobytes(),
        "loads": program.loads[:, 1:].astype(">u4").tobytes(),
        "fragments": memory[:, ::-1].tobytes(),
    }
    for name, content in contents.items():
        (folder / f"{name}.bin").write_bytes(content)
    files = [f"+{name}={folder / name}.bin" for name in (*contents, "results")]
    return [*files, f"+count={count}"]
