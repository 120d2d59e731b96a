"""A network as the array sees it: GEMMs in the order they run."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["MAX_SIDE", "Convolution", "Kind", "Layer", "Network", "NetworkError"]

MAX_SIDE = 1 << 26
"""The largest M, N or K of a GEMM that is simulated."""

Kind = Literal["linear", "attention", "convolution"]


class NetworkError(ValueError):
    """A network that is not known or cannot be read; the message says what would be right."""


@dataclass(frozen=True)
class Convolution:
    """A 2-D convolution whose GEMM is M = batch * out_height * out_width by im2col.

    K = kernel_height * kernel_width * in_channels and N = out_channels.
    """

    batch: int
    out_height: int
    out_width: int
    in_channels: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride: int


@dataclass(frozen=True)
class Layer:
    """C (M, N) = A (M, K) B (N, K)^T, `count` times with different operands.

    A holds activations. B holds weights; in a layer of kind "attention" (Q K^T, P V) it holds
    activations too, and `count` is batch times heads. Raises NetworkError for a size or a count
    below 1.
    """

    name: str
    kind: Kind
    m: int
    k: int
    n: int
    count: int = 1
    convolution: Convolution | None = None

    def __post_init__(self) -> None:
        for what, value in (("M", self.m), ("K", self.k), ("N", self.n), ("count", self.count)):
            if value < 1:
                raise NetworkError(f"{self.name}: {what} is {value}; it must be at least 1")

    @property
    def macs(self) -> int:
        """Multiplications, all `count` together."""
        return self.m * self.k * self.n * self.count


@dataclass(frozen=True)
class Network:
    """`description` says what the layers are of, as "prefill, batch 16, sequence 128".

    Raises NetworkError for no layers.
    """

    name: str
    description: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise NetworkError(f"{self.name}: has no layers")

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)
