"""docs/add-a-format.md does what it says: its format runs through model, cycle model and RTL."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "add-a-format.md"

USE = """
from oleaster.gemm import run_gemm
from oleaster.models.quantize import quantize

rng = np.random.default_rng(0)
a = quantize(rng.normal(size=(7, 12)), "pot4")
b = quantize(rng.normal(size=(5, 12)), "ovp4-int")
assert a.number_format.decode(a.codes).max() == 64
runs = [run_gemm(a, b, engine=e, rows=3, cols=4) for e in ("model", "cycle", "rtl")]
exact = a.dequantize().astype(float) @ b.dequantize().T.astype(float)
for run in runs:
    assert (run.accumulators == runs[0].accumulators).all()
    assert np.allclose(run.values(), exact)
assert runs[1].cycles == runs[2].cycles
products = run_gemm(every := quantize(np.array([[2.0**i, 0] for i in range(7)]), "pot4", scale=1),
                    every, engine="rtl", rows=2, cols=2)
assert (products.accumulators == np.outer(2 ** np.arange(7), 2 ** np.arange(7))).all()
print("ran")
"""


@pytest.mark.rtl
def test_the_page_runs(tmp_path):
    text = PAGE.read_text()
    assert len(text.splitlines()) < 60
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(snippets) == 3
    script = tmp_path / "page.py"
    script.write_text("\n".join([*snippets, USE]))
    # A cache of its own: files are kept by content of the repository, which this is not.
    environment = {**os.environ, "OLEASTER_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("ran\n"), done.stderr[-2000:]
