"""A network as the array sees it: GEMMs in the order they run."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Convolution", "Kind", "Layer", "Network", "NetworkError"]

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
    activations too, and `count` is batch times heads.
    """

    name: str
    kind: Kind
    m: int
    k: int
    n: int
    count: int = 1
    convolution: Convolution | None = None

    @property
    def macs(self) -> int:
        """Multiplications, all `count` together."""
        return self.m * self.k * self.n * self.count


@dataclass(frozen=True)
class Network:
    """`description` says what the layers are of, as "prefill, batch 16, sequence 128"."""

    name: str
    description: str
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)
