"""Oleaster: generate, simulate and verify accelerators for sparse, outlier-ridden numbers."""

__version__: str


def __getattr__(name: str) -> str:
    """The version, when it is asked for: what reads it would double the time until `main` runs."""
    if name == "__version__":
        from importlib.metadata import version

        return version("oleaster")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
