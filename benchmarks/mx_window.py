"""What the accumulators' window costs MX formats: blocks flushed and noise added, on MiniLM.

All 36 linear layers on the inputs of 4 news texts, both operands in one MX format, in tiles of a
16 x 16 array. The noise is that of the array's sums against the exact product of the same operands,
relative to the product and averaged over layers; it comes on top of what the format itself loses
(docs/accuracy.md).
"""

import argparse

import numpy as np

from oleaster.gemm import run_gemm
from oleaster.models.accuracy import load_lee50
from oleaster.models.encoder import load_encoder
from oleaster.models.fetch import fetch
from oleaster.models.quantize import quantize
from oleaster.models.quantized_linear import linear_inputs

TEXTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", default="mxfp4-e2m1")
    parser.add_argument("--widths", type=int, nargs="+", default=[24, 28, 32, 36, 40])
    options = parser.parse_args()
    encoder = load_encoder(fetch("minilm"))
    inputs = linear_inputs(encoder, load_lee50(fetch("lee50")).texts[:TEXTS])
    operands = [
        (quantize(inputs[name], options.format), quantize(weight, options.format))
        for name, (weight, _) in encoder.linears.items()
    ]
    print(f"{options.format}: accumulator, blocks flushed of A and B, SQNR of the sums in dB")
    print(f"{'bits':>4} {'A':>9} {'B':>9} {'mean':>7} {'worst':>7}")
    for width in options.widths:
        flushed, blocks, noise = np.zeros(2), np.zeros(2), []
        for a, b in operands:
            run = run_gemm(a, b, acc_bits=width)
            exact = a.dequantize().astype(np.float64) @ b.dequantize().astype(np.float64).T
            off = np.square(run.values() - exact).sum()
            noise.append(off / np.square(exact).sum())
            flushed += run.flushed_blocks
            blocks += [q.block_exponents.size for q in (a, b) if q.block_exponents is not None]
        share = 100 * flushed / blocks
        mean, worst = (
            f"{-10 * np.log10(n):7.1f}" if n else "  exact" for n in (np.mean(noise), max(noise))
        )
        print(f"{width:4} {share[0]:8.4f}% {share[1]:8.4f}% {mean} {worst}")


if __name__ == "__main__":
    main()
