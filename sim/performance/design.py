"""What the performance models know of a design; loaded from configs/ by `oleaster.config`."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.networks.layer import Layer

__all__ = [
    "AcceleratorDesign",
    "ArrayDesign",
    "Design",
    "DesignFault",
    "GpuDesign",
    "Operand",
    "Precision",
]


class DesignFault(ValueError):
    """A design that cannot do what is asked, such as hold one tile in its buffers."""


@dataclass(frozen=True)
class Operand:
    """One operand of a layer on a design.

    format: name of a number format. compute_bits: width at which PEs take it. stored_bits: bits
    of one value in memory, on average; not always whole (outliers stored apart).
    """

    format: str
    compute_bits: int
    stored_bits: float


@dataclass(frozen=True)
class Precision:
    """Operands of the layers whose name matches `layers`, a shell pattern such as "*.ffn_down"."""

    layers: str
    weights: Operand
    activations: Operand


@dataclass(frozen=True)
class _Common:
    """What every design has.

    precisions: the first that matches a layer counts; the last one's pattern is "*".
    energy: name of a table of constants (`oleaster.sim.performance.energy`).
    """

    name: str
    title: str
    precisions: tuple[Precision, ...]
    clock_mhz: float
    energy: str

    def operands(self, layer: Layer) -> tuple[Operand, Operand]:
        """(weights, activations); in an attention product both are activations."""
        found = next(p for p in self.precisions if fnmatchcase(layer.name, p.layers))
        if layer.kind == "attention":
            return found.activations, found.activations
        return found.weights, found.activations


@dataclass(frozen=True)
class ArrayDesign(_Common):
    """A systolic array with three double-buffered scratchpads and one port to DRAM.

    rows, cols: PEs that multiply `pe_bits` by `pe_bits`; an operand of more compute bits takes
    neighbouring lanes. Rows take activations, columns weights. Buffers: bytes, both halves.
    decoders: whether operands pass a decoder at the border, which energy then counts.
    output_bits: what an output takes in the buffer and in DRAM.
    dram_burst_bytes: DRAM moves each row of a matrix in whole bursts (real memory only).
    """

    dataflow: Literal["os", "ws"]
    rows: int
    cols: int
    pe_bits: int
    weight_buffer_bytes: int
    activation_buffer_bytes: int
    output_buffer_bytes: int
    dram_bytes_per_cycle: float
    dram_latency_cycles: int = 100
    dram_burst_bytes: int = 64
    output_bits: int = 16
    decoders: bool = False

    def lanes(self, operand: Operand) -> int:
        """Neighbouring lanes that an element of the operand takes."""
        return -(-operand.compute_bits // self.pe_bits)


@dataclass(frozen=True)
class GpuDesign(_Common):
    """A GPU whose tensor cores do the GEMMs, as a roofline over thread blocks' tiles.

    macs_per_cycle: of the whole GPU at each width in bits, (bits, MACs a cycle) pairs.
    tile: (M, N, K) of the output tile of one thread block and of a step along K.
    decoders: in front of every dot-product unit, so that two elements are decoded for each MAC.
    """

    multiprocessors: int
    macs_per_cycle: tuple[tuple[int, int], ...]
    tile: tuple[int, int, int]
    l2_bytes: int
    l2_bytes_per_cycle: float
    dram_bytes_per_cycle: float
    dram_latency_cycles: int
    output_bits: int = 16
    decoders: bool = False

    def peak(self, weights: Operand, activations: Operand) -> int:
        """MACs a cycle at the wider of both operands; DesignFault if no multiplier takes it."""
        bits = max(weights.compute_bits, activations.compute_bits)
        able = [macs for width, macs in self.macs_per_cycle if width >= bits]
        if not able:
            widest = max(width for width, _ in self.macs_per_cycle)
            raise DesignFault(
                f"{self.name}: {bits}-bit operands, but its widest take {widest} bits"
            )
        return max(able)


@dataclass(frozen=True)
class AcceleratorDesign(_Common):
    """Our accelerator, timed by its exact cycle model (`oleaster.sim.performance.accelerator`).

    Operands' formats are those that its descriptors know. output_format: of every C, "int32" or a
    format of codes. dram_share: beats that the bus moves in a cycle, each way, above 0, at most 1.
    """

    config: AcceleratorConfig
    output_format: str = "int32"
    dram_latency_cycles: int = 100
    dram_share: float = 1.0
    pe_bits = 4

    @property
    def rows(self) -> int:
        return self.config.rows

    @property
    def cols(self) -> int:
        return self.config.cols

    def lanes(self, operand: Operand) -> int:
        """Neighbouring lanes that an element of the operand takes."""
        return -(-operand.compute_bits // self.pe_bits)


Design = ArrayDesign | GpuDesign | AcceleratorDesign
