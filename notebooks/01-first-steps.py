# %% [markdown]
# # First steps: from a number format to a waveform
#
# In ten minutes we encode a few numbers in 4 bits each, look at the circuit that multiplies
# such numbers, run that circuit, and read its result off a timing diagram.
#
# Large transformers have a few values far larger than the rest, *outliers*, and 4 bits have no
# room for them. OliVe (ISCA 2023) stores numbers in pairs: beside an outlier its neighbour, the
# *victim*, is given up, and the victim's code says "read the other one as a large number".

# %%
import re
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import SVG

from oleaster.designs import design_files
from oleaster.models.formats import get_format
from oleaster.models.quantize import quantize

# %% [markdown]
# ## 1. Eight numbers, two of them outliers
#
# `scale` is the value of one step: the integer 4 stands for 4 x 0.25 = 1.0.

# %%
x = np.array([0.9, -0.4, 5.8, 0.3, -1.1, 0.7, 0.2, -3.9])
pairs = quantize(x, "ovp4-int", scale=0.25)
plain = quantize(x, "int4", scale=0.25)

print("   x    code    read back   int4 reads")
for i, (value, code) in enumerate(zip(x, pairs.codes, strict=True)):
    note = "  <- identifier: the other one is an outlier" if code == 0b1000 else ""
    read, int4 = pairs.dequantize()[i], plain.dequantize()[i]
    print(f"{value:5.1f}   {code:04b}   {read:8.2f}   {int4:8.2f}{note}")
    if i % 2:
        print()

# %% [markdown]
# Each number has 4 bits, so eight numbers take four bytes, whatever they are. In the second
# pair 5.8 is an outlier: it is read as 6.0, and its neighbour 0.3 as 0. In `int4` nothing
# beyond 7 steps exists, so 5.8 becomes 1.75, a far larger error than the 0.3 that OliVe gives
# up.
#
# These are all the values that the two formats have, in steps:

# %%
ovp = get_format("ovp4-int")
normal = [row.value for row in ovp.table() if row.role == "normal"]
outliers = [row.value for row in ovp.table() if row.role == "outlier"]

figure, axes = plt.subplots(figsize=(8, 1.9), layout="constrained")
axes.scatter(normal, np.ones(len(normal)), marker="|", s=250, color="#0072B2", label="normal")
axes.scatter(outliers, np.ones(len(outliers)), marker="|", s=250, color="#D55E00", label="outlier")
axes.scatter(normal, np.zeros(len(normal)), marker="|", s=250, color="#0072B2")
axes.scatter(x / 0.25, np.full(len(x), 0.5), marker="x", color="black", label="our eight numbers")
axes.set_yticks([0, 0.5, 1], ["int4", "x", "ovp4-int"])
axes.set_ylim(-0.5, 1.5)
axes.set_xlabel("value, in steps of the scale")
axes.legend(ncols=3, fontsize="small", loc="upper right", bbox_to_anchor=(1, 1.35))
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## 2. What the hardware makes of a code
#
# A *decoder* turns each code into a pair of exponent and integer, which stands for `integer <<
# exponent`. Beyond the decoders nothing knows about outliers any more:
#
# | code | normal: exponent, integer | as an outlier: exponent, integer |
# |---|---|---|
# | `0011` | 0, 3 = 3 | 3, 3 = 24 |
# | `1000` | the identifier: 0, 0 | never |

# %%
print("code   role        exponent  integer   value")
for row in ovp.table():
    print(f"{row.bits}   {row.role:<10}  {row.exponent:8}  {row.integer:7}  {row.value:6}")

# %% [markdown]
# Is the circuit right? Every unit comes with a bench, a cocotb test that compares its Verilog
# with the numpy model. This one tries all bytes, and writes down every signal. Verilator first
# turns the Verilog into a program, which takes some seconds; the next time it is found in the
# cache.

# %%
from oleaster.sim.rtl.cosim import run_bench
from oleaster.waves.ports import manifest_of

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
verilog, manifest = design_files("ovp-decoder4")
result = run_bench("ovp-decoder4", verilog, manifest, waves=folder / "decoder.vcd")
manifest_of(folder / "decoder.vcd").write_bytes(manifest.read_bytes())  # what is in the ports
print(f"{result.passed} tests passed, {result.failed} failed")

# %% [markdown]
# Here are ten of the bytes. `pair` is the input, two codes of four bits in hexadecimal; the even
# element's is the right digit. From `80` on the odd element's code, the left digit, is the
# identifier 8: the odd element reads 0, and the even one becomes an outlier.

# %%
from oleaster.waves.drawing import draw, svg
from oleaster.waves.file import WaveFile

file = WaveFile(folder / "decoder.vcd")
chosen = file.select(["pair", "even.*", "odd.*", "illegal"])
SVG(svg(draw(file, chosen, first=126, cycles=10)))

# %% [markdown]
# A processing element (PE) multiplies two such pairs, adds their exponents, shifts, and
# accumulates. An array has many PEs but decoders on two borders only. This writes a 2 x 2 array
# as Verilog; a manifest beside it lists its ports:

# %%
verilog, manifest = design_files(
    "systolic", rows=2, cols=2, formats_a="ovp4-int", formats_b="ovp4-int"
)
text = verilog.read_text()
for line in text.splitlines():
    if line.startswith("module "):
        print(line[:100])
print(f"\n{len(text.splitlines())} lines of Verilog; what a processing element computes:\n")
element = text[text.index("module pe_") :]
for line in element[: element.index("endmodule")].splitlines():
    if re.search(r"assign (product|shift|term|start|{.*total})|acc <=", line):
        print(line)

# %% [markdown]
# ## 3. Run it
#
# Our array multiplies two matrices with K = 8: `A` has our eight numbers and their reverse as
# rows, `B` two other rows. In each cycle a word of *A* holds one pair (two elements along K) of
# every row: that is what a decoder reads at once.

# %%
from oleaster.models.lane import Lane
from oleaster.sim.operand import array_operand, operand_words

a = quantize(np.array([x, x[::-1]]), "ovp4-int", scale=0.25)
b = quantize(
    np.array([[1, -2, 1, 1, 12.0, 0, 3, 1], [1, 1, 1, 1, 1, 1, 1, 1]]), "ovp4-int", scale=1
)

lane = Lane(("ovp4-int",))
words = {
    name: [
        int.from_bytes(word.tobytes(), "little")
        for word in operand_words(array_operand(each, 2)[0], lane, 2)[0]
    ]
    for name, each in {"a": a, "b": b}.items()
}
print({name: [f"{word:04x}" for word in each] for name, each in words.items()})

# %% [markdown]
# The bench is a cocotb test: Python that drives the ports of the simulated circuit. It offers
# the words, with a pause in those of B to see what the handshake does; the last word of a tile
# carries a `last` bit.

# %%
BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from oleaster.sim.rtl.cosim import bench_config

WORDS = bench_config()


async def send(dut, side, pauses):
    valid, ready, payload = (getattr(dut, f"{side}_{x}") for x in ("valid", "ready", "payload"))
    for index, word in enumerate(WORDS[side]):
        for _ in range(pauses.get(index, 0)):
            await FallingEdge(dut.clk)
        last = index == len(WORDS[side]) - 1
        payload.value, valid.value = last << 16 | word, 1
        await Timer(1, "ns")
        while not ready.value:
            await FallingEdge(dut.clk)
            await Timer(1, "ns")
        await FallingEdge(dut.clk)
        valid.value = 0


@cocotb.test
async def one_tile(dut):
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value, dut.clear.value, dut.sums_ready.value = 1, 0, 1
    dut.a_valid.value = dut.b_valid.value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    cocotb.start_soon(send(dut, "a", {}))
    cocotb.start_soon(send(dut, "b", {2: 2}))
    for _ in range(20):
        await FallingEdge(dut.clk)
"""
(folder / "one_tile.py").write_text(BENCH)
sys.path.insert(0, str(folder))
# %% [markdown]
# And now Verilator again.

# %%
from oleaster.sim.rtl.cosim import run_cocotb

waves = folder / "tile.vcd"
result = run_cocotb(
    "one_tile", top=verilog.stem, sources=[verilog], config=words, waves=waves, run_folder=folder
)
manifest_of(waves).write_bytes(manifest.read_bytes())
print(f"{result.passed} test passed, {result.failed} failed")

# %% [markdown]
# ## 4. Read the picture
#
# A column is a clock cycle. A word is handed over in a cycle in which `valid` and `ready` are
# both high (blue); until then it waits (orange).

# %%
file = WaveFile(waves)
chosen = file.select(
    [
        "a_valid",
        "a_ready",
        "a_payload.*",
        "b_valid",
        "b_ready",
        "b_payload.*",
        "sums_valid",
        "sums_ready",
        "sums_payload.sums",
        "sums_payload.last",
    ]
)
SVG(svg(draw(file, chosen, first=0, cycles=16)))

# %% [markdown]
# What to see:
#
# - The array takes a word in every second cycle: a word has two elements along K, and a PE
#   multiplies one a cycle.
# - B pauses before its third word, so `a_ready` stays low and A's third word waits: both sides
#   move together.
# - The sums leave one row a cycle, the first row first.
#
# Are they right? Numpy says:

# %%
valid, ready, sums = (
    file.values(file.select([name])[0], 0, file.cycles)
    for name in ("sums_valid", "sums_ready", "sums_payload.sums")
)
rows = [row for row, v, r in zip(sums, valid, ready, strict=True) if v and r]
exact = (a.dequantize() @ b.dequantize().T) / (0.25 * 1)
print("Verilog:", rows)
print("numpy:  ", exact.astype(int).tolist())
assert np.array_equal(rows, exact)

# %% [markdown]
# ## Where to go from here
#
# - `oleaster cosim systolic --rows 4 --cols 4 --waves array.vcd` runs the array's own bench;
#   `gtkwave array.gtkw` opens the waveform with the signals grouped (`docs/waves.md`).
# - `oleaster gemm A.npy B.npy -o C.npy --engine rtl` multiplies whole matrices in Verilog.
# - What 4 bits cost a real model is in the next notebook, `02-ovp-accuracy`.
