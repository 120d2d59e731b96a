"""Networks as lists of GEMMs: published ones by name, CSV and ONNX files."""

from oleaster.sim.networks.layer import Convolution, Kind, Layer, Network, NetworkError
from oleaster.sim.networks.library import NETWORKS, load_network

__all__ = [
    "NETWORKS",
    "Convolution",
    "Kind",
    "Layer",
    "Network",
    "NetworkError",
    "load_network",
]
