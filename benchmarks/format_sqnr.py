"""What every format loses of two seeded 1024x1024 float32 tensors, and how long quantising takes.

    python benchmarks/format_sqnr.py [--json]

Columns: bits a value, signal to quantisation noise in dB of a Gaussian and of a heavy-tailed
tensor (Student's t, 3 degrees of freedom), one scale each, and CPU seconds for the Gaussian one.
Takes about half a minute.
"""

import argparse
import json
import time

import numpy as np

from oleaster.models.formats import FORMATS
from oleaster.models.quantize import quantization_stats, quantize

SIZE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    rng = np.random.default_rng(2023)
    gaussian = rng.standard_normal((SIZE, SIZE), np.float32)
    heavy = rng.standard_t(3, (SIZE, SIZE)).astype(np.float32)
    quantize(gaussian[:2], "codebook")  # scipy is loaded on first use
    results = []
    for name, fmt in FORMATS.items():
        started = time.process_time()
        q = quantize(gaussian, name)
        seconds = time.process_time() - started
        losses = quantization_stats(gaussian, q), quantization_stats(heavy, quantize(heavy, name))
        results.append(
            {
                "format": name,
                "bits_per_value": fmt.bits_per_value,
                "gaussian_db": losses[0]["sqnr_db"],
                "heavy_db": losses[1]["sqnr_db"],
                "seconds": seconds,
            }
        )
        if not as_json:
            print("{:12} {:5} {:7.2f} {:7.2f} {:7.2f} s".format(*results[-1].values()), flush=True)
    if as_json:
        print(json.dumps({"results": results}, indent=2))


if __name__ == "__main__":
    main()
