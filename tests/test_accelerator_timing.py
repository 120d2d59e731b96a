"""The accelerator among the performance models: exact cycles, and how far the memory model is."""

import random
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.model import list_timing
from oleaster.sim.accelerator.walk import Plan
from oleaster.sim.performance.accelerator import (
    accelerator_gemm,
    accelerator_timing,
    array_of,
    exact_timing,
)
from oleaster.sim.performance.design import DesignFault
from oleaster.sim.performance.real import real_timing
from oleaster.sim.performance.timing import Timing

COUNTERS = (
    "cycles",
    "words",
    "wait_data",
    "wait_output",
    "read_beats",
    "write_beats",
    "tiles",
)

configs = st.sampled_from(
    [
        AcceleratorConfig(),
        AcceleratorConfig(4, 4, 64, scratchpad_beats=8, outstanding=2, burst_beats=8),
        AcceleratorConfig(6, 12, 64, scratchpad_beats=16, outstanding=4, burst_beats=16),
        AcceleratorConfig(8, 8, 64, outstanding=8, scratchpad_beats=64),
        AcceleratorConfig(32, 32, 512),
    ]
)
memories = st.one_of(
    st.builds(MemoryTiming, st.integers(1, 200)),
    st.builds(
        MemoryTiming.with_bandwidth,
        st.integers(1, 200),
        st.sampled_from([1.0, 0.5, 0.25, 0.3]),
        st.sampled_from([1.0, 0.5]),
    ),
    st.builds(MemoryTiming.random, st.integers(1, 100), st.floats(0, 0.6), st.integers(0, 99)),
)
formats = st.sampled_from(["int4", "ovp4-flint", "int8", "ovp8"])
outputs = st.sampled_from(["int32", "ovp4-flint", "ovp8"])


def same_counters(config, memory, m, k, n, a, b, c) -> bool:
    descriptor = accelerator_gemm(config, m, k, n, a, b, c)
    found = exact_timing(descriptor, config, memory)
    right = list_timing([descriptor], config, memory)
    assert found.handshakes == {}
    return all(getattr(found, name) == getattr(right, name) for name in COUNTERS)


@settings(max_examples=40, deadline=None)
@given(
    configs,
    memories,
    st.integers(1, 300),
    st.integers(1, 200),
    st.integers(1, 50),
    formats,
    formats,
    outputs,
)
def test_strips_run_once_count_as_all(config, memory, m, k, n, a, b, c):
    assert same_counters(config, memory, m, k, n, a, b, c)


@pytest.mark.parametrize("k", [8, 30])
@pytest.mark.parametrize(
    "memory",
    [
        MemoryTiming(20),
        MemoryTiming.with_bandwidth(20, 0.5, 0.25),
        MemoryTiming.with_bandwidth(20, 0.3, 1.0),
        MemoryTiming.random(20, 0.2, 1),
    ],
)
def test_strips_are_left_out_only_where_all_repeats(k, memory):
    """100 strips, of which 4 settle most of what waits in the circuit."""
    config = AcceleratorConfig(4, 4, 64, scratchpad_beats=8, outstanding=2, burst_beats=8)
    assert same_counters(config, memory, 397, k, 130, "int4", "int8", "int32")


@pytest.mark.parametrize("k", [16, 2100])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_many_strips_are_not_run(monkeypatch, k, share):
    """2000 rows of A on 16 rows of PEs: of 125 strips few are walked through."""
    walked = []

    def counting(descriptors, config, memory):
        timing = list_timing(descriptors, config, memory)
        walked.append(timing.tiles)
        return timing

    monkeypatch.setattr("oleaster.sim.performance.accelerator.list_timing", counting)
    config, memory = AcceleratorConfig(), MemoryTiming.with_bandwidth(100, share, share)
    descriptor = accelerator_gemm(config, 2000, k, 300, "ovp4-flint", "ovp4-flint", "int32")
    found = exact_timing(descriptor, config, memory)
    assert found.tiles == 125 * 19
    assert sum(walked) < found.tiles / 2
    right = list_timing([descriptor], config, memory)
    assert all(getattr(found, name) == getattr(right, name) for name in COUNTERS)


@settings(max_examples=60, deadline=None)
@given(
    configs,
    memories,
    st.integers(1, 100),
    st.integers(1, 400),
    st.integers(1, 60),
    formats,
    formats,
    outputs,
)
def test_parts_of_the_exact_timing(config, memory, m, k, n, a, b, c):
    timing = accelerator_timing(config, m, k, n, a, b, c, memory)
    descriptor = accelerator_gemm(config, m, k, n, a, b, c)
    right = list_timing([descriptor], config, memory)
    assert timing.cycles == right.cycles
    assert all(getattr(timing, field.name) >= 0 for field in fields(Timing))
    assert timing.compute_cycles == 2 * right.words
    assert timing.stall_first_load_cycles + timing.stall_load_cycles == right.wait_data
    assert timing.stall_first_load_cycles > memory.latency - 3
    reads = timing.dram_activation_read_bits + timing.dram_weight_read_bits
    assert reads == right.read_beats * config.data_bits
    assert timing.dram_output_write_bits == right.write_beats * config.data_bits

    # Activations, step by step.
    plan, beats = Plan(descriptor, config), 0
    for step in plan.steps():
        beats += step.takes_a * step.rows * plan.a_beats(step.words)
    assert timing.dram_activation_read_bits == beats * config.data_bits
    assert timing.dram_activation_read_bits >= timing.sram_activation_write_bits
    assert timing.dram_weight_read_bits >= timing.sram_weight_write_bits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m": 0}, "M is 0; it must be 1 to 16777215"),
        ({"n": 1 << 24}, "N is 16777216"),
        ({"a_format": "fp4-e2m1"}, "A of format 'fp4-e2m1'; this accelerator has flint4, int4"),
        ({"b_format": "int32"}, "B of format 'int32'"),
        ({"c_format": "mxfp4"}, "C of format 'mxfp4'"),
    ],
)
def test_what_no_descriptor_has_is_said(changes, message):
    values = {"m": 4, "k": 4, "n": 4, "a_format": "int4", "b_format": "int4", "c_format": "int32"}
    with pytest.raises(DesignFault, match=message):
        accelerator_timing(AcceleratorConfig(), **{**values, **changes}, memory=MemoryTiming())


# The real memory model, given the same array, buffers, walk and memory


def without_stores(timing: Timing) -> int:
    """Cycles of the accelerator's descriptor and of its stores, which have their own channel."""
    return timing.cycles - timing.overhead_cycles - timing.stall_store_cycles


def error(config, m, k, n, operands, latency, share) -> float:
    memory = MemoryTiming.with_bandwidth(latency, share, 1.0)
    exact = accelerator_timing(config, m, k, n, operands, operands, "int32", memory)
    descriptor = accelerator_gemm(config, m, k, n, operands, operands, "int32")
    design, weights, activations, blocking = array_of(descriptor, config, latency, share)
    model = real_timing(design, m, k, n, weights, activations, blocking)
    assert model.compute_cycles == exact.compute_cycles
    return without_stores(model) / without_stores(exact) - 1


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(128, 768, 768), (128, 768, 3072), (128, 64, 128), (1, 4096, 4096), (256, 2048, 256)],
)
def test_the_memory_model_is_within_two_percent_on_layers(m, k, n, share):
    assert abs(error(AcceleratorConfig(), m, k, n, "ovp4-flint", 100, share)) < 0.02


def test_the_memory_model_knows_what_latency_costs_two_slots():
    """Half a scratchpad is one tile: the next is asked for when the array has left the last."""
    few, many = (
        error(AcceleratorConfig(), 256, 2000, 256, "ovp4-flint", latency, 0.5)
        for latency in (20, 400)
    )
    assert abs(few) < 0.03
    assert abs(many) < 0.03


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_the_memory_model_is_close_on_random_gemms(share):
    """K of one chunk, or of several whole ones; a rest is docs/memory-model.md's matter."""
    rng = random.Random(3)
    errors = []
    for _ in range(60):
        config = rng.choice(
            [AcceleratorConfig(), AcceleratorConfig(8, 8, 64), AcceleratorConfig(32, 32, 256)]
        )
        operands = rng.choice(["ovp4-flint", "int8"])
        probe = accelerator_gemm(config, 1, 1, 1, operands, operands, "int32")
        chunk = 2 * Plan(probe, config).chunk_words
        m, n = (int(2 ** rng.uniform(0, 8)) for _ in range(2))
        k = chunk * rng.randint(2, 3) if rng.random() < 0.3 else rng.randint(64, chunk)
        errors.append(abs(error(config, m, k, n, operands, rng.choice([20, 100, 200]), share)))
    errors.sort()
    assert errors[30] < 0.01, "the typical error"
    assert errors[54] < 0.05
    assert errors[-1] < 0.15
