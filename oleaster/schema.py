"""The tables [simulation] of a design's file, one class a kind.

Keys are the fields of the classes in `oleaster.sim.performance.design`, with the same meanings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.formats import FORMATS
from oleaster.sim.performance.design import (
    AcceleratorDesign,
    ArrayDesign,
    Design,
    GpuDesign,
    Operand,
    Precision,
)

__all__ = ["KINDS", "Simulation"]

_Count = Annotated[int, Field(ge=1, le=1 << 20)]
_Bits = Annotated[int, Field(ge=1, le=64)]
_Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
_Cycles = Annotated[int, Field(ge=0, le=1 << 20)]
_Rate = Annotated[float, Field(ge=1e-3, le=1e9, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Operand(_Table):
    """Bits may be left out where the format is one of `oleaster formats`."""

    format: str
    compute_bits: _Bits | None = None
    stored_bits: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _bits_are_known(self) -> _Operand:
        known = FORMATS.get(self.format)
        if known is None and (self.compute_bits is None or self.stored_bits is None):
            raise ValueError(
                f"{self.format!r} is not one of `oleaster formats`, so compute_bits and "
                "stored_bits must be given"
            )
        if known is not None and self.compute_bits is None:
            self.compute_bits = known.code_bits
        if known is not None and self.stored_bits is None:
            self.stored_bits = known.bits_per_value
        return self

    def build(self) -> Operand:
        assert self.compute_bits is not None
        assert self.stored_bits is not None
        return Operand(self.format, self.compute_bits, float(self.stored_bits))


class _Precision(_Table):
    layers: str
    weights: _Operand
    activations: _Operand


class Simulation(_Table):
    """What every design has."""

    precision: Annotated[list[_Precision], Field(min_length=1)]
    clock_mhz: _Rate
    energy: str

    @field_validator("precision")
    @classmethod
    def _last_takes_all(cls, value: list[_Precision]) -> list[_Precision]:
        if value[-1].layers != "*":
            raise ValueError(f"the last one's layers are {value[-1].layers!r}; expected '*'")
        return value

    def build(self, name: str, title: str, folder: Path | None) -> Design:
        """The design; `folder` is what a path to a table of energies is relative to."""
        raise NotImplementedError

    def _common(self, name: str, title: str, folder: Path | None) -> dict[str, Any]:
        energy = self.energy
        if energy.endswith(".toml") and folder is not None:
            energy = str(folder / energy)
        precisions = tuple(
            Precision(row.layers, row.weights.build(), row.activations.build())
            for row in self.precision
        )
        rest = {key: getattr(self, key) for key in type(self).model_fields if key != "precision"}
        return {**rest, "name": name, "title": title, "energy": energy, "precisions": precisions}


class _Array(Simulation):
    dataflow: Literal["os", "ws"]
    rows: _Count
    cols: _Count
    pe_bits: _Bits
    weight_buffer_bytes: _Bytes
    activation_buffer_bytes: _Bytes
    output_buffer_bytes: _Bytes
    dram_bytes_per_cycle: _Rate
    dram_latency_cycles: _Cycles = ArrayDesign.dram_latency_cycles
    dram_burst_bytes: _Count = ArrayDesign.dram_burst_bytes
    output_bits: _Bits = ArrayDesign.output_bits
    decoders: bool = ArrayDesign.decoders

    def build(self, name: str, title: str, folder: Path | None) -> Design:
        return ArrayDesign(**self._common(name, title, folder))


class _Gpu(Simulation):
    multiprocessors: _Count
    macs_per_cycle: dict[str, _Count]
    tile: Annotated[list[_Count], Field(min_length=3, max_length=3)]
    l2_bytes: _Bytes
    l2_bytes_per_cycle: _Rate
    dram_bytes_per_cycle: _Rate
    dram_latency_cycles: _Cycles
    output_bits: _Bits = GpuDesign.output_bits
    decoders: bool = GpuDesign.decoders

    @field_validator("macs_per_cycle")
    @classmethod
    def _keys_are_bits(cls, value: dict[str, int]) -> dict[str, int]:
        if not value or any(not key.isdecimal() or not 1 <= int(key) <= 64 for key in value):
            raise ValueError("expected MACs a cycle by bits, such as {4 = 139264, 8 = 69632}")
        return value

    def build(self, name: str, title: str, folder: Path | None) -> Design:
        common = self._common(name, title, folder)
        m, n, k = self.tile
        rates = tuple(sorted((int(bits), macs) for bits, macs in self.macs_per_cycle.items()))
        return GpuDesign(**{**common, "tile": (m, n, k), "macs_per_cycle": rates})


class _Accelerator(Simulation):
    """config: of the unit, from [parameters]."""

    config: AcceleratorConfig
    output_format: str = AcceleratorDesign.output_format
    dram_latency_cycles: Annotated[int, Field(ge=1, le=1 << 20)] = (
        AcceleratorDesign.dram_latency_cycles
    )
    dram_share: Annotated[float, Field(ge=1 / 1024, le=1)] = AcceleratorDesign.dram_share

    def build(self, name: str, title: str, folder: Path | None) -> Design:
        return AcceleratorDesign(**self._common(name, title, folder))


KINDS: dict[str, type[Simulation]] = {
    "array": _Array,
    "gpu": _Gpu,
    "accelerator": _Accelerator,
}
"""By the key `kind`."""
