"""Cycle model of the renderer as a whole, and the host's side of it (ours)."""
