# amaranth: UnusedElaboratable=no
"""The output stage in Amaranth's simulator: every byte of C against numpy, every handshake's cycle
against `StoreModel`, with random pauses on all channels."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from output_cases import Gemm, simulate

from oleaster.models.accelerator.config import AcceleratorConfig
from oleaster.models.accelerator.descriptor import row_bytes
from oleaster.models.accelerator.requantize import OUTPUT_FORMATS
from oleaster.sim.accelerator.memory import MemoryTiming
from oleaster.sim.accelerator.store import StoreModel

NARROW = ("ovp4-int", "ovp4-flint")


def check(config, timing, gemms):
    results = simulate(config, timing, gemms)
    for gemm, (outcome, feeder) in zip(gemms, results, strict=True):
        expected = feeder.expected()
        if gemm.abort_at is not None:
            check_aborted(config, gemm, outcome, expected)
            continue
        assert outcome.memory == expected
        model = StoreModel(
            config,
            timing,
            m=gemm.m,
            n=gemm.n,
            c_format=gemm.c_format,
            wide_a=gemm.wide_a,
            wide_b=gemm.wide_b,
            c_address=gemm.address,
            c_stride=gemm.stride,
            start_cycle=outcome.start,
        )
        assert model.tiles == len(outcome.freed)
        tables = [0] * model.tiles if gemm.is_raw else outcome.tables
        cycles = zip(outcome.first_sums, tables, strict=True)
        assert [model.tile(first, ready) for first, ready in cycles] == outcome.freed
        assert (model.aw, model.w, model.b) == (outcome.aw, outcome.w, outcome.b)
        assert model.done == outcome.done
    return results


def check_aborted(config, gemm, outcome, expected):
    """Rows of tiles were written whole or not at all, and rightly."""
    assert outcome.memory.items() <= expected.items()
    tile_cols = config.cols >> gemm.wide_b
    for i in range(gemm.m):
        for j in range(0, gemm.n, tile_cols):
            begin = gemm.address + i * gemm.stride + row_bytes(gemm.c_format, j)
            bytes_ = row_bytes(gemm.c_format, min(tile_cols, gemm.n - j))
            there = {begin + place in outcome.memory for place in range(bytes_)}
            assert len(there) == 1


CONFIGS = {
    "4x4": AcceleratorConfig(4, 4, 64, 32, outstanding=2),
    "8x8": AcceleratorConfig(8, 8, 128),
    "6x12": AcceleratorConfig(6, 12, 64, outstanding=8),
    "4x40": AcceleratorConfig(4, 40, 64, 48, burst_beats=8),
    "6x32": AcceleratorConfig(6, 32, 256, 48, outstanding=4),
    "2x16 narrow": AcceleratorConfig(2, 16, 512, formats_a=NARROW, formats_b=NARROW, outstanding=2),
}


@st.composite
def gemms(draw, config, abort=False):
    c_format = draw(st.sampled_from(OUTPUT_FORMATS))
    unit = 4 if c_format == "int32" else 1
    wide = st.booleans()
    return Gemm(
        m=draw(st.integers(1, 2 * config.rows + 1)),
        n=draw(st.integers(1, min(2 * config.cols + 3, 45))),
        c_format=c_format,
        relu=c_format != "int32" and draw(st.booleans()),
        wide_a=config.lane_a.group == 2 and draw(wide),
        wide_b=config.lane_b.group == 2 and draw(wide),
        address=unit * draw(st.integers(0, 8192 // unit - 1)) + draw(st.sampled_from([0, 1 << 31])),
        pad=unit * draw(st.integers(0, 70)),
        seed=draw(st.integers(0, 1 << 32)),
        haste=draw(st.sampled_from([1.0, 0.3, 0.02])),
        abort_at=draw(st.integers(1, 200)) if abort else None,
    )


@st.composite
def timings(draw):
    latency = draw(st.sampled_from([1, 5, 60]))
    share = draw(st.sampled_from([0.0, 0.3, 0.8]))
    return MemoryTiming.random(latency, share, draw(st.integers(0, 99)))


# Each example elaborates and simulates a circuit.
few = settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", CONFIGS)
def test_bytes_and_cycles_equal_the_models(name):
    config = CONFIGS[name]

    @few
    @given(st.lists(gemms(config), min_size=2, max_size=3), timings())
    @example([Gemm(1, 1), Gemm(1, 1, "ovp8", address=4095)], MemoryTiming(1))
    def run(cases, timing):
        check(config, timing, cases)

    run()


@pytest.mark.parametrize(
    ("name", "gemm"),
    [
        ("4x4", Gemm(12, 16)),
        ("4x4", Gemm(65, 4, "int4")),
        ("4x40", Gemm(5, 81, address=4)),
        ("6x12", Gemm(24, 36, "int8", pad=1)),
    ],
)
def test_a_full_queue_holds_rows_back(name, gemm):
    config = CONFIGS[name]
    # First for so long that the queue fills before anything leaves it.
    timing = MemoryTiming(1, w=(np.arange(1024) < 250) | (np.arange(1024) % 3 > 0))
    ((outcome, _),) = check(config, timing, [gemm])
    assert len(outcome.w) > config.write_queue_beats


@few
@given(gemms(CONFIGS["6x12"], abort=True), gemms(CONFIGS["6x12"]), timings())
@example(Gemm(12, 24, abort_at=30), Gemm(7, 3, "int4"), MemoryTiming(5))
@example(Gemm(1, 1, abort_at=1), Gemm(1, 1), MemoryTiming(1))
def test_an_abort_ends_with_whole_rows_and_leaves_nothing_behind(aborted, after, timing):
    check(CONFIGS["6x12"], timing, [aborted, after])


def test_an_abort_is_soon():
    config = CONFIGS["6x12"]
    gemm = Gemm(60, 120, abort_at=50)
    ((outcome, _),) = simulate(config, MemoryTiming(5), [gemm])
    # The row under way and those in the pipeline.
    assert 50 < outcome.w[-1] - outcome.start < 75
    assert outcome.done == 0


@pytest.mark.parametrize(
    ("c_format", "address", "tile_cycles"),
    [
        ("int32", 0, [16, 16, 16, 16, 16]),
        ("int32", 4, [24, 24, 24, 24, 24]),
        ("ovp8", 0, [16, 16, 16, 16, 16]),
        ("int4", 8, [16, 16, 16, 16, 16]),
        # Bytes 11 .. 18 of the middle tile: its second step begins in one beat and ends in the
        # next. A slot is free before a row's last such cycle.
        ("int8", 3, [23, 17, 16, 23, 17]),
    ],
)
def test_rows_follow_each_other_without_a_gap(c_format, address, tile_cycles):
    """8 columns take two cycles; a row whose last step spills into another beat takes three."""
    pad = -row_bytes(c_format, 24) % 16
    gemm = Gemm(16, 24, c_format, address=address, pad=pad)
    ((outcome, _),) = simulate(CONFIGS["8x8"], MemoryTiming(5), [gemm])
    assert np.diff(outcome.freed).tolist() == tile_cycles
    if c_format == "int32":
        beats = len(outcome.w)
        assert outcome.w == list(range(outcome.w[0], outcome.w[0] + beats))


def test_model_of_a_gemm_of_1024_cubed_takes_seconds_at_most():
    begun = time.perf_counter()
    timing = MemoryTiming.random(100, 0.1, 0)
    model = StoreModel(
        AcceleratorConfig(),
        timing,
        m=1024,
        n=1024,
        c_format="int32",
        wide_a=False,
        wide_b=False,
        c_address=0,
        c_stride=4096,
        start_cycle=0,
    )
    for tile in range(model.tiles):
        model.tile(1024 * tile)
    assert len(model.w) == 1024 * 1024 // 4
    assert len(model.aw) == len(model.b) == 1024 * 64
    assert time.perf_counter() - begun < 10
    with pytest.raises(ValueError, match="C has 4096 tiles, and there is one more"):
        model.tile(0)
