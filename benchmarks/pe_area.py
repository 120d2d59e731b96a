# amaranth: UnusedElaboratable=no
"""What 8-bit operands cost a PE: cells after Yosys' generic synthesis.

Prints each PE beside that of the 4-bit formats alone: cells, flip-flops among them, and Yosys' own
estimate of CMOS transistors, an area without a library. Then the share of a 4 x 4 array that is not
PEs: decoders, drain and the adders that make one PE of four. The first call takes minutes.
"""

from oleaster.hw.array import SystolicArray
from oleaster.hw.pe import PE
from oleaster.models.lane import Lane
from oleaster.synth.synthesis import synthesise


class NibbleLane(Lane):
    """The 4-bit formats and no more, but integers are nibbles with or without a sign."""

    integer_bits = 5
    name = "nibbles"


class ByteLane(Lane):
    """int8 and ovp8 whole, for a PE that multiplies bytes."""

    integer_bits = 8
    max_exponent = 12
    name = "bytes"


def main() -> None:
    four, olive = Lane.named("olive4"), Lane.named("olive")
    lanes = {
        "4-bit formats": four,
        "signed and unsigned nibbles": NibbleLane(four.formats),
        "int8 and ovp8 too (olive)": olive,
    }
    print(f"{'PE':32} {'cells':>7} {'flops':>6} {'transistors':>12} {'growth':>8}")
    found = {name: synthesise(PE(lane, lane), flatten=True) for name, lane in lanes.items()}
    found["the same, sums of 48 bits"] = synthesise(PE(olive, olive, 48), flatten=True)
    bytes_lane = ByteLane(("int8", "ovp8"))
    found["one of 8 bits"] = synthesise(PE(bytes_lane, bytes_lane), flatten=True)
    base = found["4-bit formats"].transistors
    for name, area in found.items():
        growth = 100 * area.transistors / base - 100
        row = f"{area.cells:7,} {area.flops:6,} {area.transistors:12,} {growth:+7.1f}%"
        print(f"{name:32} {row}")
    print("\n4 x 4 array, olive with its adders against the 16 PEs in it")
    array = synthesise(SystolicArray(olive, olive, 4, 4), flatten=True)
    pes = 16 * found["int8 and ovp8 too (olive)"].transistors
    print(f"array {array.transistors:,}, PEs {pes:,} ({100 * pes / array.transistors:.1f} %)")


if __name__ == "__main__":
    main()
