"""The demonstration: one layer of a real encoder through generated Verilog, checked sum by sum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oleaster.gemm import run_gemm
from oleaster.models.encoder import Array, Encoder, Linear, float_linear, pool
from oleaster.models.quantize import QuantizedTensor, quantization_stats
from oleaster.models.quantized_linear import QuantizedLinear, scale_sums
from oleaster.sim.tiling import Tiling

SENTENCE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, "
    "it was the age of foolishness."
)
FORMAT = "auto"  # ovp4-int or ovp4-flint, chosen per tensor by error, as in OliVe
LAYER = 0  # reads the embedded tokens


@dataclass(frozen=True)
class GemmCheck:
    """One linear layer on the array: M tokens, K inputs, N outputs.

    weight_outlier_pairs, activation_outlier_pairs: share of pairs with an outlier, 0 .. 1.
    mismatches: accumulators that differ from the numpy reference.
    """

    name: str
    m: int
    k: int
    n: int
    weight_format: str
    activation_format: str
    weight_outlier_pairs: float
    activation_outlier_pairs: float
    rtl_cycles: int
    model_cycles: int
    utilization: float
    mismatches: int
    wall_s: float


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration measured.

    cosine_layer: the sentence's embedding to the float one, with layer `layer` in Verilog and
        every other layer in float.
    cosine_all: the same, with every other layer quantised too, by the numpy reference.
    """

    sentence: str
    tokens: int
    layer: int
    rows: int
    cols: int
    gemms: list[GemmCheck]
    cosine_layer: float
    cosine_all: float

    @property
    def passed(self) -> bool:
        """Every sum and every cycle count of the Verilog is the model's."""
        return all(not g.mismatches and g.rtl_cycles == g.model_cycles for g in self.gemms)


def run_demo(
    encoder: Encoder, *, rows: int, cols: int, progress: Callable[[int, int], None]
) -> DemoReport:
    """Run layer `LAYER` of `encoder` on `SENTENCE` through a rows x cols array in Verilator.

    Weights are quantised per output channel, activations per tensor with a scale searched on the
    sentence itself; both in `FORMAT`. progress: called with (finished tiles, all tiles).
    Raises what `run_gemm` raises.
    """
    x = encoder.embed_tokens(encoder.tokenize(SENTENCE))
    quantized = QuantizedLinear(encoder, FORMAT, None)
    tiles = [
        Tiling(len(x), weight.shape[1], weight.shape[0], rows, cols).tiles
        for name, (weight, _) in encoder.linears.items()
        if name.startswith(f"layer.{LAYER}.")
    ]
    checks: list[GemmCheck] = []

    def on_array(name: str, x: Array, weight: Array, bias: Array) -> Array:
        before = sum(tiles[: len(checks)])
        a, w = quantized.quantize_input(name, x), quantized.weights[name]
        assert isinstance(a, QuantizedTensor)
        assert isinstance(w, QuantizedTensor)
        run = run_gemm(
            a,
            w,
            engine="rtl",
            rows=rows,
            cols=cols,
            progress=lambda done, _: progress(before + done, sum(tiles)),
        )
        expected = run_gemm(a, w, engine="cycle", rows=rows, cols=cols)
        m, k, n = *x.shape, len(weight)
        checks.append(
            GemmCheck(
                name=name,
                m=m,
                k=k,
                n=n,
                weight_format=w.format,
                activation_format=a.format,
                weight_outlier_pairs=_outlier_pairs(quantization_stats(weight, w)),
                activation_outlier_pairs=_outlier_pairs(quantization_stats(x, a)),
                rtl_cycles=run.cycles or 0,
                model_cycles=expected.cycles or 0,
                utilization=run.utilization or 0.0,
                mismatches=int(np.count_nonzero(run.accumulators != expected.accumulators)),
                wall_s=run.wall_s,
            )
        )
        return scale_sums(run.accumulators, a, w) + bias

    exact = encoder.embed([SENTENCE])[0]
    hidden = encoder.run_layer(LAYER, x, linear=on_array)
    return DemoReport(
        sentence=SENTENCE,
        tokens=len(x),
        layer=LAYER,
        rows=rows,
        cols=cols,
        gemms=checks,
        cosine_layer=float(exact @ _finish(encoder, hidden, float_linear)),
        cosine_all=float(exact @ _finish(encoder, hidden, quantized)),
    )


def _finish(encoder: Encoder, x: Array, linear: Linear) -> Array:
    """The unit-norm embedding (hidden,) from the output x (tokens, hidden) of layer `LAYER`."""
    for index in range(LAYER + 1, encoder.config.num_hidden_layers):
        x = encoder.run_layer(index, x, linear=linear)
    return pool(x)


def _outlier_pairs(stats: dict[str, float]) -> float:
    return stats["outlier_normal"] + stats["outlier_outlier"]
