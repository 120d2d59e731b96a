# amaranth: UnusedElaboratable=no
"""The units that can be asked for by name, and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from oleaster.hw.accelerator.top import OliveAccelerator
from oleaster.hw.array import SystolicArray
from oleaster.hw.decoder import CODE_DECODERS, CodebookDecoder, OVPDecoder
from oleaster.hw.emit import Unit, write_design
from oleaster.hw.encoder import OVPEncoder
from oleaster.hw.nerf.library import NERF_UNITS
from oleaster.hw.nerf.renderer.library import RENDERER_UNITS
from oleaster.hw.pe import PE
from oleaster.hw.tensor_core import TensorCore
from oleaster.hw.unit_spec import LARGEST_SIDE, Formats, Parameter, UnitSpec
from oleaster.hw.weight_stationary import WeightStationaryArray
from oleaster.models.accelerator.config import DATA_BITS, AcceleratorConfig
from oleaster.models.gemm import MAX_ACC_BITS
from oleaster.models.lane import Lane

__all__ = [
    "REFERENCE_DESIGNS",
    "UNITS",
    "build_unit",
    "write_reference_designs",
]


def _formats(operand: str) -> Formats:
    return Formats(
        "olive", f"formats that operand {operand} may have; olive is a set of six, olive4 of four"
    )


_WIDEST_VALUE = 54  # bits: `Format.encode`, the encoders' model, computes in float64

_ARITHMETIC: dict[str, Parameter | Formats] = {
    "formats_a": _formats("A"),
    "formats_b": _formats("B"),
    "acc_bits": Parameter(
        32, 2, MAX_ACC_BITS, "width of the accumulators; must hold the largest product"
    ),
}


def _accelerator(formats_a: str, formats_b: str, **parameters: Any) -> Unit:
    a, b = Lane.named(formats_a).formats, Lane.named(formats_b).formats
    return OliveAccelerator(AcceleratorConfig(**parameters, formats_a=a, formats_b=b))


def _encoder_bits(code_bits: int) -> Parameter:
    return Parameter(
        4 * code_bits, code_bits, _WIDEST_VALUE, "width of each signed input value, in bits"
    )


UNITS: dict[str, UnitSpec] = {
    "ovp-decoder4": UnitSpec(
        "two 4-bit codes to two exponent-integer pairs (int4, flint4, ovp4-int, ovp4-flint)",
        {},
        lambda: OVPDecoder(4),
    ),
    "ovp-decoder8": UnitSpec(
        "two 8-bit codes to two exponent-integer pairs (int8, ovp8)",
        {},
        lambda: OVPDecoder(8),
    ),
    **{
        f"{name}-decoder": UnitSpec(f"one code of {name} to its exponent-integer pair", {}, build)
        for name, build in CODE_DECODERS.items()
    },
    "codebook-decoder": UnitSpec(
        "an index to two exponent-integer pairs, by a table of 256 entries that can be written",
        {},
        CodebookDecoder,
    ),
    "ovp-encoder4": UnitSpec(
        "two integers to one outlier-victim pair of 4-bit codes (ovp4-int, ovp4-flint)",
        {"value_bits": _encoder_bits(4)},
        lambda value_bits: OVPEncoder(4, value_bits),
    ),
    "ovp-encoder8": UnitSpec(
        "two integers to one outlier-victim pair of 8-bit codes (ovp8)",
        {"value_bits": _encoder_bits(8)},
        lambda value_bits: OVPEncoder(8, value_bits),
    ),
    "pe": UnitSpec(
        "processing element: multiplies, shifts and accumulates exponent-integer pairs",
        _ARITHMETIC,
        lambda formats_a, formats_b, acc_bits: PE(
            Lane.named(formats_a), Lane.named(formats_b), acc_bits
        ),
    ),
    "systolic": UnitSpec(
        "output-stationary systolic array with decoders on its borders and streams at its edges",
        {
            "rows": Parameter(16, 1, LARGEST_SIDE, "rows of PEs: lanes of operand A"),
            "cols": Parameter(16, 1, LARGEST_SIDE, "columns of PEs: lanes of operand B"),
            **_ARITHMETIC,
        },
        lambda rows, cols, formats_a, formats_b, acc_bits: SystolicArray(
            Lane.named(formats_a), Lane.named(formats_b), rows, cols, acc_bits
        ),
    ),
    "weight-stationary": UnitSpec(
        "systolic array whose PEs keep their weights while activations and partial sums stream by",
        {
            "rows": Parameter(16, 2, LARGEST_SIDE, "rows of PEs: lanes of K, at least 2, even"),
            "cols": Parameter(16, 1, LARGEST_SIDE, "columns of PEs: lanes of operand B"),
            **_ARITHMETIC,
        },
        lambda rows, cols, formats_a, formats_b, acc_bits: WeightStationaryArray(
            Lane.named(formats_a), Lane.named(formats_b), rows, cols, acc_bits
        ),
    ),
    "accelerator": UnitSpec(
        "systolic array with scratchpads, sequencer and output stage: descriptors in, AXI4",
        {
            "rows": Parameter(16, 2, LARGEST_SIDE, "rows of PEs, even"),
            "cols": Parameter(16, 4, LARGEST_SIDE, "columns of PEs, a multiple of 4 or more"),
            "formats_a": _formats("A"),
            "formats_b": _formats("B"),
            "data_bits": Parameter(128, 64, 512, "width of the AXI data bus", DATA_BITS),
            "address_bits": Parameter(40, 32, 48, "width of an AXI address"),
            "scratchpad_beats": Parameter(
                128, 8, 1 << 16, "beats that each lane's scratchpad holds, a power of two"
            ),
            "outstanding": Parameter(64, 2, 256, "bursts in flight, a power of two"),
            "burst_beats": Parameter(64, 1, 256, "beats of the longest burst, a power of two"),
        },
        _accelerator,
    ),
    "tensor-core": UnitSpec(
        "sixteen 16-element dot products with decoders and operand fetch, for `mmaovp`",
        {"address_bits": Parameter(9, 3, 16, "the register file has 2**address_bits registers")},
        TensorCore,
    ),
    **NERF_UNITS,
    **RENDERER_UNITS,
}


def build_unit(name: str, **parameters: int | str) -> Unit:
    """The unit called `name`; parameters that are not given have their defaults.

    Raises ValueError, with one sentence that says what would have been right, for an unknown
    unit, parameter or format, a value of the wrong type or out of range, and an accumulator that
    cannot hold the largest product.
    """
    if name not in UNITS:
        raise ValueError(f"unknown unit {name!r}{_nearest(name, UNITS)}")
    spec = UNITS[name]
    for given, value in parameters.items():
        if given not in spec.parameters:
            raise ValueError(f"{name} has no parameter {given!r}{_nearest(given, spec.parameters)}")
        _check(given, value, spec.parameters[given])
    defaults = {key: parameter.default for key, parameter in spec.parameters.items()}
    return spec.build(**{**defaults, **parameters})


def _check(name: str, value: object, parameter: Parameter | Formats) -> None:
    if isinstance(parameter, Formats):
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it must name formats, as {parameter.default!r}")
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    if parameter.choices and value not in parameter.choices:
        raise ValueError(
            f"{name} is {value}; it must be {' or '.join(map(str, parameter.choices))}"
        )
    if value < parameter.minimum:
        raise ValueError(f"{name} is {value}; it must be at least {parameter.minimum}")
    if value > parameter.maximum:
        raise ValueError(f"{name} is {value}; it must be at most {parameter.maximum}")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


REFERENCE_DESIGNS: tuple[tuple[str, dict[str, int | str]], ...] = (
    ("ovp-decoder4", {}),
    ("ovp-decoder8", {}),
    ("ovp-encoder4", {}),
    ("ovp-encoder8", {}),
    ("pe", {}),
    ("pe", {"formats_a": "olive4", "formats_b": "olive4"}),
    ("systolic", {"rows": 4, "cols": 4}),
    ("systolic", {"rows": 8, "cols": 8}),
    ("weight-stationary", {"rows": 4, "cols": 4}),
    ("tensor-core", {}),
    ("accelerator", {}),
)


def write_reference_designs(directory: Path) -> list[Path]:
    """Write the designs that `rtl_out/` holds, Verilog and manifest each; returns all paths."""
    return [
        path
        for name, parameters in REFERENCE_DESIGNS
        for path in write_design(build_unit(name, **parameters), directory)
    ]
