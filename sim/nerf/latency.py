"""Cycles from a word's entry to its answer's, for each `Pipe` of the renderer; benches hold it."""

LATENCY: dict[str, int] = {
    "bitmap-search": 3,
    "sample-address": 1,
    "feature-unit": 8,
    "density-unit": 7,
}
