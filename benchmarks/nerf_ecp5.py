# amaranth: UnusedElaboratable=no
"""The search units and the hybrid decoder in an FPGA: cells, and the clock after place and route.

A Lattice ECP5-85 of the fastest grade, by Yosys and nextpnr. The decoder's memory is 64 KiB: what
the device has room for three times, once for each reader. Takes some ten minutes.
"""

from oleaster.hw.library import build_unit
from oleaster.synth.synthesis import synthesise

DESIGNS: tuple[tuple[str, dict[str, int]], ...] = (
    ("bitmap-search", {"chunk": 64}),
    ("search-tree", {"leaves": 64, "value_bits": 8, "chunk": 64}),
    ("search-tree", {"leaves": 32, "value_bits": 8, "chunk": 64}),
    ("hybrid-decoder", {"words": 1 << 14, "element_bits": 32, "sum_bits": 8}),
)


def main() -> None:
    columns = None
    for name, parameters in DESIGNS:
        result = synthesise(build_unit(name, **parameters), fpga=True)
        found = {"flops": result.flops, **result.own}
        if columns is None:
            columns = list(found)
            print(f"{'':16} {' '.join(f'{column:>15}' for column in columns)}")
        cells = " ".join(f"{found[column]:15,.0f}" for column in columns)
        print(f"{name:16} {cells}  {parameters}", flush=True)


if __name__ == "__main__":
    main()
