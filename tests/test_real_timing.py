"""The real memory model: what holds for every design, and what small cases must be."""

import math
from dataclasses import fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oleaster.config import load_design
from oleaster.sim.performance.blocks import Blocking
from oleaster.sim.performance.design import ArrayDesign, DesignFault, Operand, Precision
from oleaster.sim.performance.real import real_timing
from oleaster.sim.performance.timing import Timing
from oleaster.sim.systolic import gemm_cycles
from oleaster.sim.tiling import Tiling
from oleaster.sim.weight_stationary import gemm_cycles as weight_stationary_cycles
from oleaster.sim.weight_tiling import WeightTiling

HUGE = 1 << 40

operands = st.builds(
    Operand, st.just("x"), st.sampled_from([4, 8]), st.sampled_from([3, 4, 4.3, 6, 8, 8.5])
)


dataflows = st.sampled_from(["os", "ws"])


@st.composite
def designs(draw, dataflow=dataflows):
    weights, activations = draw(operands), draw(operands)
    return ArrayDesign(
        name="drawn",
        title="",
        precisions=(Precision("*", weights, activations),),
        clock_mhz=500,
        energy="",
        dataflow=draw(dataflow),
        rows=2 * draw(st.integers(1, 20)),
        cols=draw(st.integers(2, 40)),
        pe_bits=draw(st.sampled_from([4, 8])),
        weight_buffer_bytes=draw(st.integers(64, 1 << 17)),
        activation_buffer_bytes=draw(st.integers(64, 1 << 17)),
        output_buffer_bytes=draw(st.integers(64, 1 << 17)),
        dram_bytes_per_cycle=draw(st.floats(0.1, 512)),
        dram_latency_cycles=draw(st.integers(0, 300)),
        dram_burst_bytes=draw(st.sampled_from([1, 16, 64])),
        output_bits=draw(st.sampled_from([4, 16, 32])),
        decoders=draw(st.booleans()),
    )


shapes = st.tuples(st.integers(1, 300), st.integers(1, 900), st.integers(1, 300))


def timed(design: ArrayDesign, shape: tuple[int, int, int]) -> Timing:
    only = design.precisions[0]
    return real_timing.__wrapped__(design, *shape, only.weights, only.activations)


def timed_if_it_fits(design: ArrayDesign, shape: tuple[int, int, int]) -> Timing:
    try:
        return timed(design, shape)
    except DesignFault:
        assume(False)
        raise


def closed_form(design: ArrayDesign, shape: tuple[int, int, int]) -> int:
    only = design.precisions[0]
    lanes = design.lanes(only.activations), design.lanes(only.weights)
    if design.dataflow == "ws":
        return weight_stationary_cycles(WeightTiling(*shape, design.rows, design.cols, *lanes))
    return gemm_cycles(Tiling(*shape, design.rows, design.cols, *lanes, max(lanes) > 1))


@settings(max_examples=300, deadline=None)
@given(designs(), shapes)
def test_what_holds_for_every_timing(design, shape):
    timing = timed_if_it_fits(design, shape)
    (m, k, n), only = shape, design.precisions[0]
    assert all(getattr(timing, field.name) >= 0 for field in fields(Timing))
    assert all(
        type(getattr(timing, field.name)) is int
        for field in fields(Timing)
        if field.name.endswith("_cycles") or field.name == "decodes"
    )
    assert timing == timed(design, shape)

    lanes = design.lanes(only.activations) * design.lanes(only.weights)
    assert m * k * n * lanes <= timing.compute_cycles * design.rows * design.cols
    assert timing.dram_activation_read_bits >= m * k * only.activations.stored_bits
    assert timing.dram_weight_read_bits >= n * k * only.weights.stored_bits
    assert timing.dram_output_write_bits >= m * n * design.output_bits
    moved_bits = (
        timing.dram_activation_read_bits
        + timing.dram_weight_read_bits
        + timing.dram_output_write_bits
    )
    assert timing.cycles >= moved_bits / 8 / design.dram_bytes_per_cycle - 1e-6
    assert timing.stall_first_load_cycles > design.dram_latency_cycles

    # What leaves a buffer was written there, and what was written came from DRAM.
    assert timing.sram_activation_read_bits >= m * k * only.activations.stored_bits
    assert timing.dram_activation_read_bits >= timing.sram_activation_write_bits - 1e-6
    assert timing.dram_weight_read_bits >= timing.sram_weight_write_bits - 1e-6
    assert (
        timing.sram_output_read_bits == timing.sram_output_write_bits >= m * n * design.output_bits
    )
    assert bool(timing.decodes) == design.decoders


@settings(max_examples=200, deadline=None)
@given(designs(), shapes)
def test_an_infinitely_fast_memory_leaves_the_closed_form(design, shape):
    design = replace(
        design,
        dram_bytes_per_cycle=math.inf,
        dram_latency_cycles=0,
        weight_buffer_bytes=HUGE,
        activation_buffer_bytes=HUGE,
        output_buffer_bytes=HUGE,
    )
    m, k, n = shape
    timing = timed(design, shape)
    assert timing.cycles == timing.compute_cycles + timing.fill_drain_cycles
    # Rows of A in two blocks may wait less for partial sums than all at once.
    assert timing.cycles <= closed_form(design, shape)
    if design.dataflow == "ws":
        shape = m + design.rows + design.cols, k, n
    assert timed(design, shape).cycles == closed_form(design, shape)


@settings(max_examples=100, deadline=None)
@given(designs(st.just("os")), shapes)
def test_the_output_stationary_array_computes_alike_behind_any_memory(design, shape):
    timing = timed_if_it_fits(design, shape)
    assert timing.compute_cycles + timing.fill_drain_cycles == closed_form(design, shape)


@settings(max_examples=300, deadline=None)
@given(designs(), shapes, st.floats(1, 64))
def test_more_bandwidth_is_never_slower(design, shape, factor):
    faster = replace(design, dram_bytes_per_cycle=design.dram_bytes_per_cycle * factor)
    slow = timed_if_it_fits(design, shape)
    assert timed(faster, shape).cycles <= slow.cycles


@settings(max_examples=300, deadline=None)
@given(
    designs(),
    shapes,
    st.sampled_from(["weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes"]),
    st.floats(1, 64),
)
def test_a_larger_buffer_is_never_slower(design, shape, buffer, factor):
    small = timed_if_it_fits(design, shape)
    larger = replace(design, **{buffer: int(getattr(design, buffer) * factor)})
    assert timed(larger, shape).cycles <= small.cycles


@settings(max_examples=100, deadline=None)
@given(designs(), shapes, st.integers(1, 200))
def test_latency_is_paid_at_both_ends(design, shape, more):
    timing = timed_if_it_fits(design, shape)
    later = timed(replace(design, dram_latency_cycles=design.dram_latency_cycles + more), shape)
    assert later.cycles >= timing.cycles + 2 * more


# Small cases, by hand


def plain(**changes) -> ArrayDesign:
    """4 x 4 PEs of 8 bits, int8, a byte a cycle, no latency, room for everything."""
    int8 = Operand("int8", 8, 8)
    values = {
        "name": "plain",
        "title": "",
        "precisions": (Precision("*", int8, int8),),
        "clock_mhz": 500,
        "energy": "",
        "dataflow": "os",
        "rows": 4,
        "cols": 4,
        "pe_bits": 8,
        "weight_buffer_bytes": HUGE,
        "activation_buffer_bytes": HUGE,
        "output_buffer_bytes": HUGE,
        "dram_bytes_per_cycle": 1.0,
        "dram_latency_cycles": 0,
        "dram_burst_bytes": 1,
        "output_bits": 8,
    }
    return ArrayDesign(**{**values, **changes})


def test_one_tile_step_by_step():
    timing = timed(plain(dram_burst_bytes=2, dram_latency_cycles=5), (4, 8, 4))
    # One burst of two bytes for each of 8 rows; 48 bytes then come while the array takes 8
    # elements, of which the last two wait for all; 10 cycles later the last sums leave. Each row
    # of sums takes 4 cycles, the first is there 3 cycles before the last.
    assert timing.stall_first_load_cycles == 5 + 16
    assert timing.compute_cycles == 8
    assert timing.fill_drain_cycles == 10
    assert timing.stall_load_cycles == 48 + 2 - 8
    assert timing.stall_store_cycles == 16 - 3 + 5


def test_steps_take_the_larger_of_computing_and_moving():
    # 3 tiles of B pass one of A. Computing: 3 x 64 cycles. Moving: 4 x 64 bytes a tile and 16 of
    # outputs. All that comes before the last tile's last burst is 16 tiles' rows but for one
    # element of 8 rows.
    slow = timed(plain(), (4, 64, 12))
    assert slow.compute_cycles == 192
    assert slow.stall_first_load_cycles == 8
    assert slow.stall_load_cycles == 16 * 64 - 8 + 1 - 192
    fast = timed(plain(dram_bytes_per_cycle=8.0), (4, 64, 12))
    assert fast.stall_load_cycles == (8 * 64 - 8) / 8 + 1 - 64  # of the first tile's operands


@pytest.mark.parametrize("dataflow", ["os", "ws"])
def test_what_fits_is_read_once(dataflow):
    timing = timed(plain(dataflow=dataflow), (40, 50, 60))
    assert timing.dram_activation_read_bits == 40 * 50 * 8
    assert timing.dram_weight_read_bits == 60 * 50 * 8
    assert timing.dram_output_write_bits == 40 * 60 * 8


def test_the_operand_that_costs_less_is_read_again():
    # Half of either buffer holds 5 tiles of 4 rows: A has 10 tiles, B has 5.
    design = plain(weight_buffer_bytes=2000, activation_buffer_bytes=2000)
    timing = timed(design, (40, 50, 20))
    assert timing.dram_activation_read_bits == 40 * 50 * 8  # B stays whole
    assert timing.dram_weight_read_bits == 20 * 50 * 8
    # Now B has 15: in 3 blocks, A comes by 3 times; or B 2 times by 2 blocks of A.
    timing = timed(design, (40, 50, 60))
    assert timing.dram_activation_read_bits == 40 * 50 * 8
    assert timing.dram_weight_read_bits == 2 * 60 * 50 * 8


def test_without_room_for_a_row_every_tile_is_read_again():
    design = plain(weight_buffer_bytes=100, activation_buffer_bytes=100)
    timing = timed(design, (8, 50, 12))
    assert timing.dram_activation_read_bits == 3 * 8 * 50 * 8
    assert timing.dram_weight_read_bits == 2 * 12 * 50 * 8


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (8, 6, 12), (9, 5, 13)])
def test_words_pass_the_border_once_a_use(m, k, n):
    timing = timed(plain(decoders=True), (m, k, n))
    uses = {"a": 0, "b": 0}
    for row in range(0, m, 4):
        for col in range(0, n, 4):
            uses["a"] += min(4, m - row) * k
            uses["b"] += min(4, n - col) * k
    assert timing.sram_activation_read_bits == 8 * uses["a"]
    assert timing.sram_weight_read_bits == 8 * uses["b"]
    assert timing.decodes == uses["a"] + uses["b"]
    timing = timed(plain(dataflow="ws", decoders=True), (m, k, n))
    assert timing.sram_activation_read_bits == 8 * m * k * -(-n // 4)
    assert timing.sram_weight_read_bits == 8 * n * k
    partial = (-(-k // 4) - 1) * 32
    assert timing.sram_output_write_bits == m * n * (8 + partial)


def test_partial_sums_bound_the_rows_that_pass():
    # 4 columns of 4 bytes: half of 640 bytes holds 20 rows, so 40 rows pass in 2 blocks.
    timing = timed(plain(dataflow="ws", output_buffer_bytes=640), (40, 8, 4))
    assert timing.sram_weight_read_bits == 2 * 4 * 8 * 8


def test_bursts_are_read_whole():
    timing = timed(plain(dram_burst_bytes=64), (4, 65, 4))
    assert timing.dram_activation_read_bits == 4 * 128 * 8
    assert timing.dram_output_write_bits == 4 * 64 * 8
    assert timing.sram_activation_write_bits == 4 * 65 * 8


def test_a_given_blocking_is_taken():
    design = plain()
    only = design.precisions[0]

    def weight_bits(blocking):
        timing = real_timing(design, 16, 32, 12, only.weights, only.activations, blocking)
        return timing.dram_weight_read_bits / (12 * 32 * 8)

    assert weight_bits(Blocking("activations", 1, 32)) == 4
    assert weight_bits(Blocking("activations", 2, 32)) == 2
    assert weight_bits(Blocking("weights", 1, 32)) == 1
    assert weight_bits(Blocking("nothing", 1, 32)) == 4


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, (0, 4, 4), "M is 0; it must be at least 1"),
        ({}, (4, -1, 4), "K is -1"),
        ({"pe_bits": 1}, (4, 4, 4), "activations of 8 bits take 8 rows of PEs, and there are 4"),
        (
            {"weight_buffer_bytes": 6},
            (4, 4, 4),
            "4 rows of a tile of weights, 1 bytes each, need 4",
        ),
        ({"activation_buffer_bytes": 7}, (4, 4, 4), "half of the buffer for activations has 3"),
        ({"output_buffer_bytes": 30}, (4, 4, 4), "a tile of 4 x 4 outputs needs 16 bytes"),
        (
            {"dataflow": "ws", "output_buffer_bytes": 30},
            (4, 4, 4),
            "partial sums of 1 rows need 16 bytes; half of the buffer for outputs has 15",
        ),
        (
            {"dataflow": "ws", "weight_buffer_bytes": 30},
            (4, 4, 4),
            "4 rows of a tile of weights, 4 bytes each, need 16 bytes; half .* has 15",
        ),
    ],
)
def test_what_cannot_be_is_said(changes, shape, message):
    with pytest.raises(DesignFault, match=message):
        timed(plain(**changes), shape)


def test_a_design_fuses_if_one_of_its_precisions_does():
    int4, int8 = Operand("int4", 4, 4), Operand("int8", 8, 8)
    narrow = plain(pe_bits=4, precisions=(Precision("*", int4, int4),))
    mixed = replace(narrow, precisions=(Precision("*", int4, int4), Precision("x", int8, int8)))
    fill_drain = timed(narrow, (4, 8, 4)).fill_drain_cycles
    assert timed(mixed, (4, 8, 4)).fill_drain_cycles == fill_drain + 1


@pytest.mark.parametrize("name", ["olive-64x64", "ant-64x64-os", "ant-64x64-ws", "adafloat-32x28"])
def test_designs_that_come_with_oleaster_run_a_bert_layer(name):
    design = load_design(name)
    for shape in ((128, 768, 768), (128, 768, 3072), (128, 3072, 768), (128, 64, 128)):
        timing = timed(design, shape)
        assert timing.cycles <= 1.05 * timing.compute_cycles + 600
