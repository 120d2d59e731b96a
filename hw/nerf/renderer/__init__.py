"""The renderer as a whole: a tile's pipeline, and the bus around it (ours)."""
