"""Ideal memory against a plain walk through every tiling and every order of the five loops."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.sim.networks.layer import Convolution
from oleaster.sim.performance.design import ArrayDesign, DesignFault, Operand
from oleaster.sim.performance.ideal import ideal_timing

DESIGN = ArrayDesign(
    name="small",
    title="",
    precisions=(),
    clock_mhz=500,
    energy="",
    dataflow="os",
    rows=8,
    cols=6,
    pe_bits=4,
    weight_buffer_bytes=96,
    activation_buffer_bytes=160,
    output_buffer_bytes=64,
    dram_bytes_per_cycle=4,
)
USES = {"a": (1, 1, 1, 1, 0), "w": (0, 0, 0, 1, 1), "o": (1, 1, 1, 0, 1)}


def sizes(whole: int) -> list[int]:
    return [min(1 << i, whole) for i in range(math.ceil(math.log2(whole)) + 1)]


def walk(
    design: ArrayDesign, c: Convolution, weight_bits: int, activation_bits: int
) -> Iterator[tuple[int, int, dict[str, int], int]]:
    """(cycles, compute, DRAM bits by operand, first loads) of everything that fits."""
    high_a = design.rows // (activation_bits // 4)
    wide_w = design.cols // (weight_bits // 4)
    pad_w, pad_a = design.rows // (weight_bits // 4), design.cols // (activation_bits // 4)
    kernel = c.kernel_height * c.kernel_width
    wholes = (c.batch, c.out_width, c.out_height, c.in_channels, c.out_channels)
    side = max(c.out_width, c.out_height)
    axes = (sizes(c.batch), sizes(side), sizes(c.in_channels), sizes(c.out_channels))
    room = {
        "w": design.weight_buffer_bytes * 4,
        "a": design.activation_buffer_bytes * 4,
        "o": design.output_buffer_bytes * 4,
    }
    for b, o, ic, oc in product(*axes):
        tile = (b, min(o, c.out_width), min(o, c.out_height), ic, oc)
        counts = [-(-whole // size) for whole, size in zip(wholes, tile, strict=True)]
        spots, depth = tile[0] * tile[1] * tile[2], kernel * ic
        held = {
            "w": -(-depth // pad_w) * pad_w * oc * weight_bits,
            "a": spots * -(-depth // pad_a) * pad_a * activation_bits,
            "o": spots * oc * 16,
        }
        if held["w"] > room["w"] or held["a"] > room["a"]:
            continue
        tiles = math.prod(counts)
        if design.dataflow == "os":
            compute = tiles * -(-spots // high_a) * -(-oc // wide_w) * depth
        else:
            compute = tiles * spots * -(-oc // wide_w) * -(-depth // high_a)
        for order in permutations(range(5)):
            bits, first, last = dict(held), dict(held), held["o"]
            kept = dict.fromkeys(held, True)
            for loop in reversed(order):
                for name in held:
                    if not kept[name]:
                        bits[name] *= counts[loop]
                    elif USES[name][loop]:
                        bits[name] *= counts[loop]
                        kept[name] = bits[name] <= room[name]
                        if kept[name]:
                            first[name] = bits[name]
                            last = 0 if name == "o" else last
            port = design.dram_bytes_per_cycle * 8
            early = first["w"] + first["a"]
            middle = sum(bits.values()) - early - last
            stalls = max(0, math.ceil(middle / port) - compute)
            loads, store = math.ceil(early / port), math.ceil(last / port)
            yield compute + stalls + loads + store, compute, bits, loads


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["os", "ws"]),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([(1, 1), (3, 3), (1, 3)]),
    st.sampled_from([4, 8]),
    st.sampled_from([4, 8]),
)
def test_equals_the_plain_walk(
    dataflow: str,
    batch: int,
    width: int,
    height: int,
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    weight_bits: int,
    activation_bits: int,
) -> None:
    design = replace(DESIGN, dataflow=dataflow)
    c = Convolution(batch, height, width, channels, outputs, *kernel, 1)
    weights = Operand("", weight_bits, weight_bits)
    activations = Operand("", activation_bits, activation_bits)
    every = list(walk(design, c, weight_bits, activation_bits))
    timing = ideal_timing(design, 1, 1, 1, weights, activations, c)
    assert timing.cycles == min(cycles for cycles, *_ in every)
    found = (
        timing.dram_weight_read_bits,
        timing.dram_activation_read_bits,
        timing.dram_output_write_bits,
    )
    assert (timing.cycles, timing.compute_cycles, *found, timing.stall_first_load_cycles) in {
        (cycles, compute, bits["w"], bits["a"], bits["o"], loads)
        for cycles, compute, bits, loads in every
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_a_linear_layer_is_a_convolution_of_one_spot(m: int, k: int, n: int) -> None:
    operand = Operand("", 4, 4.0)
    linear = ideal_timing(DESIGN, m, k, n, operand, operand)
    every = walk(DESIGN, Convolution(m, 1, 1, k, n, 1, 1, 1), 4, 4)
    assert linear.cycles == min(cycles for cycles, *_ in every)
    unpadded = math.ceil(m / 8) * math.ceil(n / 6) * k
    assert linear.compute_cycles >= unpadded
    assert linear.dram_activation_read_bits >= m * k * 4
    assert linear.dram_weight_read_bits >= n * k * 4


def test_buffers_too_small_for_a_tile_are_named() -> None:
    operand = Operand("", 4, 4.0)
    design = replace(DESIGN, weight_buffer_bytes=4)
    with pytest.raises(DesignFault, match=r"small: no tile fits .* weights"):
        ideal_timing(design, 8, 8, 8, operand, operand)
    with pytest.raises(DesignFault, match="too few for the lanes"):
        ideal_timing(replace(DESIGN, rows=1), 8, 8, 8, operand, Operand("", 8, 8.0))
