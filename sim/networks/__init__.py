"""Networks as lists of GEMMs: published ones by name, CSV and ONNX files."""

from oleaster.sim.networks.csv_file import read_csv
from oleaster.sim.networks.layer import Convolution, Kind, Layer, Network, NetworkError
from oleaster.sim.networks.library import NETWORKS, load_network
from oleaster.sim.networks.onnx_file import read_onnx

__all__ = [
    "NETWORKS",
    "Convolution",
    "Kind",
    "Layer",
    "Network",
    "NetworkError",
    "load_network",
    "read_csv",
    "read_onnx",
]
