"""Cycles from a word's entry to its answer's, for each `Pipe` of the renderer; benches hold it."""

LATENCY: dict[str, int] = {
    "bitmap-search": 3,
    "reciprocal": 7,
    "inverse-root": 8,
    "curve-table": 5,
    "wave-table": 4,
    "ray-generator": 42,
    "sample-address": 1,
    "feature-unit": 8,
    "density-unit": 7,
    "pixel-finisher": 2,
    "alpha-unit": 21,
    "color-products": 9,
    "projector": 16,
    "slab-unit": 9,
    "sample-generator": 4,
}


def hybrid_decoder_latency(leaves: int) -> int:
    """Of a look-up: thirteen stages before the tree, and nine behind it."""
    return search_tree_latency(leaves) + 22


def search_tree_latency(leaves: int) -> int:
    """Of the adder & search tree, which has a parameter: a stage for each level and the last."""
    return leaves.bit_length()
