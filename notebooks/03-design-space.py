# %% [markdown]
# # Which accelerator should one build?
#
# An array can have few PEs or many, small buffers or large ones, and numbers of 4 or 8 bits.
# More is faster and costs area. Of all these designs a few are worth building: those that no
# other beats in everything at once, the *Pareto front*. We look for it twice: for BERT, which
# reads a whole text at once, and for a large language model that writes one word after the
# other. They want different machines.
#
# Time comes from the cycle model of the array behind a real memory; its cycles are those of the
# Verilog. Area comes from synthesis of our own circuits, in gate equivalents (a NAND gate is
# 1).

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from oleaster.explore import run_study

SMALL = bool(os.environ.get("OLEASTER_SMALL"))  # the tests explore less
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)

# %% [markdown]
# ## 1. A study of BERT
#
# A study is a TOML file: a design to begin with, a network, parameters with their values, and
# what counts as better. This one asks for every combination. Results are kept in a database
# beside the file; a run that is interrupted goes on where it stopped, and `oleaster explore
# bert.toml` does the same from the command line.

# %%
rows = [4, 16, 64, 128] if SMALL else [4, 16, 32, 64, 128]
cols = [16, 64, 128, 256] if SMALL else [16, 32, 64, 128, 256]
(folder / "bert.toml").write_text(f"""
design = "olive-64x64"

[workload]
network = "bert-base"
memory = "real"

[parameters]
rows = {rows}
cols = {cols}
weight_buffer_bytes = [32768, 65536, 131072, 262144]
formats = ["ovp4-flint", "ovp8"]

[objectives]
time_us = "min"
gate_equivalents = "min"
sram_bits = "min"
""")
bert = run_study(str(folder / "bert.toml"))
print(f"{len(bert.points)} designs, of which {len(bert.pareto)} are on the front")
print(f"\n{'PEs':>9} {'format':<12}{'buffer kB':>10}{'million gates':>15}{'ms':>8}{'busy':>7}")
for row in sorted((each for each in bert.rows if each["pareto"]), key=lambda each: each["time_us"]):
    print(
        f"{row['rows']:>4} x{row['cols']:>3} {row['formats']:<12}"
        f"{row['weight_buffer_bytes'] / 1024:>10.0f}{row['gate_equivalents'] / 1e6:>15.2f}"
        f"{row['time_us'] / 1e3:>8.2f}{row['utilization_pct']:>6.0f}%"
    )

# %% [markdown]
# No 8-bit design is on the front: in 8 bits four PEs work as one, so the same silicon does a
# quarter of the products. What 8 bits buy is accuracy, which this study did not ask for
# (`02-ovp-accuracy` measures it). So we draw a front for each format.

# %%


def front(found: list[dict], *metrics: str) -> list[dict]:
    """Of these designs those that no other beats in all metrics, the first metric rising."""
    best = []
    for row in sorted(found, key=lambda each: [each[name] for name in metrics]):
        if not best or row[metrics[1]] < best[-1][metrics[1]]:
            best.append(row)
    return best


figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for name, color in (("ovp4-flint", "#0072B2"), ("ovp8", "#E69F00")):
    found = [row for row in bert.rows if row["formats"] == name]
    x, y = "gate_equivalents", "time_us"
    axes.scatter(
        [r[x] / 1e6 for r in found], [r[y] / 1e3 for r in found], s=8, color=color, alpha=0.4
    )
    best = front(found, x, y)
    axes.plot([r[x] / 1e6 for r in best], [r[y] / 1e3 for r in best], color=color, label=name)
    labelled = 0.0
    for row in best:
        if row[x] > 1.4 * labelled:  # or names would lie on each other
            labelled = row[x]
            place = (row[x] / 1e6, row[y] / 1e3)
            text = f"{row['rows']}x{row['cols']}"
            axes.annotate(text, place, (3, 4), textcoords="offset points", fontsize=7)
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_xlabel("area of the logic, in million gate equivalents")
axes.set_ylabel("time of BERT-base, 128 tokens, in ms")
axes.legend(title="format, and its front", fontsize="small")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Where a front falls by half for twice the area, area is well spent. Designs above the line
# waste it: those are wide flat arrays, whose first columns hold their sums in registers until
# the last ones are done. At the right end the line bends: the largest arrays have more PEs than
# BERT's matrices and the memory can keep busy.
#
# ## 2. How large a buffer?
#
# While one tile of weights is multiplied the next is loaded into the other half of the buffer.
# If tiles are too small, the array waits.

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for side, color in ((16, "#999999"), (64, "#0072B2"), (128, "#D55E00")):
    found = [
        row
        for row in bert.rows
        if row["rows"] == row["cols"] == side and row["formats"] == "ovp4-flint"
    ]
    fastest = min(row["time_us"] for row in found)
    axes.plot(
        [row["weight_buffer_bytes"] / 1024 for row in found],
        [100 * (row["time_us"] / fastest - 1) for row in found],
        marker="o",
        color=color,
        label=f"{side} x {side}",
        markersize=12 - side / 16,
    )
axes.set_xscale("log", base=2)
axes.set_xticks([32, 64, 128, 256], ["32", "64", "128", "256"])
axes.set_xlabel("weight buffer in kB, both halves")
axes.set_ylabel("time beyond the best, in %")
axes.set_ylim(bottom=-0.2)
axes.legend(title="PEs", fontsize="small")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Arrays up to 64 x 64 do not care (their lines lie on each other). The larger the array, the
# sooner it is through with a tile, and the more a small buffer costs.
#
# ## 3. A language model that writes
#
# OPT-6.7B writes a word: all 6.7 billion weights are needed, each for a single multiplication.
# We ask for arrays again, and for the bandwidth of the memory; and once for a single reader,
# once for sixteen at a time, who share each weight that is read.

# %%
(folder / "opt.toml").write_text(f"""
design = "olive-64x64"

[workload]
network = "opt-6.7b"
phase = "decode"
sequence = 2048
memory = "real"

[parameters]
rows = {[4, 128] if SMALL else [4, 16, 64, 128]}
cols = {[128, 256] if SMALL else [32, 64, 128, 256]}
dram_bytes_per_cycle = [32, 64, 128, 256, 512]
workload.batch = [1, 16]

[objectives]
time_us = "min"
gate_equivalents = "min"
""")
opt = run_study(str(folder / "opt.toml"))


def words_per_second(row: dict) -> float:
    return 1e6 * row["workload.batch"] / row["time_us"]


figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for axes, batch in zip(panels, (1, 16), strict=True):
    for (r, c), style in {(4, 128): "s-", (4, 256): "o-", (128, 128): "o--"}.items():
        found = [
            row
            for row in opt.rows
            if (row["rows"], row["cols"], row["workload.batch"]) == (r, c, batch)
        ]
        # 500 MHz, so a byte a cycle is half a gigabyte a second.
        speed = [words_per_second(row) for row in found]
        bandwidth = [row["dram_bytes_per_cycle"] / 2 for row in found]
        color = {(4, 128): "#56B4E9", (4, 256): "#0072B2", (128, 128): "#D55E00"}[r, c]
        axes.plot(bandwidth, speed, style, color=color, label=f"{r} x {c}")
    axes.set_xscale("log", base=2)
    axes.set_xticks([16, 32, 64, 128, 256], ["16", "32", "64", "128", "256"])
    axes.set_title(
        "one reader" if batch == 1 else f"{batch} readers", loc="left", fontsize="medium"
    )
    axes.set_xlabel("bandwidth of the memory in GB/s")
panels[0].set_ylim(bottom=0)
panels[0].set_ylabel("words a second, of all readers")
panels[0].legend(title="PEs", fontsize="small", loc="upper left")
plt.show()

# %% [markdown]
# With little bandwidth all arrays wait for the memory, and are equally fast. With more of it
# the array itself is too slow, and the curve goes flat. For one reader there is only one row of
# activations, so that of 128 rows of PEs one has work: 4 x 128 is as fast as 128 x 128, and
# twice as many columns are what helps. Sixteen readers fill sixteen rows.
#
# ## 4. The same machine for both?

# %%


def fastest(found: list[dict]) -> dict:
    return min(found, key=lambda row: row["time_us"])


print(f"{'PEs':>9}{'million gates':>15}{'BERT, ms':>10}{'OPT, words/s':>14}{'16 readers':>12}")
for shape in ((4, 128), (4, 256), (128, 128)):
    mine = [row for row in bert.rows if (row["rows"], row["cols"]) == shape]
    fast = fastest([row for row in mine if row["formats"] == "ovp4-flint"])
    writing = [
        next(
            words_per_second(row)
            for row in opt.rows
            if (row["rows"], row["cols"], row["workload.batch"]) == (*shape, batch)
            and row["dram_bytes_per_cycle"] == 128
        )
        for batch in (1, 16)
    ]
    print(
        f"{shape[0]:>4} x{shape[1]:>3}{fast['gate_equivalents'] / 1e6:>15.2f}"
        f"{fast['time_us'] / 1e3:>10.2f}{writing[0]:>14.1f}{writing[1]:>12.1f}"
    )

# %% [markdown]
# All have 64 GB/s. For one reader the wide flat array writes fastest, with half of the gates;
# for BERT, or for many readers, the square one earns its area. That is the kind of question a
# study answers in seconds, and the reason to ask it before writing Verilog.
#
# `oleaster explore` lists studies that come with oleaster. They ask more: energy, accuracy of a
# real model, images of a radiance field. With several workers on one database, thousands of
# designs are a matter of minutes.
