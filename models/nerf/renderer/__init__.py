"""The renderer as a whole: its configuration, memories, registers and events (ours)."""
