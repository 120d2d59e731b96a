"""Ready-made designs: `NAME.toml`, read by `oleaster.config`."""
