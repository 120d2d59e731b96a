# %% [markdown]
# # Your own accelerator: a new number format, from its values to verified Verilog
#
# Everything behind the decoders computes with pairs of exponent and integer, `integer <<
# exponent`. So a new format needs three things: what its codes mean, a line in a table, and a
# decoder circuit. The arrays, the cycle models, the quantiser and the benches then take it like
# any other. `docs/add-a-format.md` is the short version of this notebook.
#
# Our format is `pot4`, powers of two: a sign, and 0 or 1, 2, 4 .. 64. Its multiplications are
# only shifts.

# %%
import matplotlib.pyplot as plt
import numpy as np

from oleaster.models.formats import FORMATS, Codec, Format
from oleaster.models.quantize import quantization_stats, quantize

# %% [markdown]
# ## 1. What the codes mean
#
# A *codec* lists, for each of the 16 codes, an exponent and an integer. The code `1000` would
# be minus zero: we do not use it, and the decoder will flag it.

# %%


def powers_of_two() -> Codec:
    """0 and +-2**0 .. +-2**6: sign, then 000 = 0 and 1 + the exponent."""
    code, magnitude = np.arange(16), np.arange(16) & 7
    exponents = np.maximum(magnitude - 1, 0).astype(np.uint8)
    integers = (np.where(code < 8, 1, -1) * (magnitude > 0)).astype(np.int8)
    return Codec("pot4", 4, exponents, integers, usable=code != 8)


# %% [markdown]
# ## 2. A line in the table
#
# This is all that the quantiser and the numpy model need.

# %%
FORMATS["pot4"] = Format("pot4", powers_of_two())

rng = np.random.default_rng(0)
samples = {
    "uniform": rng.uniform(-1, 1, 4096),
    "normal": rng.normal(size=4096),
    "long-tailed": rng.standard_t(2.5, 4096),
}
compared = ("int4", "flint4", "pot4", "ovp4-int")
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
for i, (each, color) in enumerate(
    zip(compared, ("#999999", "#56B4E9", "#D55E00", "#0072B2"), strict=True)
):
    values = [quantization_stats(x, quantize(x, each))["sqnr_db"] for x in samples.values()]
    bars = axes.bar(
        np.arange(len(samples)) + (i - 1.5) * 0.2, values, 0.19, label=each, color=color
    )
    axes.bar_label(bars, fmt="{:.1f}", fontsize="small")
axes.set_xticks(range(len(samples)), list(samples))
axes.set_xlabel("distribution of the values")
axes.set_ylabel("SQNR in dB")
axes.margins(y=0.15)
axes.legend(fontsize="small", ncols=4, loc="upper right")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# So powers of two are poor where values are spread evenly, and catch up where most are small
# and a few are large. Good enough to build it.
#
# ## 3. The decoder
#
# A decoder is combinational: a code goes in, the pair comes out, and a flag for codes that mean
# nothing. This is Amaranth, which is Python that describes a circuit.

# %%
from amaranth import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from oleaster.hw.decoder import CODE_DECODERS, pair_layout
from oleaster.hw.emit import Unit, verilog


class PowerOfTwoDecoder(Unit):
    """One code of pot4 to its exponent-integer pair."""

    module_name, parameters = "pot4_decoder", {}

    def __init__(self) -> None:
        super().__init__(
            {"code": In(4), "pair": Out(pair_layout([FORMATS["pot4"]])), "illegal": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m, magnitude, sign, one = Module(), self.code[:3], self.code[3], Signal(2)
        m.d.comb += [
            one.eq(magnitude.any()),
            self.pair.exponent.eq(Mux(one, magnitude - 1, 0)),
            self.pair.integer.eq(Mux(sign, -one, one)),
            self.illegal.eq(sign & ~magnitude.any()),
        ]
        return m


CODE_DECODERS["pot4"] = PowerOfTwoDecoder
print(verilog(PowerOfTwoDecoder()))

# %% [markdown]
# ## 4. Check the decoder against the codec
#
# Sixteen codes: we try them all, in Amaranth's own simulator, against the codec of section 1.

# %%
from amaranth.sim import Simulator

wrong = []
decoder = PowerOfTwoDecoder()


async def every_code(ctx) -> None:
    table = {row.code: row for row in FORMATS["pot4"].table()}
    for code in range(16):
        ctx.set(decoder.code, code)
        pair, illegal = ctx.get(decoder.pair), ctx.get(decoder.illegal)
        row = table[code]
        right = (
            row.role == "disabled"
            if illegal
            else ((row.exponent, row.integer) == (pair.exponent, pair.integer))
        )
        if not right:
            wrong.append(code)


simulator = Simulator(decoder)
simulator.add_testbench(every_code)
simulator.run()
print(f"wrong codes: {wrong}")
assert not wrong

# %% [markdown]
# ## 5. An array that reads it
#
# Nothing else has to be written. This 3 x 4 array takes `pot4` on one side and outlier-victim
# pairs on the other. The processing element below was generated for just these two: its
# integers and exponents are as wide as the formats need.

# %%
import tempfile
from pathlib import Path

from oleaster.hw.emit import write_design
from oleaster.hw.library import build_unit

array = build_unit("systolic", rows=3, cols=4, formats_a="pot4", formats_b="ovp4-int")
scratch = tempfile.TemporaryDirectory()
source, manifest = write_design(array, Path(scratch.name))
text = source.read_text()
for line in text.splitlines():
    if line.startswith("module "):
        print(line[: line.index("(")])
element = text[text.index("module pe_") :]
for line in element[: element.index("endmodule")].splitlines():
    if line.strip().startswith(("input [", "assign product", "assign shift", "assign term")):
        print(line)

# %% [markdown]
# ## 6. Verify: numpy, cycle model, Verilog
#
# A matrix product on all three. The sums must be the same integers, and the cycle model must
# name the very cycle in which the Verilog is done. First Verilator compiles the array, which
# takes some seconds and is kept for the next time.

# %%
from oleaster.sim.rtl.engine import build_array

simulator = build_array(source, manifest)

# %%
from oleaster.gemm import run_gemm
from oleaster.sim.operand import array_operand
from oleaster.sim.rtl.engine import run_array
from oleaster.sim.systolic import gemm_cycles

a = quantize(rng.normal(size=(7, 12)), "pot4")
b = quantize(rng.standard_t(3, size=(5, 12)), "ovp4-int")
model = run_gemm(a, b, engine="model")
operands = array_operand(a, 3)[0], array_operand(b, 4)[0]
rtl = run_array(simulator, *operands)
cycles = gemm_cycles(simulator.tiling(*operands))  # the cycle model, as a formula

print("sums of the first row")
print(f"  numpy    {model.accumulators[0].tolist()}")
print(f"  Verilog  {rtl.sums[0].tolist()}")
print(f"cycles: {cycles} in the model, {rtl.cycles} in Verilog")
assert np.array_equal(model.accumulators, rtl.sums)
assert cycles == rtl.cycles

# %% [markdown]
# ## 7. Does the check find a fault?
#
# A test that cannot fail proves nothing. We break the decoder, one exponent too high, and look
# again.

# %%


class BrokenDecoder(PowerOfTwoDecoder):
    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.pair.exponent.eq(self.code[:3])
        return m


decoder, wrong = BrokenDecoder(), []
simulator = Simulator(decoder)
simulator.add_testbench(every_code)
simulator.run()
print(f"wrong codes: {[f'{code:04b}' for code in wrong]}")
assert wrong

# %% [markdown]
# Every code but zero is wrong, as it should be.
#
# ## Make it permanent
#
# In your clone: the codec goes into `models/formats/`, its line into
# `models/formats/registry.py`, the decoder into `hw/decoder.py`; a hand-written line of
# `EXPECTED` in `tests/format_tables.py` says what each code means, and `make test` then runs
# the format through the quantiser, the arrays and their benches. A new *unit* is the subject of
# `docs/add-a-unit.md`.
