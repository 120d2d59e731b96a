"""Our simulator beside SCALE-Sim v3 (PyPI `scalesim`), and by itself.

Cycles: on dense output-stationary GEMMs of many shapes, SCALE-Sim's must equal its formula, and
ours less SCALE-Sim's the sum of four terms (docs/scale-sim.md). Speed: both simulate the same GEMMs
on the same array, by default one of BERT-base, with `--full` all of one layer (minutes, gigabytes).
Then ours alone, in fresh processes: whole networks, and points (design, network) in a minute on two
processes. Exits 1 if a formula does not hold or a time is above its limit; ours has one thread, so
limits are held against its processor's time, which other work on the machine changes less.

    python benchmarks/simulate.py [--full] [--json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from oleaster.config import load_design
from oleaster.sim.networks import Layer, Network, load_network
from oleaster.sim.performance.design import ArrayDesign
from oleaster.sim.performance.simulate import simulate
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling

ARRAYS = ((8, 8), (16, 16), (4, 12), (12, 4))
SHAPES = (  # M, K, N: one tile, deep, shallow, odd K, ragged, a row, a column
    (8, 8, 8),
    (16, 64, 16),
    (48, 32, 24),
    (32, 4, 32),
    (40, 6, 8),
    (16, 9, 16),
    (17, 40, 33),
    (5, 1, 7),
    (1, 30, 50),
    (50, 30, 1),
)
DESIGN = "olive-64x64"
LIMITS_S = {("bert-base", 128): 0.050, ("opt-6.7b", 2048): 0.200}
LEAST_POINTS_PER_MINUTE = 10_000

CONFIG = """
[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = {activation_kb}
FilterSramSzkB = {weight_kb}
OfmapSramSzkB = {output_kb}
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = os
ReadRequestBuffer = 32
WriteRequestBuffer = 32
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""

# SCALE-Sim 3.0.0 converts arrays of one element to int, which numpy no longer does, always around
# max(); its modules get a max() that gives a number, and are as published otherwise. No traces are
# written. Times are those of the run alone, without imports.
SCALE_SIM = """
import builtins, json, resource, sys, time
import numpy as np
from scalesim.scale_sim import scalesim
def scalar_max(*values):
    found = builtins.max(*values)
    return found.item() if isinstance(found, np.ndarray) else found
for name, module in list(sys.modules.items()):
    if name.startswith("scalesim.memory"):
        module.max = scalar_max
started, cpu = time.perf_counter(), time.process_time()
scalesim(save_disk_space=True, verbose=False, config="config", topology="gemms.csv",
         layout="layout.csv", input_type_gemm=True).run_scale(top_path=".")
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_bytes": peak}))
"""

OURS = """
import json, sys, time
from oleaster.config import load_design
from oleaster.sim.networks import load_network
from oleaster.sim.performance.simulate import simulate
name, sequence, design, memory = sys.argv[1:]
design = load_design(design)
started, cpu = time.perf_counter(), time.process_time()
simulate(load_network(name, sequence=int(sequence)), design, memory=memory)
print(json.dumps([time.perf_counter() - started, time.process_time() - cpu]))
"""

# Every batch is a new size, so no layer that matters was simulated before. Designs of kind
# "accelerator" are left out: their exact cycle model walks through bursts, for seconds.
POINTS = """
import itertools, json, sys, time
from oleaster.config import design_names, load_design, read_design
from oleaster.sim.networks import NETWORKS, load_network
from oleaster.sim.performance.design import AcceleratorDesign
from oleaster.sim.performance.simulate import simulate
loaded = [load_design(name) for name in design_names() if read_design(name).simulation]
designs = [design for design in loaded if not isinstance(design, AcceleratorDesign)]
first, step, seconds = map(int, sys.argv[1:4])
memory = sys.argv[4]
points, started, cpu = 0, time.perf_counter(), time.process_time()
for batch in itertools.count(first, step):
    for name in NETWORKS:
        network = load_network(name, batch=batch)
        for design in designs:
            simulate(network, design, memory=memory)
            points += 1
            if time.perf_counter() - started > seconds:
                minutes = (time.perf_counter() - started) / 60, (time.process_time() - cpu) / 60
                print(json.dumps([points / minute for minute in minutes]))
                sys.exit()
"""


def run_scale_sim(
    gemms: list[tuple[int, int, int]], rows: int, cols: int, kilobytes: tuple[int, int, int]
) -> dict:
    """All (M, K, N) on one array; buffers of activations, weights, outputs. Cycles are reported."""
    activation_kb, weight_kb, output_kb = kilobytes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config").write_text(
            CONFIG.format(
                rows=rows,
                cols=cols,
                activation_kb=activation_kb,
                weight_kb=weight_kb,
                output_kb=output_kb,
            )
        )
        table = [f"g{i}, {m}, {n}, {k},\n" for i, (m, k, n) in enumerate(gemms)]
        (folder / "gemms.csv").write_text("Layer, M, N, K,\n" + "".join(table))
        layout = [f"g{i}, {'1, ' * 9}\n" for i in range(len(gemms))]  # read, but not used
        (folder / "layout.csv").write_text("Layer,\n" + "".join(layout))
        done = subprocess.run(
            [sys.executable, "-c", SCALE_SIM], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            missing = "No module named 'scalesim'" in done.stderr
            hint = "pip install 'oleaster[bench]'" if missing else done.stderr[-2000:]
            sys.exit(f"error: SCALE-Sim did not run: {hint}")
        report = (folder / "run/COMPUTE_REPORT.csv").read_text().splitlines()[1:]
        figures = json.loads(done.stdout.splitlines()[-1])
    fields = [[float(x) for x in line.split(",")[2:4]] for line in report]
    return {**figures, "cycles": [int(c) for c, _ in fields], "stalls": [int(s) for _, s in fields]}


def scale_sim_formula(m: int, k: int, n: int, rows: int, cols: int) -> int:
    """Cycles that SCALE-Sim reports: folds one after the other, numbered from 0."""
    folds = -(-m // rows) * -(-n // cols)
    return folds * (k + rows + cols - 2) - 1


def terms(m: int, k: int, n: int, rows: int, cols: int) -> dict[str, int]:
    """What ours has more than SCALE-Sim's."""
    tiles, depth = -(-m // rows) * -(-n // cols), k + k % 2
    return {
        "padding": tiles * (depth - k),
        "drain_wait": (tiles - 1) * max(0, rows - depth),
        "overlap": -(tiles - 1) * (rows + cols - 2),
        "registers": 5,
    }


def compare_cycles() -> list[dict]:
    results = []
    for rows, cols in ARRAYS:
        peer = run_scale_sim(list(SHAPES), rows, cols, (256, 128, 128))
        for (m, k, n), cycles, stalls in zip(SHAPES, peer["cycles"], peer["stalls"], strict=True):
            ours = gemm_cycles(Tiling(m, k, n, rows, cols))
            parts = terms(m, k, n, rows, cols)
            formula = scale_sim_formula(m, k, n, rows, cols)
            results.append(
                {
                    "rows": rows,
                    "cols": cols,
                    "m": m,
                    "k": k,
                    "n": n,
                    "scale_sim_cycles": cycles,
                    "cycles": ours,
                    **parts,
                    "holds": not stalls
                    and cycles == formula
                    and ours - cycles == sum(parts.values()),
                }
            )
    return results


def compare_speed(full: bool) -> dict:
    """The same GEMMs on both, of ours the cold run with memory, traffic and energy."""
    design = load_design(DESIGN)
    assert isinstance(design, ArrayDesign)
    layer = [x for x in load_network("bert-base").layers if x.name.startswith("layer.0.")]
    chosen: list[Layer] = [replace(x, count=1) for x in layer] if full else layer[:1]
    buffers = (
        design.activation_buffer_bytes // 1024,
        design.weight_buffer_bytes // 1024,
        design.output_buffer_bytes // 1024,
    )
    gemms = [(x.m, x.k, x.n) for x in chosen]
    peer = run_scale_sim(gemms, design.rows, design.cols, buffers)
    network = Network("one layer", "", tuple(chosen))
    started, cpu = time.perf_counter(), time.process_time()
    result = simulate(network, design, memory="real")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "gemms": gemms,
        "array": (design.rows, design.cols),
        "scale_sim_s": peer["seconds"],
        "scale_sim_cpu_s": peer["cpu_s"],
        "scale_sim_peak_bytes": peer["peak_bytes"],
        "scale_sim_cycles": sum(peer["cycles"]),
        "seconds": seconds,
        "cpu_s": cpu,
        "array_cycles": result.total.compute_cycles + result.total.fill_drain_cycles,
        "ratio": peer["seconds"] / seconds,
    }


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> tuple[float, float]:
    """By the clock, and by the processor."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit("error: a run of ours failed")
    clock, processor = json.loads(out)
    return clock, processor


def measure_ours() -> dict:
    networks, points = [], []
    for (name, sequence), limit in LIMITS_S.items():
        for memory in ("ideal", "real"):
            runs = [answer(child(OURS, name, sequence, DESIGN, memory)) for _ in range(5)]
            networks.append(
                {
                    "network": name,
                    "sequence": sequence,
                    "memory": memory,
                    "seconds": min(clock for clock, _ in runs),
                    "cpu_s": min(processor for _, processor in runs),
                    "limit_s": limit,
                }
            )
    for memory in ("ideal", "real"):
        pair = [answer(x) for x in [child(POINTS, first, 2, 10, memory) for first in (3, 4)]]
        points.append(
            {
                "memory": memory,
                "per_minute": sum(clock for clock, _ in pair),
                "per_cpu_minutes": sum(processor for _, processor in pair),
            }
        )
    return {"networks": networks, "points": points}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="a whole layer in SCALE-Sim")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cycles, ours = compare_cycles(), measure_ours()
    speed = compare_speed(options.full)
    holds = all(row["holds"] for row in cycles)
    fast = all(row["cpu_s"] <= row["limit_s"] for row in ours["networks"]) and all(
        row["per_cpu_minutes"] >= LEAST_POINTS_PER_MINUTE for row in ours["points"]
    )
    if options.json:
        results = {"cycles": cycles, "speed": speed, "ours": ours, "holds": holds, "fast": fast}
        print(json.dumps(results, indent=2))
        return 0 if holds and fast else 1
    columns = ("SCALE-Sim", "ours", "padding", "drain wait", "overlap", "registers")
    print(f"{'array':>7} {'M x K x N':>13} " + " ".join(f"{x:>10}" for x in columns))
    keys = ("scale_sim_cycles", "cycles", "padding", "drain_wait", "overlap", "registers")
    for row in cycles:
        array, gemm = f"{row['rows']} x {row['cols']}", f"{row['m']} x {row['k']} x {row['n']}"
        figures = " ".join(f"{row[key]:>10,}" for key in keys)
        print(f"{array:>7} {gemm:>13} {figures}{'' if row['holds'] else '  DOES NOT HOLD'}")
    print(f"SCALE-Sim's formula and ours explain every cycle: {'yes' if holds else 'NO'}\n")
    print(
        f"{len(speed['gemms'])} GEMM(s) of BERT-base on {DESIGN}: SCALE-Sim "
        f"{speed['scale_sim_s']:.1f} s ({speed['scale_sim_cpu_s']:.1f} of a processor) and "
        f"{speed['scale_sim_peak_bytes'] / 1e9:.2f} GB, ours {speed['seconds'] * 1e3:.1f} ms "
        f"({speed['cpu_s'] * 1e3:.1f}): {speed['ratio']:,.0f} times as fast\n"
    )
    for row in ours["networks"]:
        print(
            f"{row['network']:>10}, {row['sequence']} tokens, {row['memory']:>5} memory: "
            f"{row['seconds'] * 1e3:6.1f} ms, {row['cpu_s'] * 1e3:5.1f} of a processor "
            f"(at most {row['limit_s'] * 1e3:.0f})"
        )
    for row in ours["points"]:
        print(
            f"{row['per_minute']:,.0f} points a minute by two processes, {row['memory']} memory, "
            f"{row['per_cpu_minutes']:,.0f} in a minute of two processors "
            f"(at least {LEAST_POINTS_PER_MINUTE:,})"
        )
    print(f"all in time: {'yes' if fast else 'NO'}")
    return 0 if holds and fast else 1


if __name__ == "__main__":
    sys.exit(main())
