"""The tensor core: operand fetch, sixteen 16-element dot products with their decoders."""

from oleaster.hw.tensor_core.core import TensorCore

__all__ = ["TensorCore"]
