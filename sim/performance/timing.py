"""What a performance model says of one GEMM: where its cycles go, and what it moves."""

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True)
class Timing:
    """One GEMM on a design. Cycles are whole; bits may be fractions where stored bits are.

    compute_cycles: in which the array takes operands or waits for a short tile's sums to drain
        (`T * max(K, rows)` in the output-stationary array).
    fill_drain_cycles: the rest of the array's closed form.
    stall_first_load_cycles: before the first operands are there.
    stall_load_cycles: later ones in which the array waits for operands.
    stall_store_cycles: in which it waits for room for outputs, or the end for the last to leave.
    overhead_cycles: descriptors and the like.
    dram_*: bits between DRAM and buffers. sram_*: bits that enter (write) and leave (read) buffers.
    decodes: operand elements decoded at the array's borders.
    """

    compute_cycles: int
    fill_drain_cycles: int
    stall_first_load_cycles: int
    stall_load_cycles: int
    stall_store_cycles: int
    overhead_cycles: int
    dram_activation_read_bits: float
    dram_weight_read_bits: float
    dram_output_write_bits: float
    sram_activation_write_bits: float
    sram_activation_read_bits: float
    sram_weight_write_bits: float
    sram_weight_read_bits: float
    sram_output_write_bits: float
    sram_output_read_bits: float
    decodes: int

    @property
    def cycles(self) -> int:
        """All of them."""
        return self.compute_cycles + self.idle_cycles

    @property
    def idle_cycles(self) -> int:
        """Those in which the array does not compute."""
        return (
            self.fill_drain_cycles
            + self.stall_first_load_cycles
            + self.stall_load_cycles
            + self.stall_store_cycles
            + self.overhead_cycles
        )
