"""The accelerator's cycle model against what array and bus allow (cosim tests: against RTL)."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import Descriptor, row_bytes
from oleaster.sim.accelerator.memory import PERIOD, MemoryTiming
from oleaster.sim.accelerator.model import ListTiming, list_timing
from oleaster.sim.accelerator.walk import Plan

OPERANDS = ("int4", "ovp4-flint", "int8", "ovp8")
OUTPUTS = ("int32", "int4", "ovp4-flint", "int8", "ovp8")


def gemm(
    m: int,
    k: int,
    n: int,
    a: str = "ovp4-flint",
    b: str = "ovp4-flint",
    c: str = "int32",
    skew: int = 0,
) -> Descriptor:
    """A GEMM whose rows are `skew` bytes longer than they must be and begin at that byte."""
    strides = [row_bytes(a, k) + skew, row_bytes(b, k) + skew, row_bytes(c, n) + 4 * skew]
    where = [(i + 1 << 32) + 4 * skew for i in range(3)]
    return Descriptor(*where, m, k, n, *strides, a, b, c, channels_address=5 << 32)


def run(d: Descriptor, config: AcceleratorConfig, timing: MemoryTiming) -> ListTiming:
    return list_timing([d], config, timing, trace=True)


@pytest.mark.parametrize("c", ["int32", "ovp4-flint"])
def test_the_array_is_busy_in_a_large_gemm(c):
    result = run(gemm(1024, 1024, 1024, c=c), AcceleratorConfig(), MemoryTiming(100))
    assert 2 * result.words == 64 * 64 * 1024  # each tile's K, once
    assert 2 * result.words / result.cycles >= 0.95


@pytest.mark.parametrize("bandwidth", [0.5, 0.25, 0.1])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(512, 512, 512), (512, 2048, 512), (256, 64, 4096), (1, 4096, 4096)]
)
def test_a_gemm_that_the_bus_bounds_comes_close_to_the_bound(m, k, n, bandwidth):
    timing = MemoryTiming.with_bandwidth(100, bandwidth, bandwidth)
    result = run(gemm(m, k, n), AcceleratorConfig(), timing)
    bound = result.bound(bandwidth, bandwidth)
    assert bound > 2 * result.words, "the array bounds it"
    assert bound <= result.cycles <= 1.05 * bound


configs = st.sampled_from(
    [
        AcceleratorConfig(),
        AcceleratorConfig(4, 4, 64, scratchpad_beats=8, outstanding=2, burst_beats=8),
        AcceleratorConfig(6, 12, 64, scratchpad_beats=16, outstanding=4, burst_beats=16),
        AcceleratorConfig(32, 32, 512),
    ]
)
sizes = st.integers(1, 70)


@given(
    configs,
    sizes,
    st.integers(1, 600),
    sizes,
    st.sampled_from(OPERANDS),
    st.sampled_from(OPERANDS),
    st.sampled_from(OUTPUTS),
    st.integers(0, 9),
    st.integers(1, 150),
    st.floats(0, 0.9),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=500)
def test_no_gemm_beats_its_bounds_and_the_parts_add_up(
    config, m, k, n, a, b, c, skew, latency, share, seed
):
    timing = MemoryTiming.random(latency, share, seed)
    d = gemm(m, k, n, a, b, c, skew)
    result = run(d, config, timing)
    again = run(d, config, timing)
    assert result == again

    plan = Plan(d, config)
    tiles = -(-m // config.tile_rows(a)) * -(-n // config.tile_cols(b))
    assert result.tiles == tiles
    assert result.words == tiles * plan.words
    assert result.cycles >= result.bound()
    assert result.cycles >= 2 * result.words + result.wait_data + result.wait_output + 2 * latency
    beats = result.handshakes
    assert len(beats["r"]) == result.read_beats
    assert len(beats["w"]) == result.write_beats
    assert len(beats["aw"]) == len(beats["b"])
    for name, cycles in beats.items():
        assert all(x < y for x, y in pairwise(cycles)), name
        gaps = getattr(timing, name)
        assert not any(gaps[cycle % PERIOD] for cycle in cycles), name
    # All that is needed is moved: every byte of C, and of A and B at least once.
    size = config.beat_bytes
    assert result.write_beats * size >= m * row_bytes(c, n)
    assert result.read_beats * size >= 64 + m * row_bytes(a, k) + n * row_bytes(b, k)


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 200), configs, st.integers(0, 3))
@settings(deadline=None)
def test_steps_cover_every_product_once_and_fit_the_scratchpads(m, k, n, config, skew):
    plan = Plan(gemm(m, k, n, skew=skew), config)
    covered = 0
    held_a = held_b = None
    for step in plan.steps():
        chunk = (step.word, step.words)
        a, b = (step.row, *chunk), (step.col, *chunk)
        assert step.takes_a == (a != held_a)
        assert step.takes_b == (b != held_b)
        held_a, held_b = (None if step.drops_a else a), (None if step.drops_b else b)
        covered += step.rows * step.cols * step.words
        half = config.scratchpad_beats // 2
        assert max(plan.a_beats(step.words), plan.b_beats(step.words)) <= half
        assert step.first_chunk == (step.word == 0)
        assert step.last_chunk == (step.word + step.words == plan.words)
    assert covered == m * n * plan.words
