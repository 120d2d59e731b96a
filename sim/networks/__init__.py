"""Networks as lists of GEMMs: published ones by name, CSV and ONNX files."""

from oleaster.sim.networks.layer import Convolution, Kind, Layer, Network, NetworkError

__all__ = ["Convolution", "Kind", "Layer", "Network", "NetworkError"]
