"""Cycles from a word's entry to its answer's, for each `Pipe` of the renderer; benches hold it."""

LATENCY: dict[str, int] = {
    "bitmap-search": 3,
}
