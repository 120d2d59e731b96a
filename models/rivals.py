"""The number formats of the accelerators that OliVe is compared with, as tensors with real codes.

BitFusion (Sharma et al., ISCA 2018) needs none of its own: it multiplies `int4` and `int8`. ANT at
8 bits is `int8`.
"""

from typing import NamedTuple

from numpy.typing import ArrayLike

from oleaster.models.outlier_list import (
    OutlierListTensor,
    outlier_list_stats,
    quantize_gobo,
    quantize_olaccel,
)
from oleaster.models.quantize import QuantizedTensor, quantization_stats, quantize
from oleaster.models.scale_search import Granularity, QuantizeError

__all__ = ["RIVALS", "AnyTensor", "Rival", "quantize_any", "stats"]

AnyTensor = QuantizedTensor | OutlierListTensor


class Rival(NamedTuple):
    """How a format is used where it is compared.

    weights: how scales of weights lie, by its paper or, for ANT, its authors' code.
    weights_only: activations stay float, as on GOBO.
    """

    weights: Granularity = "tensor"
    weights_only: bool = False


RIVALS = {
    "adafloat8": Rival(),  # AdaptivFloat<8,3>: Tambe et al., DAC 2020
    "olaccel4": Rival(),  # Park, Kim and Yoo, ISCA 2018
    "gobo3": Rival(weights_only=True),  # Zadeh et al., MICRO 2020
    "ant4": Rival(weights="channel"),  # Guo et al., MICRO 2022
}
"""By the name of the format, as `quantize_any` takes it."""


def quantize_any(
    x: ArrayLike,
    format: str,
    *,
    granularity: Granularity = "tensor",
    scale: ArrayLike | None = None,
) -> AnyTensor:
    """Quantise `x`, (..., K) real, in a format of ours or of a rival; see `quantize`.

    `olaccel4` and `gobo3` have one scale or dictionary for a tensor, and gobo3's is always its own.
    Raises as `quantize`.
    """
    if format not in ("olaccel4", "gobo3"):
        return quantize(x, format, granularity=granularity, scale=scale)
    if granularity != "tensor":
        raise QuantizeError(f"{format} has no scales of channels; leave out granularity")
    if format == "olaccel4":
        return quantize_olaccel(x, scale=scale)
    if scale is not None:
        raise QuantizeError("gobo3 fits its dictionary to the tensor; give no scale")
    return quantize_gobo(x)


def stats(x: ArrayLike, q: AnyTensor) -> dict[str, float]:
    """What `q` loses of `x`: see `quantization_stats`."""
    if isinstance(q, OutlierListTensor):
        return outlier_list_stats(x, q)
    return quantization_stats(x, q)
