"""Writes the committed reference designs: `python -m oleaster.hw.reference [DIRECTORY]`."""

import sys
from pathlib import Path

from oleaster.hw.library import write_reference_designs

if __name__ == "__main__":
    for path in write_reference_designs(Path(sys.argv[1] if len(sys.argv) > 1 else "rtl_out")):
        print(path)
