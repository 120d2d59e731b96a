"""Oleaster: generate, simulate and verify accelerators for sparse, outlier-ridden numbers."""

from importlib.metadata import version

__version__ = version("oleaster")
