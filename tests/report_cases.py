"""Runs for the tests of reports: what `oleaster simulate` wrote, and small ones of other verbs."""

import json
import random
from pathlib import Path

from oleaster.cli import main

EVIL = "</script><b>bold</b>"

NETWORK = f"""Layer, M, N, K,
block.0.mix, 64, 128, 256,
block.1.mix, 64, 128, 256,
"{EVIL}", 64, 512, 256,
head, 8, 1000, 256,
"""


def simulated(name, *options):
    """A file of `oleaster simulate` on a network whose third layer has a hostile name."""
    Path("net.csv").write_text(NETWORK)
    assert main(["simulate", "net.csv", *options, "-o", name]) == 0
    return json.loads(Path(name).read_text())


def written(name, run):
    Path(name).write_text(json.dumps(run))
    return run


def exploration(count, **changes):
    """`count` points of three parameters; every tenth is infeasible, every twentieth failed."""
    rng = random.Random(5)
    points = []
    for number in range(count):
        rows, cols = rng.choice([8, 16, 32, 64]), rng.choice([8, 16, 32])
        cycles = int(1e9 / rows / cols * rng.uniform(1, 1.2))
        values = {
            "cycles": cycles,
            "energy_uj": cycles / 997 + rows * cols * rng.random(),
            **{f"metric_{i}": rng.random() for i in range(12)},
        }
        failed = number % 20 == 7
        points.append(
            {
                "number": number,
                "parameters": {"rows": rows, "cols": cols, "format": rng.choice(["int4", EVIL])},
                "values": {} if failed else values,
                "feasible": not failed and number % 10 != 3,
                "state": "failed" if failed else "complete",
                "reason": f"buffers of {EVIL} are too small" if failed else None,
            }
        )
    good = [point for point in points if point["feasible"]]
    front, least = [], float("inf")
    for point in sorted(good, key=lambda each: tuple(each["values"].values())[:2]):
        if point["values"]["energy_uj"] < least:
            least = point["values"]["energy_uj"]
            front.append(point["number"])
    return {
        "version": "0.1.0",
        "command": "oleaster explore study.toml -o study.json",
        "study": "study",
        "title": f"Arrays {EVIL}",
        "workload": {"network": "net.csv"},
        "design": "olive-64x64",
        "sampler": "grid",
        "seed": 0,
        "objectives": {"cycles": "min", "energy_uj": "min"},
        "parameters": {"rows": [8, 16, 32, 64], "cols": [8, 16, 32], "format": ["int4", EVIL]},
        "constraints": {},
        "points": points,
        "pareto": front,
    } | changes


def synthesis():
    sizes = {"ovp-decoder": 80.5, "pe": 1_263.0, "systolic": 85_400.0}
    results = [
        {
            **{"unit": unit, "module": unit, "parameters": {"acc_bits": 32}, "target": "generic"},
            **{"flattened": False, "cells": int(size), "flops": 7, "transistors": int(4 * size)},
            **{"gate_equivalents": size, "memory_bits": 0},
        }
        for unit, size in sizes.items()
    ]
    return {"version": "0.1.0", "command": None, "target": "generic", "results": results}


def frame(output):
    energy = {"core": 5e9, "decode": 1e8, "buffer": 4e8, "dram": 1e7, "static": 9e8}
    design = {"title": "a renderer", "clock_mhz": 1000, "renderers": 2, "dram_gb_s": 17.0}
    return {
        **{"version": "0.1.0", "scene": "duck", "view": 0, "width": 12, "height": 10},
        **{"psnr_db": 35.25, "psnr_size": [20, 16], "seconds": 1.5, "output": output},
        "results": [
            {
                "design": {"name": name, "sram_bytes": 3_400_000, "macs_per_cycle": 8192, **design},
                **{"cycles": 72_589_524, "fps": 13.8, "bottleneck": "colour networks"},
                "stages": {
                    "rays": {"cycles": 1_920_000, "busy": 0.013},
                    "colour networks": {"cycles": 108_848_000, "busy": 0.75},
                },
                **{"dram_bytes": 2_560_000, "power_w": 4.4},
                "energy_pj": {**energy, "total": sum(energy.values())},
            }
            for name in ("edge", "cloud")
        ],
    }


# One pixel, red.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
